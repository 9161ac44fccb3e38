"""`rte customers` against a running server."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Rte
from tests.service.calls import event, send
from tests.service.live_server import LiveServer


def test_customers_are_written_and_read(rte: Rte, server: LiveServer) -> None:
    """`update` writes values of every type, on condition and with an expiry; `get` shows them with their source."""
    at = ("--server", server.address)
    first = rte(
        "customers", "update", "c1", "tier=gold", "n=3", "tags=[1,2]", "--source", "crm", "--format", "json", *at
    )
    assert first.exit_code == 0, first.err
    etag = json.loads(first.out)["etag"]
    assert (
        rte("customers", "update", "c1", "n=", "--source", "crm", "--etag", etag, "--expires-in", "60", *at).exit_code
        == 0
    )
    refused = rte("customers", "update", "c1", "n=4", "--source", "crm", "--etag", etag, *at)
    assert refused.exit_code == 1 and "etag" in refused.err
    shown = rte("customers", "get", "c1", "nobody", "--max-age", "0", *at).out
    assert "c1: FRESH" in shown and 'tier\t"gold"\tcrm\t' in shown and "tags\t[1.0, 2.0]\tcrm" in shown
    assert "nobody: UNKNOWN_CUSTOMER" in shown and "\nn\t" not in shown


def test_the_change_feed_is_printed(rte: Rte) -> None:
    """The script for PostgreSQL is printed; for anything else the command says that there is none."""
    assert "rte_watch_table" in rte("customers", "change-feed", "postgresql").out
    assert rte("customers", "change-feed", "oracle").exit_code == 2
    assert rte("customers", "update", "c", "n", "--source", "x").exit_code == 2


def test_a_person_is_erased(rte: Rte, server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`erase` prints a receipt that `verify-receipt` knows, about this person only; without a yes nothing happens."""
    at = ("--server", server.address)
    assert rte("customers", "update", "c2", "n=3", "--source", "crm", *at).exit_code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert rte("customers", "erase", "c2", *at).exit_code == 1
    assert "c2: FRESH" in rte("customers", "get", "c2", *at).out
    erased = rte("customers", "erase", "c2", "--yes", *at)
    assert erased.exit_code == 0, erased.err
    assert json.loads(erased.out)["row_count"] >= 3
    assert "UNKNOWN_CUSTOMER" in rte("customers", "get", "c2", "--max-age", "0", *at).out
    receipt = tmp_path / "receipt.json"
    receipt.write_text(erased.out)
    assert "Genuine" in rte("customers", "verify-receipt", str(receipt), *at).out
    assert "this person" in rte("customers", "verify-receipt", str(receipt), "--customer", "c2", *at).out
    assert rte("customers", "verify-receipt", str(receipt), "--visitor", "c2", *at).exit_code == 1
    receipt.write_text(json.dumps(json.loads(erased.out) | {"event_count": 7}))
    assert "changed" in rte("customers", "verify-receipt", str(receipt), *at).err
    receipt.write_text("nothing")
    assert rte("customers", "verify-receipt", str(receipt), *at).exit_code == 2
    assert rte("customers", "erase", "nobody", "--visitor", "--yes", *at).exit_code == 0


def test_a_visitor_is_linked_and_unlinked(rte: Rte, server: LiveServer) -> None:
    """`link` and `unlink` say who is who; `sessions` lists a customer's sessions and shows them as one."""
    at = ("--server", server.address)
    with server.channel() as channel:
        send(channel, event("cli-a", customer_id="cli-c"), event("cli-b"), event("cli-b"))
    linked = rte("customers", "link", "cli-c", "cli-b", "--why", "called", "--author", "ann", *at)
    assert linked.exit_code == 0 and "cli-b" in linked.out and "called" in linked.out, linked.err
    listed = rte("sessions", "list", "--customer", "cli-c", "--format", "json", *at).out
    assert {json.loads(line)["visitor_id"] for line in listed.splitlines()} == {"cli-a", "cli-b"}
    merged = rte("sessions", "get", "cli-c", "--merged", *at).out
    assert "events" in merged and "\t" not in merged and "Merged of " in merged
    assert any(line.split() == ["events", "3"] for line in merged.splitlines())
    unlinked = rte("customers", "unlink", "cli-c", "cli-b", "--why", "a mistake", *at)
    assert unlinked.exit_code == 0 and "No visitor is linked" in unlinked.out
    again = rte("customers", "unlink", "cli-c", "cli-b", "--why", "a mistake", *at)
    assert again.exit_code == 1 and "not linked" in again.err
    assert rte("customers", "link", "cli-c", "cli-b", *at).exit_code == 2
