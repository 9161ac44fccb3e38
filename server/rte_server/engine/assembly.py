"""Assembles a program from models: gives attributes their words, encodes expressions, plans what an event does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.expressions import CELLS_SUFFIX, Code, Op, always_read, encode_code, input_names, text_names
from rte_server.engine.kernel import kernel
from rte_server.engine.keyed import EXTRAS_READ, KINDS_OF_TEXTS
from rte_server.engine.kinds import REFRESH_MS, changes_with_time, has_times, refresh_ms
from rte_server.engine.layout import lay_out
from rte_server.engine.marks import COMPUTED, Marks, names_read
from rte_server.engine.native import float_bits, string_id, text_id
from rte_server.engine.online_state import online_words
from rte_server.engine.program import (
    A_AT,
    A_CELL_WORDS,
    A_HEAD,
    A_HEAD_LEN,
    A_NAME,
    A_NAME_LEN,
    A_PARAMS,
    A_PART,
    A_REGISTERS,
    A_ROLE,
    CACHE_LINE_WORDS,
    D_WORDS,
    EACH_WORDS,
    ELEMENT,
    ELEMENT_MEMBER,
    EXTRA_WORDS,
    FIELDS_OF_EVERY_EVENT,
    FIELDS_OF_TIME,
    FROM_CODE,
    GROUP_WORDS,
    IDENTITY,
    L_WORDS,
    LEARNED,
    LINES_MAX,
    LOGISTIC,
    M_LABEL_COUNT,
    M_WORDS,
    NEEDS_TEXT,
    NO_SOURCE,
    NOT_LINEAR,
    OP_AT,
    OP_ROLE,
    OP_WORDS,
    PASS_WORDS,
    SLOT_OFFSET,
    SLOT_WORDS,
    AttributeSpec,
    Kind,
    ListSpec,
    ModelSpec,
    OnlineSpec,
    Program,
    ProgramArrays,
    load_number,
)
from rte_server.engine.row_values import way_of
from rte_server.engine.table import HEADER_WORDS

_WITHOUT_EVENTS = (Kind.SCORE, Kind.TRIGGER, Kind.CUSTOMER)
"""Kinds that no event is lifted into."""


def key_ends(key: bytes) -> tuple[int, int]:
    """Return the first and the last 8 bytes of a property key as unsigned numbers; both the whole key if shorter."""
    head = int.from_bytes(key[:8].ljust(8, b"\0"), "little")
    return head, int.from_bytes(key[-8:].ljust(8, b"\0"), "little")


def key_hash(key: bytes) -> int:
    """Return the hash by which a property key is looked up, as `event_slots.find_slot` does.

    Not keyed: the table holds the few keys that models read, and a collision costs one comparison.
    """
    head, tail = key_ends(key)
    mixed = (head * 0x9E3779B97F4A7C15 ^ tail * 0xC2B2AE3D27D4EB4F ^ len(key)) & (2**64 - 1)
    return mixed ^ mixed >> 29


def assemble(models: Sequence[ModelSpec], secret: NDArray[np.uint64]) -> Program:
    """Return the program of some models.

    Args:
        models: Models whose attributes have different names, each after those that it uses.
        secret: uint64[4], the deployment secret that string ids are keyed with.

    Raises:
        EngineError: INVALID_EXPRESSION if an expression reads an attribute that there is not.
    """
    return _Assembly(models, secret).program()


class _Assembly:
    """Collects the arrays of a program."""

    def __init__(self, models: Sequence[ModelSpec], secret: NDArray[np.uint64]) -> None:
        self.models = tuple(models)
        self.secret = secret
        self.attributes = tuple(spec for model in models for spec in model.attributes)
        self.numbers = {spec.name: number for number, spec in enumerate(self.attributes)}
        self.versions = {model.name: model.version for model in models}
        self.texts = bytearray()
        self.lists, self.list_places = list_table([each for model in models for each in model.lists], secret)
        self.codes: list[NDArray[np.int64]] = []
        self.code_count = 0
        self.code_places: dict[tuple[Code, bool], tuple[int, int]] = {}
        self.property_slots: dict[str, int] = {}
        self.facts: dict[tuple[int, str], int] = {}
        self.layout = lay_out(self.attributes, self.numbers)
        self.rows = self.layout.attributes
        self.extras: list[tuple[int, int, int]] = []
        self.loads: dict[int, int] = {}
        self.derived_loads: list[tuple[int, int, int]] = []
        self.marks = Marks(self.attributes, self.numbers)
        self.online: list[list[int]] = []
        self.online_words = 0
        self.weights: list[tuple[float, float]] = []
        self.weight_inputs: list[int] = []

    def program(self) -> Program:
        plain = (number for number in range(len(self.attributes)) if self._takes_events(number))
        ops = [self._op(number) for number in plain]
        derived = [number for number in range(len(self.attributes)) if self._is_derived(number)]
        derived_rows = [self._derived(number) for number in derived]
        names = sorted({name for each in ops for op in each for name in op.events})
        plans = _Plans(self, [op for each in ops for op in each], derived)
        plan_rows = [plans.of(name) for name in ["", *names]]
        for number, spec in enumerate(self.attributes):
            self.rows[number, A_NAME : A_NAME_LEN + 1] = self.text_of(spec.name.encode())
            if spec.kind in (Kind.ONLINE, Kind.SCORE):
                head = score_head(spec, self.versions[spec.model])
                self.rows[number, A_HEAD : A_HEAD_LEN + 1] = self.text_of(head)
        arrays = ProgramArrays(
            names=_name_table([text_id(name.encode(), self.secret) for name in names]),
            plans=np.array(plan_rows, np.int64),
            ops=np.array(plans.ops, np.int64).reshape(-1, OP_WORDS),
            groups=np.array(plans.groups, np.int64).reshape(-1, GROUP_WORDS),
            uses=np.array(plans.uses, np.int64),
            keys=_key_table({name: slot for name, slot in self.property_slots.items() if not name.startswith(ELEMENT)}),
            slots=self._slot_rows(),
            codes=np.concatenate(self.codes) if self.codes else np.zeros((0, 4), np.int64),
            texts=np.frombuffer(bytes(self.texts) + bytes(8), np.uint8).copy(),
            attributes=self.rows,
            loads=np.array(list(self.loads), np.int64),
            derived_loads=np.array(self.derived_loads, np.int64).reshape(-1, L_WORDS),
            derived=np.array(derived_rows, np.int64).reshape(-1, D_WORDS),
            weights=np.array(self.weights, np.float64).reshape(-1, 2),
            weight_inputs=np.array(self.weight_inputs, np.int64),
            extras=np.array(self.extras, np.int64).reshape(-1, EXTRA_WORDS),
            params=np.array([*self.layout.params, 0], np.int64),
            timing=np.array(self._timing(), np.int64),
            lists=self.lists,
            fact_functions=np.array([(slot, of) for (slot, _), of in self.facts.items()], np.int64).reshape(-1, 2),
            triggers=np.array(self._triggers(), np.int64),
            at_once=np.array(self.marks.at_once(), np.int64),
            element_keys=_key_table(
                {
                    name.removeprefix(ELEMENT_MEMBER): slot
                    for name, slot in self.property_slots.items()
                    if name.startswith(ELEMENT_MEMBER)
                }
            ),
            each=np.array(plans.each, np.int64).reshape(-1, EACH_WORDS),
            online=np.array(self.online, np.int64).reshape(-1, M_WORDS),
            passing=np.array(self.marks.passing_rows(self.rows[:, A_AT].tolist()), np.int64).reshape(-1, PASS_WORDS),
            annex_of=self.layout.annex_of(),
        )
        return Program(
            self.models,
            self.attributes,
            arrays,
            self.layout.row_words,
            self.layout.core_words,
            self.layout.annexes,
            tuple(function for _, function in self.facts),
        )

    def _slot_rows(self) -> NDArray[np.int64]:
        rows = np.zeros((max(1, len(self.property_slots)), SLOT_WORDS), np.int64)
        for key, slot in self.property_slots.items():
            encoded = key.removeprefix(ELEMENT_MEMBER).encode()
            rows[slot, :SLOT_OFFSET] = np.array(key_ends(encoded), np.uint64).view(np.int64)
            rows[slot, SLOT_OFFSET:] = self.text_of(encoded)
        return rows

    def _is_derived(self, number: int) -> bool:
        return self.attributes[number].kind in COMPUTED

    def _takes_events(self, number: int) -> bool:
        spec = self.attributes[number]
        return not (self._is_derived(number) or spec.kind in _WITHOUT_EVENTS or spec.owner)

    def _triggers(self) -> list[int]:
        """Return the numbers of the triggers, and note in their rows where the types of their conditions are."""
        found = [n for n, spec in enumerate(self.attributes) if spec.kind == Kind.TRIGGER and not spec.owner]
        for number in found:
            (condition,) = input_names(self.attributes[number].code)
            self.rows[number, A_REGISTERS] = self.rows[load_number(condition, self.numbers), A_REGISTERS]
        return found

    def text_of(self, text: bytes) -> tuple[int, int]:
        """Put a text down; return its place and length."""
        offset = len(self.texts)
        self.texts += text
        return offset, len(text)

    def _timing(self) -> list[int]:
        """Return what stands in `ProgramArrays.timing`."""
        read: set[str] = set()
        for spec in self.attributes:
            read |= names_read(spec)
        intervals = [refresh_ms(spec) for spec in self.attributes if spec.name in read]
        intervals += [REFRESH_MS for _ in FIELDS_OF_TIME & read]
        changing = [n for n, spec in enumerate(self.attributes) if has_times(spec)]
        return [min((each for each in intervals if each > 0), default=0), *changing]

    def _code(self, code: Code, slots: Mapping[str, int], *, keeps_result: bool) -> tuple[int, int]:
        if not code:
            return 0, 0
        # Conditions that are the same are found to be so by their place. What is not known of a text is counted each time.
        key = (code, keeps_result)
        is_shared = slots is self.property_slots and all(step.op != Op.FACT for step in code)
        if is_shared and key in self.code_places:
            return self.code_places[key]
        start = self.code_count
        encoded = encode_code(code, slots, self.texts, self.secret, self.list_places, keeps_result=keeps_result)
        self.codes.append(encoded)
        self.code_count += len(self.codes[-1])
        if is_shared:
            self.code_places[key] = start, self.code_count
        return start, self.code_count

    def _slot(self, name: str) -> int:
        return self.property_slots.setdefault(name, len(self.property_slots))

    def _event_code(self, code: Code, uses: dict[int, int], keeps_result: bool) -> tuple[int, int]:
        """Return the place of an expression on the event; note in `uses` which properties it needs, and how."""
        for step in code:
            if step.op == Op.FACT and step.name is not None and step.text is not None:
                self.facts[self._slot(step.name), step.text.decode()] = text_id(step.text, self.secret)
        needed = text_names(code, keeps_result=keeps_result)
        for name in sorted(input_names(code)):
            use = int(NEEDS_TEXT) if name in needed else 1
            uses[self._slot(name)] = max(use, uses.get(self._slot(name), 0))
        return self._code(code, self.property_slots, keeps_result=keeps_result)

    def _op(self, number: int) -> list[_Op]:
        """Return the ops of an attribute: one, one for each of its further roles, and those for events without its list."""
        spec = self.attributes[number]
        ops = self._ops_of(spec, number)
        if spec.or_event:
            unless = self._slot(spec.each)
            ops += [replace(op, unless=unless) for op in self._ops_of(_on_event(spec), number)]
            ops = [replace(op, uses={**op.uses, unless: max(1, op.uses.get(unless, 0))}) for op in ops]
        return ops

    def _ops_of(self, spec: AttributeSpec, number: int) -> list[_Op]:
        uses: dict[int, int] = {}
        source = int(NO_SOURCE)
        value = (0, 0)
        only = 0
        # A property alone, or one of a certain type, needs no expression.
        steps = [step.op for step in spec.value]
        if steps in ([Op.LOAD], [Op.LOAD, Op.ONLY]):
            source = self._slot(str(spec.value[0].name))
            uses[source] = 1
            only = int(spec.value[-1].number) if len(steps) == 2 else 0
        elif spec.value:
            keeps = spec.kind in (Kind.FIRST, Kind.LAST, Kind.RECENT) or spec.kind in KINDS_OF_TEXTS
            source, value = int(FROM_CODE), self._event_code(spec.value, uses, keeps)
        where = self._event_code(spec.where, uses, keeps_result=False)
        extras = len(self.extras)
        # Kernels do not look whether there is one.
        missing = [()] * (EXTRAS_READ.get(spec.kind, 0) - len(spec.extras))
        self.extras += [self._extra(code, uses) for code in (*spec.extras, *missing)]
        kind, at, keep, unique, registers, role = (int(word) for word in self.rows[number, : A_ROLE + 1])
        tail = int(self.rows[number, A_PARAMS]), extras, self.marks.of_attribute(spec)
        needed = sorted(always_read(spec.value) | always_read(spec.where))
        slot = self._slot(needed[0]) if needed and not spec.each else -1
        words = (kind, at, source, *value, *where, keep, unique, registers, role, only, *tail)
        ops = [_Op(words, spec.events, slot, uses, spec.each)]
        for other in spec.roles:
            if other.needs_value:
                ops.append(
                    _Op((*words[: int(OP_ROLE)], other.number, only, *tail), other.events, slot, uses, spec.each)
                )
            else:
                own_uses: dict[int, int] = {}
                own = self._event_code(other.where, own_uses, keeps_result=False)
                bare = (kind, at, int(NO_SOURCE), 0, 0, *own, keep, unique, registers, other.number, 0, *tail)
                read = sorted(always_read(other.where))
                ops.append(_Op(bare, other.events, self._slot(read[0]) if read else -1, own_uses))
        return ops

    def _extra(self, code: Code, uses: dict[int, int]) -> tuple[int, int, int]:
        """Return the words of a further expression on the event."""
        if not code:
            return int(NO_SOURCE), 0, 0
        return int(FROM_CODE), *self._event_code(code, uses, keeps_result=False)

    def _derived(self, number: int) -> list[int]:
        """Return the words of a derived attribute."""
        spec = self.attributes[number]
        names = sorted(names_read(spec))
        first = len(self.derived_loads)
        self.derived_loads += [
            (self._load(name), *way_of(self.rows, load_number(name, self.numbers))) for name in names
        ]
        reads = self.marks.read_by(spec), self.marks.of_input(number)
        return [*self._computed(number), *reads, first, len(self.derived_loads)]

    def _computed(self, number: int) -> list[int]:
        """Return the words of a derived attribute that say how it is computed."""
        spec = self.attributes[number]
        at = int(self.rows[number, A_AT])
        if spec.kind in (Kind.LINEAR, Kind.ONLINE):
            start = len(self.weights)
            for name, weight, absent in spec.weights:
                self.weights.append((weight, absent))
                self.weight_inputs.append(self._load(name))
            if spec.online is not None:
                return [at, start, len(self.weights), int(LEARNED), self._learner(number, spec.online, start)]
            link = LOGISTIC if spec.link == "logistic" else IDENTITY
            return [at, start, len(self.weights), int(link), int(float_bits(spec.intercept))]
        inputs = {name: self._load(name) for name in sorted(input_names(spec.code))}
        code = self._code(spec.code, inputs, keeps_result=True)
        return [at, *code, int(NOT_LINEAR), int(self.rows[number, A_REGISTERS])]

    def _learner(self, number: int, online: OnlineSpec, start: int) -> int:
        """Put down how an online score learns, and return its row."""
        end = len(self.weights)
        state = self.online_words
        self.online_words += online_words(end - start)
        self.rows[number, A_REGISTERS] = state
        labels = [text_id(name.encode(), self.secret) for name in online.labels]
        fade = 1.0 - 1.0 / online.horizon
        rates = (online.alpha, online.beta, online.l1, online.l2, online.margin, fade)
        self.online.append(
            [
                *(int(self.rows[number, A_AT]), state, start, end),
                *(labels + [0] * (int(M_LABEL_COUNT) - len(labels))),
                *(int(float_bits(rate)) for rate in rates),
                *(online.examples, int(online.shadow), self._load(online.baseline) if online.baseline else -1),
            ]
        )
        return len(self.online) - 1

    def _load(self, name: str) -> int:
        """Return the place in `loads` of an input of an expression on rows."""
        return self.loads.setdefault(load_number(name, self.numbers), len(self.loads))


@dataclass(frozen=True, slots=True)
class _Op:
    """An op before it is in the arrays.

    Attributes:
        words: As in `ProgramArrays.ops`.
        events: Names of the events it is run for; () = every event.
        slot: The property without which it does nothing, or -1.
        uses: How it uses properties, by slot.
        each: The list for each of whose elements it is run, or empty.
        unless: The property that must be no list for it to be run, or -1.
    """

    words: tuple[int, ...]
    events: tuple[str, ...]
    slot: int
    uses: Mapping[int, int]
    each: str = ""
    unless: int = -1


def _on_event(spec: AttributeSpec) -> AttributeSpec:
    """Return an attribute with `or_event` as it takes an event without the list: its properties instead of members.

    What it does with the whole event, with the list or without, is left out.
    """

    def own(code: Code) -> Code:
        return tuple(step._replace(name=step.name and step.name.removeprefix(ELEMENT_MEMBER)) for step in code)

    roles = tuple(role for role in spec.roles if role.needs_value)
    extras = tuple(map(own, spec.extras))
    return replace(spec, value=own(spec.value), where=own(spec.where), extras=extras, roles=roles, each="")


class _Plans:
    """Collects what to do per event name.

    Args:
        assembly: All attributes have been put into its arrays.
        all_ops: Every op.
        derived_numbers: Attribute number of each row of `derived`.
    """

    def __init__(self, assembly: _Assembly, all_ops: Sequence[_Op], derived_numbers: Sequence[int]) -> None:
        self.assembly = assembly
        self.all_ops = all_ops
        self.derived_numbers = derived_numbers
        self.ops: list[tuple[int, ...]] = []
        self.groups: list[tuple[int, ...]] = []
        self.each: list[tuple[int, ...]] = []
        self.uses: list[list[int]] = []
        self.annex_of = assembly.layout.annex_of()

    def of(self, name: str) -> list[int]:
        """Return the plan for an event name; "" is any name that no model lists."""
        wanted = [op for op in self.all_ops if not op.events or name in op.events]
        plan = list(self._put_ops([op for op in wanted if op.slot < 0 and op.unless < 0 and not op.each]))
        first = len(self.groups)
        for slot, unless in sorted({(op.slot, op.unless) for op in wanted} - {(-1, -1)}):
            ops = self._put_ops([op for op in wanted if (op.slot, op.unless) == (slot, unless)])
            self.groups.append((slot, *ops, unless))
        plan += [first, len(self.groups)]
        uses = [0] * max(1, len(self.assembly.property_slots))
        for op in wanted:
            for slot, use in op.uses.items():
                uses[slot] = max(uses[slot], use)
        self.uses.append(uses)
        changed = self._changed_by(name)
        # Words of properties that any event may carry are not asked for: most events carry few of them.
        touched = [op.words for op in wanted if op.events or op.slot < 0]
        rows = self.assembly.rows
        cell_of = {int(row[A_AT]): int(row[A_CELL_WORDS]) for row in rows if row[A_PART] == 0 and row[A_CELL_WORDS] > 0}
        spans = [(words[int(OP_AT)], cell_of[words[int(OP_AT)]]) for words in touched]
        marks = self.assembly.marks.of_fields()
        lines, annexes = self._lines(spans, changed)
        return [*plan, marks, lines, *self._put_each(wanted), annexes]

    def _put_each(self, wanted: Sequence[_Op]) -> tuple[int, int]:
        """Put down the ops that are run for each element of a list."""
        first = len(self.each)
        itself = self.assembly.property_slots.get(ELEMENT, -1)
        for key in sorted({op.each for op in wanted} - {""}):
            ops = self._put_ops([op for op in wanted if op.each == key])
            slot = self.assembly.property_slots.get(key, -1)
            is_read = any(slot in op.uses for op in wanted)
            self.each.append((*self.assembly.text_of(key.encode()), *ops, itself, slot if is_read else -1))
        return first, len(self.each)

    def _put_ops(self, ops: Sequence[_Op]) -> tuple[int, int]:
        first = len(self.ops)
        self.ops += [op.words for op in ops]
        return first, len(self.ops)

    def _inputs_of(self, rows: Sequence[int]) -> set[int]:
        """Return the places in `loads` of what these rows of `derived` read, and none of them computes before."""
        found: set[int] = set()
        computed: set[int] = set()
        for row in rows:
            spec = self.assembly.attributes[self.derived_numbers[row]]
            read = {load_number(name, self.assembly.numbers) for name in names_read(spec)}
            found |= read - computed
            computed.add(self.derived_numbers[row])
        return {self.assembly.loads[number] for number in found}

    def _changed_by(self, event_name: str) -> list[int]:
        """Return the rows of `derived` that an event of this name can change."""
        changed = {
            spec.name
            for spec in self.assembly.attributes
            if spec.kind not in (*COMPUTED, Kind.SCORE)
            and (
                changes_with_time(spec)
                or not spec.events
                or event_name in spec.events
                or any(event_name in role.events for role in spec.roles)
            )
        }
        changed |= FIELDS_OF_EVERY_EVENT | FIELDS_OF_TIME
        rows = []
        for row, number in enumerate(self.derived_numbers):
            spec = self.assembly.attributes[number]
            # The weights of an online score may have changed, whatever the event says.
            if spec.kind == Kind.ONLINE or changed & {name.removesuffix(CELLS_SUFFIX) for name in names_read(spec)}:
                changed.add(spec.name)
                rows.append(row)
        return rows

    def _lines(self, spans: Sequence[tuple[int, int]], derived: Sequence[int]) -> tuple[int, int]:
        """Return the cache lines of the core, and the annexes, that some words and derived attributes are in, as bits."""
        assembly = self.assembly
        numbers = {self.derived_numbers[row] for row in derived}
        numbers |= {
            number for number in (list(assembly.loads)[load] for load in self._inputs_of(derived)) if number >= 0
        }
        cells = [(assembly.rows[n, A_AT], max(1, assembly.rows[n, A_CELL_WORDS])) for n in numbers]
        last = min(int(LINES_MAX), assembly.layout.core_words // int(CACHE_LINE_WORDS))
        lines = annexes = 0
        for at, words in [(0, int(HEADER_WORDS)), *spans, *cells]:
            for line in range(int(at) // 8, (int(at) + int(words) - 1) // 8 + 1):
                lines |= 1 << line if line < last else 0
            annex = int(self.annex_of[int(at) // int(CACHE_LINE_WORDS)])
            annexes |= 1 << annex if 0 <= annex < LINES_MAX else 0
        return lines, annexes


def score_head(spec: AttributeSpec, version: int) -> bytes:
    """Return the fields of a serialized `rte.v1.Score` that never change: its name, its model and that one's version."""
    fields = b"".join(
        bytes((tag, len(text))) + text for tag, text in ((0x0A, spec.name.encode()), (0x12, spec.model.encode()))
    )
    number = bytearray()
    while version > 0x7F:
        number.append(version & 0x7F | 0x80)
        version >>= 7
    return fields + b"\x18" + bytes(number) + bytes((version,))


def _name_table(ids: Sequence[int]) -> NDArray[np.int64]:
    size = 1 << max(4, (4 * len(ids)).bit_length())
    table = np.zeros(2 * size, np.int64)
    for row, name_id in enumerate(ids, start=1):
        slot = name_id & (size - 1)
        while table[2 * slot] != 0:
            slot = (slot + 1) & (size - 1)
        table[2 * slot : 2 * slot + 2] = name_id, row
    return table


def list_table(
    lists: Sequence[ListSpec], secret: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], dict[str, tuple[int, int]]]:
    """Return the look-up lists as `ProgramArrays.lists`, and the place and the slots of each."""
    tables = [np.zeros(1, np.int64)]
    places: dict[str, tuple[int, int]] = {}
    at = 1
    for each in lists:
        size = 1 << max(4, (2 * len(each.values)).bit_length())
        encoded = [value.encode() for value in each.values]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(value) for value in encoded], out=offsets[1:])
        table = np.zeros(size, np.int64)
        insert_texts(table, np.frombuffer(b"".join(encoded) + b"\0", np.uint8), offsets, secret)
        places[each.name] = at, size
        tables.append(table)
        at += size
    return np.concatenate(tables), places


@kernel
def insert_texts(table, buf, offsets, secret):  # type: ignore[no-untyped-def]
    """Put the ids of texts into an open-addressing set.

    Args:
        table: int64[n], n a power of two greater than the number of texts; 0 = free.
        buf: uint8[:], the texts one after the other.
        offsets: int64[m + 1], where each begins in `buf`, and the end.
        secret: uint64[4].
    """
    mask = table.shape[0] - 1
    for i in range(offsets.shape[0] - 1):
        text = string_id(buf, offsets[i], offsets[i + 1] - offsets[i], secret)
        slot = text & mask
        while table[slot] != 0 and table[slot] != text:
            slot = (slot + 1) & mask
        table[slot] = text


def _key_table(keys: Mapping[str, int]) -> NDArray[np.int64]:
    size = 1 << max(4, (4 * len(keys)).bit_length())
    table = np.zeros(size, np.int64)
    for key, slot in keys.items():
        place = key_hash(key.encode()) & (size - 1)
        while table[place] != 0:
            place = (place + 1) & (size - 1)
        table[place] = slot + 1
    return table
