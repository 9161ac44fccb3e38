"""The life of models in a running server: checked, tried on the sessions alive, activated, gone back to.

Whoever asks (a caller, a watched file), an activation takes one way: the models are compiled, folded from history in a
second engine beside the running one (`refold`), and taken over at a CONFIGURE entry. One at a time: a second engine needs
as much memory as the first one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from rte_server.engine.configurations import IN_FORCE, REFOLD_FROM, TEXTS
from rte_server.engine.engine import CompileModels, Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.outcome import Outcome
from rte_server.engine.program import ModelSpec
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.wire import ScannedRequest
from rte_server.journal.protocol import Journal, JournalError
from rte_server.journal.recovery import to_body
from rte_server.journal.snapshots import SnapshotStore
from rte_server.models import ModelError, compile_models, configuration_of
from rte_server.models.changes import AttributeChange, ModelChange, attribute_changes, model_changes
from rte_server.models.comparison import Compared, Comparison, ScoreRows
from rte_server.models.configured import Accept, Configured, Followed, Problems, Seen, follow
from rte_server.models.given import differs, next_sources, with_files, with_lists_of
from rte_server.models.loader import Source, compile_sources, sources_of
from rte_server.service.errors import ModelsRefused
from rte_server.service.history_facts import with_history_facts
from rte_server.service.pipeline import Pipeline
from rte_server.service.receipts import Want
from rte_server.service.refold import Refold
from rte_server.service.tokens import SHARD, position_text

BLOCK_PAUSE_S = 0.002
"""Between blocks of sessions that are compared the processor is left to others."""

_log = logging.getLogger("rte.models")


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """Models that are to run, and who wants it.

    Attributes:
        given: The models.
        files: Contents of files that they name and do not come with, see `with_files`.
        removed: Names of models that run no more.
        is_alongside: Whether the given ones run beside the present versions.
        skip_history: Whether new attributes may begin with little history.
        request_id: Makes the order idempotent, or empty.
        note: Why.
        author: Who.
    """

    given: Sequence[Source]
    files: Mapping[str, bytes] = field(default_factory=dict)
    removed: Sequence[str] = ()
    is_alongside: bool = False
    skip_history: bool = False
    request_id: str = ""
    note: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class _About:
    """What a request says of itself.

    Attributes:
        request_id: Makes it idempotent, or empty.
        digest: Of what it asks for: the same id with another one is refused.
        note: Why.
        author: Who.
    """

    request_id: str = ""
    digest: str = ""
    note: str = ""
    author: str = ""

    def to_members(self) -> dict[str, str]:
        """Return the members of a CONFIGURE entry that remember it; the digest only where it is needed."""
        members = {"request_id": self.request_id, "note": self.note, "author": self.author}
        members["request_digest"] = self.digest if self.request_id else ""
        return {name: text for name, text in members.items() if text}


@dataclass(frozen=True, slots=True)
class Plan:
    """What an order comes to.

    Attributes:
        configuration: What is in force then: the members `IN_FORCE`.
        before: The models that run now.
        after: Those that run then.
        models: The models that change.
        attributes: The attributes that change.
    """

    configuration: dict[str, Any]
    before: Sequence[ModelSpec]
    after: Sequence[ModelSpec]
    models: list[ModelChange]
    attributes: list[AttributeChange]


@dataclass(frozen=True, slots=True)
class Activated:
    """What an activation did.

    Attributes:
        plan: What changed.
        position: From where on the models run.
        begun: The attributes that began with the history that there was.
    """

    plan: Plan
    position: int
    begun: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """What a dry run found.

    Attributes:
        plan: What would change.
        compared: How sessions would differ.
        since_ms: Since which time new attributes would be complete, milliseconds since 1970; 0: for all of it.
    """

    plan: Plan
    compared: Compared
    since_ms: int


@dataclass(frozen=True, slots=True)
class LifecycleSettings:
    """Limits of the life cycle.

    Attributes:
        refold_s_max: How long models may take to catch up with the events that come, seconds.
        compared_sessions_max: Sessions that a dry run compares.
    """

    refold_s_max: float = 600.0
    compared_sessions_max: int = 100_000


@dataclass(slots=True)
class _Running:
    """What is under way, to be ended when the server stops."""

    refold: Refold[Engine] | None = None
    is_submitted: bool = False
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)


class ModelLifecycle:
    """Changes the models of one shard. Belongs to an event loop."""

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline[ScannedRequest, Outcome],
        journal: Journal,
        snapshots: SnapshotStore,
        make_engine: Callable[[CompileModels], Engine],
        clock_ms: Callable[[], int],
        settings: LifecycleSettings,
        score_rows: ScoreRows,
        accept: Accept = lambda _models, _files: None,
    ) -> None:
        """Make it.

        Args:
            engine: The running one.
            pipeline: Runs it.
            journal: Its entries.
            snapshots: Its snapshots.
            make_engine: Makes an empty engine of the same capacity.
            clock_ms: The server's time, milliseconds since 1970.
            settings: Limits.
            score_rows: Computes the scores that a dry run compares, see `models.comparison.ScoreRows`.
            accept: Takes over what belongs to models before they run, see `models.configured.Accept`.
        """
        self._accept = accept
        self._score_rows = score_rows
        self._engine = engine
        self._pipeline = pipeline
        self._journal = journal
        self._snapshots = snapshots
        self._make_engine = make_engine
        self._clock_ms = clock_ms
        self._settings = settings
        self._lock = asyncio.Lock()
        self._by_request: dict[str, tuple[str, asyncio.Task[Activated]]] = {}
        self._running = _Running()
        self._is_closed = False
        self._counts = dict.fromkeys(("activations", "activations_failed", "dry_runs", "refold_ms"), 0)

    def stats(self) -> dict[str, int]:
        """Return counters by name; `refold_ms` is how long the last refold took."""
        return dict(self._counts)

    async def plan(self, order: ModelOrder) -> Plan:
        """Check an order.

        Raises:
            ModelError: The models cannot be used.
            EngineError: MODEL_NOT_FOUND if a model to be removed does not run.
        """
        return await asyncio.to_thread(self._plan, order)

    async def dry_run(self, order: ModelOrder) -> Tried:
        """Try an order on the sessions alive.

        Raises:
            EngineError: INVALID_MODEL, and as `activate`.
        """
        task = asyncio.create_task(self._dry_run(order))
        self._keep(task)
        return await asyncio.shield(task)

    async def activate(self, order: ModelOrder) -> Activated:
        """Let models run. It goes on if the caller leaves; the same `request_id` comes back to it.

        Raises:
            EngineError: INVALID_MODEL; MODEL_NOT_FOUND; OVERLOADED if history cannot be folded as fast as events come;
                OUT_OF_RANGE if the `request_id` is that of another order; and those of `Pipeline.submit`.
        """
        about = _About(order.request_id, _digest_of(order), order.note, order.author)
        return await self._once(about, lambda: self._activate(order, about))

    async def roll_back(self, position: int | None, request_id: str, note: str, author: str) -> Activated:
        """Let the models of an earlier configuration run again.

        Args:
            position: Its position; None: the last one with other models than the present one. Look-up lists stay then.
            request_id: As in an order.
            note: Why.
            author: Who.

        Raises:
            EngineError: CONFIGURATION_NOT_FOUND, and as `activate`.
        """
        about = _About(request_id, sha256(f"back to {position}".encode()).hexdigest(), note, author)
        return await self._once(about, lambda: self._roll_back(position, about))

    async def follow(self, configured: Configured) -> tuple[Problems, list[str]]:
        """Activate the files of the configuration that changed.

        Returns:
            What is wrong with files, by name of their model; and the models that changed, or whose look-up lists did.

        Raises:
            EngineError: As `activate`.
        """
        found: list[Followed] = []

        async def work() -> Activated:
            running = self._engine.configuration
            sources = sources_of(running["models"], running.get("files", {}))
            followed = await asyncio.to_thread(follow, configured, running.get("configured", {}), sources, self._accept)
            found.append(followed)
            plan = await self._accepted(self._planned, followed.sources, followed.seen)
            return await self._take_over(plan, _About(note=_what_changed(followed)))

        await self._once(_About(), work)
        return found[0].problems, [*found[0].changed, *found[0].lists_changed]

    async def close(self) -> None:
        """End what is under way, before the pipeline is stopped; an activation that is submitted is finished."""
        self._is_closed = True
        running = self._running
        if running.refold is not None and not running.is_submitted:
            await asyncio.to_thread(running.refold.stop)
        await asyncio.gather(*running.tasks, return_exceptions=True)

    # How it is done.

    async def _once(self, about: _About, work: Callable[[], Coroutine[Any, Any, Activated]]) -> Activated:
        """Do something that goes on without its caller, once per request id."""
        request_id = about.request_id
        digest, task = self._by_request.get(request_id, ("", None))
        if task is not None and digest != about.digest:
            raise _is_of_another(request_id)
        if task is None:
            task = asyncio.create_task(self._locked(work))
            self._keep(task)
            if request_id:
                self._by_request[request_id] = about.digest, task
                task.add_done_callback(lambda _: self._by_request.pop(request_id, None))
        return await asyncio.shield(task)

    async def _locked(self, work: Callable[[], Coroutine[Any, Any, Activated]]) -> Activated:
        async with self._lock:
            try:
                return await work()
            except BaseException:
                self._counts["activations_failed"] += 1
                raise

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._running.tasks.add(task)
        task.add_done_callback(self._running.tasks.discard)
        # Whoever waits gets the failure; if nobody does any more, it is no surprise.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _plan(self, order: ModelOrder) -> Plan:
        running = self._engine.configuration
        for name in order.removed:
            if name not in running["models"]:
                raise EngineError(
                    Reason.MODEL_NOT_FOUND, f'no model has the name "{name[:64]}"', field="remove_names", value=name
                )
        sources = sources_of(running["models"], running.get("files", {}))
        given = with_files(order.given, order.files)
        sources = next_sources(sources, given, order.removed, is_alongside=order.is_alongside)
        return self._planned(sources, running.get("configured"))

    def _planned(self, sources: Mapping[str, Source], configured: Seen | None) -> Plan:
        before = self._engine.program.models
        after = compile_sources(sources)
        self._accept(after, {name: source.file for name, source in sources.items()})
        configuration: dict[str, Any] = {"settings": self._engine.configuration["settings"], **configuration_of(after)}
        if configured is not None:
            configuration["configured"] = dict(configured)
        return Plan(configuration, before, after, model_changes(before, after), attribute_changes(before, after))

    async def _accepted(self, plan: Callable[..., Plan], *of: Any) -> Plan:
        """Return a plan that can be carried out.

        Raises:
            EngineError: INVALID_MODEL, MODEL_NOT_FOUND, SHUTTING_DOWN.
        """
        if self._is_closed:
            raise _stopping()
        try:
            return await asyncio.to_thread(plan, *of)
        except ModelError as error:
            raise ModelsRefused(error.problems) from error

    async def _activate(self, order: ModelOrder, about: _About) -> Activated:
        known = self._known(about)
        if known is not None:
            return known
        plan = await self._accepted(self._plan, order)
        return await self._take_over(plan, about, skip_history=order.skip_history)

    async def _roll_back(self, position: int | None, about: _About) -> Activated:
        known = self._known(about)
        if known is not None:
            return known
        running = self._engine.configuration
        found = [
            entry
            for entry in self._engine.configurations.entries[:-1]
            if (entry.position == position if position is not None else differs(entry.configuration, running))
        ]
        if not found:
            shown = "before the present one" if position is None else f"at position {position_text(position)}"
            message = f"there is no configuration {shown} that can be gone back to; see ListModelVersions"
            value = "" if position is None else position_text(position)
            raise EngineError(Reason.CONFIGURATION_NOT_FOUND, message, field="position", value=value)
        earlier = found[-1].configuration
        # What the files of the configuration were like when they were last looked at is no part of what is gone back to.
        configured = running.get("configured")
        sources = sources_of(earlier["models"], earlier.get("files", {}))
        if position is None:
            sources = with_lists_of(sources, sources_of(running["models"], running.get("files", {})))
        plan = await self._accepted(self._planned, sources, configured)
        note = about.note or f"back to position {position_text(found[-1].position)}"
        return await self._take_over(plan, replace(about, note=note))

    def _known(self, about: _About) -> Activated | None:
        """Return what a request did that was carried out before, if it is remembered.

        Raises:
            EngineError: OUT_OF_RANGE if it asked for something else.
        """
        for entry in self._engine.configurations.entries:
            if about.request_id and entry.configuration.get("request_id") == about.request_id:
                # Entries of earlier versions of the server have no digest.
                if entry.configuration.get("request_digest", about.digest) != about.digest:
                    raise _is_of_another(about.request_id)
                models = self._engine.program.models
                return Activated(Plan({}, models, models, [], []), entry.position)
        return None

    async def _take_over(self, plan: Plan, about: _About, *, skip_history: bool = False) -> Activated:
        """Let the models of a plan run, unless they do."""
        running = self._engine.configuration
        if all(running.get(name) == plan.configuration.get(name) for name in IN_FORCE):
            return Activated(plan, self._pipeline.applied_position)
        wanted = plan.configuration | about.to_members()
        if all(running.get(name) == wanted.get(name) for name in TEXTS):
            entry = Entry(EntryType.CONFIGURE, self._clock_ms(), to_body(wanted))
            receipt = await self._pipeline.submit(entry, None, Want.APPLIED)
            return Activated(plan, receipt.position)
        begun = await asyncio.to_thread(self._engine.begins, plan.configuration)
        base = self._pipeline.retention.hold_base(oldest=bool(begun) and not skip_history)
        try:
            position = await self._refolded(
                await self._with_facts(compile_models, wanted | {REFOLD_FROM: base}, base), base
            )
        finally:
            self._pipeline.retention.release_base(base)
        self._counts["activations"] += 1
        changed = ", ".join(f"{each.name} {each.change.name.lower()}" for each in plan.models) or "no model"
        note = about.note or "without a note"
        _log.info("models changed at position %s: %s; %s", position_text(position), changed, note)
        return Activated(plan, position, begun)

    async def _with_facts(self, compile_: CompileModels, wanted: dict[str, Any], base: int) -> dict[str, Any]:
        """Return a configuration with the facts that its models need about history."""
        engine = self._make_engine(compile_)
        try:
            return await asyncio.to_thread(with_history_facts, self._journal, SHARD, base, wanted, engine)
        except JournalError as error:
            raise EngineError(Reason.JOURNAL_UNAVAILABLE, "history cannot be read; nothing was changed") from error

    async def _refolded(self, wanted: dict[str, Any], base: int) -> int:
        """Fold models from a position on and take them over; return the position of the entry."""
        body = to_body(wanted)
        refold = self._refold(compile_models, base, wanted, body)
        try:
            await self._caught_up(refold)
            entry = Entry(EntryType.CONFIGURE, self._clock_ms(), body)
            self._running.is_submitted = True
            self._counts["refold_ms"] = round(1000 * refold.seconds)
            receipt = await self._pipeline.activate(entry, refold.finish)
            return receipt.position
        finally:
            await asyncio.to_thread(refold.stop)
            self._running.refold, self._running.is_submitted = None, False

    def _refold(self, compile_: CompileModels, base: int, wanted: Mapping[str, Any], body: bytes) -> Refold[Engine]:
        self._running.refold = Refold(
            self._journal,
            SHARD,
            self._snapshots,
            lambda: self._make_engine(compile_),
            base,
            wanted,
            body,
            self._pipeline.is_busy,
        )
        return self._running.refold

    async def _caught_up(self, refold: Refold[Engine]) -> None:
        try:
            is_reached = await asyncio.to_thread(refold.wait_caught_up, self._settings.refold_s_max)
        except JournalError as error:
            raise EngineError(Reason.JOURNAL_UNAVAILABLE, "history cannot be read; nothing was changed") from error
        if self._is_closed:
            raise _stopping()
        if not is_reached:
            message = "events come faster than history can be folded; try when less comes, or with skip_history"
            raise EngineError(Reason.OVERLOADED, message, limit=f"{self._settings.refold_s_max:g} s")

    async def _dry_run(self, order: ModelOrder) -> Tried:
        async with self._lock:
            plan = await self._accepted(self._plan, order)
            begun = await asyncio.to_thread(self._engine.begins, plan.configuration)
            comparison = Comparison(plan.before, plan.after)
            engine = await self._both(comparison, oldest=bool(begun) and not order.skip_history)
            compared = await asyncio.to_thread(
                comparison.compare,
                engine,
                self._clock_ms(),
                self._settings.compared_sessions_max,
                self._score_rows,
                self._between_blocks,
            )
            self._counts["dry_runs"] += 1
            new = {comparison.name_of(name) for name in begun}
            since_ms = max((time_ms for name, (_, time_ms) in engine.since.items() if name in new), default=0)
            return Tried(plan, compared, since_ms)

    def _between_blocks(self) -> None:
        """Leave the processor to others; end a comparison when the server stops."""
        if self._is_closed:
            raise _stopping()
        time.sleep(BLOCK_PAUSE_S)

    async def _both(self, comparison: Comparison, *, oldest: bool) -> Engine:
        """Return an engine in which both sets of models ran, up to about now."""
        wanted: dict[str, Any] = {"settings": self._engine.configuration["settings"], **comparison.configuration}
        base = self._pipeline.retention.hold_base(oldest=oldest)
        try:
            wanted = await self._with_facts(comparison.compile, wanted, base)
            refold = self._refold(comparison.compile, base, wanted, b"")
            try:
                await self._caught_up(refold)
            finally:
                await asyncio.to_thread(refold.stop)
                self._running.refold = None
            return refold.take()
        finally:
            self._pipeline.retention.release_base(base)


def _what_changed(followed: Followed) -> str:
    """Return a note for those who look at the versions."""
    models, lists = ", ".join(followed.changed), ", ".join(followed.lists_changed)
    return "; ".join(
        [*([f"changed files: {models}"] if models else []), *([f"changed lists of: {lists}"] if lists else [])]
    )


def _digest_of(order: ModelOrder) -> str:
    """Return the SHA-256 of what an order asks for, in hexadecimal; why and by whom is no part of it."""
    asked = {
        "models": [source.text for source in order.given],
        "files": {name: sha256(content).hexdigest() for name, content in sorted(order.files.items())},
        "removed": list(order.removed),
        "is_alongside": order.is_alongside,
        "skip_history": order.skip_history,
    }
    return sha256(to_body(asked)).hexdigest()


def _is_of_another(request_id: str) -> EngineError:
    message = "request_id was used for a request that asked for something else; nothing was changed, take a new one"
    return EngineError(Reason.OUT_OF_RANGE, message, field="request_id", value=request_id, limit="one request")


def _stopping() -> EngineError:
    return EngineError(Reason.SHUTTING_DOWN, "the server is stopping; nothing was changed, send it again")
