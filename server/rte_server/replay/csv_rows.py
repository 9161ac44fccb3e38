"""Rows of CSV to events. The loop here decides how fast a replay reads: some 100,000 rows a second."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

from rte import wire_events as wire
from rte_server.replay.mapping import ColumnMapping, Plan, Property, fit
from rte_server.replay.problems import BadRow, ReplayError, RowError, RowProblems
from rte_server.replay.source import Source
from rte_server.replay.values import column_type, converter, parse_time

Recorded = tuple[int, bytes, str, int]
"""An event: its time in milliseconds since 1970, the body of its `Event` message, its file, the line where it ends."""

SAMPLE_ROWS = 2_000
"""Rows from the beginning of a file that decide whether a column holds numbers."""

_CACHED_MAX = 50_000

Row = tuple[list[str], int]


class _Encoded(dict[str, bytes]):
    """Wire bytes by the text they come from, made when first asked for. Bounded: it forgets all when it is full."""

    def __init__(self, encode: Callable[[str], bytes]) -> None:
        self._encode = encode

    def __missing__(self, raw: str) -> bytes:
        if len(self) >= _CACHED_MAX:
            self.clear()
        self[raw] = encoded = self._encode(raw)
        return encoded


def csv_events(source: Source, mapping: ColumnMapping, problems: RowProblems, shift_ms: int) -> Iterator[Recorded]:
    """Yield the events of a CSV file with a header line.

    Args:
        source: The file.
        mapping: What its columns mean.
        problems: Gets the rows that cannot be sent.
        shift_ms: Added to each time, milliseconds.

    Raises:
        ReplayError: The file cannot be read or mapped, or `problems` is strict and got a row.
    """
    reader = csv.reader(source.lines(), delimiter=mapping.delimiter)
    header = next(reader, None)
    if header is None:
        raise ReplayError(f"{source.name} is empty; its first line must name the columns.")
    rows = _rows(source.name, reader, problems)
    sample = list(islice(rows, SAMPLE_ROWS))
    plan = fit(mapping, header, source.name)
    encode = CsvEncoder(plan, header, [row for row, _ in sample], shift_ms).encode
    file = source.name
    for row, line in chain(sample, rows):
        try:
            time_ms, body = encode(row, line)
        except RowError as error:
            problems.add(BadRow(source.name, line, error.reason, error.message))
        else:
            yield time_ms, body, file, line


def csv_times(source: Source, mapping: ColumnMapping) -> Iterator[int]:
    """Yield the times of the rows that have one, milliseconds since 1970. Raises what csv_events raises."""
    reader = csv.reader(source.lines(), delimiter=mapping.delimiter)
    header = next(reader, None) or []
    plan = fit(mapping, header, source.name)
    index, time_format = header.index(plan.mapping.time), plan.mapping.time_format
    last, time_ms = "", 0
    for row, _ in _rows(source.name, reader, RowProblems()):
        raw = row[index] if index < len(row) else ""
        if raw != last:
            try:
                last, time_ms = raw, parse_time(raw, time_format)
            except RowError:
                continue
        if raw:
            yield time_ms


def _rows(file: str, reader: Iterator[list[str]], problems: RowProblems) -> Iterator[Row]:
    line_of = reader  # csv.reader counts lines, so that a row over several lines is named by its last
    while True:
        try:
            for row in reader:
                if row:
                    yield row, line_of.line_num  # type: ignore[attr-defined]
            return
        except csv.Error as error:
            line: int = line_of.line_num  # type: ignore[attr-defined]
            problems.add(BadRow(file, line, "MALFORMED", f"the row is no CSV: {error}"))


class CsvEncoder:
    """Encodes rows of one file."""

    def __init__(self, plan: Plan, header: Sequence[str], sample: Sequence[Sequence[str]], shift_ms: int) -> None:
        """Make an encoder.

        Args:
            plan: What the columns mean.
            header: Their names in order.
            sample: Rows that decide the types that were not told.
            shift_ms: Added to each time, milliseconds.
        """
        mapping = plan.mapping
        self._width = len(header)
        self._shift_ms = shift_ms
        self._time_format = mapping.time_format
        # Constants are appended to each row, so that the loop knows only indexes; the last one is the empty text.
        self._constants: list[str] = []
        self._header = list(header)
        self._id = self._index(mapping.id)
        self._time = self._index(mapping.time)
        self._visitor = self._index(mapping.visitor)
        self._name = self._index(mapping.name)
        self._times: dict[str, tuple[int, bytes]] = {}
        names = mapping.names
        self._texts = (
            (self._name, _Encoded(lambda raw: wire.text(wire.NAME, names.get(raw, raw)))),
            (self._visitor, _Encoded(lambda raw: wire.text(wire.VISITOR_ID, raw))),
            (self._index(mapping.customer), _Encoded(lambda raw: wire.text(wire.CUSTOMER_ID, raw))),
            (self._index(mapping.session), _Encoded(lambda raw: wire.text(wire.CLIENT_SESSION_ID, raw))),
            (self._index(mapping.channel), _Encoded(lambda raw: wire.text(wire.CHANNEL, raw))),
        )
        self._properties = [self._property(name, each, sample) for name, each in plan.properties.items()]
        self._price = self._index(plan.unit_price) if plan.unit_price else -1
        self._prices = _Encoded(lambda raw: _entry("price", raw, converter("auto-number")))
        quantity = plan.properties.get("quantity")
        self._quantity = self._index(quantity.column) if quantity else -1

    def encode(self, row: list[str], line: int) -> tuple[int, bytes]:
        """Return time (milliseconds since 1970) and body of the event.

        Args:
            row: The texts of the row; gets the constants appended.
            line: Its line, part of the id of an event that has none.

        Raises:
            RowError: The row cannot be an event.
        """
        if len(row) != self._width:
            raise RowError("MALFORMED", f"the row has {len(row)} columns, the header {self._width}")
        row += self._constants
        if not row[self._visitor]:
            raise RowError("FIELD_MISSING", "there is no visitor, so that it belongs to no session")
        if not row[self._name]:
            raise RowError("FIELD_MISSING", "there is no event name")
        raw_time = row[self._time]
        known = self._times.get(raw_time)
        time_ms, time_field = known if known is not None else self._parse_time(raw_time)
        parts = [wire.text(wire.EVENT_ID, row[self._id] or _made_id(row, line)), time_field]
        parts += [encoded[row[index]] for index, encoded in self._texts]
        entries = [encoded[row[index]] for index, encoded in self._properties]
        if self._price >= 0 and (self._quantity < 0 or row[self._quantity] in ("1", "1.0")):
            entries.append(self._prices[row[self._price]])
        parts.append(wire.block(wire.PROPERTIES, b"".join(entries)))
        return time_ms, b"".join(parts)

    def _index(self, column: str) -> int:
        if column in self._header and column and not column.startswith("="):
            return self._header.index(column)
        self._constants.append(column.removeprefix("="))
        return self._width + len(self._constants) - 1

    def _property(self, name: str, told: Property, sample: Sequence[Sequence[str]]) -> tuple[int, _Encoded]:
        index = self._index(told.column)
        kind = told.type
        if kind == "auto":
            texts = [row[index] for row in sample if index < len(row)]
            # A text among the numbers of a column that was only guessed is sent as it is, not refused.
            kind = "auto-number" if column_type(texts, told.column) == "number" else "text"
        convert = converter(kind)
        return index, _Encoded(lambda raw: _entry(name, raw, convert))

    def _parse_time(self, raw: str) -> tuple[int, bytes]:
        time_ms = parse_time(raw, self._time_format) + self._shift_ms
        if len(self._times) >= _CACHED_MAX:
            self._times.clear()
        self._times[raw] = found = (time_ms, wire.time_field(wire.EVENT_TIME, time_ms))
        return found


def _entry(name: str, raw: str, convert: Callable[[str], wire.Value]) -> bytes:
    return wire.property_entry(name, convert(raw)) if raw else b""


def _made_id(row: Sequence[str], line: int) -> str:
    """Return an id that follows from the row and its line, so that a second replay of the file changes nothing."""
    return "r" + hashlib.blake2b("\x1f".join((str(line), *row)).encode(), digest_size=12).hexdigest()
