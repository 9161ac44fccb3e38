"""A small pure fold that journal and pipeline can run: it counts ids, and remembers at which clock it saw them.

Its model is a number: what an id adds to its weight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.snapshot import Stored
from rte_server.engine.state_copy import SnapshotAhead


class SmallFold:
    """Folds EVENTS entries whose body is an array of int64 ids. Anything seen is due `due_after_ms` later."""

    def __init__(self, due_after_ms: int = 1_000, capacity: int = 1_000_000) -> None:
        self.position = 0
        self.configuration: Mapping[str, Any] = {}
        self.seen: dict[int, int] = {}
        self.step = 0
        self.weights: dict[int, int] = {}
        self.refolds: tuple[tuple[int, int], ...] = ()
        self.open_erasures: dict[str, tuple[int, ...]] = {}
        self.is_refold = False
        self.clock_ms = 0
        self.closed_ms = 0
        self.due_after_ms = due_after_ms
        self.capacity = capacity

    def apply(self, position: int, entry: Entry, scanned: NDArray[np.int64] | None = None) -> list[int]:
        """Count the ids; return their counts. The id -1 is a fault of the fold."""
        if position != self.position + 1:
            raise ValueError(f"{position} does not follow {self.position}")
        self.clock_ms = max(self.clock_ms, entry.received_ms)
        counts: list[int] = []
        if entry.type == EntryType.EVENTS:
            ids = np.frombuffer(entry.body, np.int64) if scanned is None else scanned
            for found in ids.tolist():
                if found == -1:
                    raise ZeroDivisionError("the fold has a fault")
                self.seen[found] = self.seen.get(found, 0) + 1
                self.weights[found] = self.weights.get(found, 0) + self.step
                counts.append(self.seen[found])
        elif entry.type == EntryType.CONFIGURE:
            configuration = json.loads(entry.body)
            if "settings" not in configuration:
                raise ValueError("no settings")
            if not self.is_refold:
                self._use(configuration)
            self.configuration = configuration
        elif entry.type == EntryType.TICK:
            self.closed_ms = entry.received_ms
        self.position = position
        return counts

    def begins(self, configuration: Mapping[str, Any]) -> list[str]:
        """Return the model if it is another one."""
        if "settings" not in configuration:
            raise ValueError("no settings")
        return [] if int(configuration["models"].get("step", 0)) == self.step else ["step"]

    def begin_refold(self, configuration: Mapping[str, Any]) -> None:
        """Take over the model."""
        self._use(configuration)
        self.is_refold = True

    def adopt(self, position: int, entry: Entry, refolded: SmallFold) -> list[int]:
        """Take over what another one folded."""
        if position != self.position + 1 or refolded.position != self.position or not refolded.is_refold:
            raise ValueError(f"{position} does not follow {self.position} and {refolded.position}")
        configuration = json.loads(entry.body)
        refolds = (*self.refolds, (position, configuration["refold_from"]))
        for name, value in vars(refolded).items():
            setattr(self, name, value)
        self.refolds, self.configuration, self.is_refold, self.position = refolds, configuration, False, position
        return []

    def _use(self, configuration: Mapping[str, Any]) -> None:
        step = int(configuration["models"].get("step", 0))
        if step != self.step:
            self.step, self.weights = step, {}

    def growing(self) -> list[tuple[NDArray[Any], int]]:
        """Return nothing: it has no arrays."""
        return []

    def due_count(self, now_ms: int) -> int:
        """Return 1 if the clock of the last entry lies `due_after_ms` back and no tick came since."""
        return int(self.clock_ms > self.closed_ms and now_ms >= self.clock_ms + self.due_after_ms)

    def begin_snapshot(self) -> SnapshotAhead:
        """Begin a snapshot of which nothing is copied ahead."""
        return SnapshotAhead(lambda pause: None, lambda is_last: self.snapshot())

    def snapshot(self) -> tuple[dict[str, Any], list[tuple[str, NDArray[Any]]]]:
        """Return the counts as two arrays."""
        meta = {"position": self.position, "configuration": self.configuration}
        meta |= {"refolds": self.refolds, "step": self.step, "weights": list(self.weights.items())}
        meta |= {"clock_ms": self.clock_ms, "closed_ms": self.closed_ms}
        ids = np.fromiter(self.seen.keys(), np.int64, len(self.seen))
        return meta, [("ids", ids), ("counts", np.fromiter(self.seen.values(), np.int64, len(self.seen)))]

    def restore(self, meta: Mapping[str, Any], arrays: Stored) -> None:
        """Take the counts back; refuse more than the capacity."""
        if arrays.shape("ids")[0] > self.capacity:
            raise ValueError("too many ids")
        self.position, self.configuration = meta["position"], meta["configuration"]
        self.refolds = tuple((position, base) for position, base in meta["refolds"])
        self.step, self.weights = meta["step"], dict(meta["weights"])
        self.clock_ms, self.closed_ms = meta["clock_ms"], meta["closed_ms"]
        self.seen = dict(zip(arrays["ids"].tolist(), arrays["counts"].tolist(), strict=True))


def events(*ids: int, received_ms: int = 1) -> Entry:
    """Return an EVENTS entry with these ids."""
    return Entry(EntryType.EVENTS, received_ms, np.array(ids, np.int64).tobytes())
