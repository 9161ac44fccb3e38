"""Remembered verdicts: the same as those of the automatons, gone with the strings that they were about."""

from __future__ import annotations

import gc
import itertools
import random
import weakref

import numpy as np
import pytest

from rte_server.engine.context import POOL_ARENA, POOL_COUNTS, POOL_SLOTS, VERDICTS, new_context
from rte_server.engine.kernel import kernel
from rte_server.engine.native import span_of, text_id
from rte_server.engine.strings import intern_bytes, new_pool
from rte_server.engine.table import Capacity
from rte_server.engine.values import BOOL, ERROR
from rte_server.engine.verdicts import VERDICTS_MAX, automaton_id, new_verdicts, verdict_of
from rte_server.models.patterns import compile_pattern
from tests.bench.engine_part import SECRET, configure, engine_fold, new_engine
from tests.bench.workload import make_workload
from tests.models.patterns_oracle import finds_match, official_match

PATTERNS = ("^a.*b$", "[0-9]{2}", "(?i)bot|crawl", ".")


@kernel
def _ask(context, texts, offset, length, automaton, bits):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Ask for a verdict."""
    return verdict_of(span_of(context), span_of(texts), offset, length, automaton, bits)


class Asked:
    """Automatons of the patterns and a pool, with or without room for verdicts."""

    def __init__(self, verdicts: np.ndarray | None) -> None:
        """Make them."""
        automatons = [compile_pattern(each) for each in PATTERNS]
        self.ids = [automaton_id(each, SECRET) for each in automatons]
        self.lengths = [len(each) for each in automatons]
        self.texts = np.frombuffer(b"".join(automatons) + bytes(8), np.uint8).copy()
        self.pool = new_pool(1 << 15, 1 << 20)
        # The context holds addresses only.
        self.verdicts = verdicts
        arrays: dict[int, np.ndarray] = {
            int(POOL_SLOTS): self.pool.slots,
            int(POOL_ARENA): self.pool.arena,
            int(POOL_COUNTS): self.pool.counts,
        }
        if verdicts is not None:
            arrays[int(VERDICTS)] = verdicts
        self.context = new_context(arrays, 0, 0)

    def of(self, pattern: int, text: str) -> tuple[int, int]:
        """Return what the automaton of a pattern says of a text that is in the pool."""
        encoded = np.frombuffer(text.encode(), np.uint8).copy()
        string = text_id(text.encode(), SECRET)
        intern_bytes(self.context, string, encoded)
        return self.of_string(pattern, string)

    def of_string(self, pattern: int, string: int) -> tuple[int, int]:
        """Return what the automaton of a pattern says of a string."""
        offset = sum(self.lengths[:pattern])
        tag, bits = _ask(self.context, self.texts, offset, self.lengths[pattern], self.ids[pattern], string)
        return int(tag), int(bits)


def test_verdicts_equal_re2_however_often_they_take_each_others_place() -> None:
    """More strings than are remembered, asked for again and again in any order."""
    asked = Asked(new_verdicts())
    chance = random.Random(3)
    texts = ["".join(chance.choices("ab1 2Bot", k=chance.randrange(9))) for _ in range(VERDICTS_MAX)]
    for _ in range(3 * VERDICTS_MAX):
        pattern, text = chance.randrange(len(PATTERNS)), chance.choice(texts)
        assert asked.of(pattern, text) == (BOOL, int(official_match(PATTERNS[pattern], text) or False)), text


def test_a_verdict_is_remembered_for_one_automaton_and_one_string() -> None:
    """What is remembered is what is answered, and for nothing else."""
    verdicts = new_verdicts()
    asked = Asked(verdicts)
    assert asked.of(0, "ab") == (BOOL, 1)
    (place,) = np.flatnonzero(verdicts)
    verdicts[place] ^= 1
    assert asked.of(0, "ab") == (BOOL, 0)
    assert asked.of(0, "aab") == (BOOL, 1) and asked.of(1, "ab") == (BOOL, 0) and asked.of(1, "12") == (BOOL, 1)


def test_nothing_is_remembered_without_room_or_of_strings_that_the_pool_lacks() -> None:
    """A context without verdicts gives the same answers; a string that is not in the pool has none, and gets none later."""
    asked = Asked(None)
    assert [asked.of(0, text) for text in ("ab", "ab", "b")] == [(BOOL, 1), (BOOL, 1), (BOOL, 0)]
    verdicts = new_verdicts()
    asked = Asked(verdicts)
    assert asked.of_string(0, text_id(b"ab", SECRET))[0] == ERROR
    assert not verdicts.any()


def test_bytes_of_automatons_sent_as_texts_get_verdicts_of_their_own() -> None:
    """Who sends the bytes of one automaton to the other and the other way round gets what each says, not what the first said."""
    asked = Asked(new_verdicts())
    automatons = [compile_pattern(each) for each in PATTERNS]
    told = 0
    for one, other in itertools.permutations(range(len(PATTERNS)), 2):
        for pattern, sent in ((one, other), (other, one)):
            text = automatons[sent].decode()
            expected = int(finds_match(automatons[pattern], text))
            assert asked.of(pattern, text) == (BOOL, expected)
            told += expected
    assert 0 < told < 24, "they all say the same, so that nothing is tested"


@pytest.mark.parametrize("change", ["sweep", "models"])
def test_verdicts_leave_with_the_strings(change: str) -> None:
    """None is remembered of strings that may be gone; a reader of the state before keeps what its context leads to."""
    engine = new_engine(Capacity(4096, 8192, 8192, 1 << 20, 64, 64))
    workload = make_workload(2_000, 60)
    fold = engine_fold(engine)
    for request, received_ms in zip(workload.requests[:3], workload.received_ms, strict=False):
        fold(request, received_ms)
    assert engine._scratch.verdicts.any()
    held = weakref.ref(engine._scratch.verdicts)
    before = engine._state
    if change == "sweep":
        engine.sweep()
    else:
        engine.apply(engine.position + 1, configure(("base",)))
    gc.collect()
    kept = held()
    assert kept is not None and kept.ctypes.data == before.context[2 * VERDICTS]
    assert not engine._scratch.verdicts.any()
    assert engine._state.context[2 * VERDICTS] == engine._scratch.verdicts.ctypes.data
    del before, kept
    gc.collect()
    assert held() is None
