"""What models compute: specifications, and the program of arrays that they are assembled into.

A new model is new numbers in these arrays; no kernel is compiled for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.expressions import CELLS_SUFFIX, Code, Op
from rte_server.engine.online_state import online_words
from rte_server.engine.reasons import EngineError, Reason

CACHE_LINE_WORDS = np.int64(8)
LINES_MAX = 63
"""Cache lines of a row that a plan can name."""


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
    ONLINE = 15  # learned in the fold, see `online`
    SCORE = 14  # by a runner beside the fold, see `scores`
    WRITTEN = 13  # by an application; no attribute of a program, only an input of filters
    # From here on: kinds whose cells have a module of their own, see `kinds`.
    ABSENCE = 20
    CUSTOMER = 21  # of the session's customer, as CUSTOMER entries say; see `customer_values`
    RATE = 30
    EWMA = 31
    # Windowed kinds, in the order of the plain ones.
    WINDOW_COUNT = 32
    WINDOW_SUM = 33
    WINDOW_MIN = 34
    WINDOW_MAX = 35
    WINDOW_MEAN = 36
    WINDOW_DISTINCT = 37
    TRIGGER = 38
    SET = 40
    BASKET = 41
    RESET_SUM = 42
    SEQUENCE = 43
    TOP = 44


class Role(NamedTuple):
    """Further events that an attribute listens to, and what it does with them.

    Attributes:
        number: What they mean to the kind, other than 0, which is what `AttributeSpec.events` mean.
        events: Their names, at least one.
        needs_value: Whether they count only if the attribute's `where` holds and the value is there.
        where: Without `needs_value`: their own condition; () = always.
    """

    number: int
    events: tuple[str, ...]
    needs_value: bool = True
    where: Code = ()


@dataclass(frozen=True, slots=True)
class ScoreSpec:
    """What a runner computes beside the fold.

    Attributes:
        runner: `onnx` or `plugin`.
        source: ONNX: name of the file beside the model. Plug-in: its name.
        sha256: ONNX: digest of the file, 64 hexadecimal digits.
        inputs: (attribute or field of the session, value where it is absent; None: without it there is no score).
        golden: (values of the inputs, the score that must follow from them), as float32 gives it.
        time_limit_ms: Plug-in: how long it may take for a batch of rows, ms.
    """

    runner: str
    source: str
    sha256: str = ""
    inputs: tuple[tuple[str, float | None], ...] = ()
    golden: tuple[tuple[tuple[float, ...], float], ...] = ()
    time_limit_ms: int = 0


@dataclass(frozen=True, slots=True)
class OnlineSpec:
    """How an online score learns; see `online`.

    Attributes:
        labels: Names of the events that make a session an example of 1, 1 to 4.
        baseline: Attribute that gives a probability to be beaten; empty: the share of 1s among the latest examples.
        examples: Examples before it may be shown, > 0.
        margin: By how much its mean loss must be less than the baseline's, nats, >= 0.
        horizon: The latest examples that losses are about: one weighs 1 / e after about so many others. > 1.
        shadow: Whether it must beat the baseline before it is shown.
        alpha: Learning rate, > 0.
        beta: Smooths the learning rate, >= 0.
        l1: Weights whose evidence is less than this are 0, >= 0.
        l2: Draws weights to 0, >= 0.
    """

    labels: tuple[str, ...]
    baseline: str = ""
    examples: int = 500
    margin: float = 0.005
    horizon: int = 1000
    shadow: bool = True
    alpha: float = 0.2
    beta: float = 3.0
    l1: float = 0.0
    l2: float = 1.0


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """One attribute of a model.

    Attributes:
        name: `[a-z][a-z0-9_]*`, for parts with one dot in it; unique over all models in use.
        model: Name of its model.
        kind: How it is computed.
        value_type: `int`, `double`, `bool`, `string`, `time`, `any` or `list`.
        unit: Unit of the value, or empty.
        description: One sentence.
        events: Names of the events it listens to; () = every event.
        value: Expression on the event; () where the kind needs none (count, elapsed).
        where: Boolean expression on the event; () = always.
        keep: RECENT: entries kept, 1 to 50. DISTINCT: values up to which the count is exact, 8 to 256. Others: what their
            modules say.
        unique: RECENT: one entry per value (its latest occurrence), else one per event.
        roles: Further events. ELAPSED: none = from the first to the last matching event; else from the first of `events`
            to the first of these.
        extras: Further expressions on the event, as the kind says.
        each: Property of the event, a list each of whose elements counts as an event of its own; empty: the event counts.
            Roles without `needs_value` mean the event.
        or_event: Whether an event whose property of that name is no list (or object) stands for its one element, with its
            properties as the members of that.
        params: Whole numbers that the kind is made with (durations, sizes), as it says.
        owner: Name of the attribute whose cell this one shows a part of; empty: it has a cell of its own.
        part: Which part, from 1; 0 = the attribute itself.
        code: DERIVED: expression on the row. TRIGGER: reading the derived attribute that is its condition.
        weights: LINEAR, ONLINE: (attribute, weight, value where it is absent); ONLINE: the weights are 0 here.
        intercept: LINEAR: added to the weighted sum.
        link: LINEAR: `logistic` or `identity`.
        score: SCORE: what computes it.
        online: ONLINE: how it learns.
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
    roles: tuple[Role, ...] = ()
    extras: tuple[Code, ...] = ()
    each: str = ""
    or_event: bool = False
    params: tuple[int, ...] = ()
    owner: str = ""
    part: int = 0
    code: Code = ()
    weights: tuple[tuple[str, float, float], ...] = ()
    intercept: float = 0.0
    link: str = "logistic"
    score: ScoreSpec | None = None
    online: OnlineSpec | None = None


@dataclass(frozen=True, slots=True)
class ListSpec:
    """A look-up list of a model.

    Attributes:
        name: `[a-z][a-z0-9_]*`, unique over all models in use.
        file: Path of its file, relative to the model's.
        values: Its values, each once.
    """

    name: str
    file: str
    values: tuple[str, ...] = field(repr=False)


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
        lists: Its look-up lists.
        files: The texts of the files that it names, by name; that of an ONNX file is `sha256:` and its digest.
        graphs: The bytes of its ONNX files, by name, where it was read from a folder; a journal does not hold them.
    """

    name: str
    version: int
    description: str
    uses: tuple[str, ...]
    source: str
    attributes: tuple[AttributeSpec, ...]
    lists: tuple[ListSpec, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    graphs: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)


class ProgramArrays(NamedTuple):
    """A program: what all running models do, as arrays that fixed kernels interpret.

    Attributes:
        names: int64[2 * n], open addressing: id of an event name (0 = free), its row in `plans`.
        plans: int64[n + 1, PLAN_WORDS], what to do for an event name; row 0 is for any name that is not listed.
        ops: int64[n, OP_WORDS], what an event does to its session's cells.
        groups: int64[n, GROUP_WORDS], ops that do nothing for an event that lacks a certain property.
        uses: int64[n + 1, slots], whether an event of the name needs the property: 0, 1, or NEEDS_TEXT.
        keys: int64[m], open addressing: property slot + 1 by `key_hash`, 0 = free.
        slots: int64[slots, SLOT_WORDS], the keys of the property slots.
        codes: int64[n, 4], instructions of all expressions.
        texts: uint8[:], constant texts and names.
        attributes: int64[n, A_WORDS], one row per attribute.
        loads: int64[n], inputs of expressions on rows: attribute number, or -1 - field of the session.
        derived_loads: int64[n, L_WORDS], how the inputs of each row of `derived` are loaded.
        derived: int64[n, D_WORDS], attributes computed from the row when one of their inputs has changed, in order.
        weights: float64[n, 2], weight and value where the attribute is absent, of linear scores.
        weight_inputs: int64[n], their places in `loads`.
        extras: int64[n, EXTRA_WORDS], further expressions on the event.
        params: int64[n], numbers that kinds are made with; an attribute's begin at its A_PARAMS.
        timing: int64[1 + n], what changes though no event comes: how often derived attributes that follow from the time
            are computed anew, ms (0 = there are none), then the attributes with a time at which they change.
        lists: int64[n], the look-up lists one after the other, each by open addressing: string ids, 0 = free.
        fact_functions: int64[n, 2], the property slots whose texts have facts, each with the string id of a function's name.
        triggers: int64[n], numbers of the attributes that are triggers.
        at_once: int64[3], the shortest wait of a trigger that waits, ms, NEVER_MS if none does; the marks of all that the
            conditions of the others follow from; and whether that is what events alone change (1), or something else, too (0).
            An engine makes it 0 where one holds for a session without events.
        element_keys: int64[n], as `keys`: members of the elements of lists.
        each: int64[n, EACH_WORDS], ops that are run for each element of a list.
        online: int64[n, M_WORDS], the online scores.
        passing: int64[n, PASS_WORDS], inputs of `derived` that change at certain times though no event comes.
        annex_of: int64[row_words / 8], for each 8 words of a row in one piece: the annex that they are in, -1 in the core.
    """

    names: NDArray[np.int64]
    plans: NDArray[np.int64]
    ops: NDArray[np.int64]
    groups: NDArray[np.int64]
    uses: NDArray[np.int64]
    keys: NDArray[np.int64]
    slots: NDArray[np.int64]
    codes: NDArray[np.int64]
    texts: NDArray[np.uint8]
    attributes: NDArray[np.int64]
    loads: NDArray[np.int64]
    derived_loads: NDArray[np.int64]
    derived: NDArray[np.int64]
    weights: NDArray[np.float64]
    weight_inputs: NDArray[np.int64]
    extras: NDArray[np.int64]
    params: NDArray[np.int64]
    timing: NDArray[np.int64]
    lists: NDArray[np.int64]
    fact_functions: NDArray[np.int64]
    triggers: NDArray[np.int64]
    at_once: NDArray[np.int64]
    element_keys: NDArray[np.int64]
    each: NDArray[np.int64]
    online: NDArray[np.int64]
    passing: NDArray[np.int64]
    annex_of: NDArray[np.int64]


# Words of `at_once`.
T_WAIT = np.int64(0)
T_MARKS = np.int64(1)
T_OF_EVENTS = np.int64(2)

# Words of a plan.
P_OPS = np.int64(0)  # first and end row in `ops`, those that are always run
P_OPS_END = np.int64(1)
P_GROUPS = np.int64(2)  # first and end row in `groups`
P_GROUPS_END = np.int64(3)
P_MARKS = np.int64(4)  # marks of the fields of the session that every event changes
P_LINES = np.int64(5)  # bit i: the event touches cache line i of the row's core
P_EACH = np.int64(6)  # first and end row in `each`
P_EACH_END = np.int64(7)
P_ANNEXES = np.int64(8)  # bit i: the event touches annex i of the row
PLAN_WORDS = np.int64(9)

# Marks say what has changed: one bit for all inputs of derived attributes that the same ones read, as far as bits reach.
MARKS_MAX = 62
MARK_TIME = np.int64(1 << MARKS_MAX)  # of inputs that change all the time
MARK_NEW = np.int64(-(2**63))  # every derived attribute waits for this one
EVERYTHING_CHANGED = np.int64(-1)
"""All marks."""

# Words of a group.
G_SLOT = np.int64(0)  # the property without which its ops do nothing, -1: they need none
G_OPS = np.int64(1)  # first and end row in `ops`
G_OPS_END = np.int64(2)
G_UNLESS = np.int64(3)  # the property that must be no list, since its elements count instead of the event; -1: none
GROUP_WORDS = np.int64(4)

# Words of ops that are run for each element of a list.
EACH_KEY = np.int64(0)  # offset and length of the list's key in `texts`
EACH_KEY_LEN = np.int64(1)
EACH_OPS = np.int64(2)  # first and end row in `ops`
EACH_OPS_END = np.int64(3)
EACH_ITSELF = np.int64(4)  # slot of the element itself, -1 if no expression reads it
EACH_SLOT = np.int64(5)  # slot of the list, -1 if it is looked for in the properties
EACH_WORDS = np.int64(6)

ELEMENT = "\0"
"""Input of expressions: an element of the list that `each` names. Keys of properties in expressions have no such character."""

ELEMENT_MEMBER = "\0."
"""Begins inputs that are members of such an element."""

# Words of a property slot.
SLOT_HEAD = np.int64(0)  # first and last 8 bytes of the key, zeros behind a shorter one
SLOT_TAIL = np.int64(1)
SLOT_OFFSET = np.int64(2)  # the key in `texts`
SLOT_LENGTH = np.int64(3)
SLOT_WORDS = np.int64(4)

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
OP_PARAMS = np.int64(12)  # as A_PARAMS
OP_EXTRAS = np.int64(13)  # first row in `extras`
OP_MARKS = np.int64(14)  # marks of what it changes
OP_WORDS = np.int64(15)

# Words of a further expression of an op.
X_SOURCE = np.int64(0)  # as OP_SOURCE
X_CODE = np.int64(1)
X_CODE_END = np.int64(2)
EXTRA_WORDS = np.int64(3)

NEEDS_TEXT = np.int64(2)
"""Use of a property whose text must be in the pool, since an expression looks at it or may return it."""

FROM_CODE = np.int64(-2)
NO_SOURCE = np.int64(-1)

# Words of an attribute.
A_KIND = np.int64(0)
A_AT = np.int64(1)
A_KEEP = np.int64(2)
A_UNIQUE = np.int64(3)
A_REGISTERS = np.int64(
    4
)  # DISTINCT: of its sketch; sums: see `has_sums`; DERIVED, and TRIGGER for its condition: place of the type
A_ROLE = np.int64(5)
A_NAME = np.int64(6)  # offset and length of its name in `texts`
A_NAME_LEN = np.int64(7)
A_PARAMS = np.int64(8)  # first of its numbers in `params`
A_PART = np.int64(9)  # 0 = the attribute itself, else the part of another one's cell that it shows
A_CELL_WORDS = np.int64(10)  # words of its cell; 0 for a part
A_HEAD = np.int64(11)  # SCORE: offset and length in `texts` of the fields of rte.v1.Score that never change
A_HEAD_LEN = np.int64(12)
A_WORDS = np.int64(13)

# Words of an online score.
M_AT = np.int64(0)  # word of its cell in the row
M_STATE = np.int64(1)  # first word of its block in `Table.online`
M_FIRST = np.int64(2)  # first and end row of its inputs in `weights` and `weight_inputs`
M_END = np.int64(3)
M_LABELS = np.int64(4)  # ids of its label events, 0 = none
M_LABEL_COUNT = np.int64(4)
M_ALPHA = np.int64(8)  # bits of doubles, as are the next five
M_BETA = np.int64(9)
M_L1 = np.int64(10)
M_L2 = np.int64(11)
M_MARGIN = np.int64(12)
M_FADE = np.int64(13)  # by what the weight of an example is multiplied after every other one
M_EXAMPLES = np.int64(14)
M_SHADOW = np.int64(15)
M_BASELINE = np.int64(16)  # place in `loads`, or -1
M_WORDS = np.int64(17)

# Words of a derived attribute.
D_AT = np.int64(0)  # word of the cell in the row
D_CODE = np.int64(1)  # DERIVED: first and end instruction; LINEAR: first and end weight
D_CODE_END = np.int64(2)
D_LINK = np.int64(3)  # NOT_LINEAR, IDENTITY, LOGISTIC or LEARNED
D_INTERCEPT = np.int64(4)  # LINEAR: its bits; ONLINE: its row in `online`; DERIVED: place of its type
D_READS = np.int64(5)  # marks of its inputs: it is computed when one of them is set
D_MARKS = np.int64(6)  # its own mark, for those that read it
D_LOADS = np.int64(7)  # first and end row in `derived_loads`
D_LOADS_END = np.int64(8)
D_WORDS = np.int64(9)

# Words of an input of a derived attribute.
L_PLACE = np.int64(0)  # its place in `loads`
L_WAY = np.int64(1)  # OF_WORD, OF_DERIVED or IN_ITS_WAY
L_AT = np.int64(
    2
)  # OF_WORD: the word of the row; OF_DERIVED: place of the type << L_PLACE_BITS | word; else as in `loads`
L_WORDS = np.int64(3)
L_PLACE_BITS = np.int64(32)
L_WORD_MASK = np.int64((1 << 32) - 1)
OF_WORD = np.int64(0)  # an int
OF_DERIVED = np.int64(1)  # another derived attribute
IN_ITS_WAY = np.int64(2)  # whatever its kind does

# Words of an input that changes at certain times.
PASS_LOAD = np.int64(0)  # as in `loads`
PASS_MARKS = np.int64(1)
PASS_AT = np.int64(2)  # word of its cell: it shows nothing as long as that is 0,
PASS_WAIT = np.int64(3)  # or until this much later, ms
PASS_WORDS = np.int64(4)
PASSING_MAX = 62
"""Inputs of this sort that a row has a bit for, see `table.STALE`; further ones count as changing all the time."""

NOT_LINEAR = np.int64(-1)
IDENTITY = np.int64(0)
LOGISTIC = np.int64(1)
LEARNED = np.int64(2)

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
    "session.idle_s": (9, "double"),
}
"""Fields of a session that expressions on rows can read: number and type."""


FIELDS_OF_EVERY_EVENT = frozenset(
    f"session.{name}"
    for name in ("event_count", "start_time", "last_event_time", "duration_s", "customer_id", "channel")
)
"""Those that any event can change; the others change with the sessions of the visitor, see `sessions.renumber`."""

FIELDS_OF_TIME = frozenset(("session.idle_s",))
"""Those that change though no event comes."""


@dataclass(frozen=True, slots=True)
class Program:
    """What all running models do.

    Attributes:
        models: The models, in the order given.
        attributes: All their attributes; the number of an attribute is its place here.
        arrays: What the kernels interpret.
        row_words: Words of a session's row in one piece.
        core_words: Its first words, that every session has.
        annexes: First word and words of each annex, see `annexes`.
        fact_functions: Name of the function in each row of `ProgramArrays.fact_functions`.
    """

    models: tuple[ModelSpec, ...]
    attributes: tuple[AttributeSpec, ...]
    arrays: ProgramArrays
    row_words: int
    core_words: int
    annexes: tuple[tuple[int, int], ...]
    fact_functions: tuple[str, ...] = ()

    @property
    def constant_texts(self) -> list[bytes]:
        """Return the texts that expressions push, sorted: they are in the pool as long as the program runs."""
        codes = [code for spec in self.attributes for code in (spec.value, spec.where, spec.code, *spec.extras)]
        return sorted({step.text for code in codes for step in code if step.op == Op.TEXT and step.text is not None})

    def number_of(self, name: str) -> int:
        """Return the number of the attribute `name`, or -1."""
        for number, spec in enumerate(self.attributes):
            if spec.name == name:
                return number
        return -1

    @property
    def online_size(self) -> int:
        """Words of `Table.online`."""
        return sum(online_words(len(spec.weights)) for spec in self.attributes if spec.kind == Kind.ONLINE)

    @property
    def scores(self) -> tuple[AttributeSpec, ...]:
        """The attributes that runners compute, in the order of their cells."""
        return tuple(spec for spec in self.attributes if spec.kind == Kind.SCORE)

    def words_of(self, number: int) -> tuple[int, int]:
        """Return the first and end word of an attribute's cell in a row in one piece."""
        at = int(self.arrays.attributes[number, A_AT])
        return at, at + int(self.arrays.attributes[number, A_CELL_WORDS])


CUSTOMER_PREFIX = "customer."
"""Begins the names of attributes of customers in expressions on rows: `customer.lifetime_value`."""


def customer_attribute(spec: AttributeSpec) -> str:
    """Return the name that an attribute of kind CUSTOMER has in the data mart."""
    return spec.name.removeprefix(f"{spec.model}.").removeprefix(CUSTOMER_PREFIX)


CELLS_OF = -(1 << 20)
"""Input `CELLS_OF - n` is the place of the entries of the list attribute n."""


def load_number(name: str, numbers: Mapping[str, int]) -> int:
    """Return the number by which kernels load an input of an expression on rows.

    Raises:
        EngineError: INVALID_EXPRESSION if there is no such attribute or field.
    """
    if name.endswith(CELLS_SUFFIX):
        return CELLS_OF - load_number(name.removesuffix(CELLS_SUFFIX), numbers)
    if name in SESSION_FIELDS:
        return -1 - SESSION_FIELDS[name][0]
    if name not in numbers:
        raise EngineError(Reason.INVALID_EXPRESSION, f"There is no attribute {name!r}.", value=name)
    return numbers[name]
