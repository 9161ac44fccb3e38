"""Reasons on the wire."""

from __future__ import annotations

import logging

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from rte.v1 import error_reason_pb2
from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.errors import DOMAIN, RULES, reason_of, refusal_of, status_of

PREFIX = "ERROR_REASON_"


def details(status: status_pb2.Status) -> dict[str, object]:
    """Return the details of a status by their type."""
    found: dict[str, object] = {}
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
        for packed in status.details:
            message = kind()
            if packed.Unpack(message):
                found[kind.DESCRIPTOR.name] = message
    return found


def test_engine_contract_and_table_have_the_same_reasons() -> None:
    """The engine's reasons, the contract's and the table's are the same, by name and number."""
    contract = {name.removeprefix(PREFIX): number for name, number in error_reason_pb2.ErrorReason.items()}
    assert {reason.name: reason.value for reason in Reason} == contract
    assert set(RULES) == set(Reason)


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
def test_every_reason_comes_back_from_its_status(reason: Reason) -> None:
    """A reader finds in the status of every reason its name, the domain and the metadata."""
    status = status_of(EngineError(reason, "no.", field="price", value="-1", limit="0"))
    info = details(status)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason.name, DOMAIN)
    assert dict(info.metadata) == {"field": "price", "value": "-1", "limit": "0"}
    assert reason_of(status) is reason
    assert status.code == RULES[reason].code.value[0]


def test_a_wrong_argument_names_its_field() -> None:
    """A status for a wrong argument carries BadRequest with the field."""
    violation = details(status_of(EngineError(Reason.OUT_OF_RANGE, "too much", field="page_size")))["BadRequest"]
    assert isinstance(violation, error_details_pb2.BadRequest)
    assert violation.field_violations[0].field == "page_size"
    assert violation.field_violations[0].description == "too much"


def test_retry_info_stands_where_a_retry_can_help() -> None:
    """RetryInfo is there when the server is full, and not when the request is wrong."""
    assert "RetryInfo" in details(status_of(EngineError(Reason.OVERLOADED, "full")))
    assert "RetryInfo" not in details(status_of(EngineError(Reason.MALFORMED, "bad")))


def test_a_fault_leaks_no_text(caplog: pytest.LogCaptureFixture) -> None:
    """The caller of a server that fails gets an incident id; the text stands in the log under the same id."""
    with caplog.at_level(logging.ERROR):
        status = status_of(refusal_of(RuntimeError("password is hunter2")))
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert b"hunter2" not in status.SerializeToString()
    info = details(status)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.metadata["value"] in caplog.text
    assert "hunter2" in caplog.text
