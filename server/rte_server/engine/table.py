"""The state of a shard: a few blocks of memory, their layout, and the look-ups over them.

One row per session, row-major, so that a session's cells lie together: the fold waits for memory, not for arithmetic.
A row's first word is a version: the writer makes it odd before it changes the row and even after, and a reader that saw
it odd or changed reads again. The two hash tables (visitors, index) move entries when they delete; they carry a version
of their own in `counts`.

All blocks are reserved at their limit when the state is made, and untouched memory costs nothing: no array ever grows, so no
reader can hold a stale one. Of the index and the set of event ids, only as many slots are used as their entries need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.blocks import new_blocks
from rte_server.engine.context import (
    COUNTS,
    INDEX,
    VISITOR_TABLE,
    WRITTEN_BLOCKS,
    count_of,
    span_in,
)
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import (
    acquire_at,
    fence_acquire,
    fence_release,
    put_word,
    release_at,
    span_of,
    word_at,
)
from rte_server.engine.strings import StringPool, new_pool

NONE = np.int64(-1)
RETRY_READ = np.int64(-2)
"""Returned to a reader when the writer kept moving what was asked for."""
NEVER_MS = np.int64(2**62)

# Words of a row before the cells of the program's attributes.
VERSION = np.int64(0)  # odd while the writer changes the row; the upper half counts the sessions that had the row
STATE = np.int64(1)  # FREE, ACTIVE or CLOSED
KEY_LO = np.int64(2)  # keyed hash of the visitor id
KEY_HI = np.int64(3)
SESSION_LO = np.int64(4)  # session id
SESSION_HI = np.int64(5)
START = np.int64(6)  # time of the first event, ms
LAST = np.int64(7)  # time of the last event, ms
RECEIVED = np.int64(8)  # received time of the entry that changed it last, ms
CHANGED = np.int64(9)  # position of that entry
EVENTS = np.int64(10)  # number of events
OLDER = np.int64(11)  # row of the visitor's next older session, or NONE
VISITOR = np.int64(12)  # string id of the visitor id
CUSTOMER_TIME = np.int64(13)  # (event time << 3) of the event that named the customer, 0 = none
CUSTOMER_ORDER = np.int64(14)
CUSTOMER = np.int64(15)  # string id
CUSTOMER_NEXT = np.int64(16)  # chain of the sessions of one customer
CUSTOMER_PREVIOUS = np.int64(17)
CHANNEL_TIME = np.int64(18)
CHANNEL_ORDER = np.int64(19)
CHANNEL = np.int64(20)  # string id
ALIASES = np.int64(
    21
)  # 4 pairs: (string id, 0) for a client's session id, (low, high) for a session id that was merged in
ALIAS_COUNT_MAX = np.int64(4)
ALIAS_NEXT = np.int64(29)  # the pair that is overwritten next
ENDED = np.int64(30)  # received time of EndSession, 0 = not ended
FLOOR = np.int64(31)  # events before this time never join: where an ended session before it ends, ms
WRITTEN = np.int64(32)  # block of written attributes, or NONE
VISIT = np.int64(33)  # number of this visit, from 1
LATE = np.int64(34)  # late events of the visitor while this was its newest session
STALE = np.int64(35)  # bit 0: all derived attributes must be computed with the next event
# Bit 1 + i of STALE: input i of `ProgramArrays.passing` showed something when they were computed last.
UNTOUCHED = np.int64(-(2**63))
"""The last bit of STALE: nothing but events has come into the row since it was given to its session, and nothing has been computed."""

NEWER = np.int64(36)  # row of the visitor's next newer session, or NONE
LAG = np.int64(37)  # least delay from an event's time to its received time, ms; see `row_values.session_time`
FIRST_POSITION = np.int64(38)  # position of the first entry that an event of the session came with
ROW = np.int64(39)  # its own number, so that a copy of a row leads to what is kept beside the rows
HEADER_WORDS = np.int64(40)

VERSION_BITS = np.int64(32)
VERSION_CHANGES = np.int64((1 << 32) - 1)
"""The bits of `VERSION` that count the changes since the session began: what an etag tells of."""

FREE = np.int64(0)
ACTIVE = np.int64(1)
CLOSED = np.int64(2)

# Words of a visitor.
V_KEY_LO = np.int64(0)
V_KEY_HI = np.int64(1)
V_HEAD = np.int64(2)  # row of the newest session, or NONE
V_NEWEST = np.int64(3)  # newest event time, ms
V_RECEIVED = np.int64(4)  # received time of its last event, ms
V_LEFT = np.int64(5)  # number of its sessions that have left
V_LEFT_UNTIL = np.int64(6)  # newest event time of a session that has left, 0 = none
V_USED = np.int64(7)  # 1 = in use
VISITOR_WORDS = np.int64(8)

# Words of `counts`.
HIGH_WATER = np.int64(0)  # rows ever used
FREE_ROWS = np.int64(1)  # rows on the free list
ACTIVE_ROWS = np.int64(2)
CLOSED_ROWS = np.int64(3)
VISITORS = np.int64(4)
INDEX_USED = np.int64(5)
INDEX_VERSION = np.int64(6)  # odd while an entry of visitors or index moves
CLOCK = np.int64(7)  # received time of the newest entry, ms
DEDUP_HEAD = np.int64(8)
DEDUP_USED = np.int64(9)
WRITTEN_HIGH_WATER = np.int64(10)
WRITTEN_FREE = np.int64(11)
EVENTS_APPLIED = np.int64(12)
EVENTS_DUPLICATE = np.int64(13)
EVENTS_LATE = np.int64(14)
SESSIONS_STARTED = np.int64(15)
SESSIONS_MERGED = np.int64(16)
SESSIONS_CLOSED = np.int64(17)
SESSIONS_LEFT = np.int64(18)  # after their time
SESSIONS_EVICTED_CLOSED = np.int64(19)  # before their time, because too many were kept
SESSIONS_EVICTED_ACTIVE = np.int64(20)
VALUES_INVALID = np.int64(21)  # not finite, or too large for a sum
STRINGS_LOST = np.int64(22)  # texts that found no room
DEDUP_EVICTED = np.int64(23)  # ids forgotten before the horizon, because too many were kept
ALIASES_LOST = np.int64(24)
REQUESTS_DUPLICATE = np.int64(25)
STRING_SWEEPS = np.int64(26)
VISITOR_CURSOR = np.int64(27)  # where the next sweep for forgotten visitors begins
SWEEP_FROM = np.int64(28)  # position from which on strings may be swept again
CUSTOMER_VERSION = np.int64(29)  # odd while a chain of a customer's sessions changes
FACTS_NEW = np.int64(30)  # in the newer half of the table
FACTS_OLD = np.int64(31)
FACTS_HALF = np.int64(32)  # which half is the newer one, 0 or 1
FACTS_MISSING = np.int64(33)  # evaluations that had no value since the fact was not known
FACTS_FORGOTTEN = np.int64(34)
GENERATION = np.int64(35)  # grows with every configuration, and with it the etags of all sessions
DUE_CURSOR = np.int64(36)  # row at which the next TICK begins to look for what is due
TRIGGERS_FIRED = np.int64(37)
TRIGGERS_DEFERRED = np.int64(38)  # firings that an entry had no room to report
ELEMENTS_CUT = np.int64(39)  # elements of lists beyond those that are taken in
VALUES_CUT = np.int64(40)  # what did not fit into an attribute of bounded size any more, so that it is exact no longer
EXAMPLES_SKIPPED = np.int64(41)  # sessions that an online score did not learn from: an input was not finite
INDEX_SLOTS = np.int64(42)  # slots of the index that are used by now; a power of two
DEDUP_SLOTS = np.int64(43)  # the same of the set of event ids
COUNT_WORDS = np.int64(48)

FIRST_SLOTS = 1024
"""Slots with which hash tables begin, if they have so many: entries lie all over a table, and so claim the memory of all its slots."""

COUNT_NAMES = {
    "sessions_active": ACTIVE_ROWS,
    "sessions_closed": CLOSED_ROWS,
    "visitors": VISITORS,
    "dedup_events": DEDUP_USED,
    "events_applied": EVENTS_APPLIED,
    "events_duplicate": EVENTS_DUPLICATE,
    "events_late": EVENTS_LATE,
    "sessions_started": SESSIONS_STARTED,
    "sessions_merged": SESSIONS_MERGED,
    "sessions_closed_total": SESSIONS_CLOSED,
    "sessions_left": SESSIONS_LEFT,
    "sessions_evicted_closed": SESSIONS_EVICTED_CLOSED,
    "sessions_evicted_active": SESSIONS_EVICTED_ACTIVE,
    "values_invalid": VALUES_INVALID,
    "elements_cut": ELEMENTS_CUT,
    "values_cut": VALUES_CUT,
    "examples_skipped": EXAMPLES_SKIPPED,
    "strings_lost": STRINGS_LOST,
    "dedup_evicted": DEDUP_EVICTED,
    "aliases_lost": ALIASES_LOST,
    "requests_duplicate": REQUESTS_DUPLICATE,
    "string_sweeps": STRING_SWEEPS,
    "facts_new": FACTS_NEW,
    "facts_old": FACTS_OLD,
    "facts_missing": FACTS_MISSING,
    "facts_forgotten": FACTS_FORGOTTEN,
    "triggers_fired": TRIGGERS_FIRED,
    "triggers_deferred": TRIGGERS_DEFERRED,
}
"""What is shown of `counts`, by name."""

WRITTEN_ITEMS_MAX = 16
WRITTEN_ITEM_WORDS = np.int64(4)  # name id, (position << 3) | tag, 0, bits
WRITTEN_WORDS = WRITTEN_ITEMS_MAX * WRITTEN_ITEM_WORDS

_ALIAS_SALT = np.int64(0x5851F42D4C957F2D)
_CUSTOMER_SALT = np.int64(0x14057B7EF767814F)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much the state may hold. Fixed when it is made.

    Attributes:
        sessions_max: Sessions, active and closed.
        dedup_events_max: Event ids remembered.
        strings_max: Distinct strings; rounded up to a power of two.
        string_bytes_max: Bytes of all strings.
        written_sessions_max: Sessions that have attributes written by an application.
        facts_max: Facts about texts; a user agent has one per `ua.` function in use.
    """

    sessions_max: int = 1_000_000
    dedup_events_max: int = 4_194_304
    strings_max: int = 4_194_304
    string_bytes_max: int = 268_435_456
    written_sessions_max: int = 131_072
    facts_max: int = 262_144


class Table(NamedTuple):
    """The arrays of the state.

    Attributes:
        rows: int64[sessions_max, core_words], sessions; without annexes, which `blocks` holds. A double is kept by its bits.
        due: int64[sessions_max], when something is due for the row: it closes, or it leaves. NEVER_MS if free.
        free_rows: int64[sessions_max], stack of rows below the high water mark that are free.
        visitors: int64[n, VISITOR_WORDS], open addressing by KEY_LO.
        links: int64[2 * n], open addressing: key (0 = free), row. Leads session ids, aliases and customers to rows.
        dedup_set: int64[n], open addressing by event id hash, 0 = free.
        dedup_ring: int64[2 * dedup_events_max], the same ids in order of arrival: hash, received time.
        written: int64[written_sessions_max, WRITTEN_WORDS], attributes that applications wrote.
        written_free: int64[written_sessions_max], stack of free blocks.
        facts: int64[2 * 3 * n], two tables with open addressing, see `facts`.
        counts: int64[COUNT_WORDS].
        touched: int64[sessions_max], touched by the fold of the present entry: mark per row.
        online: float64[n], what online scores have learned; see `online`.
        blocks: int64[n], the annexes of the rows, see `annexes`.
        annexes: int64[annexes, X_WORDS], where these are, and which blocks are free.
    """

    rows: NDArray[np.int64]
    due: NDArray[np.int64]
    free_rows: NDArray[np.int64]
    visitors: NDArray[np.int64]
    links: NDArray[np.int64]
    dedup_set: NDArray[np.int64]
    dedup_ring: NDArray[np.int64]
    written: NDArray[np.int64]
    written_free: NDArray[np.int64]
    facts: NDArray[np.int64]
    counts: NDArray[np.int64]
    touched: NDArray[np.int64]
    online: NDArray[np.float64]
    blocks: NDArray[np.int64]
    annexes: NDArray[np.int64]


def new_table(capacity: Capacity, row_words: int, annexes: Sequence[tuple[int, int]] = ()) -> Table:
    """Return an empty state.

    Args:
        capacity: How much it may hold.
        row_words: Words of a row: of its core, or of all of it if there are no annexes.
        annexes: First word and words of each annex.
    """
    sessions = capacity.sessions_max
    blocks, places = new_blocks(sessions, annexes)
    # At most 6 keys lead to a session (its id, ALIAS_COUNT_MAX aliases, its customer): 7/8 of 8 are never reached.
    index_slots = _power_of_two(8 * sessions)
    dedup_slots = _power_of_two(2 * capacity.dedup_events_max)
    counts = np.zeros(COUNT_WORDS, np.int64)
    counts[[INDEX_SLOTS, DEDUP_SLOTS]] = min(FIRST_SLOTS, index_slots), min(FIRST_SLOTS, dedup_slots)
    return Table(
        rows=np.zeros((sessions, row_words), np.int64),
        due=np.zeros(sessions, np.int64),
        free_rows=np.zeros(sessions, np.int64),
        visitors=np.zeros((_power_of_two(2 * sessions), VISITOR_WORDS), np.int64),
        links=np.zeros(2 * index_slots, np.int64),
        dedup_set=np.zeros(dedup_slots, np.int64),
        dedup_ring=np.zeros(2 * capacity.dedup_events_max, np.int64),
        written=np.zeros((capacity.written_sessions_max, WRITTEN_WORDS), np.int64),
        written_free=np.zeros(capacity.written_sessions_max, np.int64),
        facts=np.zeros(6 * _power_of_two(capacity.facts_max), np.int64),
        counts=counts,
        touched=np.zeros(sessions, np.int64),
        online=np.zeros(0, np.float64),
        blocks=blocks,
        annexes=places,
    )


def new_strings(capacity: Capacity) -> StringPool:
    """Return an empty string pool of the stated capacity."""
    return new_pool(_power_of_two(capacity.strings_max), capacity.string_bytes_max)


def _power_of_two(at_least: int) -> int:
    return 1 << max(4, (at_least - 1).bit_length())


@inner
def mix64(value):  # type: ignore[no-untyped-def]
    """Return a well mixed int64 of an int64; a bijection.

    Source: Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014 (finalizer of SplitMix64).
    """
    x = np.uint64(value)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64(x ^ (x >> np.uint64(31)))


@kernel
def alias_key(string_id):  # type: ignore[no-untyped-def]
    """Return the index key of a client's session id."""
    return mix64(string_id ^ _ALIAS_SALT) | np.int64(1)


@kernel
def customer_key(string_id):  # type: ignore[no-untyped-def]
    """Return the index key of a customer id."""
    return mix64(string_id ^ _CUSTOMER_SALT) | np.int64(1)


@inner
def visitor_slot(ctx, key_lo, key_hi):  # type: ignore[no-untyped-def]
    """Return the slot of a visitor, or `-1 - slot` where it would go."""
    visitors = span_in(ctx, VISITOR_TABLE)
    mask = visitors[1] // VISITOR_WORDS - 1
    slot = key_lo & mask
    while word_at(visitors, slot * VISITOR_WORDS + V_USED) != 0:
        at = slot * VISITOR_WORDS
        if word_at(visitors, at + V_KEY_LO) == key_lo and word_at(visitors, at + V_KEY_HI) == key_hi:
            return slot
        slot = (slot + 1) & mask
    return -1 - slot


@inner
def visitor_word(ctx, slot, word):  # type: ignore[no-untyped-def]
    """Return a word of a visitor."""
    return word_at(span_in(ctx, VISITOR_TABLE), slot * VISITOR_WORDS + word)


@inner
def set_visitor_word(ctx, slot, word, value):  # type: ignore[no-untyped-def]
    """Set a word of a visitor."""
    put_word(span_in(ctx, VISITOR_TABLE), slot * VISITOR_WORDS + word, value)


@inner
def add_count(ctx, number, by):  # type: ignore[no-untyped-def]
    """Add to a word of `counts`."""
    counts = span_in(ctx, COUNTS)
    put_word(counts, number, word_at(counts, number) + by)


@inner
def begin_move(ctx):  # type: ignore[no-untyped-def]
    """Tell readers that entries of the hash tables are about to move."""
    counts = span_in(ctx, COUNTS)
    release_at(counts, INDEX_VERSION, word_at(counts, INDEX_VERSION) + 1)
    fence_release()


@inner
def end_move(ctx):  # type: ignore[no-untyped-def]
    """Tell readers that the hash tables are whole again."""
    counts = span_in(ctx, COUNTS)
    release_at(counts, INDEX_VERSION, word_at(counts, INDEX_VERSION) + 1)


@inner
def remove_visitor(ctx, slot):  # type: ignore[no-untyped-def]
    """Free a visitor's slot and close the gap behind it (Knuth, TAOCP 3, algorithm 6.4 R)."""
    visitors = span_in(ctx, VISITOR_TABLE)
    mask = visitors[1] // VISITOR_WORDS - 1
    begin_move(ctx)
    hole = slot
    probe = slot
    while True:
        probe = (probe + 1) & mask
        at = probe * VISITOR_WORDS
        if word_at(visitors, at + V_USED) == 0:
            break
        home = word_at(visitors, at + V_KEY_LO) & mask
        if ((probe - home) & mask) >= ((probe - hole) & mask):
            for word in range(VISITOR_WORDS):
                put_word(visitors, hole * VISITOR_WORDS + word, word_at(visitors, at + word))
            hole = probe
    for word in range(VISITOR_WORDS):
        put_word(visitors, hole * VISITOR_WORDS + word, 0)
    add_count(ctx, VISITORS, -1)
    end_move(ctx)


@inner
def index_find(ctx, key):  # type: ignore[no-untyped-def]
    """Return the row that `key` leads to, or NONE."""
    index = span_in(ctx, INDEX)
    mask = count_of(ctx, INDEX_SLOTS) - 1
    slot = key & mask
    while True:
        found = acquire_at(index, 2 * slot)
        # First of all: 0 is no key, and a caller may ask for it.
        if found == 0:
            return np.int64(NONE)
        if found == key:
            return word_at(index, 2 * slot + 1)
        slot = (slot + 1) & mask


@inner
def index_put(ctx, key, row):  # type: ignore[no-untyped-def]
    """Let `key` lead to `row`. Returns False if the index is full (7/8 used) and the key is new."""
    index = span_in(ctx, INDEX)
    size = count_of(ctx, INDEX_SLOTS)
    slot = key & (size - 1)
    while word_at(index, 2 * slot) != 0:
        if word_at(index, 2 * slot) == key:
            put_word(index, 2 * slot + 1, row)
            return True
        slot = (slot + 1) & (size - 1)
    if count_of(ctx, INDEX_USED) * 4 >= size * 3 and size * 4 <= index[1]:
        _grow_index(ctx)
        size *= 2
        slot = key & (size - 1)
        while word_at(index, 2 * slot) != 0:
            slot = (slot + 1) & (size - 1)
    elif count_of(ctx, INDEX_USED) * 8 >= size * 7:
        return False
    put_word(index, 2 * slot + 1, row)
    release_at(index, 2 * slot, key)
    add_count(ctx, INDEX_USED, 1)
    return True


@inner(forceinline=False)
def _grow_index(ctx):  # type: ignore[no-untyped-def]
    """Let the index use twice as many slots; readers wait. About 50 ns per key: 40 ms for the 786,432 keys of a million slots."""
    index = span_in(ctx, INDEX)
    size = count_of(ctx, INDEX_SLOTS)
    kept = np.empty((count_of(ctx, INDEX_USED), 2), np.int64)
    begin_move(ctx)
    place = 0
    for at in range(0, 2 * size, 2):
        if word_at(index, at) != 0:
            kept[place, 0], kept[place, 1] = word_at(index, at), word_at(index, at + 1)
            place += 1
            put_word(index, at, 0)
            put_word(index, at + 1, 0)
    mask = 2 * size - 1
    put_word(span_in(ctx, COUNTS), INDEX_SLOTS, mask + 1)
    for i in range(place):
        slot = kept[i, 0] & mask
        while word_at(index, 2 * slot) != 0:
            slot = (slot + 1) & mask
        put_word(index, 2 * slot, kept[i, 0])
        put_word(index, 2 * slot + 1, kept[i, 1])
    end_move(ctx)


@inner
def index_remove(ctx, key, row):  # type: ignore[no-untyped-def]
    """Forget `key` if it leads to `row`."""
    index = span_in(ctx, INDEX)
    mask = count_of(ctx, INDEX_SLOTS) - 1
    slot = key & mask
    while word_at(index, 2 * slot) != key:
        if word_at(index, 2 * slot) == 0:
            return
        slot = (slot + 1) & mask
    if word_at(index, 2 * slot + 1) != row:
        return
    begin_move(ctx)
    hole = slot
    probe = slot
    while True:
        probe = (probe + 1) & mask
        if word_at(index, 2 * probe) == 0:
            break
        home = word_at(index, 2 * probe) & mask
        if ((probe - home) & mask) >= ((probe - hole) & mask):
            put_word(index, 2 * hole, word_at(index, 2 * probe))
            put_word(index, 2 * hole + 1, word_at(index, 2 * probe + 1))
            hole = probe
    put_word(index, 2 * hole, 0)
    put_word(index, 2 * hole + 1, 0)
    add_count(ctx, INDEX_USED, -1)
    end_move(ctx)


@kernel
def read_index(context, key):  # type: ignore[no-untyped-def]
    """Return the row that `key` leads to, or NONE; for readers beside the writer.

    Gives RETRY_READ when the tables kept moving for the whole of 1,000 tries.
    """
    ctx = span_of(context)
    counts = span_in(ctx, COUNTS)
    for _ in range(1000):
        before = acquire_at(counts, INDEX_VERSION)
        if before & 1 == 0:
            row = index_find(ctx, key)
            fence_acquire()
            if acquire_at(counts, INDEX_VERSION) == before:
                return row
    return np.int64(RETRY_READ)


@kernel
def read_visitor(context, key_lo, key_hi):  # type: ignore[no-untyped-def]
    """Return the row of the visitor's newest session, or NONE; RETRY_READ as `read_index`."""
    ctx = span_of(context)
    counts = span_in(ctx, COUNTS)
    for _ in range(1000):
        before = acquire_at(counts, INDEX_VERSION)
        if before & 1 == 0:
            slot = visitor_slot(ctx, key_lo, key_hi)
            row = np.int64(NONE)
            if slot >= 0:
                row = visitor_word(ctx, slot, V_HEAD)
            fence_acquire()
            if acquire_at(counts, INDEX_VERSION) == before:
                return row
    return np.int64(RETRY_READ)


@inner
def written_block(ctx, place):  # type: ignore[no-untyped-def]
    """Return the span of a block of written attributes."""
    return span_in(ctx, WRITTEN_BLOCKS)[0] + place * WRITTEN_WORDS * 8, np.int64(WRITTEN_WORDS)
