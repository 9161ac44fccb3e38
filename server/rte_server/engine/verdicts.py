"""What automatons said of strings, remembered: the same addresses, user agents and texts come again and again.

A verdict follows from the bytes alone, so it does not matter which are remembered. One word holds the ids of the automaton
and of the string, mixed, and the verdict in its lowest bit: readers beside the writer see a whole one, or none. They belong to
one state of the string pool, as they would else outlive a string that it has left behind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import POOL_ARENA, POOL_SLOTS, VERDICTS, span_in
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, siphash24_128, word_at
from rte_server.engine.values import BOOL, MATCHES, on_text

VERDICTS_MAX = 4096
"""Verdicts that are remembered, a power of two; another one that needs its place takes it. 32 KiB stay in the second cache of a core
beside the program, and hold some hundreds of texts for each of the patterns that the packs have."""


def new_verdicts() -> NDArray[np.int64]:
    """Return room for verdicts, with none in it."""
    return np.zeros(VERDICTS_MAX, np.int64)


def automaton_id(automaton: bytes, secret: NDArray[np.uint64]) -> int:
    """Return what stands for an automaton in a verdict: another hash of its bytes than the id of a string of the same bytes.

    Else who sends those bytes as a text would get one verdict for two pairs of automaton and string.
    """
    buf = np.frombuffer(automaton, np.uint8)
    return int(siphash24_128(buf, 0, len(automaton), secret[2], secret[3])[0])


@inner
def verdict_of(ctx, texts, offset, length, automaton, bits):  # type: ignore[no-untyped-def]
    """Return (tag, bits): whether an automaton finds a match in a string; ERROR if the pool lacks the string.

    Args:
        ctx: Span of the context. One without room for verdicts remembers none.
        texts: Span of the constant texts; the automaton is `texts[offset:offset+length]`.
        offset: See `texts`.
        length: See `texts`.
        automaton: Its `automaton_id`.
        bits: Id of the string.
    """
    verdicts = span_in(ctx, VERDICTS)
    key = bits ^ automaton
    place = key & (verdicts[1] - 1)
    if verdicts[1] > 0:
        known = word_at(verdicts, place)
        # The bits of the place need not be looked at, of which the lowest is one.
        if known | 1 == key | 1 and known != 0:
            return np.int64(BOOL), known & 1
    tag, found = on_text(MATCHES, texts, offset, length, bits, span_in(ctx, POOL_SLOTS), span_in(ctx, POOL_ARENA))
    if tag == BOOL and verdicts[1] > 0:
        put_word(verdicts, place, key & -2 | found)
    return tag, found
