"""The members of attributes whose value follows from time: durations that are waited for, or in which weights fade."""

from __future__ import annotations

from collections.abc import Mapping

from rte_server.engine.decay import half_life_of
from rte_server.engine.program import Kind
from rte_server.models.documents import Item
from rte_server.models.schema import TILES_DEFAULT, TILES_MAX, TILES_MIN, Reader

DECAYING = frozenset((Kind.RATE, Kind.EWMA))
WINDOW_MS_MIN = 1_000

_WINDOWED = {
    Kind.COUNT: Kind.WINDOW_COUNT,
    Kind.SUM: Kind.WINDOW_SUM,
    Kind.MIN: Kind.WINDOW_MIN,
    Kind.MAX: Kind.WINDOW_MAX,
    Kind.MEAN: Kind.WINDOW_MEAN,
    Kind.DISTINCT: Kind.WINDOW_DISTINCT,
}


def windowed(kind: Kind, members: Mapping[str, Item]) -> Kind:
    """Return the windowed form of a kind where a window is stated, else the kind itself."""
    return _WINDOWED.get(kind, kind) if "window" in members else kind


def timed_params(reader: Reader, kind: Kind, members: Mapping[str, Item], where: str) -> tuple[int, ...]:
    """Return the numbers that an attribute of such a kind is made with; () for other kinds.

    Args:
        reader: Notes what is wrong.
        kind: Its kind, without its window.
        members: Its members.
        where: What it is called in problems.
    """
    if kind in _WINDOWED:
        return _tiles(reader, members, where)
    if kind == Kind.ABSENCE:
        return (_wait_ms(reader, members, where),)
    return (_half_life_ms(reader, members, where),) if kind in DECAYING else ()


def _tiles(reader: Reader, members: Mapping[str, Item], where: str) -> tuple[int, ...]:
    """Return width, ms, and number of the tiles of a window; () without one. The width is rounded up to a millisecond."""
    if "window" not in members:
        if "tiles" in members:
            reader.problem(members["tiles"], f"{where} has `tiles` without a `window`", "add for example `window: 5m`")
        return ()
    tiles = reader.whole(members, "tiles", TILES_DEFAULT, TILES_MIN, TILES_MAX)
    return -(-reader.duration_ms(members["window"], WINDOW_MS_MIN) // tiles), tiles


def _wait_ms(reader: Reader, members: Mapping[str, Item], where: str) -> int:
    if "for" not in members:
        reader.problem(next(iter(members.values())), f"{where} has no `for`", "say how long, as in `for: 10m`")
        return 0
    return reader.duration_ms(members["for"], 1)


def _half_life_ms(reader: Reader, members: Mapping[str, Item], where: str) -> int:
    """Return how fast weights fade, which is said by `half_life` or by `window`, the time in which 1/e is left."""
    words = [word for word in ("window", "half_life") if word in members]
    if len(words) != 1:
        found = "both `window` and `half_life`" if words else "neither `window` nor `half_life`"
        reader.problem(next(iter(members.values())), f"{where} has {found}", "write one of them, as in `window: 5m`")
        return 1
    duration_ms = reader.duration_ms(members[words[0]], 1)
    return half_life_of(duration_ms) if words[0] == "window" else duration_ms
