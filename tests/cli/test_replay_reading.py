"""Recorded files become the events that they describe."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte import wire_events
from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest, StreamEventsRequest, Wait
from rte_server.replay.csv_rows import Recorded
from rte_server.replay.files import Recording, batches, paced, shift_to_now
from rte_server.replay.mapping import ColumnMapping, Property, read_mapping, with_options
from rte_server.replay.problems import ReplayError, RowProblems
from tests.engine.recorded import read_rows, shared_file

HEADER = "event_id,ts,visitor_id,src_session_id,event_type,item_id,value"

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def events_of(
    path: Path | str, mapping: ColumnMapping | None = None, problems: RowProblems | None = None, shift_ms: int = 0
) -> list[Event]:
    """Return the events of one file."""
    with Recording([str(path)], mapping or ColumnMapping()) as recording:
        found = recording.events(problems or RowProblems(strict=True), shift_ms, by_time=False)
        return [Event.FromString(body) for _, body, _, _ in found]


def written(tmp_path: Path, text: str, name: str = "rows.csv") -> Path:
    """Write a file and return its path."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@given(
    time_ms=st.integers(-(10**11), 10**13),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=6, max_size=6),
    properties=st.dictionaries(st.text("abcdef", max_size=5), json_values, max_size=5),
)
def test_hand_written_bytes_are_what_the_stubs_read(
    time_ms: int, texts: list[str], properties: dict[str, wire_events.Value]
) -> None:
    """An event written by hand is the event that the official parser reads."""
    fields: dict[str, Any] = dict(
        zip(("event_id", "name", "visitor_id", "customer_id", "client_session_id", "channel"), texts, strict=True)
    )
    body = wire_events.event(time_ms=time_ms, properties=properties, **fields)
    expected = Event(**fields)
    expected.event_time.FromMilliseconds(time_ms)
    if properties:
        expected.properties.update(properties)
    assert Event.FromString(body) == expected


def test_a_batch_is_a_request_of_both_rpcs() -> None:
    """The bytes of a batch mean the same to StreamEvents and to IngestEvents, and wait for APPLIED."""
    body = wire_events.event(event_id="1", name="login", time_ms=5, visitor_id="v")
    request = wire_events.batch_request([body, body], "r-1")
    for kind in (StreamEventsRequest, IngestEventsRequest):
        read = kind.FromString(request)
        assert (read.request_id, len(read.events), read.wait) == ("r-1", 2, Wait.WAIT_APPLIED)


@pytest.mark.parametrize("name", ["ecom_events_dev", "wiki_edits_dev"])
def test_the_recorded_sets_need_no_mapping(name: str) -> None:
    """The columns of the recorded sets are recognized, and every row becomes its event."""
    expected = read_rows(f"{name}.csv.gz")
    events = events_of(shared_file(f"{name}.csv.gz"))
    assert len(events) == len(expected)
    for event, row in zip(events, expected, strict=True):
        assert (event.event_id, event.visitor_id, event.client_session_id) == (
            str(row.event_id),
            row.visitor_id,
            row.session,
        )
        assert event.event_time.ToMilliseconds() == row.time_ms
        sent = dict(event.properties.items())
        assert {key: sent.get(key) for key in row.properties} == row.properties


def test_orders_without_a_customer_are_left_out_and_counted() -> None:
    """Of 320,705 recorded order lines the 88,652 without a customer cannot be events."""
    problems = RowProblems()
    with Recording([str(shared_file("retail_orders_dev.csv.gz"))], ColumnMapping()) as recording:
        assert sum(1 for _ in recording.events(problems, 0, by_time=False)) == 320_705 - 88_652
    assert problems.counts == {"FIELD_MISSING": 88_652}


def test_names_of_recorded_shops_become_those_of_ga4(tmp_path: Path) -> None:
    """`view` and `cart` are sent as `view_item` and `add_to_cart`, everything else as it is."""
    text = f"{HEADER}\n1,2020-01-01T00:00:00Z,v,,view,i,1\n2,2020-01-01T00:00:01Z,v,,cart,i,1\n"
    text += "3,2020-01-01T00:00:02Z,v,,purchase,i,1\n4,2020-01-01T00:00:03Z,v,,return,i,1\n"
    names = [event.name for event in events_of(written(tmp_path, text))]
    assert names == ["view_item", "add_to_cart", "purchase", "return"]


def test_value_is_the_price_of_one_unit_only(tmp_path: Path) -> None:
    """`value` is sent as `price` as well, but not where it is the money of several units or a price is there."""
    text = "ts,visitor_id,event_type,value,quantity\n2020-01-01,v,purchase,5,1\n2020-01-01,v,purchase,6,2\n"
    prices = [dict(event.properties.items()).get("price") for event in events_of(written(tmp_path, text))]
    assert prices == [5.0, None]


def test_ids_and_codes_stay_text(tmp_path: Path) -> None:
    """Only columns of plain numbers become numbers: not ids, not leading zeros, not more digits than a double has."""
    text = "ts,visitor_id,event_type,item_id,zip,big,amount,mixed\n"
    text += "2020-01-01,v,x,12,01234,12345678901234567,1.5,1\n2020-01-01,v,x,13,99999,1,-2,b\n"
    first = dict(events_of(written(tmp_path, text))[0].properties.items())
    assert first == {"item_id": "12", "zip": "01234", "big": "12345678901234567", "amount": 1.5, "mixed": "1"}


def test_a_mapping_file_says_what_columns_mean(tmp_path: Path) -> None:
    """A mapping names columns, constants, event names, properties with types, and drops the rest."""
    mapping = written(
        tmp_path,
        "time: When\ntime_format: '%d.%m.%Y %H:%M'\nvisitor: Who\nname: '=purchase'\nchannel: '=shop'\n"
        "delimiter: ';'\nproperties:\n  price: {column: Sum, type: number}\n  gift: {column: Gift, type: bool}\n"
        "rest: drop\n",
        "mapping.yaml",
    )
    path = written(tmp_path, "When;Who;Sum;Gift;Note\n24.12.2020 18:30;anna;9.5;yes;hello\n")
    (event,) = events_of(path, read_mapping(mapping))
    assert (event.name, event.visitor_id, event.channel) == ("purchase", "anna", "shop")
    assert event.event_time.ToJsonString() == "2020-12-24T18:30:00Z"
    assert dict(event.properties.items()) == {"price": 9.5, "gift": True}


def test_options_win_over_the_mapping_file() -> None:
    """What the command line says replaces what the mapping file says."""
    mapping = with_options(ColumnMapping(time="a", visitor="b"), {"time": "c", "visitor": None}, ["price=sum:number"])
    assert (mapping.time, mapping.visitor, mapping.properties) == ("c", "b", {"price": Property("sum", "number")})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tiem: ts\n", "did you mean `time`"),
        ("time: 5\n", "`time` must be text"),
        ("- a\n", "must hold members"),
        ("a: [\n", "is no YAML"),
        ("rest: maybe\n", "`keep` or `drop`"),
        ("properties: {price: {type: number}}\n", "needs a column"),
        ("properties: {price: {column: a, type: money}}\n", "must be one of auto, number, text, bool"),
    ],
)
def test_a_wrong_mapping_file_is_refused_with_what_to_do(tmp_path: Path, text: str, says: str) -> None:
    """Each mistake in a mapping file is answered by a sentence that says what to write."""
    with pytest.raises(ReplayError, match=says):
        read_mapping(written(tmp_path, text, "mapping.yaml"))


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    """A file without a known column, or without the told one, is refused with its columns."""
    path = written(tmp_path, "when,visitor_id,event_type\n2020-01-01,v,x\n")
    with pytest.raises(ReplayError, match=r"hold the time; its columns are when, visitor_id, event_type.*--time"):
        events_of(path)
    with pytest.raises(ReplayError, match="did you mean `when`"):
        events_of(path, ColumnMapping(time="whenn"))


def test_bad_rows_are_counted_and_named_with_their_lines(tmp_path: Path) -> None:
    """A row that cannot be sent is left out and named with its line; strict ends the replay at it."""
    text = f"{HEADER}\n1,2020-01-01T00:00:00Z,v,,view,i,1\n2,yesterday,v,,view,i,1\n3,2020-01-01T00:00:00Z\n"
    text += "4,2020-01-01T00:00:00Z,,,view,i,1\n5,2020-01-01T00:00:00Z,v,,,i,1\n6,,v,,view,i,1\n"
    path = written(tmp_path, text)
    problems = RowProblems()
    assert [event.event_id for event in events_of(path, problems=problems)] == ["1"]
    assert [row.line for row in problems.examples] == [3, 4, 5, 6, 7]
    assert dict(problems.counts) == {"WRONG_TYPE": 1, "MALFORMED": 1, "FIELD_MISSING": 3}
    with pytest.raises(ReplayError, match=r"rows\.csv:3: `yesterday` is no time"):
        events_of(path)


def test_an_event_without_an_id_gets_one_that_stays(tmp_path: Path) -> None:
    """Rows without an id get ids that are the same in each replay and differ between equal rows."""
    path = written(tmp_path, "ts,visitor_id,event_type\n2020-01-01,v,x\n2020-01-01,v,x\n")
    first, second = events_of(path), events_of(path)
    assert first == second
    assert first[0].event_id != first[1].event_id


def test_ndjson_in_the_form_of_the_contract(tmp_path: Path) -> None:
    """A line in the JSON form of an event is that event."""
    row: dict[str, Any] = {
        "event_id": "e-1",
        "name": "view_item",
        "visitor_id": "v-7",
        "customer_id": "c-1",
        "channel": "app",
    }
    row |= {"client_session_id": "s", "event_time": "2026-11-23T10:00:00.250Z"}
    properties: dict[str, Any] = {
        "item_id": "SKU-1",
        "price": 9.9,
        "items": [{"item_id": "a", "new": True}],
        "none": None,
    }
    path = written(tmp_path, json.dumps({**row, "properties": properties}) + "\n\n", "rows.ndjson")
    (event,) = events_of(path, ColumnMapping(channel="channel"))
    expected = Event(**{name: value for name, value in row.items() if name != "event_time"})
    expected.event_time.FromJsonString(row["event_time"])
    expected.properties.update(properties)
    assert event == expected


def test_ndjson_by_paths(tmp_path: Path) -> None:
    """Nested members are reached by dotted paths, later members are not lost, wrong lines are named."""
    rows = [{"at": 1577836800, "user": {"key": 7}, "what": "search", "q": {"text": "tea"}}]
    rows += [{"at": 1577836801500, "user": {"key": 7}, "what": "search", "late": 3}]
    text = "".join(json.dumps(row) + "\n" for row in rows) + "[1]\n{nope\n"
    mapping = ColumnMapping(time="at", visitor="user.key", name="what", properties={"search_term": Property("q.text")})
    problems = RowProblems()
    first, second = events_of(written(tmp_path, text, "rows.ndjson"), mapping, problems)
    assert (first.visitor_id, first.event_time.seconds, second.event_time.ToMilliseconds()) == (
        "7",
        1577836800,
        1577836801500,
    )
    assert dict(first.properties.items())["search_term"] == "tea"
    assert dict(second.properties.items())["late"] == 3
    assert [(row.line, row.reason) for row in problems.examples] == [(3, "MALFORMED"), (4, "MALFORMED")]


def test_gzip_is_told_by_its_first_bytes_and_damage_is_named(tmp_path: Path) -> None:
    """A packed file needs no special name, and one that ends early says after which line."""
    text = f"{HEADER}\n" + "".join(f"{i},2020-01-01T00:00:00Z,v{i},,view,i,1\n" for i in range(5000))
    packed = gzip.compress(text.encode())
    path = tmp_path / "rows"
    path.write_bytes(packed)
    assert len(events_of(path)) == 5000
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ReplayError, match=r"damaged: the compressed data ends after line \d+"):
        events_of(path)


def test_a_missing_an_empty_and_a_latin_file_are_refused(tmp_path: Path) -> None:
    """Files that cannot be read are refused in one sentence."""
    with pytest.raises(ReplayError, match="cannot be opened: No such file"):
        events_of(tmp_path / "none.csv")
    with pytest.raises(ReplayError, match="is empty"):
        events_of(written(tmp_path, ""))
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\n1,2020-01-01,v,,view,\xe4,1\n".encode("latin-1"))
    with pytest.raises(ReplayError, match="is not UTF-8"):
        events_of(tmp_path / "latin.csv")


def test_shifted_to_now_the_last_event_happens_now(tmp_path: Path) -> None:
    """At full speed the last event lands on the present; at a speed it lands where the replay ends."""
    text = f"{HEADER}\n1,2020-01-01T00:00:00Z,v,,view,i,1\n2,2020-01-01T01:00:00Z,v,,view,i,1\n"
    path = written(tmp_path, text)
    with Recording([str(path)], ColumnMapping()) as recording:
        span = recording.span_ms()
    assert span is not None and span[1] - span[0] == 3_600_000
    now_ms = 1_800_000_000_000
    times = [event.event_time.ToMilliseconds() for event in events_of(path, shift_ms=shift_to_now(span, now_ms, None))]
    assert times == [now_ms - 3_600_000, now_ms]
    assert span[0] + shift_to_now(span, now_ms, 1.0) == now_ms
    assert span[1] + shift_to_now(span, now_ms, 60.0) == now_ms + 60_000


def test_pace_follows_the_times_of_the_events() -> None:
    """At speed 60 a minute of the recording takes a second, and what is due goes out before each pause."""
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    recorded: list[Recorded] = [(0, b"a", "f", 1), (0, b"b", "f", 2), (60_000, b"c", "f", 3), (30_000, b"d", "f", 4)]
    sent = [(round(now[0], 6), [body for _, body, _, _ in batch])
            for batch in batches(paced(iter(recorded), 60.0, lambda: now[0], sleep), 500)]  # fmt: skip
    assert sent == [(100.0, [b"a", b"b"]), (101.0, [b"c", b"d"])]


def test_several_files_are_one_stream_by_time(tmp_path: Path) -> None:
    """With a speed, files are merged by time; without, one follows the other."""
    a = written(tmp_path, f"{HEADER}\n1,2020-01-01T00:00:00Z,v,,view,i,1\n2,2020-01-03T00:00:00Z,v,,view,i,1\n", "a")
    b = written(tmp_path, f"{HEADER}\n3,2020-01-02T00:00:00Z,v,,view,i,1\n", "b")

    def ids(by_time: bool) -> list[str]:
        with Recording([str(a), str(b)], ColumnMapping()) as recording:
            return [Event.FromString(body).event_id for _, body, _, _ in recording.events(RowProblems(), 0, by_time)]

    assert ids(by_time=True) == ["1", "3", "2"]
    assert ids(by_time=False) == ["1", "2", "3"]
