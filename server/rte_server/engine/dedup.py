"""Which event and request ids have been seen: a set of them, and a ring in order of arrival that says which is the oldest."""

from __future__ import annotations

from rte_server.engine.context import COUNTS, DEDUP_RING, DEDUP_SET, count_of, span_in
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import put_word, span_of, word_at
from rte_server.engine.table import DEDUP_EVICTED, DEDUP_HEAD, DEDUP_SLOTS, DEDUP_USED, add_count


@inner
def used_slots(ctx):  # type: ignore[no-untyped-def]
    """Return the span of the slots of the set that are used by now, a power of two."""
    return span_in(ctx, DEDUP_SET)[0], count_of(ctx, DEDUP_SLOTS)


@inner
def _slot_of(dedup, key):  # type: ignore[no-untyped-def]
    """Return the slot that holds an id, or the free one where it belongs. At least half of the slots are free.

    Args:
        dedup: The used slots.
        key: The hash, not 0.
    """
    mask = dedup[1] - 1
    slot = key & mask
    while word_at(dedup, slot) != 0 and word_at(dedup, slot) != key:
        slot = (slot + 1) & mask
    return slot


@inner
def first_sight(ctx, event_id_hash, received_ms):  # type: ignore[no-untyped-def]
    """Remember an event id. Returns False if it was already known.

    When the ring is full the oldest id is forgotten, and counted.
    """
    dedup = used_slots(ctx)
    slot = _slot_of(dedup, event_id_hash)
    if word_at(dedup, slot) != 0:
        return False
    if count_of(ctx, DEDUP_USED) * 2 >= dedup[1] and dedup[1] < span_in(ctx, DEDUP_SET)[1]:
        _grow(ctx)
        dedup = used_slots(ctx)
        slot = _slot_of(dedup, event_id_hash)
    ring = span_in(ctx, DEDUP_RING)
    capacity = ring[1] >> 1
    if count_of(ctx, DEDUP_USED) == capacity:
        forget_oldest(ctx)
        add_count(ctx, DEDUP_EVICTED, 1)
        # Closing the gap may have moved what stood before the free slot found above.
        slot = _slot_of(dedup, event_id_hash)
    put_word(dedup, slot, event_id_hash)
    place = count_of(ctx, DEDUP_HEAD) + count_of(ctx, DEDUP_USED)
    if place >= capacity:
        place -= capacity
    put_word(ring, 2 * place, event_id_hash)
    put_word(ring, 2 * place + 1, received_ms)
    add_count(ctx, DEDUP_USED, 1)
    return True


@inner(forceinline=False)
def _grow(ctx):  # type: ignore[no-untyped-def]
    """Let the set use twice as many slots. Only the writer reads it."""
    dedup = used_slots(ctx)
    for slot in range(dedup[1]):
        put_word(dedup, slot, 0)
    put_word(span_in(ctx, COUNTS), DEDUP_SLOTS, 2 * dedup[1])
    dedup = used_slots(ctx)
    ring = span_in(ctx, DEDUP_RING)
    place = 2 * count_of(ctx, DEDUP_HEAD)
    for _ in range(count_of(ctx, DEDUP_USED)):
        key = word_at(ring, place)
        put_word(dedup, _slot_of(dedup, key), key)
        place = place + 2 if place + 2 < ring[1] else 0


@inner
def forget_oldest(ctx):  # type: ignore[no-untyped-def]
    """Forget the oldest remembered event id."""
    dedup = used_slots(ctx)
    ring = span_in(ctx, DEDUP_RING)
    counts = span_in(ctx, COUNTS)
    head = word_at(counts, DEDUP_HEAD)
    key = word_at(ring, 2 * head)
    put_word(counts, DEDUP_HEAD, head + 1 if 2 * (head + 1) < ring[1] else 0)
    add_count(ctx, DEDUP_USED, -1)
    forget_id(dedup, key)


@inner
def forget_id(dedup, key):  # type: ignore[no-untyped-def]
    """Take an id out of the set of those that are remembered, if it is there, and close the gap."""
    mask = dedup[1] - 1
    hole = _slot_of(dedup, key)
    if word_at(dedup, hole) == 0:
        return
    probe = hole
    while True:
        probe = (probe + 1) & mask
        moved = word_at(dedup, probe)
        if moved == 0:
            break
        home = moved & mask
        if ((probe - home) & mask) >= ((probe - hole) & mask):
            put_word(dedup, hole, moved)
            hole = probe
    put_word(dedup, hole, 0)


@inner
def forget_before(ctx, horizon_ms):  # type: ignore[no-untyped-def]
    """Forget the event ids that were received before `horizon_ms`."""
    ring = span_in(ctx, DEDUP_RING)
    while count_of(ctx, DEDUP_USED) > 0 and word_at(ring, 2 * count_of(ctx, DEDUP_HEAD) + 1) < horizon_ms:
        forget_oldest(ctx)


@kernel
def knows_request(context, request_hash):  # type: ignore[no-untyped-def]
    """Return whether a request id is remembered. Called by the writer, from Python."""
    dedup = used_slots(span_of(context))
    return word_at(dedup, _slot_of(dedup, request_hash)) != 0


@kernel
def see_request(context, request_hash, received_ms):  # type: ignore[no-untyped-def]
    """Remember a request id. Returns False if it was already known. Called by the writer, from Python."""
    return first_sight(span_of(context), request_hash, received_ms)
