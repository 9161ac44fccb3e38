"""What every `Journal` must do. A test module subclasses the two suites and says how to open its journal.

An implementation that cannot honour a case names it in `opt_outs` with the reason.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.protocol import (
    ENTRY_BYTES_MAX,
    SHARDS_MAX,
    Journal,
    JournalDamaged,
    JournalUnavailable,
)


def entry(number: int, size: int = 20) -> Entry:
    """Return an entry that can be told apart by its number."""
    return Entry(
        EntryType.EVENTS,
        1_700_000_000_000 + number,
        b"%020d" % number + bytes(max(size - 20, 0)),
    )


class JournalConformance(ABC):
    """The cases. `open_journal` must open the same journal again when called with the same directory."""

    opt_outs: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def open_journal(self, directory: Path) -> Journal:
        """Open the journal that lives in `directory`."""

    @pytest.fixture(autouse=True)
    def _skip_what_is_opted_out(self, request: pytest.FixtureRequest) -> None:
        reason = self.opt_outs.get(request.function.__name__)
        if reason is not None:
            pytest.skip(reason)

    def test_an_empty_shard_has_no_positions(self, tmp_path: Path) -> None:
        """A shard that was never written has position 0 and yields nothing."""
        journal = self.open_journal(tmp_path)
        assert (
            journal.first_position(0),
            journal.last_position(0),
            list(journal.read(0, 1)),
        ) == (0, 0, [])
        journal.close()

    def test_positions_count_from_one_without_gaps(self, tmp_path: Path) -> None:
        """The first entry has position 1, and a group takes consecutive positions."""
        journal = self.open_journal(tmp_path)
        assert journal.append(0, [entry(1)]) == 1
        assert journal.append(0, [entry(2), entry(3)]) == 2
        assert journal.append(0, [entry(4)]) == 4
        assert list(journal.read(0, 1)) == [(n, entry(n)) for n in range(1, 5)]
        assert list(journal.read(0, 3)) == [(3, entry(3)), (4, entry(4))]
        assert list(journal.read(0, 5)) == list(journal.read(0, 99)) == []
        journal.close()

    def test_shards_are_independent(self, tmp_path: Path) -> None:
        """Each shard counts its own positions, the highest shard number included."""
        journal = self.open_journal(tmp_path)
        top = SHARDS_MAX - 1
        assert [journal.append(s, [entry(s)]) for s in (0, 1, top, 1)] == [1, 1, 1, 2]
        assert list(journal.read(top, 1)) == [(1, entry(top))]
        assert [journal.last_position(s) for s in (0, 1, 2, top)] == [1, 2, 0, 1]
        journal.close()

    def test_every_type_and_size_comes_back_unchanged(self, tmp_path: Path) -> None:
        """Type, received time and body survive, empty bodies and bodies of megabytes included."""
        journal = self.open_journal(tmp_path)
        stored = [Entry(t, 1_000 * t, bytes([t]) * size) for t in EntryType for size in (0, 1, 4096, 70_000, 3_000_000)]
        journal.append(0, stored)
        assert [e for _, e in journal.read(0, 1)] == stored
        journal.close()

    def test_entries_are_there_after_reopening(self, tmp_path: Path) -> None:
        """What was appended before a close is read after the next open, and positions go on."""
        journal = self.open_journal(tmp_path)
        journal.append(0, [entry(1), entry(2)])
        journal.append(7, [entry(3)])
        journal.close()
        journal = self.open_journal(tmp_path)
        assert list(journal.read(0, 1)) == [(1, entry(1)), (2, entry(2))]
        assert (journal.append(0, [entry(4)]), journal.append(7, [entry(5)])) == (3, 2)
        journal.close()

    def test_trim_forgets_the_oldest_and_keeps_positions(self, tmp_path: Path) -> None:
        """After a trim the kept entries have their old positions, and reading what is gone names the position."""
        journal = self.open_journal(tmp_path)
        journal.append(0, [entry(n) for n in range(1, 11)])
        journal.trim(0, 6)
        assert (journal.first_position(0), journal.last_position(0)) == (6, 10)
        assert [p for p, _ in journal.read(0, 6)] == [6, 7, 8, 9, 10]
        with pytest.raises(JournalDamaged) as caught:
            list(journal.read(0, 5))
        assert (caught.value.shard, caught.value.position) == (0, 5)
        journal.trim(0, 3)
        assert journal.first_position(0) == 6
        journal.close()

    @pytest.mark.parametrize("times", [1, 30, 2_000])
    def test_redacted_bodies_are_in_no_file(self, tmp_path: Path, times: int) -> None:
        """A redacted entry keeps position, type and time, and what it held is nowhere in the store, nor what was trimmed."""
        journal = self.open_journal(tmp_path)
        secret = b"a secret that takes a part of a page, or some of its own" * times
        entries = [Entry(EntryType.EVENTS, n, secret if n % 3 == 0 else b"kept") for n in range(1, 31)]
        journal.append(0, entries)
        journal.trim(0, 11)
        journal.redact(0, dict.fromkeys(range(12, 31, 3), b"gone"))
        expected = [(n, Entry(EntryType.EVENTS, n, b"gone" if n % 3 == 0 else b"kept")) for n in range(11, 31)]
        assert list(journal.read(0, 11)) == expected
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files and all(secret[:40] not in path.read_bytes() for path in files)
        for wrong in ({5: b""}, {31: b""}, {11: bytes(ENTRY_BYTES_MAX + 1)}, {12: b"x", 31: b""}):
            with pytest.raises(ValueError, match="position"):
                journal.redact(0, wrong)
        journal.redact(0, {})
        assert list(journal.read(0, 11)) == expected
        journal.close()
        journal = self.open_journal(tmp_path)
        assert list(journal.read(0, 11)) == expected
        journal.close()

    def test_trim_never_takes_the_last_entry(self, tmp_path: Path) -> None:
        """Trimming everything leaves the last entry, so that positions never start again, also after reopening."""
        journal = self.open_journal(tmp_path)
        journal.append(0, [entry(n) for n in range(1, 5)])
        journal.trim(0, 1_000)
        journal.trim(3, 1_000)
        assert (journal.first_position(0), journal.last_position(0)) == (4, 4)
        journal.close()
        journal = self.open_journal(tmp_path)
        assert journal.append(0, [entry(5)]) == 5
        journal.close()

    def test_appends_from_many_threads_take_each_position_once(self, tmp_path: Path) -> None:
        """Groups from several threads never share or split their positions."""
        journal = self.open_journal(tmp_path)
        taken: list[tuple[int, int]] = []

        def work(worker: int) -> None:
            for turn in range(10):
                number = worker * 1000 + turn * 10
                taken.append((journal.append(0, [entry(number), entry(number + 1)]), number))

        threads = [threading.Thread(target=work, args=(w,)) for w in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored = dict(journal.read(0, 1))
        assert len(stored) == 80
        assert all(stored[p] == entry(n) and stored[p + 1] == entry(n + 1) for p, n in taken)
        journal.close()

    def test_a_reader_and_a_writer_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        """A reader that pauses sees each entry once and unchanged while the writer goes on."""
        journal = self.open_journal(tmp_path)
        journal.append(0, [entry(n) for n in range(1, 101)])
        reader = journal.read(0, 1)
        assert next(reader) == (1, entry(1))
        for n in range(101, 151):
            journal.append(0, [entry(n)])
        rest = list(reader)
        assert rest == [(n, entry(n)) for n in range(2, len(rest) + 2)]
        assert len(rest) >= 99
        journal.close()

    def test_arguments_out_of_range_are_refused(self, tmp_path: Path) -> None:
        """A wrong shard, an empty group, a negative time or position raise ValueError and take nothing."""
        journal = self.open_journal(tmp_path)
        for shard, entries in (
            (-1, [entry(1)]),
            (SHARDS_MAX, [entry(1)]),
            (0, []),
            (0, [Entry(EntryType.TICK, -1, b"")]),
        ):
            with pytest.raises(ValueError):
                journal.append(shard, entries)
        with pytest.raises(ValueError):
            list(journal.read(0, 0))
        assert journal.last_position(0) == 0
        journal.close()

    def test_a_closed_journal_says_so(self, tmp_path: Path) -> None:
        """After `close` nothing is taken, the error says why, and closing again does nothing."""
        journal = self.open_journal(tmp_path)
        journal.append(0, [entry(1)])
        journal.close()
        journal.close()
        with pytest.raises(JournalUnavailable):
            journal.append(0, [entry(2)])
        with pytest.raises(JournalUnavailable):
            list(journal.read(0, 1))


class JournalMachine(RuleBasedStateMachine):
    """Any sequence of calls behaves as a list per shard does."""

    SHARDS = 3

    def __init__(self) -> None:
        super().__init__()
        self.journal = self.reopen()
        self.model: dict[int, list[Entry]] = {s: [] for s in range(self.SHARDS)}
        self.first = dict.fromkeys(range(self.SHARDS), 0)

    def reopen(self) -> Journal:
        """Close the journal if it is open, and open the same one."""
        raise NotImplementedError

    shards = st.integers(0, SHARDS - 1)
    entries = st.builds(
        Entry,
        st.sampled_from(EntryType),
        st.integers(0, 2**62 - 1),
        st.binary(max_size=200),
    )

    @rule(shard=shards, group=st.lists(entries, min_size=1, max_size=5))
    def append(self, shard: int, group: list[Entry]) -> None:
        """A group lands behind the last entry."""
        assert self.journal.append(shard, group) == len(self.model[shard]) + 1
        self.model[shard] += group
        self.first[shard] = self.first[shard] or 1

    @rule(shard=shards, back=st.integers(0, 20))
    def trim(self, shard: int, back: int) -> None:
        """The bound is what was asked for, at most the last entry."""
        bound = max(len(self.model[shard]) + 2 - back, 1)
        self.journal.trim(shard, bound)
        if self.model[shard]:
            self.first[shard] = max(self.first[shard], min(bound, len(self.model[shard])))

    @rule(shard=shards, skip=st.integers(0, 20))
    def read(self, shard: int, skip: int) -> None:
        """A read yields the model's tail."""
        start = max(self.first[shard], 1) + skip
        assert list(self.journal.read(shard, start)) == list(enumerate(self.model[shard], 1))[start - 1 :]

    @precondition(lambda self: any(self.model.values()))
    @rule(places=st.lists(st.integers(0, 40), max_size=4), body=st.binary(max_size=400), drawn=st.data())
    def redact(self, places: list[int], body: bytes, drawn: st.DataObject) -> None:
        """The entries have another body, and nothing else has changed."""
        shard = drawn.draw(st.sampled_from([shard for shard, entries in self.model.items() if entries]))
        span = len(self.model[shard]) - self.first[shard] + 1
        positions = {self.first[shard] + place % span for place in places}
        self.journal.redact(shard, {position: body + bytes(position % 3) for position in positions})
        for position in positions:
            before = self.model[shard][position - 1]
            self.model[shard][position - 1] = replace(before, body=body + bytes(position % 3))

    @precondition(lambda self: any(self.model.values()))
    @rule()
    def restart(self) -> None:
        """Nothing changes by closing and opening, except that trimmed entries may be back."""
        self.journal = self.reopen()
        for shard in range(self.SHARDS):
            first = self.journal.first_position(shard)
            assert first <= self.first[shard]
            self.first[shard] = first

    @invariant()
    def positions_agree(self) -> None:
        """First and last position are those of the model."""
        for shard, stored in self.model.items():
            assert self.journal.last_position(shard) == len(stored)
            assert self.journal.first_position(shard) == self.first[shard]


MACHINE_SETTINGS = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
