"""Several recorded files as one stream of events, and how far it reaches in time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Self

from rte_server.replay.csv_rows import Recorded, csv_events, csv_times
from rte_server.replay.mapping import ColumnMapping
from rte_server.replay.ndjson_rows import ndjson_events, ndjson_times
from rte_server.replay.problems import ReplayError, RowProblems
from rte_server.replay.source import Source


class Recording:
    """Recorded files, opened."""

    def __init__(self, names: Sequence[str], mapping: ColumnMapping) -> None:
        """Open the files.

        Args:
            names: Paths, or `-` for the standard input.
            mapping: What the columns of all of them mean.

        Raises:
            ReplayError: One cannot be opened.
        """
        self._mapping = mapping
        self._names = list(names)
        self._sources: list[Source] = []
        try:
            for name in names:
                self._sources.append(Source(name))
        except ReplayError:
            self.close()
            raise
        self.size_bytes = sum(source.size_bytes for source in self._sources)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def position_bytes(self) -> int:
        """Return how much of the files, as they are stored, was read."""
        return sum(min(source.position_bytes(), source.size_bytes) for source in self._sources)

    def span_ms(self) -> tuple[int, int] | None:
        """Return the first and the last time in the files, milliseconds since 1970, or None if they hold none.

        Reads all files once.

        Raises:
            ReplayError: A file is the standard input, which cannot be read twice, or cannot be read or mapped.
        """
        if "-" in self._names:
            raise ReplayError("The standard input cannot be read twice: write it to a file to use --shift-to-now.")
        first: int | None = None
        last = 0
        for name in self._names:
            for time_ms in self._times(name):
                if first is None:
                    first = last = time_ms
                elif time_ms > last:
                    last = time_ms
                elif time_ms < first:
                    first = time_ms
        return None if first is None else (first, last)

    def events(self, problems: RowProblems, shift_ms: int, by_time: bool) -> Iterator[Recorded]:
        """Yield the events of all files.

        Args:
            problems: Gets the rows that cannot be sent.
            shift_ms: Added to each time, milliseconds.
            by_time: Whether the files are merged by time; each must be in order itself. Else one file after the other.

        Raises:
            ReplayError: A file cannot be read or mapped, or `problems` is strict and got a row.
        """
        streams = [self._stream(source, problems, shift_ms) for source in self._sources]
        if by_time and len(streams) > 1:
            yield from heapq.merge(*streams, key=itemgetter(0))
        else:
            for stream in streams:
                yield from stream

    def close(self) -> None:
        """Close the files."""
        for source in self._sources:
            source.close()

    def _times(self, name: str) -> Iterator[int]:
        source = Source(name)
        try:
            yield from (ndjson_times if self._format(source) == "ndjson" else csv_times)(source, self._mapping)
        finally:
            source.close()

    def _stream(self, source: Source, problems: RowProblems, shift_ms: int) -> Iterator[Recorded]:
        events = ndjson_events if self._format(source) == "ndjson" else csv_events
        return events(source, self._mapping, problems, shift_ms)

    def _format(self, source: Source) -> str:
        return self._mapping.format or source.format()


def shift_to_now(span_ms: tuple[int, int], now_ms: int, speed: float | None) -> int:
    """Return what to add to each time, so that the last event happens as it is sent and none lies in the future.

    Args:
        span_ms: First and last time of the recording, milliseconds since 1970.
        now_ms: The present, the same.
        speed: How many times faster than recorded it is replayed, > 0; None: as fast as possible.

    Returns:
        Milliseconds. Distances between events stay, so that the sessions are the recorded ones.
    """
    first_ms, last_ms = span_ms
    lasts_ms = 0 if speed is None else (last_ms - first_ms) / speed
    return round(now_ms + lasts_ms - last_ms)


PAUSE_S_MIN = 0.02
"""Shortest pause of a paced stream: what becomes due within it goes out in one batch."""

PAUSE_S_MAX = 0.2
"""Longest pause at a time: between pauses the interpreter notices Ctrl-C."""


def paced(
    events: Iterator[Recorded],
    speed: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    first_ms: int | None = None,
) -> Iterator[Recorded | None]:
    """Yield events when they are due.

    Args:
        events: By time.
        speed: How many times faster than recorded, > 0.
        clock: Gives seconds, from any beginning.
        sleep: Waits that many seconds.
        first_ms: The time that is due at once, and all before it; None: that of the first event.

    Yields:
        Events, and None before each pause: nothing is due for a while, so what was collected should go out.
    """
    started_s = clock()
    for event in events:
        if first_ms is None:
            first_ms = event[0]
        due_s = started_s + (event[0] - first_ms) / 1000 / speed
        if due_s - clock() > 0:
            yield None
            while (wait_s := due_s - clock()) > 0:
                sleep(min(max(wait_s, PAUSE_S_MIN), PAUSE_S_MAX))
        yield event


def batches(events: Iterator[Recorded | None], events_max: int) -> Iterator[list[Recorded]]:
    """Yield lists of 1 to `events_max` events; a None among the events ends a list early."""
    batch: list[Recorded] = []
    for event in events:
        if event is not None:
            batch.append(event)
        if batch and (event is None or len(batch) == events_max):
            yield batch
            batch = []
    if batch:
        yield batch
