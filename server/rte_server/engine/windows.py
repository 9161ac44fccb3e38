"""Windowed kinds: COUNT, SUM, MIN, MAX, MEAN and DISTINCT over the last while, in tiles.

Time is cut into tiles of equal width at absolute places, a window is a number of tiles. The value at a time T is that of
the newest of them: the tile that T lies in, however short it is yet, and the whole ones before it. So it covers at least
the window less one tile and less than the window, and it changes at the borders of tiles though no event comes.

Cell: 1 + number of the newest tile with an event (0 = none yet), then a ring of cells of the plain kind, one per tile,
zeros for a tile without events. Tiles that are too old for the newest are dropped: no later reader counts them. The cell
follows from the set of events alone, so merging is exact, associative and commutative.

DISTINCT has no ring, but the `keep` values seen latest, each with 1 + the number of its latest tile, newest first: a
value that is among the latest of the whole is among the latest of any part that has it. It is exact up to `keep`, which
then stands for "so many or more".
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import (
    COUNT,
    MAX,
    MEAN,
    MIN,
    SUM,
    as_number,
    fixed_value,
    is_contribution,
    merge_cell,
    update_number,
    value_hash,
)
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import bits_float, float_bits, put_word, word_at
from rte_server.engine.program import Kind
from rte_server.engine.table import NEVER_MS
from rte_server.engine.values import DOUBLE, INT, NULL

FIRST_WINDOW = np.int64(Kind.WINDOW_COUNT)
LAST_WINDOW = np.int64(Kind.WINDOW_DISTINCT)
_DISTINCT = np.int64(Kind.WINDOW_DISTINCT)
_SEEN_WORDS = np.int64(2)  # 1 + number of the tile, hash of the value


@inner
def is_window(kind):  # type: ignore[no-untyped-def]
    """Return whether a kind is windowed."""
    return FIRST_WINDOW <= kind <= LAST_WINDOW


@inner
def _plain(kind):  # type: ignore[no-untyped-def]
    """Return the plain kind whose cells a windowed kind has in its tiles."""
    return kind - FIRST_WINDOW + COUNT


@kernel
def _tile_words(kind):  # type: ignore[no-untyped-def]
    plain = _plain(kind)
    return np.int64(1) if plain == COUNT else (np.int64(3) if plain == MEAN else np.int64(2))


def window_words(kind: int, keep: int, tiles: int) -> int:
    """Return the words of a cell of a windowed kind with so many tiles; `keep` for DISTINCT."""
    return int(_SEEN_WORDS) * keep if kind == _DISTINCT else 1 + tiles * int(_tile_words(np.int64(kind)))


@inner
def _tile_at(at, words, tiles, number):  # type: ignore[no-untyped-def]
    """Return the first word of the tile with this number (plus 1)."""
    return at + 1 + (number % tiles) * words


@inner
def _reaches(cells, at, words, tiles, number):  # type: ignore[no-untyped-def]
    """Let the ring reach up to a tile; return whether that tile is in it, and not too old."""
    newest = word_at(cells, at)
    if number <= newest:
        return number > newest - tiles
    for new in range(max(newest, number - tiles) + 1, number + 1):
        tile = _tile_at(at, words, tiles, new)
        for word in range(words):
            put_word(cells, tile + word, 0)
    put_word(cells, at, number)
    return True


@inner
def lift_window(cells, at, kind, keep, width_ms, tiles, tag, bits, time_ms):  # type: ignore[no-untyped-def]
    """Lift an event. Returns False if its value is refused: no number, infinite or too large.

    Args:
        cells: Span of the row.
        at: First word of the cell.
        kind: A windowed kind.
        keep: DISTINCT: values kept.
        width_ms: Width of a tile, ms, > 0.
        tiles: Number of tiles, > 0.
        tag: The value; COUNT has none.
        bits: See `tag`.
        time_ms: Event time.
    """
    number = 1 + time_ms // width_ms
    if kind == _DISTINCT:
        _see(cells, at, keep, number, value_hash(tag, bits))
        return True
    plain = _plain(kind)
    value = 0.0 if plain == COUNT else as_number(tag, bits)
    if not is_contribution(plain, value):
        return False
    words = _tile_words(kind)
    if not _reaches(cells, at, words, tiles, number):
        return True
    tile = _tile_at(at, words, tiles, number)
    if plain == COUNT:
        put_word(cells, tile, word_at(cells, tile) + 1)
        return True
    return update_number(cells, plain, tile, value)


@inner
def _see(cells, at, keep, number, hashed):  # type: ignore[no-untyped-def]
    """Put a value among those seen latest: ordered by tile, newest first, then by hash."""
    last = keep - 1
    for i in range(keep):
        seen = at + _SEEN_WORDS * i
        if word_at(cells, seen) == 0 or word_at(cells, seen + 1) == hashed:
            last = i
            break
    place = at + _SEEN_WORDS * last
    if not _is_before(cells, place, number, hashed):
        return
    while place > at and _is_before(cells, place - _SEEN_WORDS, number, hashed):
        put_word(cells, place, word_at(cells, place - _SEEN_WORDS))
        put_word(cells, place + 1, word_at(cells, place - _SEEN_WORDS + 1))
        place -= _SEEN_WORDS
    put_word(cells, place, number)
    put_word(cells, place + 1, hashed)


@inner
def _is_before(cells, seen, number, hashed):  # type: ignore[no-untyped-def]
    """Return whether a value belongs before the one at the word `seen`."""
    other = word_at(cells, seen)
    return number > other or (number == other and hashed > word_at(cells, seen + 1))


@inner
def merge_window(into, other, at, kind, keep, tiles):  # type: ignore[no-untyped-def]
    """Merge a cell into another."""
    if kind == _DISTINCT:
        for seen in range(at, at + _SEEN_WORDS * keep, _SEEN_WORDS):
            if word_at(other, seen) == 0:
                break
            _see(into, at, keep, word_at(other, seen), word_at(other, seen + 1))
        return
    newest = word_at(other, at)
    if newest == 0:
        return
    words = _tile_words(kind)
    _reaches(into, at, words, tiles, newest)
    for number in range(word_at(into, at) - tiles + 1, newest + 1):
        merge_cell(into, other, _plain(kind), _tile_at(at, words, tiles, number), 0, False, 0, 0)


@inner
def window_value(cells, at, kind, keep, width_ms, tiles, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) at a time that no event is later than."""
    oldest = 1 + time_ms // width_ms - tiles  # the newest tile that does not count any more
    if kind == _DISTINCT:
        count = np.int64(0)
        for i in range(keep):
            count += word_at(cells, at + _SEEN_WORDS * i) > max(oldest, 0)
        return np.int64(INT), count
    plain = _plain(kind)
    words = _tile_words(kind)
    newest = word_at(cells, at)
    count = np.int64(0)
    whole = np.int64(0)
    fraction = np.uint64(0)
    extreme = 0.0
    for number in range(max(oldest, newest - tiles) + 1, newest + 1):
        tile = _tile_at(at, words, tiles, number)
        if plain == COUNT:
            count += word_at(cells, tile)
        elif plain == MIN or plain == MAX:
            if word_at(cells, tile + 1) != 0:
                value = bits_float(word_at(cells, tile))
                if count == 0 or (value < extreme if plain == MIN else value > extreme):
                    extreme = value
                count += 1
        else:
            added = np.uint64(word_at(cells, tile + 1))
            fraction += added
            whole += word_at(cells, tile) + np.int64(fraction < added)
            count += word_at(cells, tile + 2) if plain == MEAN else np.int64(0)
    if plain == COUNT:
        return np.int64(INT), count
    if plain == SUM:
        return np.int64(DOUBLE), float_bits(fixed_value(whole, np.int64(fraction)))
    if count == 0:
        return np.int64(NULL), np.int64(0)
    if plain == MEAN:
        extreme = fixed_value(whole, np.int64(fraction)) / np.float64(count)
    return np.int64(DOUBLE), float_bits(extreme)


@inner
def window_due_ms(cells, at, kind, keep, width_ms, tiles, time_ms):  # type: ignore[no-untyped-def]
    """Return the time at which the oldest tile that counts and has events leaves, > `time_ms`; NEVER_MS: none has."""
    oldest = 1 + time_ms // width_ms - tiles
    if kind == _DISTINCT:
        for i in range(keep - 1, -1, -1):
            number = word_at(cells, at + _SEEN_WORDS * i)
            if number > max(oldest, 0):
                return (number - 1 + tiles) * width_ms
        return np.int64(NEVER_MS)
    words = _tile_words(kind)
    newest = word_at(cells, at)
    for number in range(max(oldest, newest - tiles) + 1, newest + 1):
        tile = _tile_at(at, words, tiles, number)
        for word in range(words):
            if word_at(cells, tile + word) != 0:
                return (number - 1 + tiles) * width_ms
    return np.int64(NEVER_MS)
