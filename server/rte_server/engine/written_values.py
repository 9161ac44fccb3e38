"""Attributes that applications write, from the values of a request to the block of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.native import float_bits
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.table import WRITTEN_WORDS
from rte_server.engine.values import BOOL, DOUBLE, NULL, STRING
from rte_server.engine.written import write_attributes

Written = bool | float | str | None
"""A value that an application writes; None removes the attribute."""


def write_session(
    context: NDArray[np.int64],
    row: int,
    attributes: Mapping[str, Written],
    keep: Callable[[str], int],
    sessions_max: int,
) -> None:
    """Write attributes to a session.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        row: The session.
        attributes: Values by name.
        keep: Puts a text into the pool, and returns its id.
        sessions_max: Sessions that may have written attributes, for the message.

    Raises:
        EngineError: TOO_MANY_WRITTEN_ATTRIBUTES, OVERLOADED.
    """
    names = np.array([keep(name) for name in attributes], np.int64)
    values = [_words(value, keep) for value in attributes.values()]
    status = write_attributes(
        context,
        row,
        names,
        np.array([tag for tag, _ in values], np.int64),
        np.array([bits for _, bits in values], np.int64),
    )
    if status == 1:
        raise EngineError(
            Reason.TOO_MANY_WRITTEN_ATTRIBUTES,
            "The session would have too many written attributes; remove some by writing null.",
            field="attributes",
            limit=str(WRITTEN_WORDS // 4),
        )
    if status == 2:
        raise EngineError(
            Reason.OVERLOADED,
            "Too many sessions have written attributes; try again when some have left.",
            limit=str(sessions_max),
        )


def _words(value: Written, keep: Callable[[str], int]) -> tuple[int, int]:
    if value is None:
        return NULL, 0
    if isinstance(value, bool):
        return BOOL, int(value)
    if isinstance(value, str):
        return STRING, keep(value)
    return DOUBLE, int(float_bits(value))
