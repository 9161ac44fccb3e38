"""Watches: a snapshot of the sessions that match a filter, then what changes, for as long as the caller listens.

A watch is a place in the change log and the set of sessions that it has shown. It sends the newest state of what changed
since, waits until the transport has taken it, and looks again; so nothing queues up for a slow reader.

A resume token names a position up to which everything was sent. It lags behind where it must: inside of a block of
messages, and while a change is held back by `interval_ms_min`. Resuming then repeats some states and never skips one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte.v1 import session_service_pb2 as pb
from rte_server.engine.ids import session_id_text
from rte_server.engine.query import STATES_ANY, Filter
from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.change_log import ChangeLog, Changes, first_changes
from rte_server.service.errors import refusal_of, status_of
from rte_server.service.proto_wire import int_field, message_field, text_field, timestamp_field
from rte_server.service.session_reads import ReadMask, SessionReads
from rte_server.service.tokens import TokenSeal

BLOCK_ROWS = 256
"""Rows that are matched and encoded at a time: under half a millisecond in which nothing else is served."""

WAKE_INTERVAL_S = 0.005
"""Watches look for changes at most this often; in between they are conflated."""

HEARTBEAT_S = 15.0

TOKEN_KIND = "watch"

SESSION_ID_BYTES = 34
"""A serialized Session begins with its id: tag, length, 32 digits. So id and state are of the same moment."""

_Type = pb.WatchSessionsResponse.Type


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """What a watch shows.

    Attributes:
        wanted: Which sessions.
        mask: Which parts of them; contains the session id.
        request: The filter and state as texts, to which resume tokens are bound.
        shows_session_id: Whether the caller wants the id inside of `session`, too.
        interval_ms: How long a session is not sent again, >= 0.
        resume_token: Where to go on, or empty.
    """

    wanted: Filter
    mask: ReadMask
    request: tuple[str, ...]
    shows_session_id: bool = True
    interval_ms: int = 0
    resume_token: str = ""


class WatchHub:
    """Runs all watches on one event loop."""

    def __init__(
        self,
        reads: SessionReads,
        log: ChangeLog,
        seal: TokenSeal,
        clock_ms: Callable[[], int],
        *,
        watches_max: int,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """Make the hub; call on the event loop.

        Args:
            watches_max: Watches open at a time, > 0.
            heartbeat_s: A watch that sent nothing for this long sends a heartbeat, seconds.
        """
        self.reads = reads
        self.engine = reads.engine
        self.everything = self.engine.filter((), int(STATES_ANY))
        self.log = log
        self.seal = seal
        self.clock_ms = clock_ms
        self.heartbeat_s = heartbeat_s
        self._watches_max = watches_max
        self._watches: set[_Watch] = set()
        self._loop = asyncio.get_running_loop()
        self._wake_due = False
        self._woken_s = 0.0
        self._closed = False

    @property
    def open_count(self) -> int:
        """Return how many watches are open."""
        return len(self._watches)

    def published(self) -> None:
        """Tell that the change log has grown. Any thread."""
        if self._watches and not self._wake_due:
            # Set before the call: a second writer call in between finds a wake under way that will see its change.
            self._wake_due = True
            self._loop.call_soon_threadsafe(self._schedule_wake)

    def close(self) -> None:
        """End all watches with SHUTTING_DOWN and refuse new ones."""
        self._closed = True
        self._wake()

    async def watch(self, order: WatchOrder) -> AsyncIterator[bytes]:
        """Yield serialized `WatchSessionsResponse` messages until the caller stops listening.

        An error that comes after the first message is told by a message of type ERROR, too; one before it is an
        ordinary refusal, which HTTP shows by its status.

        Raises:
            EngineError: TOO_MANY_CALLS if `watches_max` are open; SHUTTING_DOWN when the server stops;
                INVALID_RESUME_TOKEN if the token is damaged or of another request.
        """
        watch = None
        has_begun = False
        try:
            if self._closed:
                raise stopping()
            if len(self._watches) >= self._watches_max:
                message = f"{self._watches_max} watches are open; close one, or raise limits.watches_max"
                raise EngineError(Reason.TOO_MANY_CALLS, message, limit=str(self._watches_max))
            watch = _Watch(self, order)
            self._watches.add(watch)
            async for message_bytes in watch.run():
                has_begun = True
                yield message_bytes
        except Exception as failure:
            error = refusal_of(failure)
            if has_begun:
                yield int_field(1, _Type.TYPE_ERROR) + message_field(6, status_of(error).SerializeToString())
            raise error from failure
        finally:
            if watch is not None:
                self._watches.discard(watch)

    def check_open(self) -> None:
        """Raise SHUTTING_DOWN if the hub was closed."""
        if self._closed:
            raise stopping()

    def _schedule_wake(self) -> None:
        wait_s = self._woken_s + WAKE_INTERVAL_S - self._loop.time()
        if wait_s <= 0:
            self._wake()
        else:
            self._loop.call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._woken_s = self._loop.time()
        self._wake_due = False
        for watch in self._watches:
            watch.changed.set()


def stopping() -> EngineError:
    """Return the refusal of a server that stops."""
    return EngineError(Reason.SHUTTING_DOWN, "the server is stopping; go on with another one or after its restart")


class _Watch:
    """One caller's watch."""

    def __init__(self, hub: WatchHub, order: WatchOrder) -> None:
        self.changed = asyncio.Event()
        self._hub = hub
        self._order = order
        self._cursor = 0
        """Changes up to here were taken from the log."""
        self._scored = 0
        """Scores up to here were taken from the log, see `ChangeLog.scored`."""
        self._complete = 0
        """Changes up to here were sent: what tokens name."""
        self._shown: set[int] = set()
        """Low words of the ids of the sessions that the caller has."""
        self._held = np.empty(0, np.int64), np.empty(0, np.int64)
        """Rows that changed and wait for `interval_ms`, and the positions of their first changes."""
        self._sent_ms: dict[int, float] = {}
        """When a row was sent last, by the monotonic clock; kept only if there is an interval."""
        self._last_sent_s = time.monotonic()
        self._token = (-1, b"")
        """The newest resume token as a field, and the position that it names."""

    async def run(self) -> AsyncIterator[bytes]:
        """Yield the messages of the watch, forever."""
        changes = await self._resume() if self._order.resume_token else None
        is_resumed = changes is not None
        if self._order.resume_token and not is_resumed:
            yield self._message(_Type.TYPE_RESET)
        if not is_resumed:
            async for message in self._snapshot():
                yield message
        while True:
            self._hub.check_open()
            self.changed.clear()
            changes = self._hub.log.since(self._cursor, self._scored)
            if changes is None:
                yield self._message(_Type.TYPE_RESET)
                async for message in self._snapshot():
                    yield message
                continue
            for message in self._deltas(changes, is_resumed=is_resumed):
                yield message
            is_resumed = False
            await self._wait()
            if self._silent_s() >= self._hub.heartbeat_s:
                yield self._message(_Type.TYPE_HEARTBEAT) + self._token_field()

    async def _wait(self) -> None:
        """Wait for a change, until a held row may be sent, or until a heartbeat is due."""
        wait_s = self._hub.heartbeat_s - self._silent_s()
        if self._held[0].size:
            oldest_ms = min(self._sent_ms.get(row, 0.0) for row in self._held[0].tolist())
            wait_s = min(wait_s, (oldest_ms + self._order.interval_ms) / 1000 - time.monotonic())
        try:
            async with asyncio.timeout(max(wait_s, 0.001)):
                await self.changed.wait()
        except TimeoutError:
            return

    def _silent_s(self) -> float:
        return time.monotonic() - self._last_sent_s

    async def _snapshot(self) -> AsyncIterator[bytes]:
        """Yield all sessions that match, then SYNCED. What changes meanwhile is sent after it."""
        hub = self._hub
        self._scored = hub.log.scored
        self._cursor = self._complete = hub.log.until
        self._held = np.empty(0, np.int64), np.empty(0, np.int64)
        self._shown.clear()
        found = await asyncio.to_thread(hub.engine.select, self._order.wanted)
        for start in range(0, len(found.rows), BLOCK_ROWS):
            hub.check_open()
            block = slice(start, start + BLOCK_ROWS)
            for body in hub.reads.encode(found.rows[block], self._order.mask, found.session_ids[block], hub.clock_ms()):
                if body:
                    yield self._upsert(body)
        yield self._message(_Type.TYPE_SYNCED) + self._token_field()

    async def _resume(self) -> Changes | None:
        """Go back to where the token points. Returns what changed since, or None if that is no longer known."""
        hub = self._hub
        token = self._order.resume_token
        content = hub.seal.open(
            TOKEN_KIND, self._order.request, token, reason=Reason.INVALID_RESUME_TOKEN, field="resume_token"
        )
        position = content[0]
        if not isinstance(position, int) or hub.log.since(position) is None:
            return None
        # What matches now was shown, or is about to be: it either changed since and is sent, or the caller has it.
        matching = await asyncio.to_thread(hub.engine.select, self._order.wanted)
        self._shown = set(matching.session_ids[:, 0].tolist())
        self._cursor = self._complete = position
        return hub.log.since(position)

    def _deltas(self, changes: Changes, *, is_resumed: bool) -> Iterator[bytes]:
        """Yield what the changes mean for the caller.

        Args:
            is_resumed: Whether `_shown` is only what matches now, so that every session that does not must be removed.
        """
        self._cursor, self._scored = changes.until, changes.scored
        for session_id in changes.removed:
            if low_word(session_id) in self._shown or is_resumed:
                yield self._remove(session_id) + self._token_field()
        rows, positions = first_changes(
            np.concatenate((self._held[0], changes.rows)), np.concatenate((self._held[1], changes.positions))
        )
        rows, positions = self._hold(rows, positions)
        held_from = int(self._held[1][0]) if self._held[1].size else self._cursor + 1
        for start in range(0, rows.size, BLOCK_ROWS):
            messages = list(self._block(rows[start : start + BLOCK_ROWS], is_resumed))
            for message in messages[:-1]:
                yield message + self._token_field()
            end = start + BLOCK_ROWS
            next_position = int(positions[end]) if end < rows.size else self._cursor + 1
            self._complete = max(self._complete, min(next_position, held_from) - 1)
            if messages:
                yield messages[-1] + self._token_field()
        self._complete = max(self._complete, held_from - 1)

    def _hold(
        self, rows: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keep back the rows that were sent less than the interval ago; return the others."""
        if self._order.interval_ms == 0:
            return rows, positions
        since_ms = time.monotonic() * 1000 - self._order.interval_ms
        if len(self._sent_ms) > 4 * BLOCK_ROWS:
            self._sent_ms = {row: sent_ms for row, sent_ms in self._sent_ms.items() if sent_ms > since_ms}
        is_recent = np.fromiter((self._sent_ms.get(row, 0.0) > since_ms for row in rows.tolist()), np.bool_, rows.size)
        self._held = rows[is_recent], positions[is_recent]
        return rows[~is_recent], positions[~is_recent]

    def _block(self, rows: NDArray[np.int64], is_resumed: bool) -> Iterator[bytes]:
        """Yield a message, still without its token, for each of some rows (at least one) that concerns the caller."""
        engine = self._hub.engine
        matching = engine.match(self._order.wanted, rows, self._hub.clock_ms())
        now_ms = time.monotonic() * 1000
        bodies = self._hub.reads.encode(matching.rows, self._order.mask, matching.session_ids, self._hub.clock_ms())
        for row, body in zip(matching.rows.tolist(), bodies, strict=True):
            if body:
                if self._order.interval_ms:
                    self._sent_ms[row] = now_ms
                yield self._upsert(body)
        if self._shown or is_resumed:
            kept = set(matching.session_ids[:, 0].tolist())
            for low, high in engine.match(self._hub.everything, rows).session_ids.tolist():
                if low not in kept and (low in self._shown or is_resumed):
                    yield self._remove(session_id_text(low, high))

    def _upsert(self, body: bytes) -> bytes:
        session_id = body[2:SESSION_ID_BYTES]
        self._shown.add(low_word(session_id))
        session = body if self._order.shows_session_id else body[SESSION_ID_BYTES:]
        return self._message(_Type.TYPE_UPSERT) + message_field(2, session) + message_field(3, session_id)

    def _remove(self, session_id: str) -> bytes:
        self._shown.discard(low_word(session_id))
        return self._message(_Type.TYPE_REMOVE) + text_field(3, session_id)

    def _message(self, kind: int) -> bytes:
        self._last_sent_s = time.monotonic()
        return int_field(1, kind) + timestamp_field(5, self._hub.clock_ms())

    def _token_field(self) -> bytes:
        if self._token[0] != self._complete:
            token = self._hub.seal.seal(TOKEN_KIND, self._order.request, [self._complete])
            self._token = self._complete, text_field(4, token)
        return self._token[1]


def low_word(session_id: str | bytes) -> int:
    """Return the low word of a session id of 32 hexadecimal digits, as the int64 that the engine keeps."""
    low = int(session_id[16:], 16)
    return low - (1 << 64) if low >> 63 else low
