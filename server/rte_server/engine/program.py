"""What models compute, as values: attribute and model specifications."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from rte_server.engine.expressions import Code


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
