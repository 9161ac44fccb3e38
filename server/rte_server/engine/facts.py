"""Facts: what functions that are too rich for a kernel say of a text, such as the browser of a user agent.

They are found outside of the fold, once per different text, and come into it as entries of the journal before the events
that need them. So a replay uses what was found then, whatever a later version of the function would say.

The table is bounded. It has two halves: facts go into the newer one; when that is full it becomes the older one, and what
the older one held is forgotten. Both are used, but what is in the older one only is asked about again, so that a fact that
a request in flight relies on is not forgotten before it arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import COUNTS, FACTS, SLOT_BITS, SLOT_TAGS, count_of, span_in
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import acquire_at, float_bits, put_word, release_at, span_of, text_id, word_at
from rte_server.engine.table import (
    FACTS_FORGOTTEN,
    FACTS_HALF,
    FACTS_MISSING,
    FACTS_NEW,
    FACTS_OLD,
    add_count,
    mix64,
)
from rte_server.engine.texts_made import keep_texts
from rte_server.engine.values import BOOL, DOUBLE, ERROR, NULL, STRING

FACT_WORDS = np.int64(3)
"""Of a fact: its key (0 = free), the tag and the bits of its value. The key is written last, for who reads beside."""

_FORGOTTEN = np.int64(-1)
"""Instead of the key of a fact that was forgotten before its half: it leads nowhere, and nothing has to move."""

FactValue = bool | float | str | None


def read_facts(body: Any) -> Iterator[tuple[str, str, FactValue]]:
    """Yield (function, text, value) of the JSON body of an entry: `{"facts": {function: {text: value}}}`.

    What is none is passed over: an entry that is in the journal has to be folded, whatever it holds.
    """
    functions = body.get("facts") if isinstance(body, dict) else None
    for function, facts in (functions if isinstance(functions, dict) else {}).items():
        for text, value in (facts if isinstance(facts, dict) else {}).items():
            if value is None or isinstance(value, (bool, int, float, str)):
                yield function, text, value


def facts_body(facts: Iterable[tuple[str, str, FactValue]]) -> dict[str, Any]:
    """Return what `read_facts` reads."""
    functions: dict[str, dict[str, FactValue]] = {}
    for function, text, value in facts:
        functions.setdefault(function, {})[text] = value
    return {"facts": functions}


def store_facts(context: NDArray[np.int64], body: Any, secret: NDArray[np.uint64], facts_max: int) -> None:
    """Store the facts of an entry; a value that finds no room in the pool is counted as lost.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        body: Of the entry, as parsed JSON; see `read_facts`.
        secret: uint64[4].
        facts_max: Facts in both halves, at least 2.
    """
    for function, text, value in read_facts(body):
        tag, bits = NULL, 0
        if isinstance(value, str):
            tag, bits = STRING, int(keep_texts(context, [value.encode()], secret)[0])
        elif isinstance(value, bool):
            tag, bits = BOOL, int(value)
        elif value is not None:
            tag, bits = DOUBLE, int(float_bits(float(value)))
        ids = text_id(text.encode(), secret), text_id(function.encode(), secret)
        put_fact(context, *ids, tag, bits, facts_max)


@inner
def fact_key(text, function):  # type: ignore[no-untyped-def]
    """Return the key of what a function says of a text, both given by their string ids."""
    key = mix64(text ^ mix64(function))
    return key if key != 0 and key != _FORGOTTEN else np.int64(1)


@inner
def _find(ctx, key, half):  # type: ignore[no-untyped-def]
    """Return the word where the fact of a key begins in a half of the table, or -1."""
    facts = span_in(ctx, FACTS)
    slots = facts[1] // (2 * FACT_WORDS)
    slot = key & (slots - 1)
    while True:
        at = (half * slots + slot) * FACT_WORDS
        found = acquire_at(facts, at)
        if found == key:
            return at
        if found == 0:
            return np.int64(-1)
        slot = (slot + 1) & (slots - 1)


@inner
def is_fresh(ctx, key):  # type: ignore[no-untyped-def]
    """Return whether a fact is in the newer half, where it stays for long enough to be used. Any thread may ask."""
    return _find(ctx, key, count_of(ctx, FACTS_HALF)) >= 0


@inner
def fact_of(ctx, slot, function):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of what a function says of the text in a property slot; ERROR, and counted, if that is unknown."""
    if word_at(span_in(ctx, SLOT_TAGS), slot) != STRING:
        return np.int64(ERROR), np.int64(0)
    key = fact_key(word_at(span_in(ctx, SLOT_BITS), slot), function)
    half = count_of(ctx, FACTS_HALF)
    place = _find(ctx, key, half)
    if place < 0:
        place = _find(ctx, key, 1 - half)
    if place < 0:
        add_count(ctx, FACTS_MISSING, 1)
        return np.int64(ERROR), np.int64(0)
    facts = span_in(ctx, FACTS)
    return word_at(facts, place + 1), word_at(facts, place + 2)


@inner
def _turn(ctx):  # type: ignore[no-untyped-def]
    """Make the newer half the older one, and begin anew in the other."""
    facts = span_in(ctx, FACTS)
    counts = span_in(ctx, COUNTS)
    half = 1 - word_at(counts, FACTS_HALF)
    words = facts[1] // 2
    for at in range(half * words, (half + 1) * words, FACT_WORDS):
        put_word(facts, at, 0)
    add_count(ctx, FACTS_FORGOTTEN, word_at(counts, FACTS_OLD))
    put_word(counts, FACTS_OLD, word_at(counts, FACTS_NEW))
    put_word(counts, FACTS_NEW, 0)
    put_word(counts, FACTS_HALF, half)


@kernel
def put_fact(context, text, function, tag, bits, facts_max):  # type: ignore[no-untyped-def]
    """Store what a function says of a text, unless the newer half has it.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        text: String id of the text.
        function: String id of the function's name.
        tag: The value.
        bits: The value; a string is in the pool.
        facts_max: Facts in both halves, at least 2.
    """
    ctx = span_of(context)
    key = fact_key(text, function)
    if is_fresh(ctx, key):
        return
    if count_of(ctx, FACTS_NEW) >= facts_max >> 1:
        _turn(ctx)
    facts = span_in(ctx, FACTS)
    slots = facts[1] // (2 * FACT_WORDS)
    first = count_of(ctx, FACTS_HALF) * slots
    slot = key & (slots - 1)
    while word_at(facts, (first + slot) * FACT_WORDS) != 0:
        slot = (slot + 1) & (slots - 1)
    at = (first + slot) * FACT_WORDS
    put_word(facts, at + 1, tag)
    put_word(facts, at + 2, bits)
    release_at(facts, at, key)
    add_count(ctx, FACTS_NEW, 1)


@kernel
def forget_fact(context, text, function):  # type: ignore[no-untyped-def]
    """Forget what a function says of a text, given as to `put_fact`; it is asked about again. Called by the writer."""
    ctx = span_of(context)
    facts = span_in(ctx, FACTS)
    for half in range(2):
        place = _find(ctx, fact_key(text, function), np.int64(half))
        if place >= 0:
            release_at(facts, place, _FORGOTTEN)
            put_word(facts, place + 1, NULL)
            put_word(facts, place + 2, 0)
