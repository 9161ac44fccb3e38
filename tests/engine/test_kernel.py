"""Kernels are compiled as a whole; what only kernels call has no machine code of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rte_server.engine.kernel import inner, kernel


@inner
def _half(number: Any) -> Any:
    return number // 2


@inner(forceinline=True)
def _halves(numbers: Any, i: Any) -> Any:
    return _half(numbers[i]) + _half(numbers[i] + 1)


@kernel
def _total(numbers: Any) -> Any:
    total = 0
    for i in range(numbers.shape[0]):
        total += _halves(numbers, i)
    return total


@kernel
def _double_total(numbers: Any) -> Any:
    return 2 * _total(numbers) + _half(numbers[0])


@pytest.fixture
def numbers() -> NDArray[np.int64]:
    """Return 1 to 9."""
    return np.arange(1, 10)


def test_a_kernel_calls_inner_ones_through_others_and_whole_ones(numbers: NDArray[np.int64]) -> None:
    """What is called, however deep, is part of the kernel, be it an inner one or one that Python can call as well."""
    assert _double_total(numbers) == 2 * sum(range(1, 10))
    assert _total(numbers) == sum(range(1, 10))


def test_an_inner_kernel_cannot_be_called_from_python(numbers: NDArray[np.int64]) -> None:
    """It has no address: the call is refused, also after kernels have used it."""
    _total(numbers)
    with pytest.raises(TypeError, match="_half is called by kernels only"):
        _half(4)
