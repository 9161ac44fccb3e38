"""From what is stored to a running engine: the newest usable snapshot, then the entries after it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from rte_server.engine.configurations import IN_FORCE, REFOLD_FROM, TEXTS
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.snapshot import Stored
from rte_server.engine.state_copy import SnapshotAhead
from rte_server.journal.protocol import Journal, JournalDamaged
from rte_server.journal.snapshots import Snapshot, SnapshotStore
from rte_server.journal.touch_ahead import Growing, TouchAhead

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

    def begin_refold(self, configuration: Mapping[str, Any]) -> None:
        """Take over the models of a configuration to come, and keep them whatever CONFIGURE entries come.

        Raises:
            ValueError: It cannot be understood; nothing has changed.
        """
        ...

    def begins(self, configuration: Mapping[str, Any]) -> Sequence[str]:
        """Return what a configuration computes and the state does not have, so that it needs history. Any thread.

        Raises:
            ValueError: It cannot be understood.
        """
        ...

    def adopt(self, position: int, entry: Entry, refolded: Self) -> Outcome_co:
        """Apply a CONFIGURE entry by taking over the state of an engine that folded its models from earlier on."""
        ...

    @property
    def refolds(self) -> Sequence[tuple[int, int]]:
        """Return for entries that were adopted: the position, and the one from whose state on they were folded."""
        ...

    def growing(self) -> Growing:
        """Return the arrays that fill from their beginning on as entries are applied. Any thread."""
        ...

    @property
    def open_erasures(self) -> Mapping[str, Sequence[int]]:
        """Return the positions of the entries that began erasures which have not ended, by erasure. Any thread."""
        ...

    def due_count(self, now_ms: int) -> int:
        """Return how many things are due; if any, a TICK should be appended. Any thread."""
        ...

    def begin_snapshot(self) -> SnapshotAhead:
        """Begin a copy of the state that `restore` of a new engine takes back. Any thread."""
        ...

    def restore(self, meta: Mapping[str, Any], arrays: Stored) -> None:
        """Take over a snapshot into a new engine, which is of no use if this raises.

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
    return state_at(journal, shard, snapshots, make_engine, last, on_progress)


def state_at(
    journal: Journal,
    shard: int,
    snapshots: SnapshotStore,
    make_engine: Callable[[], Engine_],
    until: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Engine_:
    """Return an engine that has folded the entries up to `until`, and no more; else as `recover`."""
    engine = _restored(journal, shard, snapshots, make_engine, until)
    with TouchAhead(engine.growing):
        for position, entry in _entries(journal, shard, engine.position, until):
            base = refold_base(entry)
            if base is None:
                engine.apply(position, entry)
            else:
                # The process ended before a snapshot of the new state was stored: it is made once more, in the same way.
                _log.info("the models of entry %d are folded again from position %d on", position, base)
                configuration = json.loads(entry.body)
                refolded = refolded_at(journal, shard, snapshots, make_engine, configuration, base, position - 1)
                engine.adopt(position, entry, refolded)
            if on_progress is not None and (position % PROGRESS_ENTRIES == 0 or position == until):
                on_progress(position, until)
    return engine


def configure(
    journal: Journal,
    shard: int,
    snapshots: SnapshotStore,
    engine: Engine_,
    make_engine: Callable[[], Engine_],
    configuration: Mapping[str, Any],
    now_ms: int,
    prepared: Callable[[Mapping[str, Any], int], Mapping[str, Any]] = lambda wanted, _: wanted,
) -> bool:
    """Append and apply a CONFIGURE entry unless `configuration` is in force already.

    Other models are folded from as much history as there is.

    Args:
        journal: Gets the entry.
        shard: Which of its shards.
        snapshots: The shard's snapshots.
        engine: Has folded all of the journal; nobody else applies entries meanwhile.
        make_engine: Makes an empty engine of the same capacity.
        configuration: JSON values with the members `settings` and `models`, and more, see `EntryType.CONFIGURE`.
        now_ms: The received time of the entry.
        prepared: Gives a configuration with what it needs to be folded from the state at a position on.

    Returns:
        Whether an entry was appended.

    Raises:
        ValueError: The engine refuses the configuration. Nothing was appended.
        JournalUnavailable: The entry could not be stored.
    """
    body = to_body(configuration)
    wanted, running = json.loads(body), engine.configuration
    if engine.position > 0 and all(running.get(name) == wanted.get(name) for name in IN_FORCE):
        return False
    begins = engine.begins(wanted)  # An entry that cannot be applied would prevent every later start.
    if engine.position == 0 or all(running.get(name) == wanted.get(name) for name in TEXTS):
        entry = Entry(EntryType.CONFIGURE, now_ms, body)
        engine.apply(journal.append(shard, [entry]), entry)
        return True
    base = refold_bases(journal, shard, snapshots, engine.refolds)[0 if begins else -1]
    wanted = dict(prepared(wanted, base))
    refolded = refolded_at(journal, shard, snapshots, make_engine, wanted, base, engine.position)
    entry = Entry(EntryType.CONFIGURE, now_ms, to_body(wanted | {REFOLD_FROM: base}))
    engine.adopt(journal.append(shard, [entry]), entry, refolded)
    return True


def to_body(configuration: Mapping[str, Any]) -> bytes:
    """Return the body of a CONFIGURE entry."""
    return json.dumps(configuration, ensure_ascii=False, separators=(",", ":")).encode()


def refolded_at(
    journal: Journal,
    shard: int,
    snapshots: SnapshotStore,
    make_engine: Callable[[], Engine_],
    configuration: Mapping[str, Any],
    base: int,
    until: int,
) -> Engine_:
    """Return an engine in which the models of a configuration ran from the state at `base` on, up to `until`.

    Raises:
        JournalDamaged: As `recover`.
        JournalUnavailable: As `recover`.
        ValueError: The configuration cannot be understood.
    """
    engine = state_at(journal, shard, snapshots, make_engine, base)
    engine.begin_refold(configuration)
    for position, entry in _entries(journal, shard, base, until):
        engine.apply(position, entry)
    return engine


def refold_bases(
    journal: Journal, shard: int, snapshots: SnapshotStore, refolds: Sequence[tuple[int, int]]
) -> list[int]:
    """Return the positions from whose states on other models can be folded, ascending; never empty for a sound shard.

    A position inside of an earlier refold is none: the models that came with that one have more history than they would
    have from there on.

    Args:
        journal: Where the entries are.
        shard: Which of its shards.
        snapshots: The shard's snapshots.
        refolds: Of the running engine.
    """
    first = journal.first_position(shard)
    positions = [0, *snapshots.positions()] if first <= 1 else snapshots.positions()
    return [
        base
        for base in positions
        if base + 1 >= first and not any(since < base < position for position, since in refolds)
    ]


def _entries(journal: Journal, shard: int, after: int, until: int) -> Iterator[tuple[int, Entry]]:
    """Yield the entries in (after, until], all of them."""
    reached = after
    if after < until:
        for reached, entry in journal.read(shard, after + 1):
            yield reached, entry
            if reached == until:
                return
    if reached != until:
        raise JournalDamaged(f"the journal ends at {reached} instead of {until}", shard=shard, position=until)


def refold_base(entry: Entry) -> int | None:
    """Return the position from whose state on the models of a CONFIGURE entry have been folded; None: they begin there."""
    if entry.type != EntryType.CONFIGURE:
        return None
    base = json.loads(entry.body).get(REFOLD_FROM)
    return None if base is None else int(base)


def _restored(
    journal: Journal, shard: int, snapshots: SnapshotStore, make_engine: Callable[[], Engine_], last: int
) -> Engine_:
    """Return an engine with the newest snapshot that fits, or an empty one."""

    def restored(snapshot: Snapshot) -> Engine_:
        engine = make_engine()
        engine.restore(snapshot.meta, snapshot.arrays)
        if engine.position != snapshot.position:
            raise ValueError(f"it restored position {engine.position}")
        return engine

    found = snapshots.use_latest(restored, last)
    if found is not None:
        return found
    first = journal.first_position(shard)
    if first > 1:
        raise JournalDamaged(
            f"no snapshot can be used, and the journal of shard {shard} begins at position {first}; see the log for "
            "the reason, put back the former settings or restore a backup",
            shard=shard,
            position=1,
        )
    return make_engine()
