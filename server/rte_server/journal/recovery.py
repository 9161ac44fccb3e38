"""From what is stored to a running engine: the newest usable snapshot, then the entries after it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.protocol import Journal, JournalDamaged
from rte_server.journal.snapshots import SnapshotStore

Scanned_contra = TypeVar("Scanned_contra", contravariant=True)
Outcome_co = TypeVar("Outcome_co", covariant=True)
PROGRESS_ENTRIES = 1_000
_log = logging.getLogger("rte.recovery")


class FoldEngine(Protocol[Scanned_contra, Outcome_co]):
    """What journal and pipeline need of an engine. `engine.Engine` is one; so is any pure fold over entries."""

    @property
    def position(self) -> int:
        """Return the position of the last entry that was applied; 0 before the first."""
        ...

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Return the body of the CONFIGURE entry in force, as parsed JSON; empty before the first."""
        ...

    def apply(self, position: int, entry: Entry, scanned: Scanned_contra | None = None) -> Outcome_co:
        """Fold the entry after the last one. One thread only.

        Raises:
            ValueError: A CONFIGURE entry cannot be understood; nothing has changed.
        """
        ...

    def due_count(self, now_ms: int) -> int:
        """Return how many things are due; if any, a TICK should be appended. Any thread."""
        ...

    def snapshot(self) -> tuple[dict[str, Any], Sequence[tuple[str, NDArray[Any]]]]:
        """Return a copy of the state that `restore` of a new engine takes back. Only between two calls of `apply`."""
        ...

    def restore(self, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a snapshot into a new engine.

        Raises:
            ValueError: It does not fit this engine.
        """
        ...


Engine_ = TypeVar("Engine_", bound=FoldEngine[Any, Any])


def recover(
    journal: Journal,
    shard: int,
    snapshots: SnapshotStore,
    make_engine: Callable[[], Engine_],
    on_progress: Callable[[int, int], None] | None = None,
) -> Engine_:
    """Return an engine that has folded every durable entry of a shard.

    Args:
        journal: Where the entries are.
        shard: Which of its shards.
        snapshots: The shard's snapshots. Those that are damaged or do not fit the engine are passed over and logged.
        make_engine: Makes an empty engine, always with the same capacity.
        on_progress: Called now and then with the position that is reached and the last one.

    Raises:
        JournalDamaged: An entry is damaged or missing, or no snapshot fits and the entries before it are trimmed.
        JournalUnavailable: The journal or a snapshot cannot be read.
        ValueError: An entry cannot be applied.
    """
    last = journal.last_position(shard)
    engine = _restored(journal, shard, snapshots, make_engine, last)
    for position, entry in journal.read(shard, engine.position + 1):
        engine.apply(position, entry)
        if on_progress is not None and (position % PROGRESS_ENTRIES == 0 or position == last):
            on_progress(position, last)
    if engine.position != last:
        raise JournalDamaged(f"the journal ends at {engine.position} instead of {last}", shard=shard, position=last)
    return engine


def configure(
    journal: Journal,
    shard: int,
    engine: Engine_,
    make_engine: Callable[[], Engine_],
    configuration: Mapping[str, Any],
    now_ms: int,
) -> bool:
    """Append and apply a CONFIGURE entry unless `configuration` is in force already.

    Args:
        journal: Gets the entry.
        shard: Which of its shards.
        engine: Has folded all of the journal; nobody else applies entries meanwhile.
        make_engine: Makes an empty engine, on which the configuration is tried first: an entry that cannot be applied
            would prevent every later start.
        configuration: JSON values with the members `settings`, `models` and `files`.
        now_ms: The received time of the entry.

    Returns:
        Whether an entry was appended.

    Raises:
        ValueError: The engine refuses the configuration. Nothing was appended.
        JournalUnavailable: The entry could not be stored.
    """
    body = json.dumps(configuration, ensure_ascii=False, separators=(",", ":")).encode()
    if engine.position > 0 and engine.configuration == json.loads(body):
        return False
    entry = Entry(EntryType.CONFIGURE, now_ms, body)
    make_engine().apply(1, entry)
    engine.apply(journal.append(shard, [entry]), entry)
    return True


def _restored(
    journal: Journal, shard: int, snapshots: SnapshotStore, make_engine: Callable[[], Engine_], last: int
) -> Engine_:
    """Return an engine with the newest snapshot that fits, or an empty one."""
    stored = snapshots.positions()
    if stored and stored[-1] > last:
        # Snapshots are taken of durable entries only, so entries were lost. Going on would acknowledge their
        # positions a second time.
        raise JournalDamaged(
            f"there is a snapshot at position {stored[-1]}, but the journal of shard {shard} ends at {last}; "
            "restore the journal from a backup",
            shard=shard,
            position=last + 1,
        )
    not_after = last
    while (snapshot := snapshots.load_latest(not_after)) is not None:
        engine = make_engine()
        try:
            engine.restore(snapshot.meta, snapshot.arrays)
        except ValueError as error:
            _log.error("snapshot %d is passed over: %s", snapshot.position, error)
            not_after = snapshot.position - 1
            continue
        if engine.position != snapshot.position:
            raise JournalDamaged(f"snapshot {snapshot.position} restored position {engine.position}", shard=shard)
        return engine
    first = journal.first_position(shard)
    if first > 1:
        raise JournalDamaged(
            f"no snapshot can be used, and the journal of shard {shard} begins at position {first}; see the log for "
            "the reason, put back the former settings or restore a backup",
            shard=shard,
            position=1,
        )
    return make_engine()
