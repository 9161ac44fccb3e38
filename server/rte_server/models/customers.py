"""Attributes of customers that models read: `customer.lifetime_value`.

A data mart's schema is open, so nothing declares them. The first model that reads one brings it as an attribute of its
own, which holds what the session's customer was last said to have; all models share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rte_server.engine.program import CUSTOMER_PREFIX, AttributeSpec, Kind

CUSTOMER_ATTRIBUTES_MAX = 64  # read by one model
_NAME = re.compile(re.escape(CUSTOMER_PREFIX) + r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def customer_names(words: Iterable[str]) -> list[str]:
    """Return the attributes of customers among words of expressions, each once."""
    return [word for word in dict.fromkeys(words) if _NAME.fullmatch(word)]


def customer_spec(name: str, model: str) -> AttributeSpec:
    """Return the attribute of a model that holds an attribute of the session's customer.

    Args:
        name: With its prefix.
        model: Name of the model.
    """
    column = name.removeprefix(CUSTOMER_PREFIX)
    description = f"`{column}` of the session's customer, as the data mart said last."
    return AttributeSpec(name=name, model=model, kind=Kind.CUSTOMER, value_type="any", description=description)
