"""Puts an explanation together: the session as it is now, the definition, and what stands behind the value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from google.protobuf.struct_pb2 import Value
from numpy.typing import NDArray

from rte.v1.model_pb2 import Attribute
from rte.v1.session_explanation_pb2 import Definition as DefinitionMessage
from rte.v1.session_explanation_pb2 import Explanation
from rte.v1.session_pb2 import Session
from rte_server.engine.configurations import Since
from rte_server.engine.ids import session_id_text
from rte_server.engine.online_report import Learned, read_learned
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.row_copy import RowCopy
from rte_server.engine.session_copy import evaluate_on_copy
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import (
    ALIAS_COUNT_MAX,
    ALIASES,
    CHANGED,
    FIRST_POSITION,
    HEADER_WORDS,
    KEY_HI,
    KEY_LO,
    NEVER_MS,
    SESSION_HI,
    SESSION_LO,
)
from rte_server.models.definitions import Definition, find_definition
from rte_server.models.problems import did_you_mean
from rte_server.service.explain.customers import customer_evidence, customer_summary
from rte_server.service.explain.evidence import Chosen, Evidence, Place, Subject
from rte_server.service.explain.journal_search import Found, JournalSearch, Sought, not_all
from rte_server.service.explain.rules import Codes, Rule, RuleReader, reasons, shown
from rte_server.service.explain.scores import (
    Contribute,
    linear_evidence,
    online_evidence,
    runner_evidence,
    score_summary,
)
from rte_server.service.explain.stories import Behind, story_of, waits_for
from rte_server.service.explain.triggers import trigger_states
from rte_server.service.explain.values import text_of
from rte_server.service.explain.writes import write_evidence
from rte_server.service.model_service import attribute_message
from rte_server.service.session_reads import SessionReads

TAIL_ENTRIES = 2_000
"""How many entries after the last one that changed the session are searched: for duplicates and late events."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked.

    Attributes:
        field: By which id the session is chosen: a field of GetSessionRequest.
        key: The id.
        attribute: Name of the attribute.
        chosen: Which events are listed.
    """

    field: str
    key: str
    attribute: str
    chosen: Chosen


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer.

    Attributes:
        explanation: For the caller.
        last: The last event of the page if there are more.
        position: Position that the state had reached.
    """

    explanation: Explanation
    last: Place | None
    position: int


class Explainer:
    """Explains attributes, one at a time, in a thread of its own: neither the event loop nor the fold waits for it."""

    def __init__(
        self,
        reads: SessionReads,
        search: JournalSearch,
        secret: NDArray[np.uint64],
        clock_ms: Callable[[], int],
        *,
        waiting_max: int,
        contributions: Contribute | None = None,
    ) -> None:
        """Make an explainer.

        Args:
            reads: Finds sessions.
            search: Looks into the journal.
            secret: uint64[4], the deployment secret.
            clock_ms: Gives the server's time, milliseconds since 1970.
            waiting_max: Explanations that are worked on or wait, > 0. One more is refused.
            contributions: Asks the runners about the scores that they compute.
        """
        self._reads = reads
        self._engine = reads.engine
        self._search = search
        self._secret = secret
        self._clock_ms = clock_ms
        self._waiting_max = waiting_max
        self._contributions = contributions
        self._waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rte-explain")

    def close(self) -> None:
        """Take nothing more; what is worked on ends by itself."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def explain(self, wanted: Wanted) -> Explained:
        """Explain an attribute of a session.

        Raises:
            EngineError: SESSION_NOT_FOUND, ATTRIBUTE_NOT_FOUND; OVERLOADED if too many are wanted at a time.
        """
        if self._waiting >= self._waiting_max:
            message = f"{self._waiting_max} explanations are wanted at a time; ask again later"
            raise EngineError(Reason.OVERLOADED, message, limit=str(self._waiting_max))
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._explained, wanted)
        self._waiting += 1
        # When the work ends, not when its caller goes: the thread is busy until then.
        work.add_done_callback(self._leave)
        return await asyncio.shield(work)

    def _leave(self, work: asyncio.Future[Explained]) -> None:
        self._waiting -= 1
        if not work.cancelled():
            work.exception()  # Seen, though its caller may be gone.

    def _explained(self, wanted: Wanted) -> Explained:
        copied = self._engine.copied(self._reads.find(wanted.field), wanted.key)
        if copied is None:
            message = f'no session has {wanted.field} "{wanted.key[:64]}"'
            raise EngineError(Reason.SESSION_NOT_FOUND, message, field=wanted.field, value=wanted.key)
        number = copied.program.number_of(wanted.attribute)
        if number < 0:
            return self._written(wanted, copied)
        spec = copied.program.attributes[number]
        learned = next((each for each in read_learned(self._engine.score_view()) if each.spec == spec), None)
        work = _Work(self._secret, self._search, copied, spec, self._clock_ms(), self._contributions, learned)
        return work.done(wanted.chosen, self._engine.settings, self._engine.since)

    def _written(self, wanted: Wanted, copied: RowCopy) -> Explained:
        """Explain an attribute that an application wrote."""
        name = wanted.attribute
        known = [spec for spec in self._engine.filter_attributes if spec.name == name]
        if not known:
            names = [spec.name for spec in self._engine.filter_attributes]
            message = f"there is no attribute {name[:64]!r}"
            hint = did_you_mean(name, names)
            message = f"{message}; {hint}" if hint else message
            raise EngineError(Reason.ATTRIBUTE_NOT_FOUND, message, field="attribute", value=name)
        session_id = _session_id(copied)
        mask = self._engine.mask([f"attributes.{name}", "visitor_id"])
        session = Session.FromString(self._engine.get(self._engine.find_session, session_id, mask))
        value = session.attributes.fields.get(name)
        found = self._search.find(_sought(copied, session.visitor_id))
        explanation = Explanation(
            session_id=session_id, attribute=Attribute(name=name, kind="written", value_type="any"), value=value
        )
        explanation.attribute.exactness = Attribute.EXACTNESS_EXACT
        explanation.attribute.exactness_note = "exact"
        evidence, last = write_evidence(name, value, found, wanted.chosen)
        explanation.events.CopyFrom(evidence)
        writes = evidence.counts.contributed + evidence.counts.without_effect
        times = f"{writes} time{'s' if writes != 1 else ''}"
        times += f" in what was found{not_all(evidence.incomplete_reason)}" if evidence.incomplete_reason else ""
        explanation.summary = f"{_is(name, value)}: applications wrote it {times}"
        return Explained(explanation, last, copied.position)


class _Work:
    """Explains one attribute of a model."""

    def __init__(
        self,
        secret: NDArray[np.uint64],
        search: JournalSearch,
        copied: RowCopy,
        spec: AttributeSpec,
        now_ms: int,
        contributions: Contribute | None,
        learned: Learned | None,
    ) -> None:
        self._contributions = contributions
        self._learned = learned
        self._secret = secret
        self._search = search
        self._copied = copied
        self._spec = spec
        self._now_ms = now_ms
        self._program = copied.program
        self._story = story_of(spec.kind)
        codes = Codes()
        self._triggers = trigger_states(copied, now_ms)
        reader = RuleReader(self._program, codes, self._triggers)
        self._rule = reader.rule_of(spec.name) if self._story.behind is Behind.RULE else None
        self._inputs = reader.inputs_of(spec) if self._story.behind is Behind.SCORE else ()
        read = {spec.name, *_read_by(self._rule)}
        evaluated = evaluate_on_copy(secret, copied, codes.by_name, tuple(read), now_ms)
        self._session = Session.FromString(evaluated.before)
        self._values = Session.FromString(evaluated.after).attributes.fields
        self._change_ms = evaluated.change_ms
        self._value = self._session.attributes.fields.get(spec.name)

    def done(self, chosen: Chosen, settings: EngineSettings, since: Since) -> Explained:
        spec = self._spec
        model = next(model for model in self._program.models if model.name == spec.model)
        definition = find_definition(model.source, spec.name)
        explanation = Explanation(
            session_id=_session_id(self._copied),
            attribute=attribute_message(spec, {each.name: each for each in self._program.attributes}),
            model_version=model.version,
            value=self._value,
        )
        if definition is not None:
            explanation.definition.CopyFrom(DefinitionMessage(line=definition.line, source=definition.source))
        why, last = "", None
        if self._rule is not None:
            explanation.rule.CopyFrom(shown(self._rule, self._values))
            why = "; ".join(reasons(explanation.rule))
            if self._rule.trigger is not None:
                why = "; ".join(reasons(shown(self._rule.parts[0], self._values)))
                why = f"{self._rule.trigger.sentence()}; its condition now: {why}"
        elif self._story.behind is Behind.SCORE:
            values = {rule.part.input: self._values[rule.name] for rule in self._inputs if rule.name in self._values}
            if spec.kind == Kind.SCORE:
                self._add_runner_score(explanation, values)
            elif spec.kind == Kind.ONLINE:
                value = self._value.number_value if self._value is not None else None
                explanation.score.CopyFrom(online_evidence(self._learned, values, value))
            else:
                explanation.score.CopyFrom(linear_evidence(spec, values))
            why = explanation.score.reason or score_summary(explanation.score)
        elif self._story.behind is Behind.CUSTOMER:
            explanation.customer.CopyFrom(customer_evidence(self._copied, spec, self._session, self._search))
            why = customer_summary(explanation.customer)
        else:
            evidence = self._evidence(definition or Definition(0, "", "", ()), settings, since)
            page, last = evidence.page(chosen)
            explanation.events.CopyFrom(page)
            why = evidence.summary()
        self._add_timer(explanation)
        explanation.summary = f"{_is(spec.name, self._value)}: {why}" if why else _is(spec.name, self._value)
        return Explained(explanation, last, self._copied.position)

    def _evidence(self, definition: Definition, settings: EngineSettings, since: Since) -> Evidence:
        spec = self._spec
        cell = self._program.attributes[self._program.number_of(spec.owner)] if spec.owner else spec
        found: Found = self._search.find(_sought(self._copied, self._session.visitor_id))
        header = self._copied.cells[:HEADER_WORDS]
        since_ms = since[cell.name][1] if cell.name in since else None
        subject = Subject(spec, cell, definition, header, self._value, self._now_ms, self._program.models, since_ms)
        return Evidence(self._secret, subject, found, settings)

    def _add_runner_score(self, explanation: Explanation, values: Mapping[str, Value]) -> None:
        """Say what a score follows from that a runner computes, from the inputs as they are now."""
        explanation.score.CopyFrom(runner_evidence(self._spec, values, self._contributions))
        if not explanation.score.reason:
            explanation.score.computed_time.FromMilliseconds(self._now_ms)
            self._value = Value(number_value=explanation.score.value)
            explanation.value.CopyFrom(self._value)

    def _add_timer(self, explanation: Explanation) -> None:
        change_ms = None if self._change_ms >= NEVER_MS else self._change_ms
        trigger = self._triggers.get(self._spec.name)
        text = trigger.sentence() if trigger else waits_for(self._spec, self._value, is_due=change_ms is not None)
        if change_ms is not None:
            explanation.timer.change_time.FromMilliseconds(change_ms)
        if text:
            explanation.timer.waits_for = text


def _read_by(rule: Rule | None) -> set[str]:
    """Return what a rule reads, directly and through others."""
    if rule is None:
        return set()
    return {rule.part.input} | {name for each in rule.parts for name in _read_by(each)}


def _is(name: str, value: Value | None) -> str:
    return f"`{name}` is {text_of(value)}" if value is not None else f"`{name}` has no value"


def _session_id(copied: RowCopy) -> str:
    return session_id_text(int(copied.cells[SESSION_LO]), int(copied.cells[SESSION_HI]))


def _sought(copied: RowCopy, visitor_id: str) -> Sought:
    cells = copied.cells
    pairs = cells[ALIASES : ALIASES + 2 * ALIAS_COUNT_MAX].reshape(-1, 2).tolist()
    merged = [session_id_text(low, high) for low, high in pairs if high != 0]
    return Sought(
        key=(int(cells[KEY_LO]), int(cells[KEY_HI])),
        visitor_id=visitor_id,
        session_ids=(_session_id(copied), *merged),
        first=max(1, int(cells[FIRST_POSITION])),
        last=min(copied.position, int(cells[CHANGED]) + TAIL_ENTRIES),
    )
