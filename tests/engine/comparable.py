"""What the engine and the twin show, brought into one form that can be compared with `==`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from google.protobuf.struct_pb2 import Struct
from google.protobuf.struct_pb2 import Value as WireValue

from rte.v1.session_pb2 import Session, SessionState
from rte_server.engine.program import Kind
from tests.engine.twin_kinds import Near

APPROXIMATE_DIGITS = 11
ROUNDED_KINDS = frozenset((Kind.LINEAR,))
"""Kinds whose values go through functions whose last digits may differ between libraries."""

State = dict[str, list[dict[str, object]]]


def of_messages(messages: Iterable[bytes], approximate: frozenset[str] = frozenset()) -> State:
    """Return the state that serialized sessions show, by visitor and in order of time.

    Args:
        messages: Serialized `rte.v1.Session`; empty ones are left out.
        approximate: Names of attributes of which only some digits are compared.
    """
    state: State = {}
    for message in filter(None, messages):
        session = Session.FromString(message)
        state.setdefault(session.visitor_id, []).append(
            {
                "visitor_id": session.visitor_id,
                "customer_id": session.customer_id,
                "channel": session.channel,
                "start_ms": session.start_time.ToMilliseconds(),
                "last_ms": session.last_event_time.ToMilliseconds(),
                "event_count": session.event_count,
                "late_event_count": session.late_event_count,
                "visit_number": session.visit_number,
                "ended": session.HasField("end_time"),
                "closed": session.state == SessionState.SESSION_STATE_CLOSED,
                "attributes": of_struct(session.attributes, approximate),
            }
        )
    return _sorted(state)


def of_struct(attributes: Struct, approximate: frozenset[str] = frozenset()) -> dict[str, object]:
    """Return the attributes that a session shows; see `of_messages`."""
    return of_mapping({name: _plain(value) for name, value in attributes.fields.items()}, approximate)


def of_mapping(attributes: Mapping[str, object], approximate: frozenset[str] = frozenset()) -> dict[str, object]:
    """Return attributes in the form that can be compared; see `of_messages`."""
    return {name: _comparable(value, name in approximate) for name, value in attributes.items()}


def of_twin(state: State, approximate: frozenset[str] = frozenset()) -> State:
    """Return the twin's state in the same form: every number is a double on the wire."""
    return _sorted(
        {
            visitor_id: [{**row, "attributes": _attributes(row["attributes"], approximate)} for row in rows]
            for visitor_id, rows in state.items()
        }
    )


def _attributes(attributes: object, approximate: frozenset[str]) -> dict[str, object]:
    assert isinstance(attributes, Mapping)
    return of_mapping(attributes, approximate)


def _sorted(state: State) -> State:
    return {
        visitor_id: sorted(rows, key=lambda row: (row["start_ms"], row["last_ms"]))
        for visitor_id, rows in sorted(state.items())
    }


def _plain(value: WireValue) -> object:
    """Return a protobuf Value as a Python value."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "struct_value":
        return {name: _plain(item) for name, item in value.struct_value.fields.items()}
    if kind == "null_value":
        return None
    return getattr(value, kind) if kind else "(no kind)"


def _comparable(value: object, approximate: bool) -> object:
    """Return a value so that NaN equals NaN."""
    if isinstance(value, list):
        return [_comparable(item, approximate) for item in value]
    if isinstance(value, dict):
        return {name: _comparable(item, approximate) for name, item in value.items()}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if isinstance(value, Near):
        return value
    number = float(value)
    if approximate:
        return f"about {number:.{APPROXIMATE_DIGITS}g}"
    return "NaN" if math.isnan(number) else number + 0.0


def differences(found: object, expected: object, path: str = "") -> list[str]:
    """Return where two states differ, one line per value."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted(found.keys() | expected.keys())
        return [line for key in keys for line in differences(found.get(key), expected.get(key), f"{path}/{key}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for place, (a, b) in pairs for line in differences(a, b, f"{path}[{place}]")]
    if isinstance(expected, Near) and isinstance(found, float):
        is_near = abs(found - expected) <= expected.within
        return [] if is_near else [f"{path}: engine {found!r}, twin {expected!r} within {expected.within!r}"]
    return [] if found == expected else [f"{path}: engine {found!r}, twin {expected!r}"]
