"""`rte customers` against a running server."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Rte
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
