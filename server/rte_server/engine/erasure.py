"""What becomes of a person who is erased: sessions leave, and visitors, event ids and facts are forgotten.

An erasure is one or more ERASE entries that begin it and one that ends it, with the same id. What begins it names the person,
until nothing of the person is left elsewhere; then its body is replaced by one that names nobody. Folding either gives the
same state, as long as what came before it has been cut likewise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import COUNTS, DEDUP_RING, count_of, row_cells, span_in
from rte_server.engine.dedup import forget_id, used_slots
from rte_server.engine.facts import forget_fact
from rte_server.engine.ids import session_id_text
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import put_word, span_of, text_id, word_at
from rte_server.engine.rows import begin_write, cell, end_write, free_row, unlink
from rte_server.engine.sessions import session_id_of
from rte_server.engine.table import (
    DEDUP_HEAD,
    DEDUP_USED,
    FREE,
    HIGH_WATER,
    KEY_HI,
    KEY_LO,
    NONE,
    ROW,
    STATE,
    V_HEAD,
    remove_visitor,
    visitor_slot,
    visitor_word,
)
from rte_server.engine.wire_layout import KEY_HI as R_KEY_HI
from rte_server.engine.wire_layout import KEY_LO as R_KEY_LO
from rte_server.engine.wire_layout import TIME_MS

_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Erasure:
    """The body of an ERASE entry.

    Attributes:
        erasure_id: The same for all entries of one erasure.
        visitor_keys: Keyed hashes of the person's visitors, (low, high) as int64.
        id_hashes: Keyed hashes of event and request ids that may come again, as int64.
        facts: (function, text), facts about texts that nobody else has sent.
        is_end: Whether the erasure is complete: it is not open any more.
        members: What else the body says, for whoever carries the erasure out; the fold passes over it.
    """

    erasure_id: str
    visitor_keys: Sequence[tuple[int, int]] = ()
    id_hashes: Sequence[int] = ()
    facts: Sequence[tuple[str, str]] = ()
    is_end: bool = False
    members: Any = None

    def body(self) -> bytes:
        """Return it as bytes."""
        found: dict[str, Any] = {"erasure": self.erasure_id}
        if self.is_end:
            found["end"] = True
        if self.visitor_keys:
            found["visitors"] = [f"{high & _WORD:016x}{low & _WORD:016x}" for low, high in self.visitor_keys]
        if self.id_hashes:
            found["ids"] = [f"{each & _WORD:016x}" for each in self.id_hashes]
        if self.facts:
            found["facts"] = [list(each) for each in self.facts]
        if self.members is not None:
            found["members"] = self.members
        return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def of_body(cls, body: bytes) -> Erasure:
        """Return what `body` was made of."""
        found = json.loads(body)
        return cls(
            found["erasure"],
            [(_signed(each[16:]), _signed(each[:16])) for each in found.get("visitors", ())],
            [_signed(each) for each in found.get("ids", ())],
            [(function, text) for function, text in found.get("facts", ())],
            found.get("end", False),
            found.get("members"),
        )


def erase_person(context: NDArray[np.int64], erasure: Erasure, secret: NDArray[np.uint64]) -> None:
    """Let a person's sessions leave, and forget what is remembered beside them. The strings stay until they are swept.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        erasure: Whom; unknown visitors, ids and facts are passed over.
        secret: uint64[4], the deployment secret.
    """
    erase_visitors(context, np.array(erasure.visitor_keys, np.int64).reshape(-1, 2))
    if erasure.id_hashes:
        forget_ids(context, np.unique(np.array(erasure.id_hashes, np.int64)))
    for function, text in erasure.facts:
        forget_fact(context, text_id(text.encode(), secret), text_id(function.encode(), secret))


def _signed(digits: str) -> int:
    word = int(digits, 16)
    return word - (1 << 64) if word >> 63 else word


def session_ids(records: NDArray[np.int64], now_ms: int, secret: NDArray[np.uint64]) -> list[str]:
    """Return the ids of the sessions that events have begun, if they have begun any.

    Args:
        records: int64[n, RECORD_WORDS], the events, as scanned.
        now_ms: The engine's clock at their entry.
        secret: uint64[4], the deployment secret.
    """
    found = np.zeros((len(records), 2), np.int64)
    begun_ids(records, now_ms, secret, np.zeros(4, np.int64), found)
    return [session_id_text(low, high) for low, high in found.tolist()]


@kernel
def begun_ids(records, now_ms, secret, seed, found):  # type: ignore[no-untyped-def]
    """Write the ids of the sessions that events begin into `found`, int64[n, 2]; for calls from Python."""
    for i in range(records.shape[0]):
        key_lo, key_hi, time_ms = records[i, R_KEY_LO], records[i, R_KEY_HI], records[i, TIME_MS]
        low, high = session_id_of(span_of(seed), span_of(secret), key_lo, key_hi, time_ms, now_ms)
        found[i, 0], found[i, 1] = low, high


@kernel
def erase_visitors(context, keys):  # type: ignore[no-untyped-def]
    """Let all sessions of some visitors leave, and forget the visitors. Called from Python.

    Nothing is learned from these sessions, although they end. Rows keep their numbers when a session leaves, until
    another one gets them: those of the visitors' earlier sessions are overwritten, too.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        keys: int64[n, 2], keyed hashes of visitors; unknown ones are passed over.
    """
    ctx = span_of(context)
    for i in range(keys.shape[0]):
        slot = visitor_slot(ctx, keys[i, 0], keys[i, 1])
        if slot >= 0:
            while visitor_word(ctx, slot, V_HEAD) != NONE:
                row = visitor_word(ctx, slot, V_HEAD)
                unlink(ctx, slot, row)
                free_row(ctx, row)
            remove_visitor(ctx, slot)
    for row in range(count_of(ctx, HIGH_WATER)):
        if cell(ctx, row, STATE) == FREE and _is_one_of(keys, cell(ctx, row, KEY_LO), cell(ctx, row, KEY_HI)):
            begin_write(ctx, row)
            cells = row_cells(ctx, row)
            for word in range(KEY_LO, cells[1]):
                if word != ROW:
                    put_word(cells, word, 0)
            end_write(ctx, row)


@inner
def _is_one_of(keys, low, high):  # type: ignore[no-untyped-def]
    for i in range(keys.shape[0]):
        if keys[i, 0] == low and keys[i, 1] == high:
            return True
    return False


@inner
def _is_in(ascending, key):  # type: ignore[no-untyped-def]
    low, high = 0, ascending.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if ascending[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < ascending.shape[0] and ascending[low] == key


@kernel
def forget_ids(context, hashes):  # type: ignore[no-untyped-def]
    """Forget event and request ids, so that what comes with them again is no duplicate. Called from Python.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        hashes: int64[n], ascending, different, not 0; unknown ones are passed over.
    """
    ctx = span_of(context)
    dedup, ring, counts = used_slots(ctx), span_in(ctx, DEDUP_RING), span_in(ctx, COUNTS)
    for each in hashes:
        forget_id(dedup, each)
    capacity = ring[1] >> 1
    head, used = count_of(ctx, DEDUP_HEAD), count_of(ctx, DEDUP_USED)
    kept = np.int64(0)
    for i in range(used):
        place = (head + i) % capacity
        key = word_at(ring, 2 * place)
        if _is_in(hashes, key):
            continue
        to = (head + kept) % capacity
        put_word(ring, 2 * to, key)
        put_word(ring, 2 * to + 1, word_at(ring, 2 * place + 1))
        kept += 1
    for i in range(kept, used):
        put_word(ring, 2 * ((head + i) % capacity), 0)
        put_word(ring, 2 * ((head + i) % capacity) + 1, 0)
    put_word(counts, DEDUP_USED, kept)
