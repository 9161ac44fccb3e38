"""The engine of a shard: takes journal entries in order, holds the state, answers questions about it.

One writer calls `apply`; any number of threads may ask meanwhile. Nothing here knows the time, a network or a disk: the
received time is in the entry, and what must be done is in the outcome.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine import snapshot
from rte_server.engine.annexes import move_cells
from rte_server.engine.assembly import assemble
from rte_server.engine.at_once import holds_without_events
from rte_server.engine.batch import DUPLICATE
from rte_server.engine.configurations import REFOLD_FROM, Configurations, Since, without_facts
from rte_server.engine.customer_values import write_customers
from rte_server.engine.dedup import knows_request, see_request
from rte_server.engine.encode import ReadBuffers
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure, erase_person
from rte_server.engine.expiry import end_session, expire
from rte_server.engine.facts import store_facts
from rte_server.engine.fold import fold_events, new_scratch, refresh_rows
from rte_server.engine.ids import etag_text, session_id_text
from rte_server.engine.links import Links
from rte_server.engine.masks import Mask
from rte_server.engine.moves import carried, cell_moves, moved_table, needs_history, since_after
from rte_server.engine.native import text_id
from rte_server.engine.online_report import carried_online, roll_back
from rte_server.engine.outcome import Outcome
from rte_server.engine.program import T_OF_EVENTS, Program
from rte_server.engine.reader import NO_ROW, Reader, State
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.requests import SessionWrite, read_end, read_update, write_hash
from rte_server.engine.rows import start_entry
from rte_server.engine.scores import carry_scores, new_scores, scores_after
from rte_server.engine.settings import EngineSettings
from rte_server.engine.snapshot import Stored
from rte_server.engine.state_copy import Arrays, SnapshotAhead, StateCopy
from rte_server.engine.strings import StringPool, intern_bytes
from rte_server.engine.sweep import carry_over, is_nearly_full
from rte_server.engine.table import (
    CLOCK,
    GENERATION,
    HIGH_WATER,
    REQUESTS_DUPLICATE,
    SESSION_LO,
    SESSIONS_STARTED,
    STRING_SWEEPS,
    SWEEP_FROM,
    VERSION,
    VERSION_CHANGES,
    Capacity,
    Table,
    new_strings,
    new_table,
)
from rte_server.engine.texts_made import keep_texts
from rte_server.engine.triggers import fired_by
from rte_server.engine.verdicts import new_verdicts
from rte_server.engine.wire import Limits, ScannedRequest, scan_request
from rte_server.engine.wire_layout import REQUEST_ID_HASH
from rte_server.engine.written_values import write_session

EXPIRED_PER_TICK_MAX = 10_000
"""Sessions for which one TICK does what is due, about 15 ms of work: so long events may have to wait for it."""

LAYOUT_VERSION = 9
"""Raise it with every change of what a word of the state means (`table`, `attributes`): older snapshots are passed over
then, and the state is folded from the journal."""

WRITTEN_NAMES_MAX = 1_000
"""Different names of attributes that applications write, over all sessions."""

SWEEP_PAUSE = 1_000
"""Entries without a sweep of the strings after one that has not freed enough of them."""

ETAG_STEP = 4
"""By how much etags grow with a configuration: the same entries make a row's version differ by less."""


CompileModels = Callable[[Mapping[str, str], Mapping[str, str]], Sequence[Any]]
"""Compiles YAML sources by name, with the files that they name, into `ModelSpec`s, each after those that it uses."""

_NOTHING = np.zeros(0, np.uint8)


class Engine(Reader):
    """The state of one shard and the fold over it."""

    def __init__(
        self,
        secret: NDArray[np.uint64],
        compile_models: CompileModels,
        capacity: Capacity | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Make an empty engine. Its first entry must be a CONFIGURE.

        Args:
            secret: uint64[4], the deployment secret, kept with the journal.
            compile_models: How model sources become specifications.
            capacity: How much it may hold. Not part of the journal: give the same to every copy of a shard.
            limits: What requests are checked against.
        """
        self._secret = secret
        self._compile = compile_models
        self._capacity = capacity or Capacity()
        self._limits = limits or Limits()
        self._settings = EngineSettings()
        self._settings_words = self._settings.words()
        self._configuration: dict[str, Any] = {}
        self._position = 0
        self._constants = np.zeros(0, np.int64)
        self._written_names: dict[str, int] = {}
        self._configurations = Configurations()
        self._since: Since = {}
        self._open_erasures: dict[str, tuple[int, ...]] = {}
        self._is_refold = False
        self._names_version = 0
        self._links = Links()
        program = assemble([], secret)
        table = new_table(self._capacity, self._row_words(program), program.annexes)
        self._scratch = new_scratch(0, 0)
        self._state = self._state_of(table, new_strings(self._capacity), program, new_scores(1, 0))
        self._everything = Mask.of((), program, secret)
        self._buffers: deque[ReadBuffers] = deque()

    def _state_of(self, table: Table, pool: StringPool, program: Program, scores: NDArray[np.int64]) -> State:
        """Return the state of some arrays, with the context by which kernels reach them."""
        return State.of(table, pool, program, scores, self._scratch, self._settings_words, self._secret)

    @staticmethod
    def _row_words(program: Program) -> int:
        """Return the words of a row in the table."""
        return program.core_words

    @property
    def settings(self) -> EngineSettings:
        """The settings in force."""
        return self._settings

    @property
    def configuration(self) -> dict[str, Any]:
        """The body of the CONFIGURE entry in force, as parsed JSON."""
        return self._configuration

    @property
    def configurations(self) -> Configurations:
        """The configurations that the shard has had, the one in force last."""
        return self._configurations

    @property
    def refolds(self) -> tuple[tuple[int, int], ...]:
        """For each CONFIGURE entry that was adopted: its position, and the one from whose state on it was folded."""
        entries = self._configurations.entries
        return tuple((entry.position, entry.refold_from) for entry in entries if entry.refold_from is not None)

    def growing(self) -> list[tuple[NDArray[np.int64], int]]:
        """Return the arrays that fill from their beginning on, and how many bytes of each are in use. Any thread."""
        table = self._state.table
        return [(table.rows, int(table.counts[HIGH_WATER]) * table.rows.strides[0])]

    @property
    def open_erasures(self) -> Mapping[str, tuple[int, ...]]:
        """By id of each erasure that has begun and not ended: the positions of the entries that began it. Any thread."""
        return self._open_erasures

    @property
    def since(self) -> Since:
        """Which attributes do not have all of the history, and since when they are complete."""
        return self._since

    @property
    def limits(self) -> Limits:
        """What requests are checked against."""
        return self._limits

    def scan(self, request: bytes, received_ms: int) -> ScannedRequest:
        """Check a request. Any thread; the GIL is released."""
        return scan_request(request, received_ms, self._secret, self._limits)

    def apply(self, position: int, entry: Entry, scanned: ScannedRequest | None = None) -> Outcome:
        """Fold one entry. One thread only; entries in order, without gaps.

        Args:
            position: Position of the entry: that of the last one plus 1.
            entry: What to fold.
            scanned: EVENTS: the scan of the request, if it is at hand; else the entry's body is scanned.

        Raises:
            ValueError: `position` is not the next one, or a CONFIGURE entry cannot be understood.
        """
        if position != self._position + 1:
            raise ValueError(f"entry {position} does not follow entry {self._position}")
        if is_nearly_full(self._state.pool) and position >= self._state.table.counts[SWEEP_FROM]:
            self.sweep()
            # What is in use may fill the pool, so that sweeping before each entry would stop everything.
            if is_nearly_full(self._state.pool):
                self._state.table.counts[SWEEP_FROM] = position + SWEEP_PAUSE
        # One clock for all that an entry does, and for readers: it stands still where that of the host was set back.
        now_ms = max(entry.received_ms, int(self._state.table.counts[CLOCK]))
        if entry.type == EntryType.EVENTS:
            outcome = self._apply_events(position, entry, scanned, now_ms)
        elif entry.type == EntryType.TICK:
            expire(self._state.context, now_ms, position, EXPIRED_PER_TICK_MAX)
            outcome = self._outcome(_NOTHING)
        elif entry.type == EntryType.CONFIGURE:
            self._apply_configure(position, entry)
            start_entry(self._state.context, now_ms, position)
            outcome = self._outcome(_NOTHING)
        elif entry.type == EntryType.FACTS:
            start_entry(self._state.context, now_ms, position)
            store_facts(self._state.context, json.loads(entry.body), self._secret, self._capacity.facts_max)
            outcome = self._outcome(_NOTHING)
        elif entry.type == EntryType.ROLL_BACK:
            start_entry(self._state.context, now_ms, position)
            outcome = self._outcome(_NOTHING, error=roll_back(self.program, self._state.context, entry.body))
        elif entry.type == EntryType.ERASE:
            start_entry(self._state.context, now_ms, position)
            outcome = self._apply_erasure(position, Erasure.of_body(entry.body))
        elif entry.type == EntryType.LINK:
            start_entry(self._state.context, now_ms, position)
            outcome = self._outcome(_NOTHING, error=self._links.apply(entry.body, position, now_ms))
        elif entry.type == EntryType.CUSTOMER:
            start_entry(self._state.context, now_ms, position)
            write_customers(self._state.context, self.program, json.loads(entry.body), self._secret, now_ms)
            outcome = self._outcome(_NOTHING)
        else:
            outcome = self._apply_write(position, entry, now_ms)
        self._position = position
        return outcome

    def _outcome(self, events: NDArray[np.uint8], row: int = NO_ROW, error: EngineError | None = None) -> Outcome:
        scratch = self._scratch
        removed_all = int(scratch.removed[0])
        listed = min(removed_all, (len(scratch.removed) - 1) // 2)
        pairs = scratch.removed[1 : 1 + 2 * listed].reshape(-1, 2)
        removed = [session_id_text(int(low), int(high)) for low, high in pairs]
        rows = scratch.touched[: scratch.progress[0]].copy()
        return Outcome(events, rows, removed, removed_all, row, error, fired_by(scratch.fired, self._state.program))

    def _apply_events(self, position: int, entry: Entry, scanned: ScannedRequest | None, now_ms: int) -> Outcome:
        if scanned is None:
            scanned = scan_request(entry.body, entry.received_ms, self._secret, Limits.UNLIMITED)
        state = self._state
        outcomes = np.zeros(len(scanned.records), np.uint8)
        request = int(scanned.envelope[REQUEST_ID_HASH])
        if request != 0 and not see_request(state.context, request, now_ms):
            start_entry(state.context, now_ms, position)
            state.table.counts[REQUESTS_DUPLICATE] += 1
            outcomes[:] = DUPLICATE
            return self._outcome(outcomes)
        fold_events(state.context, scanned.buf, scanned.records, now_ms, position, outcomes)
        return self._outcome(outcomes)

    def _apply_write(self, position: int, entry: Entry, now_ms: int) -> Outcome:
        """Fold an UPDATE or END entry."""
        state = self._state
        start_entry(state.context, now_ms, position)
        row = NO_ROW
        try:
            request = read_update(entry.body) if entry.type == EntryType.UPDATE else read_end(entry.body)
            row = self.find_session(request.session_id)
            if row == NO_ROW:
                raise EngineError(
                    Reason.SESSION_NOT_FOUND,
                    f"No session has the id {request.session_id!r}.",
                    field="session_id",
                    value=request.session_id,
                )
            request_hash = write_hash(request.request_id, self._secret) if request.request_id else 0
            if request_hash != 0 and knows_request(state.context, request_hash):
                state.table.counts[REQUESTS_DUPLICATE] += 1
                return self._outcome(_NOTHING, row)
            if entry.type == EntryType.UPDATE:
                self._write(row, request)
            else:
                end_session(state.context, row, now_ms)
            # Only now: what was refused is no duplicate when it is tried again.
            if request_hash != 0:
                see_request(state.context, request_hash, now_ms)
        except EngineError as error:
            return self._outcome(_NOTHING, row, error)
        return self._outcome(_NOTHING, row)

    def _apply_erasure(self, position: int, erasure: Erasure) -> Outcome:
        open_before = {name: at for name, at in self._open_erasures.items() if name != erasure.erasure_id}
        if erasure.is_end:
            self._open_erasures = open_before
            return self._outcome(_NOTHING)
        began = self._open_erasures.get(erasure.erasure_id, ())
        self._open_erasures = open_before | {erasure.erasure_id: (*began, position)}
        erase_person(self._state.context, erasure, self._secret)
        self._links.forget(erasure.visitor_keys, self._secret)
        outcome = self._outcome(_NOTHING)
        # What only the person said must not stay in the pool, and so in a snapshot.
        self.sweep()
        return outcome

    def _write(self, row: int, request: SessionWrite) -> None:
        state = self._state
        if request.etag and request.etag != self._etag(row):
            raise EngineError(
                Reason.ETAG_MISMATCH,
                "The session changed since the etag was read; read it again.",
                field="etag",
                value=request.etag,
            )
        for name in request.attributes:
            if state.program.number_of(name) >= 0:
                raise EngineError(
                    Reason.ATTRIBUTE_NOT_WRITABLE,
                    f"The attribute {name!r} is computed by a model; write another name.",
                    field=f"attributes.{name}",
                )
        self._remember_names(request)
        write_session(state.context, row, request.attributes, self._keep, self._capacity.written_sessions_max)

    def _etag(self, row: int) -> str:
        table = self._state.table
        version = int((table.rows[row, VERSION] & VERSION_CHANGES) + table.counts[GENERATION])
        return etag_text(version, int(table.rows[row, SESSION_LO]))

    def _remember_names(self, request: SessionWrite) -> None:
        """Remember which names applications write: filters may read them. They are few, as names of columns are."""
        new = {name for name in request.attributes if name not in self._written_names}
        if len(self._written_names) + len(new) > WRITTEN_NAMES_MAX:
            raise EngineError(
                Reason.TOO_MANY_WRITTEN_ATTRIBUTES,
                "Applications write too many different attributes; use the same names for all sessions.",
                field="attributes",
                limit=str(WRITTEN_NAMES_MAX),
            )
        # A new dict, since readers may be going through the old one.
        if new:
            self._written_names = self._written_names | {
                name: text_id(name.encode(), self._secret) for name in sorted(new)
            }
            self._names_version += 1

    def _keep(self, text: str) -> int:
        """Return the id of a text that is in the pool from now on.

        Raises:
            EngineError: OVERLOADED if the pool is full.
        """
        encoded = np.frombuffer(text.encode(), np.uint8)
        found = text_id(text.encode(), self._secret)
        if not intern_bytes(self._state.context, found, encoded):
            raise EngineError(
                Reason.OVERLOADED,
                "There is no room for another text; try again when sessions have left.",
                limit=str(self._capacity.string_bytes_max),
            )
        return found

    def begins(self, configuration: Mapping[str, Any]) -> list[str]:
        """Return the attributes of a configuration that have no cells here, so that they need history. Any thread.

        Raises:
            ValueError: It cannot be understood.
        """
        EngineSettings(**configuration["settings"])
        after = assemble(self._compile(configuration["models"], configuration.get("files", {})), self._secret)
        goes_on = carried(self._state.program, after, self._since)
        return [s.name for n, s in enumerate(after.attributes) if n not in goes_on and needs_history(s)]

    def begin_refold(self, configuration: Mapping[str, Any]) -> None:
        """Take over the models of another configuration, and keep them whatever CONFIGURE entries come.

        From here on this engine shows what the state would be if these models had run since its position. When it has
        caught up with the running engine, that one may `adopt` it.

        Args:
            configuration: The body of the CONFIGURE entry to come.

        Raises:
            ValueError: It cannot be understood; nothing has changed.
        """
        settings = self._configuration.get("settings", {})
        self._configure({**configuration, "settings": settings}, self._position, int(self._state.table.counts[CLOCK]))
        self._is_refold = True

    def adopt(self, position: int, entry: Entry, refolded: Engine) -> Outcome:
        """Apply a CONFIGURE entry by taking over the state of an engine that folded its models from earlier on.

        Args:
            position: Position of the entry: that of the last one plus 1.
            entry: It has the member `refold_from`.
            refolded: Began with `begin_refold` at that position, and has folded all entries since. Not used afterwards.

        Raises:
            ValueError: `position` is not the next one, or `refolded` has not folded just the entries before it.
        """
        if position != self._position + 1 or refolded.position != self._position or not refolded._is_refold:
            raise ValueError(f"entry {position} cannot be applied to {self._position} by way of {refolded.position}")
        configuration = json.loads(entry.body)
        refolded._set_settings(configuration["settings"])
        refolded._configuration = without_facts(configuration)
        refolded._remember(position, entry.received_ms, configuration)
        start_entry(refolded._state.context, entry.received_ms, position)
        carry_scores(self.program, self._state.scores, refolded.program, refolded._state.scores)
        for name in _TAKEN_OVER:
            setattr(self, name, getattr(refolded, name))
        self._names_version += 1
        self._position = position
        return Outcome(_NOTHING, np.zeros(0, np.int64), is_new_state=True)

    def _apply_configure(self, position: int, entry: Entry) -> None:
        configuration = json.loads(entry.body)
        if self._is_refold:
            self._set_settings(configuration["settings"])
        elif REFOLD_FROM in configuration:
            raise ValueError(f"entry {position} must be adopted from an engine that folded its models")
        else:
            self._configure(configuration, position, entry.received_ms)
        self._remember(position, entry.received_ms, configuration)

    def _remember(self, position: int, received_ms: int, configuration: Mapping[str, Any]) -> None:
        self._configurations = self._configurations.followed_by(position, received_ms, configuration)
        # Other values, another etag, also where a row has changed as often before as it will have now.
        self._state.table.counts[GENERATION] = ETAG_STEP * self._configurations.count

    def _set_settings(self, settings: Mapping[str, int]) -> None:
        """Take over settings alone; in place, since the context holds the address."""
        self._settings = EngineSettings(**settings)
        self._settings_words[:] = self._settings.words()

    def _configure(self, configuration: dict[str, Any], position: int, now_ms: int) -> None:
        """Take over settings and models. Attributes whose definition stays keep their values, new ones begin empty.

        Args:
            configuration: The body of a CONFIGURE entry.
            position: New attributes are complete from there on,
            now_ms: and this is the clock there.
        """
        program = assemble(self._compile(configuration["models"], configuration.get("files", {})), self._secret)
        self._settings = EngineSettings(**configuration["settings"])
        self._settings_words = self._settings.words()
        self._configuration = without_facts(configuration)
        before = self._state
        goes_on = carried(before.program, program, self._since)
        has_begun = before.table.counts[SESSIONS_STARTED] > 0
        self._since = since_after(
            before.program, program, goes_on, self._since, (position, now_ms) if has_begun else None
        )
        table = moved_table(before.table, before.program, program, self._row_words(program))
        is_moved = table is not before.table
        table = table._replace(online=carried_online(before.program, before.table.online, program, goes_on))
        self._scratch = new_scratch(len(program.arrays.slots), len(program.arrays.loads))
        self._constants = keep_texts(self._state.context, program.constant_texts, self._secret)
        scores = scores_after(before.program, before.scores, program, len(table.rows))
        program.arrays.at_once[T_OF_EVENTS] &= not holds_without_events(program, self._secret, before.pool)
        after = self._state_of(table, before.pool, program, scores)
        store_facts(after.context, configuration, self._secret, self._capacity.facts_max)
        if is_moved:
            moves = cell_moves(before.program, program, goes_on)
            move_cells(before.context, after.context, moves, int(table.counts[HIGH_WATER]))
            refresh_rows(after.context)
        self._state = after
        self._everything = Mask.of((), program, self._secret)
        self._names_version += 1

    def sweep(self) -> None:
        """Leave behind the strings that no session refers to."""
        before = self._state
        # They may be of strings that are left behind.
        self._scratch = self._scratch._replace(verdicts=new_verdicts())
        after = self._state_of(before.table, new_strings(self._capacity), before.program, before.scores)
        carry_over(before.context, after.context, self._constants)
        before.table.counts[STRING_SWEEPS] += 1
        self._state = after

    def begin_snapshot(self) -> SnapshotAhead:
        """Begin a snapshot, most of which can be copied while entries are applied. Any thread."""
        copy = StateCopy(self._state.table, self._state.pool)
        return SnapshotAhead(copy.advance, partial(self._snapshot, copy))

    def snapshot(self) -> tuple[dict[str, Any], Arrays]:
        """Return the state as (what is small, as JSON can hold it; arrays). Only between two calls of `apply`."""
        return self.begin_snapshot().finish()

    def _snapshot(self, copy: StateCopy, *, is_last: bool) -> tuple[dict[str, Any], Arrays]:
        meta = {
            "position": self._position,
            "layout": LAYOUT_VERSION,
            "configuration": self._configuration,
            "written_names": sorted(self._written_names),
            "configurations": self._configurations.to_meta(),
            "since": self._since,
            "erasures": self._open_erasures,
            "links": self._links.to_meta(),
            "capacity": asdict(self._capacity),
        }
        state = self._state
        if not copy.is_of(state.table, state.pool):
            # Models have changed, or strings have been swept, since the copy was begun.
            copy = StateCopy(state.table, state.pool)
        return meta, copy.finish(is_last=is_last)

    def restore(self, meta: Mapping[str, Any], arrays: Stored) -> None:
        """Take over a snapshot. The engine must be new. Its capacity may differ, as long as there is room.

        Where this raises, of its own or what `arrays` raises, the engine is of no use any more.

        Raises:
            ValueError: The snapshot does not fit.
        """
        if self._position != 0:
            raise ValueError("only a new engine can take over a snapshot")
        if meta.get("layout") != LAYOUT_VERSION:
            raise ValueError(f"it has the layout {meta.get('layout')}, this version of RTE has {LAYOUT_VERSION}")
        self._configure(meta["configuration"], 0, 0)
        if not snapshot.fits(self._state.table, arrays):
            raise ValueError("it was taken with other models")
        state = self._state
        pool = new_strings(self._capacity)
        same_capacity = meta["capacity"] == asdict(self._capacity)
        snapshot.put_back(state.table, pool, arrays, same_capacity=same_capacity)
        self._state = self._state_of(state.table, pool, state.program, state.scores)
        self._position = int(meta["position"])
        self._configurations = Configurations.of_meta(meta["configurations"])
        self._since = {name: (position, time_ms) for name, (position, time_ms) in meta["since"].items()}
        self._open_erasures = {name: tuple(at) for name, at in meta.get("erasures", {}).items()}
        self._written_names = {name: text_id(name.encode(), self._secret) for name in meta["written_names"]}
        # Snapshots of before there were links have none.
        self._links = Links.of_meta(meta.get("links", {}))


_TAKEN_OVER = (
    "_settings",
    "_settings_words",
    "_configuration",
    "_configurations",
    "_since",
    "_open_erasures",
    "_constants",
    "_written_names",
    "_scratch",
    "_links",
    "_everything",
    "_state",
)
"""What an engine takes over from one that it adopts; `_state` last, since readers look there first."""
