"""How kernels are compiled: what is called from Python as a whole, what is called by kernels only as a part of it.

numba makes machine code of every compiled function, with all that it calls, though most of them are only ever called by
others: the innermost ones are optimized and written out once for each function around them. That was two thirds of the
first start. So there are two decorators. A function under `inner` is typed and lowered to LLVM's form and goes no further. A
function under `kernel` takes in all the inner ones that it leads to, once each, is optimized as a whole, and is kept on disk.

Source: docs/decisions/0019-inner-kernels-are-no-machine-code.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from llvmlite import binding
from numba import njit
from numba.core import caching, compiler, compiler_machinery
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import CPUDispatcher
from numba.core.runtime import nrt
from numba.core.typed_passes import NativeLowering

from rte_server.engine.kernel_cache import use_folder_of_sources

# Before any kernel is made: every module with kernels imports this one.
use_folder_of_sources()

_Library: Any = JITCodeLibrary
_Compiler: Any = compiler.CompilerBase
_Dispatcher: Any = CPUDispatcher
_runtime: Any = nrt.rtsys
_Cache: Any = caching.FunctionCache
_Pass: Any = compiler_machinery.LoweringPass
_njit: Any = njit
_register_pass: Any = compiler_machinery.register_pass
_make_function: Any = importlib.import_module("numba._dynfunc").make_function
_PassBuilder: Any = compiler.DefaultPassBuilder


class _InnerLibrary(_Library):  # type: ignore[misc]
    """The code of one inner kernel, without that of the kernels that it calls; never machine code."""

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True


class _WholeLibrary(_Library):  # type: ignore[misc]
    """The code of a kernel and of all inner kernels that it leads to."""

    _linking_libraries: list[Any]

    def finalize(self) -> None:
        libraries: dict[Any, None] = {}
        waiting: list[Any] = list(self._linking_libraries)
        while waiting:
            library = waiting.pop()
            if library not in libraries:
                libraries[library] = None
                # Another whole one has taken in what it leads to already.
                waiting += library._linking_libraries if isinstance(library, _InnerLibrary) else ()  # noqa: SLF001
        self._linking_libraries = list(libraries)
        super().finalize()

    def _optimize_final_module(self) -> None:
        # numba does this twice, to pair up reference counts in between; kernels count none.
        manager, builder = self._codegen._module_pass_manager()  # noqa: SLF001
        manager.run(self._final_module, builder)


class _WholeCompiler(_Compiler):  # type: ignore[misc]
    """numba's compiler with another form of library."""

    library_type: Any = _WholeLibrary

    def compile_extra(self, func: Any) -> Any:
        self.state.library = self.library_type(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)

    def define_pipelines(self) -> list[Any]:
        passes = _PassBuilder.define_nopython_pipeline(self.state)
        passes.finalize()
        return [passes]


@_register_pass(mutates_CFG=False, analysis_only=False)
class _Announce(_Pass):  # type: ignore[misc]
    """Lets other kernels call an inner kernel, which has no address."""

    _name = "announce"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        result = state["cr"]
        function = result.fndesc
        stand_in = _make_function(function.lookup_module(), function.qualname, "", 0, result.env, (state.library,))
        state.targetctx.insert_user_function(stand_in, function, [state.library])
        state["cr"] = result._replace(cfunc=stand_in)
        return True


class _InnerCompiler(_WholeCompiler):
    library_type = _InnerLibrary

    def define_pipelines(self) -> list[Any]:
        self.state.flags.no_compile = True
        passes = _PassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_Announce, NativeLowering)
        passes.finalize()
        return [passes]


class _InnerDispatcher(_Dispatcher):  # type: ignore[misc]
    def __call__(self, *_args: Any, **_named: Any) -> Any:
        raise TypeError(f"{self.__name__} is called by kernels only; see engine/kernel.py")


class _LoadedLibrary(_Library):  # type: ignore[misc]
    """The code of a kernel from disk. The form in which others take it in is parsed when one of them is compiled."""

    _form: bytes | None = None

    @classmethod
    def load(cls, codegen: Any, state: Any) -> Self:
        """Return a library of what numba keeps of a kernel.

        Raises:
            RuntimeError: That is no machine code.
        """
        name, kind, kept = state
        if kind != "object":
            raise RuntimeError(f"{name} is kept as {kind}, not as machine code")
        machine_code, form = kept
        self = cls(codegen, name)
        self._form = form
        self.enable_object_caching()
        self._set_compiled_object(machine_code)
        self._finalize_final_module()
        return self

    def get_pointer_to_function(self, name: str) -> int:
        # numba looks first whether it knows the name, which it has from the form.
        if self._form is None:
            return int(super().get_pointer_to_function(name))
        address = int(self._codegen._engine.get_function_address(name))  # noqa: SLF001
        if address == 0:
            raise RuntimeError(f"{self.name} was kept without the code of {name}")
        return address

    def _get_module_for_linking(self) -> Any:
        if self._form is not None:
            self._shared_module = binding.parse_bitcode(self._form)
            self._codegen._engine._load_defined_symbols(self._shared_module)  # noqa: SLF001
            self._form = None
        return super()._get_module_for_linking()


class _KernelCache(_Cache):  # type: ignore[misc]
    """Machine code on disk, which is loaded without the compiler."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # numba's own method first imports all that functions are compiled with, which takes longer than all kernels
        # together. Machine code needs none of it but the allocator.
        _runtime.initialize(target_context)
        codegen = target_context.codegen()
        codegen.unserialize_library = partial(_LoadedLibrary.load, codegen)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that is called from Python; it runs without the GIL."""
    dispatcher = _njit(nogil=True, no_cfunc_wrapper=True, pipeline_class=_WholeCompiler)(function)
    dispatcher._cache = _KernelCache(function)  # noqa: SLF001
    return dispatcher


def inner(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function that only kernels call.

    Args:
        function: The function.
        options: `forceinline`: True: a copy of it stands where it is called, False: the compiler decides.
            `error_model`: as for `numba.njit`.
    """
    if function is None:
        return lambda function: inner(function, **options)
    options |= {"nopython": True, "nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _InnerDispatcher(py_func=function, targetoptions=options, pipeline_class=_InnerCompiler)
