"""What models compute: specifications, and the program of arrays that they are assembled into.

A new model is new numbers in these arrays; no kernel is compiled for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.attributes import BOTH_ENDS, FROM_END, TO_END, cell_words, sketch_registers
from rte_server.engine.expressions import Code, Op, encode_code, input_names, text_names
from rte_server.engine.native import float_bits, text_id
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.table import HEADER_WORDS

CACHE_LINE_WORDS = np.int64(8)


class Kind(IntEnum):
    """The kinds of attributes."""

    COUNT = 1
    SUM = 2
    MIN = 3
    MAX = 4
    MEAN = 5
    FIRST = 6
    LAST = 7
    DISTINCT = 8
    RECENT = 9
    ELAPSED = 10
    DERIVED = 11
    LINEAR = 12
    WRITTEN = 13  # by an application; no attribute of a program, only an input of filters


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """One attribute of a model.

    Attributes:
        name: `[a-z][a-z0-9_]*`, unique over all models in use.
        model: Name of its model.
        kind: How it is computed.
        value_type: `int`, `double`, `bool`, `string`, `time`, `any` or `list`.
        unit: Unit of the value, or empty.
        description: One sentence.
        events: Names of the events it listens to; () = every event.
        value: Expression on the event; () where the kind needs none (count, elapsed).
        where: Boolean expression on the event; () = always.
        keep: RECENT: entries kept, 1 to 50. DISTINCT: values up to which the count is exact, 8 to 256.
        unique: RECENT: one entry per value (its latest occurrence), else one per event.
        to_events: ELAPSED: () = from the first to the last matching event; else from the first of `events` to the
            first of `to_events`.
        code: DERIVED: expression on the row.
        weights: LINEAR: (attribute, weight, value where it is absent).
        intercept: LINEAR: added to the weighted sum.
        link: LINEAR: `logistic` or `identity`.
    """

    name: str
    model: str
    kind: Kind
    value_type: str
    unit: str = ""
    description: str = ""
    events: tuple[str, ...] = ()
    value: Code = ()
    where: Code = ()
    keep: int = 0
    unique: bool = True
    to_events: tuple[str, ...] = ()
    code: Code = ()
    weights: tuple[tuple[str, float, float], ...] = ()
    intercept: float = 0.0
    link: str = "logistic"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model: a named, versioned set of attributes.

    Attributes:
        name: `[a-z][a-z0-9_]*`.
        version: From 1.
        description: One sentence.
        uses: Names of models whose attributes this one reads.
        source: Its YAML text.
        attributes: In the order in which they can be computed.
    """

    name: str
    version: int
    description: str
    uses: tuple[str, ...]
    source: str
    attributes: tuple[AttributeSpec, ...]


class ProgramArrays(NamedTuple):
    """A program: what all running models do, as arrays that fixed kernels interpret.

    Attributes:
        names: int64[2 * n], open addressing: id of an event name (0 = free), its row in `ranges`.
        ranges: int64[n + 1, 2], first and end row in `ops` per event name; row 0 is for any name that is not listed.
        ops: int64[n, OP_WORDS], what an event does to its session's cells.
        keys: int64[m], open addressing: property slot + 1 by `key_hash`, 0 = free.
        slots: int64[slots, 3], property slots: `key_hash`, offset and length of the key in `texts`.
        codes: int64[n, 4], instructions of all expressions.
        texts: uint8[:], constant texts and names.
        attributes: int64[n, A_WORDS], one row per attribute.
        loads: int64[n], inputs of expressions on rows: attribute number, or -1 - field of the session.
        derived: int64[n, D_WORDS], attributes computed from the row after each event, in order.
        derived_ranges: int64[names + 1, 2], first and end place in `derived_order` per row of `ranges`.
        derived_order: int64[n], rows of `derived`: those that an event of the name can change, in order.
        weights: float64[n, 2], weight and value where the attribute is absent, of linear scores.
        weight_loads: int64[n], the attribute numbers.
    """

    names: NDArray[np.int64]
    ranges: NDArray[np.int64]
    ops: NDArray[np.int64]
    keys: NDArray[np.int64]
    slots: NDArray[np.int64]
    codes: NDArray[np.int64]
    texts: NDArray[np.uint8]
    attributes: NDArray[np.int64]
    loads: NDArray[np.int64]
    derived: NDArray[np.int64]
    derived_ranges: NDArray[np.int64]
    derived_order: NDArray[np.int64]
    weights: NDArray[np.float64]
    weight_loads: NDArray[np.int64]


# Words of an op.
OP_KIND = np.int64(0)
OP_AT = np.int64(1)  # word of the cell in the row
OP_SOURCE = np.int64(2)  # property slot, FROM_CODE or NO_SOURCE
OP_CODE = np.int64(3)  # first and end instruction of the value
OP_CODE_END = np.int64(4)
OP_WHERE = np.int64(5)  # first and end instruction of the condition; equal: always
OP_WHERE_END = np.int64(6)
OP_KEEP = np.int64(7)
OP_UNIQUE = np.int64(8)
OP_REGISTERS = np.int64(9)
OP_ROLE = np.int64(10)
OP_ONLY = np.int64(11)  # the type that a property must have, 0 = any
OP_WORDS = np.int64(12)

NEEDS_TEXT = np.int64(1)
"""In the third column of a LOAD of an expression on the event."""

FROM_CODE = np.int64(-2)
NO_SOURCE = np.int64(-1)

# Words of an attribute.
A_KIND = np.int64(0)
A_AT = np.int64(1)
A_KEEP = np.int64(2)
A_UNIQUE = np.int64(3)
A_REGISTERS = np.int64(4)
A_ROLE = np.int64(5)
A_NAME = np.int64(6)  # offset and length of its name in `texts`
A_NAME_LEN = np.int64(7)
A_WORDS = np.int64(8)

# Words of a derived attribute.
D_ATTRIBUTE = np.int64(0)
D_CODE = np.int64(1)  # DERIVED: first and end instruction; LINEAR: first and end weight
D_CODE_END = np.int64(2)
D_LOADS = np.int64(3)  # DERIVED: first and end input
D_LOADS_END = np.int64(4)
D_INTERCEPT = np.int64(5)  # LINEAR: its bits
D_LINK = np.int64(6)  # LINEAR: 1 = logistic
D_WORDS = np.int64(7)

# Words of the settings that the fold reads.
S_GAP = np.int64(0)
S_LENGTH_MAX = np.int64(1)
S_LATENESS = np.int64(2)
S_DEDUP_HORIZON = np.int64(3)
S_CLOSED_RETENTION = np.int64(4)
S_CLOSED_MAX = np.int64(5)
S_WORDS = np.int64(6)

SESSION_FIELDS: dict[str, tuple[int, str]] = {
    "session.event_count": (0, "int"),
    "session.start_time": (1, "int"),
    "session.last_event_time": (2, "int"),
    "session.duration_s": (3, "double"),
    "session.visit_number": (4, "int"),
    "session.visitor_id": (5, "string"),
    "session.customer_id": (6, "string"),
    "session.channel": (7, "string"),
    "session.late_event_count": (8, "int"),
}
"""Fields of a session that expressions on rows can read: number and type."""


FIELDS_OF_EVERY_EVENT = frozenset(
    f"session.{name}"
    for name in ("event_count", "start_time", "last_event_time", "duration_s", "customer_id", "channel")
)
"""Those that any event can change; the others change with the sessions of the visitor, see `sessions.renumber`."""


@dataclass(frozen=True, slots=True)
class Program:
    """What all running models do.

    Attributes:
        models: The models, in the order given.
        attributes: All their attributes; the number of an attribute is its place here.
        arrays: What the kernels interpret.
        row_words: Words of a session's row.
    """

    models: tuple[ModelSpec, ...]
    attributes: tuple[AttributeSpec, ...]
    arrays: ProgramArrays
    row_words: int

    def number_of(self, name: str) -> int:
        """Return the number of the attribute `name`, or -1."""
        for number, spec in enumerate(self.attributes):
            if spec.name == name:
                return number
        return -1

    def words_of(self, number: int) -> tuple[int, int]:
        """Return the first and end word of an attribute's cell in a row."""
        at = int(self.arrays.attributes[number, A_AT])
        spec = self.attributes[number]
        return at, at + cell_words(spec.kind, spec.keep)


def key_hash(key: bytes) -> int:
    """Return the hash by which a property key is looked up; equals the kernel's `hash_key`.

    Not keyed: the table holds the few keys that models read, and a collision costs one comparison.
    """
    head = int.from_bytes(key[:8].ljust(8, b"\0"), "little")
    tail = int.from_bytes(key[-8:].ljust(8, b"\0"), "little")
    mixed = (head * 0x9E3779B97F4A7C15 ^ tail * 0xC2B2AE3D27D4EB4F ^ len(key)) & (2**64 - 1)
    mixed ^= mixed >> 29
    return mixed & (2**63 - 1)


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
        self.texts = bytearray()
        self.codes: list[NDArray[np.int64]] = []
        self.code_count = 0
        self.property_slots: dict[str, int] = {}
        self.loads: list[int] = []
        self.weights: list[tuple[float, float]] = []
        self.weight_loads: list[int] = []

    def program(self) -> Program:
        attribute_rows, row_words = self._lay_out()
        ops_by_name, names = self._ops(attribute_rows)
        derived = [self._derived(number) for number in range(len(self.attributes)) if self._is_derived(number)]
        ranges, ops = _flatten([ops_by_name[name] for name in ["", *names]])
        derived_ranges, derived_order = _flatten([self._changed_by(name, derived) for name in ["", *names]])
        slot_rows = np.zeros((max(1, len(self.property_slots)), 3), np.int64)
        for key, slot in self.property_slots.items():
            encoded = key.encode()
            slot_rows[slot] = key_hash(encoded), *self._text(encoded)
        for number, spec in enumerate(self.attributes):
            attribute_rows[number, A_NAME : A_NAME_LEN + 1] = self._text(spec.name.encode())
        arrays = ProgramArrays(
            names=_name_table([text_id(name.encode(), self.secret) for name in names]),
            ranges=ranges,
            ops=ops.reshape(-1, OP_WORDS),
            keys=_key_table(slot_rows, len(self.property_slots)),
            slots=slot_rows,
            codes=np.concatenate(self.codes) if self.codes else np.zeros((0, 4), np.int64),
            texts=np.frombuffer(bytes(self.texts) + bytes(8), np.uint8).copy(),
            attributes=attribute_rows,
            loads=np.array(self.loads, np.int64),
            derived=np.array(derived, np.int64).reshape(-1, D_WORDS),
            derived_ranges=derived_ranges,
            derived_order=derived_order.reshape(-1),
            weights=np.array(self.weights, np.float64).reshape(-1, 2),
            weight_loads=np.array(self.weight_loads, np.int64),
        )
        return Program(self.models, self.attributes, arrays, row_words)

    def _is_derived(self, number: int) -> bool:
        return self.attributes[number].kind in (Kind.DERIVED, Kind.LINEAR)

    def _text(self, text: bytes) -> tuple[int, int]:
        offset = len(self.texts)
        self.texts += text
        return offset, len(text)

    def _lay_out(self) -> tuple[NDArray[np.int64], int]:
        """Give each attribute its words of the row; a row is a whole number of cache lines."""
        rows = np.zeros((len(self.attributes), A_WORDS), np.int64)
        at = HEADER_WORDS
        for number, spec in enumerate(self.attributes):
            role = FROM_END if spec.kind == Kind.ELAPSED and spec.to_events else BOTH_ENDS
            registers = sketch_registers(spec.keep) if spec.kind == Kind.DISTINCT else 0
            rows[number, : A_ROLE + 1] = spec.kind, at, spec.keep, spec.unique, registers, role
            at += cell_words(spec.kind, spec.keep)
        return rows, int(-(-at // CACHE_LINE_WORDS) * CACHE_LINE_WORDS)

    def _code(self, code: Code, slots: Mapping[str, int]) -> tuple[int, int]:
        if not code:
            return 0, 0
        start = self.code_count
        self.codes.append(encode_code(code, slots, self.texts, self.secret))
        self.code_count += len(code)
        return start, self.code_count

    def _event_code(self, code: Code, keeps_result: bool) -> tuple[int, int]:
        """Return the place of an expression on the event.

        Its LOADs carry NEEDS_TEXT where the text must be in the pool: the code looks at it, or may return it.
        """
        for name in sorted(input_names(code)):
            self.property_slots.setdefault(name, len(self.property_slots))
        place = self._code(code, self.property_slots)
        looked_at = text_names(code)
        for row, instruction in zip(self.codes[-1] if code else [], code, strict=True):
            if instruction.op == Op.LOAD and (keeps_result or instruction.name in looked_at):
                row[2] = NEEDS_TEXT
        return place

    def _ops(self, rows: NDArray[np.int64]) -> tuple[dict[str, list[list[int]]], list[str]]:
        """Return the ops per event name, and the names. The ops for any event stand under "" and under each name."""
        entries: list[tuple[tuple[str, ...], list[int]]] = []
        for number, spec in enumerate(self.attributes):
            if self._is_derived(number):
                continue
            source = int(NO_SOURCE)
            value = (0, 0)
            only = 0
            # A property alone, or one of a certain type, needs no expression.
            steps = [step.op for step in spec.value]
            if steps in ([Op.LOAD], [Op.LOAD, Op.ONLY]):
                source = self.property_slots.setdefault(str(spec.value[0].name), len(self.property_slots))
                only = int(spec.value[-1].number) if len(steps) == 2 else 0
            elif spec.value:
                source, value = int(FROM_CODE), self._event_code(spec.value, keeps_result=True)
            where = self._event_code(spec.where, keeps_result=False)
            kind, at, keep, unique, registers, role = (int(word) for word in rows[number, : A_ROLE + 1])
            op: list[int] = [kind, at, source, *value, *where, keep, unique, registers, role, only]
            entries.append((spec.events, op))
            if spec.to_events:
                entries.append((spec.to_events, [*op[: int(OP_ROLE)], int(TO_END), only]))
        names = sorted({name for events, _ in entries for name in events})
        ops = {name: [op for events, op in entries if not events or name in events] for name in ["", *names]}
        return ops, names

    def _changed_by(self, event_name: str, derived: Sequence[Sequence[int]]) -> list[int]:
        """Return the rows of `derived` that an event of this name can change; "" is any name that no model lists."""
        changed = {
            spec.name
            for spec in self.attributes
            if spec.kind not in (Kind.DERIVED, Kind.LINEAR)
            and (not spec.events or event_name in (*spec.events, *spec.to_events))
        } | FIELDS_OF_EVERY_EVENT
        rows = []
        for row, words in enumerate(derived):
            spec = self.attributes[words[int(D_ATTRIBUTE)]]
            if changed & (input_names(spec.code) | {name for name, _, _ in spec.weights}):
                changed.add(spec.name)
                rows.append(row)
        return rows

    def _derived(self, number: int) -> list[int]:
        spec = self.attributes[number]
        if spec.kind == Kind.LINEAR:
            start = len(self.weights)
            for name, weight, absent in spec.weights:
                self.weights.append((weight, absent))
                self.weight_loads.append(self._load(name))
            bits = int(float_bits(spec.intercept))
            return [number, start, len(self.weights), 0, 0, bits, int(spec.link == "logistic")]
        inputs = sorted(input_names(spec.code))
        first = len(self.loads)
        self.loads += [self._load(name) for name in inputs]
        code = self._code(spec.code, {name: slot for slot, name in enumerate(inputs)})
        return [number, *code, first, len(self.loads), 0, 0]

    def _load(self, name: str) -> int:
        return load_number(name, self.numbers)


def load_number(name: str, numbers: Mapping[str, int]) -> int:
    """Return the number by which kernels load an input of an expression on rows.

    Raises:
        EngineError: INVALID_EXPRESSION if there is no such attribute or field.
    """
    if name in SESSION_FIELDS:
        return -1 - SESSION_FIELDS[name][0]
    if name not in numbers:
        raise EngineError(Reason.INVALID_EXPRESSION, f"There is no attribute {name!r}.", value=name)
    return numbers[name]


def _flatten(lists: Sequence[Sequence[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each list begins and ends in all of them put together, and that."""
    ends = np.cumsum([len(each) for each in lists])
    ranges = np.stack([ends - [len(each) for each in lists], ends], axis=1)
    return ranges.astype(np.int64), np.array([item for each in lists for item in each], np.int64)


def _name_table(ids: Sequence[int]) -> NDArray[np.int64]:
    size = 1 << max(4, (4 * len(ids)).bit_length())
    table = np.zeros(2 * size, np.int64)
    for row, name_id in enumerate(ids, start=1):
        slot = name_id & (size - 1)
        while table[2 * slot] != 0:
            slot = (slot + 1) & (size - 1)
        table[2 * slot : 2 * slot + 2] = name_id, row
    return table


def _key_table(slots: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    size = 1 << max(4, (4 * count).bit_length())
    table = np.zeros(size, np.int64)
    for slot in range(count):
        place = int(slots[slot, 0]) & (size - 1)
        while table[place] != 0:
            place = (place + 1) & (size - 1)
        table[place] = slot + 1
    return table
