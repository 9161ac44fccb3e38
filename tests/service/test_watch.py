"""Watches, over a real engine that is fed directly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import pytest

from rte.v1 import session_service_pb2 as pb
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.settings import EngineSettings
from rte_server.service import watch
from rte_server.service.errors import reason_of
from rte_server.service.session_reads import SessionReads
from rte_server.service.tokens import TokenSeal
from rte_server.service.watch import WatchHub, WatchOrder
from tests.service.live_engine import LiveEngine

RESET, UPSERT, REMOVE, SYNCED, HEARTBEAT, ERROR = range(1, 7)
ACTIVE, CLOSED, ANY = 1, 2, 3
BEAT_S = 0.02
"""A watch that has nothing to tell says so this often: two heartbeats in a row are the end of what there is to read."""

Told = pb.WatchSessionsResponse


class Bench:
    """A hub over a live engine."""

    def __init__(self, live: LiveEngine, *, watches_max: int = 8, heartbeat_s: float = BEAT_S) -> None:
        self.live = live
        self.reads = SessionReads(live.engine, lambda: live.now_ms)
        self.hub = WatchHub(
            self.reads,
            live.log,
            TokenSeal(b"k"),
            lambda: live.now_ms,
            watches_max=watches_max,
            heartbeat_s=heartbeat_s,
        )

    def watch(
        self,
        text: str = "",
        state: int = ACTIVE,
        *,
        resume: str = "",
        interval_ms: int = 0,
        paths: tuple[str, ...] = (),
    ) -> Watcher:
        """Open a watch."""
        order = WatchOrder(
            self.reads.filter(text, state),
            self.reads.mask(("session_id", *paths) if paths else ()),
            (text, str(state)),
            not paths,
            interval_ms,
            resume,
        )
        return Watcher(self.hub.watch(order))

    def told(self) -> None:
        """Tell the hub that the engine went on."""
        self.hub.published()


class Watcher:
    """Reads one watch."""

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages

    async def read(self) -> Told:
        """Return the next message, which may be a heartbeat."""
        return Told.FromString(await anext(self._messages))

    async def until_synced(self) -> list[Told]:
        """Return the snapshot, SYNCED included."""
        found: list[Told] = []
        while not found or found[-1].type != SYNCED:
            found.append(await self.expect())
        return found

    async def expect(self) -> Told:
        """Return the next message that is no heartbeat."""
        while (message := await self.read()).type == HEARTBEAT:
            pass
        return message

    async def rest(self) -> list[Told]:
        """Return all that there is to tell now, however long that takes.

        Between two heartbeats the watch has looked for changes: after the second nothing is left.
        """
        found: list[Told] = []
        beats = 0
        while beats < 2:
            message = await self.read()
            if message.type == HEARTBEAT:
                beats += 1
            else:
                beats = 0
                found.append(message)
        return found

    async def close(self) -> None:
        """Stop to listen."""
        await self._messages.aclose()  # type: ignore[attr-defined]


def kinds(messages: list[Told]) -> list[int]:
    """Return the types of messages."""
    return [message.type for message in messages]


def run(test: Callable[[Bench], Awaitable[None]], live: LiveEngine | None = None, **hub_limits: float) -> None:
    """Run a test on an event loop of its own."""

    async def main() -> None:
        await asyncio.wait_for(test(Bench(live or LiveEngine(), **hub_limits)), 1_200)  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_snapshot_then_changes() -> None:
    """A watch shows what matches, then says SYNCED, then tells what is new, what changes and what no longer matches."""

    async def test(bench: Bench) -> None:
        bench.live.view("v1", "v2")
        watcher = bench.watch("page_views >= 1")
        snapshot = await watcher.until_synced()
        assert kinds(snapshot) == [UPSERT, UPSERT, SYNCED]
        assert {message.session.visitor_id for message in snapshot[:2]} == {"v1", "v2"}
        assert snapshot[0].session_id == snapshot[0].session.session_id
        assert snapshot[0].resume_token == "" and snapshot[-1].resume_token != ""
        bench.live.view("v3")
        bench.live.view("v1")
        bench.told()
        told = [await watcher.expect(), await watcher.expect()]
        assert [(message.type, message.session.visitor_id) for message in told] == [(UPSERT, "v3"), (UPSERT, "v1")]
        assert told[1].session.attributes["page_views"] == 2
        ended = bench.live.session_id("v2")
        bench.live.end("v2")
        bench.told()
        removed = await watcher.expect()
        assert (removed.type, removed.session_id, removed.HasField("session")) == (REMOVE, ended, False)
        assert await watcher.rest() == []
        await watcher.close()
        assert bench.hub.open_count == 0

    run(test)


def test_what_never_matched_is_never_told() -> None:
    """Sessions that do not match make no noise, whether they change, close or leave."""

    async def test(bench: Bench) -> None:
        watcher = bench.watch("purchases > 0")
        await watcher.until_synced()
        bench.live.view("v1")
        bench.live.end("v1")
        bench.live.tick(10_000_000)
        bench.told()
        assert await watcher.rest() == []
        await watcher.close()

    run(test)


def test_a_slow_reader_gets_the_newest_state_once() -> None:
    """Changes that a reader did not wait for are conflated to the newest state of each session."""

    async def test(bench: Bench) -> None:
        watcher = bench.watch()
        await watcher.until_synced()
        for _ in range(50):
            bench.live.view("v1", "v2")
        bench.told()
        told = await watcher.rest()
        assert sorted(message.session.visitor_id for message in told) == ["v1", "v2"]
        assert {message.session.attributes["page_views"] for message in told} == {50}
        await watcher.close()

    run(test)


def test_a_session_that_leaves_memory_is_removed() -> None:
    """Closing removes a session from a watch for ACTIVE; leaving memory removes it from one for all."""

    async def test(bench: Bench) -> None:
        bench.live.view("v1")
        session_id = bench.live.session_id("v1")
        active, everything = bench.watch(), bench.watch(state=ANY)
        await active.until_synced()
        await everything.until_synced()
        bench.live.tick(1_800_001)
        bench.told()
        assert [(m.type, m.session_id) for m in await active.rest()] == [(REMOVE, session_id)]
        assert [(m.type, m.session.state) for m in await everything.rest()] == [(UPSERT, CLOSED)]
        bench.live.tick(3_600_001)
        bench.told()
        assert [(m.type, m.session_id) for m in await everything.rest()] == [(REMOVE, session_id)]
        assert await active.rest() == []
        await active.close()
        await everything.close()

    run(test)


def test_two_sessions_that_become_one() -> None:
    """When a late event bridges two sessions, the one that goes is removed and the one that stays is told."""

    async def test(bench: Bench) -> None:
        def at(minute: int) -> dict[str, object]:
            seconds = 1_790_000_000 + 60 * minute
            return {
                "visitor_id": "v1",
                "name": "page_view",
                "event_time": f"2026-09-21T{seconds % 86400 // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}Z",
            }

        bench.live.now_ms += 3_600_000
        bench.live.send(at(0))
        older = bench.live.session_id("v1")
        bench.live.send(at(50))
        newer = bench.live.session_id("v1")
        assert newer != older
        watcher = bench.watch(state=ANY)
        await watcher.until_synced()
        bench.live.send(at(25))
        bench.told()
        told = {message.session_id: message for message in await watcher.rest()}
        assert told[newer].type == REMOVE
        assert (told[older].type, told[older].session.event_count) == (UPSERT, 3)
        await watcher.close()

    run(test)


def test_resuming_goes_on_without_a_gap() -> None:
    """A watch that resumes gets what changed and what went away since its token, and no snapshot."""

    async def test(bench: Bench) -> None:
        bench.live.view("stays", "ends", "changes", "leaves")
        first = bench.watch()
        token = (await first.until_synced())[-1].resume_token
        await first.close()
        ended = bench.live.session_id("ends")
        bench.live.view("changes", "new")
        bench.live.end("ends")
        second = bench.watch(resume=token)
        told = await second.rest()
        assert sorted((m.type, m.session.visitor_id or m.session_id) for m in told) == sorted(
            [(UPSERT, "changes"), (UPSERT, "new"), (REMOVE, ended)]
        )
        # What stayed the same is known to be shown: when it goes, that is told.
        stays = bench.live.session_id("stays")
        bench.live.end("stays")
        bench.told()
        last = await second.expect()
        assert (last.type, last.session_id) == (REMOVE, stays)
        await second.close()
        third = bench.watch(resume=last.resume_token)
        assert await third.rest() == []
        await third.close()

    run(test)


def test_every_token_resumes_without_a_gap() -> None:
    """Wherever a reader breaks off, going on from its last token brings it to the same state."""

    async def test(bench: Bench) -> None:
        bench.live.view("v0")
        watcher = bench.watch(state=ANY)
        log = await watcher.until_synced()
        for step in range(1, 30):
            bench.live.view(f"v{step % 7}", f"v{step % 3}")
            if step % 5 == 0:
                bench.live.end(f"v{step % 7}")
            if step % 11 == 0:
                bench.live.tick(5_400_001)
            if step % 2 == 0:
                bench.told()
                log += await watcher.rest()
        bench.told()
        log += await watcher.rest()
        await watcher.close()
        final = fold(log)
        assert final
        for place, message in enumerate(log):
            if not message.resume_token:
                continue
            again = bench.watch(state=ANY, resume=message.resume_token)
            assert fold(log[: place + 1] + await again.rest()) == final
            await again.close()

    run(test)


def fold(messages: list[Told]) -> dict[str, bytes]:
    """Return the sessions that a reader has after some messages."""
    sessions: dict[str, bytes] = {}
    for message in messages:
        if message.type == RESET:
            sessions.clear()
        elif message.type == UPSERT:
            sessions[message.session_id] = message.session.SerializeToString(deterministic=True)
        elif message.type == REMOVE:
            sessions.pop(message.session_id, None)
    return sessions


def test_a_token_from_too_long_ago_resets() -> None:
    """When more sessions were removed than are remembered, a watch that resumes begins with RESET and a snapshot."""

    async def test(bench: Bench) -> None:
        bench.live.view("v1", "v2", "v3")
        first = bench.watch(state=ANY)
        token = (await first.until_synced())[-1].resume_token
        bench.live.tick(1_800_001)
        bench.live.tick(3_600_001)
        bench.live.view("v4")
        second = bench.watch(state=ANY, resume=token)
        told = await second.until_synced()
        assert kinds(told) == [RESET, UPSERT, SYNCED]
        assert told[1].session.visitor_id == "v4"
        # So does a watch that is open and fell behind as far.
        assert kinds(await first.rest()) == [RESET, UPSERT, SYNCED]
        await first.close()
        await second.close()

    run(test, LiveEngine(removals_max=2))


def test_rows_from_long_ago_come_from_the_table() -> None:
    """When more rows changed than the log keeps, nothing is missed."""

    async def test(bench: Bench) -> None:
        bench.live.view("v1")
        watcher = bench.watch()
        await watcher.until_synced()
        for number in range(20):
            bench.live.view(f"w{number}")
        bench.told()
        assert sorted(m.session.visitor_id for m in await watcher.rest()) == sorted(f"w{n}" for n in range(20))
        await watcher.close()

    run(test, LiveEngine(rows_max=3))


@pytest.mark.parametrize("token", ["x", "AAAA", "é"])
def test_a_damaged_token_is_refused(token: str) -> None:
    """A damaged resume token is refused with INVALID_RESUME_TOKEN before any message, so that HTTP shows its status."""

    async def test(bench: Bench) -> None:
        with pytest.raises(EngineError) as refusal:
            await bench.watch(resume=token).expect()
        assert refusal.value.reason is Reason.INVALID_RESUME_TOKEN
        assert bench.hub.open_count == 0

    run(test)


def test_a_token_of_another_filter_is_refused() -> None:
    """A resume token belongs to its filter and state."""

    async def test(bench: Bench) -> None:
        first = bench.watch()
        token = (await first.until_synced())[-1].resume_token
        await first.close()
        for watcher in (bench.watch("page_views > 1", resume=token), bench.watch(state=ANY, resume=token)):
            with pytest.raises(EngineError) as refusal:
                await watcher.expect()
            assert refusal.value.reason is Reason.INVALID_RESUME_TOKEN

    run(test)


def test_too_many_watches_are_refused() -> None:
    """One watch more than the limit is refused with TOO_MANY_CALLS; when one closes there is room again."""

    async def test(bench: Bench) -> None:
        first = bench.watch()
        await first.until_synced()
        with pytest.raises(EngineError) as refusal:
            await bench.watch().expect()
        assert refusal.value.reason is Reason.TOO_MANY_CALLS
        await first.close()
        assert kinds(await bench.watch().until_synced()) == [SYNCED]

    run(test, watches_max=1)


def test_heartbeats_carry_the_newest_token() -> None:
    """A watch that tells nothing sends heartbeats, also while sessions change that it does not show."""

    async def test(bench: Bench) -> None:
        watcher = bench.watch("purchases > 0")
        synced = (await watcher.until_synced())[-1]
        for _ in range(3):
            await asyncio.sleep(0.03)
            bench.live.view("v1")
            bench.told()
        beat = await watcher.read()
        assert beat.type == HEARTBEAT
        assert beat.resume_token not in ("", synced.resume_token)
        await watcher.close()

    run(test, heartbeat_s=0.1)


def test_an_interval_holds_changes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an interval a session is sent at most so often, and its newest state comes when the interval is over."""
    later_s = [0.0]
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later_s[0]))

    async def test(bench: Bench) -> None:
        watcher = bench.watch(interval_ms=3_600_000)
        await watcher.until_synced()
        bench.live.view("v1")
        bench.told()
        first = await watcher.expect()
        assert first.session.attributes["page_views"] == 1
        for _ in range(3):
            bench.live.view("v1")
            bench.told()
            assert await watcher.rest() == []
        bench.live.view("v2")
        bench.told()
        other = await watcher.expect()
        assert other.session.visitor_id == "v2"
        # The token must not run ahead of what is held back.
        again = bench.watch(resume=other.resume_token)
        assert {m.session.visitor_id for m in await again.rest()} == {"v1", "v2"}
        await again.close()
        later_s[0] = 3_600.0
        last = await watcher.expect()
        assert (last.session.visitor_id, last.session.attributes["page_views"]) == ("v1", 4)
        await watcher.close()

    run(test)


def test_a_mask_without_the_id_still_names_the_session() -> None:
    """With a read mask only its fields are in `session`, and `session_id` stands beside it."""

    async def test(bench: Bench) -> None:
        bench.live.view("v1")
        watcher = bench.watch(paths=("visitor_id",))
        message = (await watcher.until_synced())[0]
        assert message.session == pb.WatchSessionsResponse(session={"visitor_id": "v1"}).session
        assert message.session_id == bench.live.session_id("v1")
        await watcher.close()

    run(test)


def test_closing_the_hub_ends_watches() -> None:
    """When the server stops, every watch ends with SHUTTING_DOWN, in band, too, and new ones are refused."""

    async def test(bench: Bench) -> None:
        watcher = bench.watch()
        await watcher.until_synced()
        bench.hub.close()
        message = await watcher.expect()
        assert message.type == ERROR and reason_of(message.error) is Reason.SHUTTING_DOWN
        for refused in (watcher, bench.watch()):
            with pytest.raises(EngineError) as refusal:
                await refused.expect()
            assert refusal.value.reason is Reason.SHUTTING_DOWN

    run(test)


def test_sessions_do_not_close_for_watches_alone() -> None:
    """A watch with other settings of the gap sees the session close at that gap."""

    async def test(bench: Bench) -> None:
        bench.live.view("v1")
        watcher = bench.watch()
        await watcher.until_synced()
        bench.live.tick(60_001)
        bench.told()
        assert kinds(await watcher.rest()) == [REMOVE]
        await watcher.close()

    run(test, LiveEngine(EngineSettings(gap_ms=60_000)))
