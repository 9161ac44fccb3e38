"""Kernels are compiled as a whole; what only kernels call has no machine code of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rte_server.engine.kernel import _LoadedLibrary, inner, kernel


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


def test_what_is_kept_of_a_kernel_is_machine_code_that_has_what_is_asked_for(numbers: NDArray[np.int64]) -> None:
    """Another form of it is refused, and a function that is not in it is an error; calling it would end the process."""
    _total(numbers)
    (compiled,) = _total.overloads.values()
    name, kind, kept = compiled.library.serialize_using_object_code()
    codegen = compiled.library.codegen
    function = compiled.fndesc.llvm_cpython_wrapper_name
    assert _LoadedLibrary.load(codegen, (name, kind, kept)).get_pointer_to_function(function) != 0
    with pytest.raises(RuntimeError, match="kept without the code of no_such_function"):
        _LoadedLibrary.load(codegen, (name, kind, kept)).get_pointer_to_function("no_such_function")
    with pytest.raises(RuntimeError, match="kept as bitcode"):
        _LoadedLibrary.load(codegen, (name, "bitcode", kept[1]))
