"""Client commands against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rte_server.bootstrap import wall_clock_ms
from rte_server.simulate.shop import Shop, ShopSettings
from tests.cli.conftest import Rte
from tests.engine.recorded import read_rows, shared_file, visits
from tests.service.calls import event, send
from tests.service.live_server import LiveServer, live_server

SHOWN_MAX = 10

HEADER = "event_id,ts,visitor_id,event_type,item_id,value\n"


def numbers(out: str) -> dict[str, int]:
    """Return the counts of a replay's summary by title."""
    found = {}
    for line in out.splitlines():
        words = line.split()
        title = " ".join(word for word in words[:2] if not word.replace(",", "").isdigit())
        count = next((word for word in words if word.replace(",", "").isdigit()), None)
        if count is not None and title not in found:
            found[words[0] if words[0] != "not" else "not sent"] = int(count.replace(",", ""))
    return found


def sessions(rte: Rte, server: LiveServer, *arguments: str) -> list[dict[str, Any]]:
    """Return the sessions that `rte sessions list` prints as JSON."""
    result = rte("sessions", "list", "--format", "json", "--limit", 0, *arguments, "--server", server.address)
    assert result.exit_code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def differences(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what differs between two listings, at most SHOWN_MAX lines: pytest takes minutes to compare thousands."""
    found = [] if len(before) == len(after) else [f"{len(before)} sessions, then {len(after)}"]
    for one, other in zip(before, after, strict=False):
        flat = [each | each["attributes"] | {"attributes": None} for each in (one, other)]
        names = [name for name in sorted(flat[0] | flat[1]) if flat[0].get(name) != flat[1].get(name)]
        found += [f"{one['session_id']} {name}: {flat[0].get(name)}, then {flat[1].get(name)}" for name in names]
    return found[:SHOWN_MAX]


def test_a_recorded_shop_day_becomes_its_visits(rte: Rte, tmp_path: Path) -> None:
    """A replay gives the visits of the recording, and a second one changes nothing.

    The server's clock stands: to a session, its recorded events came in just now, so that it would soon be idle, and what
    fades would.
    """
    path = shared_file("ecom_events_dev.csv.gz")
    stopped_ms = wall_clock_ms()
    with live_server(tmp_path, clock_ms=lambda: stopped_ms) as server:
        first = rte("replay", path, "--server", server.address)
        assert first.exit_code == 0, first.err
        assert numbers(first.out) | {"in": 0} == numbers(first.out) | {"sent": 10_143, "accepted": 10_143, "in": 0}
        assert numbers(first.out)["duplicates"] == 0
        found = sessions(rte, server, "--state", "any")
        assert len(found) == sum(map(len, visits(read_rows("ecom_events_dev.csv.gz")).values())) == 2_704
        again = rte("replay", path, "--server", server.address)
        assert numbers(again.out)["duplicates"] == 10_143
        assert differences(found, sessions(rte, server, "--state", "any")) == []


def test_rows_and_events_that_are_refused_are_named(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """Rows that cannot be sent and events that the server refuses are named with lines; strict fails at once."""
    path = tmp_path / "rows.csv"
    long = "x" * 200
    rows = [
        "1,2020-01-01T00:00:00Z,refused,view,i,1",
        "2,never,refused,view,i,1",
        f"3,2020-01-01T00:00:01Z,{long},view,i,1",
    ]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    result = rte("replay", path, "--server", server.address)
    assert result.exit_code == 0
    assert f"{path}:3: `never` is no time" in result.out
    assert f"{path}:4: " in result.out
    assert "(STRING_TOO_LONG)" in result.out
    path.write_text(HEADER + rows[0] + "\n" + rows[2] + "\n")
    strict = rte("replay", path, "--strict", "--server", server.address)
    assert strict.exit_code == 1
    assert "STRING_TOO_LONG" in strict.err


def test_a_replay_that_sends_nothing_fails(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """A file without one usable row ends with 1."""
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "1,never,v,view,i,1\n")
    assert rte("replay", path, "--server", server.address).exit_code == 1


def test_shifted_events_are_live(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """With --shift-to-now the newest session of an old file is active."""
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "1,2020-01-01T00:00:00Z,shifted,view,i,1\n2,2020-01-01T00:00:02Z,shifted,view,j,1\n")
    result = rte("replay", path, "--shift-to-now", "--speed", 4, "--server", server.address)
    assert result.exit_code == 0, result.err
    (found,) = sessions(rte, server, "--filter", 'session.visitor_id == "shifted"', "--state", "active")
    assert found["event_count"] == 2


def test_a_simulated_hour_is_in_the_server(rte: Rte, server: LiveServer) -> None:
    """`rte simulate --speed max` sends the last while at once, and every event is accepted."""
    arguments = ("--duration", "20m", "--rate", 5, "--speed", "max", "--seed", 99)
    result = rte("simulate", *arguments, "--server", server.address)
    assert result.exit_code == 0, result.err
    count = sum(1 for _ in Shop(ShopSettings(seed=99, rate=5, duration_ms=1_200_000)).events())
    assert f"{count:,} events" in result.out
    assert f"{count:,} accepted, 0 duplicates, 0 late, 0 rejected" in result.out


def test_one_session_by_any_id(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """`rte sessions get` finds a session by each of its ids, and says so when there is none."""
    path = tmp_path / "row.ndjson"
    row = {"event_id": "1", "name": "login", "visitor_id": "v-get", "customer_id": "c-get"}
    path.write_text(json.dumps(row | {"client_session_id": "s-get", "event_time": "2026-01-01T00:00:00Z"}) + "\n")
    assert rte("replay", path, "--server", server.address).exit_code == 0
    shown = rte("sessions", "get", "v-get", "--format", "json", "--server", server.address)
    session = json.loads(shown.out)
    session.pop("customer")  # How far it has been looked up is of the moment.
    for wanted in ("c-get", "s-get", session["session_id"]):
        found = json.loads(rte("sessions", "get", wanted, "--format", "json", "--server", server.address).out)
        assert found.pop("customer")["customer_id"] == "c-get"
        assert found == session
    text = rte("sessions", "get", "c-get", "--by", "customer", "--server", server.address).out
    assert "logins" in text and "v-get, visit 1" in text
    missing = rte("sessions", "get", "nobody", "--server", server.address)
    assert missing.exit_code == 1
    assert 'There is no session, visitor, customer or client session "nobody"' in missing.err


def test_a_list_is_filtered_ordered_and_limited(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """`rte sessions list` passes filter, order, state and limit on, and counts all that match."""
    path = tmp_path / "rows.csv"
    lines = [f"{i}-{j},2026-01-01T00:00:0{j}Z,listed-{i},view,i,1\n" for i in range(5) for j in range(i + 1)]
    path.write_text(HEADER + "".join(lines))
    assert rte("replay", path, "--server", server.address).exit_code == 0
    chosen = ("--filter", 'session.visitor_id.startsWith("listed-") && product_views >= 2', "--state", "any")
    arguments = (*chosen, "--order-by", "product_views desc", "--limit", "3", "--server", server.address)
    result = rte("sessions", "list", *arguments)
    assert [line.split("\t")[0] for line in result.out.splitlines()[1:]] == ["listed-4", "listed-3", "listed-2"]
    assert "4 sessions, 3 shown" in result.err
    wrong = rte("sessions", "list", "--filter", "no_such_thing > 1", "--server", server.address)
    assert wrong.exit_code == 1
    assert "no_such_thing" in wrong.err and "INVALID_EXPRESSION" in wrong.err


def test_a_watch_prints_the_snapshot_and_ends_in_time(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """`rte sessions watch` prints what matches, then that it is complete, and ends after the given seconds."""
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "1,2026-01-01T00:00:00Z,watched,view,i,1\n")
    assert rte("replay", path, "--shift-to-now", "--server", server.address).exit_code == 0
    chosen = ("--filter", 'session.visitor_id == "watched"', "--seconds", 4, "--format", "json")
    result = rte("sessions", "watch", *chosen, "--server", server.address)
    assert result.exit_code == 0, result.err
    messages = [json.loads(line) for line in result.out.splitlines()]
    assert [message["type"] for message in messages] == ["TYPE_UPSERT", "TYPE_SYNCED"]
    assert messages[0]["session"]["visitor_id"] == "watched"


def test_models_are_listed_and_shown(rte: Rte, server: LiveServer) -> None:
    """`rte models` prints what runs, each attribute, and the source."""
    listed = rte("models", "list", "--server", server.address)
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert names[0] == "model" and {"base", "retail", "engagement", "recent_items"} <= set(names)
    shown = rte("models", "show", "recent_items", "--server", server.address)
    assert "product_views" in shown.out
    assert rte("models", "show", "recent_items", "--source", "--server", server.address).out.startswith("#")
    missing = rte("models", "show", "nothing", "--server", server.address)
    assert missing.exit_code == 1
    assert "MODEL_NOT_FOUND" in missing.err


@pytest.mark.parametrize("arguments", [("sessions", "list"), ("models", "list"), ("sessions", "get", "v-get")])
def test_json_is_one_document_per_line_or_one_in_all(rte: Rte, server: LiveServer, arguments: tuple[str, ...]) -> None:
    """With --format json the output is JSON and nothing else."""
    result = rte(*arguments, "--format", "json", "--server", server.address)
    if arguments[0] == "models":
        assert {"base", "retail"} < {model["name"] for model in json.loads(result.out)}
    else:
        assert all(isinstance(json.loads(line), dict) for line in result.out.splitlines())


def test_an_explanation_is_printed(rte: Rte, server: LiveServer) -> None:
    """A value is explained as text and as JSON: events in a table, a rule as a tree, a score as a sum; else an error."""
    with server.channel() as channel:
        item = {"item_id": "x", "price": 5.0, "quantity": 2}
        send(
            channel,
            event("explained", "add_to_cart", event_id="e-1", properties=item),
            event("explained", "add_to_cart", event_id="e-2", properties={"item_id": "y"}),
        )

    def explained(attribute: str, *arguments: str) -> str:
        result = rte("sessions", "explain", "explained", attribute, *arguments, "--server", server.address)
        assert result.exit_code == 0, result.err
        return result.out

    lines = explained("added_value").splitlines()
    assert lines[0] == "added_value is 10: 1 of 2 add_to_cart events stands behind it, 1 has no value"
    assert any(line.endswith("| added_value:") for line in lines)
    assert "Events: 1 contributed, 1 no value" in lines
    (row,) = (line.split("\t") for line in lines if "\te-1\t" in line)
    assert row[1:6] == ["add_to_cart", "e-1", "contributed", "10", "price=5, quantity=2"]
    assert "e-2" not in explained("added_value", "--contributed", "--by", "visitor")
    tree = explained("open_basket_value")
    assert re.search(r"^\* ├─ basket_changes > 18 && purchases == 0 += false$", tree, re.MULTILINE)
    assert re.search(r"^\* └─ basket\.value +=? *= 10$", tree, re.MULTILINE)
    assert "1 / (1 + exp(-total)) = " in explained("purchase_propensity")
    found = json.loads(explained("added_value", "--format", "json"))
    assert (found["value"], found["events"]["complete"]) == (10.0, True)
    for arguments, message in (
        (("nobody", "added_value"), 'no session, visitor, customer or client session "nobody"'),
        (("explained", "nothing"), "no attribute 'nothing'"),
    ):
        result = rte("sessions", "explain", *arguments, "--server", server.address)
        assert result.exit_code == 1
        assert message in result.err
