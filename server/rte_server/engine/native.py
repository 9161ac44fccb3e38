"""What numba does not offer: unaligned loads, ordered memory access, prefetch, bit casts, and keyed hashes.

Everything here can be called from compiled kernels; the hashes and `float_bits`/`bits_float` from Python too. Indexes
are trusted, as everywhere in compiled code: callers check lengths first. With NUMBA_BOUNDSCHECK=1 they are checked.

The loads are little-endian: the machine's order on every platform that numba supports.

A *span* is the address and the length of an array, as two integers. Kernels hand spans instead of arrays to the
functions that they call per event: an array is counted in and out at each call that is not inlined, with two atomic
operations (about 10 ns), a span costs nothing. Whoever makes a span keeps the array alive while it is used. Arguments
of a kernel live as long as the call; but numba frees an array that a kernel makes after its last mention, and a span
is no mention: write to the array once more after the last use of its span.

Kernels that have one caller on the way of every event are marked `forceinline`: LLVM leaves most of them as calls, whose
results pass through memory, and the fold took a fifth longer. Marking those with several callers gained nothing. What is
compiled for a marked function inherits the mark unless it says `forceinline=False`: large functions that most events do
without say so, or they would be copied into all their callers, and these into theirs, and compile for minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as _numba_cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from rte_server.engine.kernel import inner, kernel

BYTE_BITS = 8
cgutils: Any = _numba_cgutils


def _intrinsic(function: Callable[..., Any]) -> Any:
    """Return numba's intrinsic of a typing function; as Any, since callers do not pass the typing context."""
    return intrinsic(function)


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, width: int) -> Any:
    """Return the address of element `index` of a C-contiguous array, counted over all of its dimensions.

    `width` is the number of elements that will be read from there, for the check under NUMBA_BOUNDSCHECK=1.
    """
    value = context.make_array(array_type)(context, builder, array)
    if context.enable_boundscheck:
        last = builder.add(index, ir.Constant(index.type, width - 1))
        cgutils.do_boundscheck(context, builder, index, value.nitems)
        cgutils.do_boundscheck(context, builder, last, value.nitems)
    return builder.gep(value.data, [index])


def _is_array(array_type: Any, dtype: Any) -> bool:
    return isinstance(array_type, types.Array) and array_type.layout == "C" and array_type.dtype == dtype


def _load_type(bits: int, result: Any) -> Any:
    """Return the typing function of an unaligned load of `bits` bits from a uint8 array."""

    def typing(_context: Any, array: Any, index: Any) -> Any:
        if not _is_array(array, types.uint8) or not isinstance(index, types.Integer):
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], bits // BYTE_BITS)
            word = ir.IntType(bits)
            return builder.load(builder.bitcast(pointer, word.as_pointer()), align=1, typ=word)

        return result(array, types.intp), codegen

    return typing


@_intrinsic
def load_u64(typingctx, buf, off):  # type: ignore[no-untyped-def]
    """Return the 8 bytes at `buf[off]` (uint8[:]) as a little-endian uint64, at any alignment."""
    return _load_type(64, types.uint64)(typingctx, buf, off)


@_intrinsic
def load_u32(typingctx, buf, off):  # type: ignore[no-untyped-def]
    """Return the 4 bytes at `buf[off]` (uint8[:]) as a little-endian uint32, at any alignment."""
    return _load_type(32, types.uint32)(typingctx, buf, off)


@_intrinsic
def load_acquire(typingctx, array, index):  # type: ignore[no-untyped-def]
    """Return element `index` of a C-contiguous int64 array; later reads of this thread stay after it.

    `index` counts over all dimensions: row * columns + column in a table.
    """
    if not _is_array(array, types.int64) or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], 1)
        return builder.load_atomic(pointer, "acquire", 8, typ=ir.IntType(64))

    return types.int64(array, types.intp), codegen


@_intrinsic
def store_release(typingctx, array, index, value):  # type: ignore[no-untyped-def]
    """Store the int64 `value` into a C-contiguous int64 array; earlier writes of this thread are visible before it.

    `index` counts over all dimensions: row * columns + column in a table.
    """
    if not _is_array(array, types.int64) or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], 1)
        builder.store_atomic(args[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


SPAN: Any = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]


@_intrinsic
def span_of(_typingctx, array):  # type: ignore[no-untyped-def]
    """Return the span of a C-contiguous array: (address, number of elements over all dimensions), two int64."""
    if not isinstance(array, types.Array) or array.layout != "C":
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        value = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.ptrtoint(value.data, ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, (address, value.nitems))

    return SPAN(array), codegen


def _span_pointer(context: Any, builder: Any, span: Any, index: Any, bits: int, width: int) -> Any:
    """Return the address of element `index` of a span; elements have `bits` bits, `width` of them are read."""
    if context.enable_boundscheck:
        length = builder.extract_value(span, 1)
        cgutils.do_boundscheck(context, builder, index, length)
        cgutils.do_boundscheck(context, builder, builder.add(index, index.type(width - 1)), length)
    base = builder.inttoptr(builder.extract_value(span, 0), ir.IntType(bits).as_pointer())
    return builder.gep(base, [index], source_etype=ir.IntType(bits))


@_intrinsic
def byte_at(_typingctx, span, index):  # type: ignore[no-untyped-def]
    """Return byte `index` of a span of uint8 as int64, 0 to 255."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        pointer = _span_pointer(context, builder, args[0], args[1], BYTE_BITS, 1)
        return builder.zext(builder.load(pointer, typ=ir.IntType(BYTE_BITS)), ir.IntType(64))

    return types.int64(SPAN, types.int64), codegen


@_intrinsic
def bytes_at(_typingctx, span, index):  # type: ignore[no-untyped-def]
    """Return the 8 bytes from `index` of a span of uint8 on, as a little-endian uint64, at any alignment."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        pointer = _span_pointer(context, builder, args[0], args[1], BYTE_BITS, 8)
        return builder.load(pointer, align=1, typ=ir.IntType(64))

    return types.uint64(SPAN, types.int64), codegen


@_intrinsic
def put_byte(_typingctx, span, index, value):  # type: ignore[no-untyped-def]
    """Store the lowest 8 bits of `value` as byte `index` of a span of uint8."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        pointer = _span_pointer(context, builder, args[0], args[1], BYTE_BITS, 1)
        builder.store(builder.trunc(args[2], ir.IntType(BYTE_BITS)), pointer)
        return context.get_dummy_value()

    return types.void(SPAN, types.int64, types.int64), codegen


@_intrinsic
def word_at(_typingctx, span, index):  # type: ignore[no-untyped-def]
    """Return element `index` of a span of int64."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        pointer = _span_pointer(context, builder, args[0], args[1], 64, 1)
        return builder.load(pointer, typ=ir.IntType(64))

    return types.int64(SPAN, types.int64), codegen


@_intrinsic
def put_word(_typingctx, span, index, value):  # type: ignore[no-untyped-def]
    """Store `value` (int64) as element `index` of a span of int64."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        builder.store(args[2], _span_pointer(context, builder, args[0], args[1], 64, 1))
        return context.get_dummy_value()

    return types.void(SPAN, types.int64, types.int64), codegen


@_intrinsic
def acquire_at(_typingctx, span, index):  # type: ignore[no-untyped-def]
    """Return element `index` of a span of int64; later reads of this thread stay after it."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        pointer = _span_pointer(context, builder, args[0], args[1], 64, 1)
        return builder.load_atomic(pointer, "acquire", 8, typ=ir.IntType(64))

    return types.int64(SPAN, types.int64), codegen


@_intrinsic
def release_at(_typingctx, span, index, value):  # type: ignore[no-untyped-def]
    """Store `value` as element `index` of a span of int64; earlier writes of this thread are visible before it."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        builder.store_atomic(args[2], _span_pointer(context, builder, args[0], args[1], 64, 1), "release", 8)
        return context.get_dummy_value()

    return types.void(SPAN, types.int64, types.int64), codegen


@_intrinsic
def prefetch_at(_typingctx, span, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of element `index` of a span of int64."""
    if span != SPAN or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, _signature, args):  # type: ignore[no-untyped-def]
        _call_prefetch(builder, _span_pointer(context, builder, args[0], args[1], 64, 1))
        return context.get_dummy_value()

    return types.void(SPAN, types.int64), codegen


@_intrinsic
def fence_acquire(_typingctx):  # type: ignore[no-untyped-def]
    """Keep every read before this point before every read and write after it.

    A reader of versioned rows calls it after it has copied the row and before it reads the version again.
    """

    def codegen(context, builder, _signature, _args):  # type: ignore[no-untyped-def]
        builder.fence("acquire")
        return context.get_dummy_value()

    return types.void(), codegen


@_intrinsic
def fence_release(_typingctx):  # type: ignore[no-untyped-def]
    """Keep every read and write before this point before every write after it.

    A writer of versioned rows calls it after it has made the version odd and before it changes the row.
    """

    def codegen(context, builder, _signature, _args):  # type: ignore[no-untyped-def]
        builder.fence("release")
        return context.get_dummy_value()

    return types.void(), codegen


def _call_prefetch(builder: Any, pointer: Any) -> None:
    """Write a prefetch of the cache line that `pointer` is in: for reading, to be kept in all levels, of data."""
    byte_pointer = ir.IntType(BYTE_BITS).as_pointer()
    flag = ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(pointer, byte_pointer), flag(0), flag(3), flag(1)])


@_intrinsic
def prefetch(_typingctx, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of element `index` (over all dimensions) of a C-contiguous array of any type."""
    if not isinstance(array, types.Array) or array.layout != "C" or not isinstance(index, types.Integer):
        return None

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _element_pointer(context, builder, signature.args[0], args[0], args[1], 1)
        _call_prefetch(builder, pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _zeros(count: str, taken: Any) -> Any:
    """Return the typing function of counting zeros of a word of type `taken`, by the name of LLVM's function."""

    def typing(_context: Any, value: Any) -> Any:
        if value != taken:
            return None

        def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return getattr(builder, count)(args[0], ir.Constant(ir.IntType(1), 0))

        return types.int64(value), codegen

    return typing


@_intrinsic
def leading_zeros(typingctx, value):  # type: ignore[no-untyped-def]
    """Return how many of the highest bits of a uint64 are 0; 64 for 0."""
    return _zeros("ctlz", types.uint64)(typingctx, value)


@_intrinsic
def trailing_zeros(typingctx, value):  # type: ignore[no-untyped-def]
    """Return how many of the lowest bits of an int64 are 0; 64 for 0."""
    return _zeros("cttz", types.int64)(typingctx, value)


@_intrinsic
def _float_bits(_typingctx, value):  # type: ignore[no-untyped-def]
    if not isinstance(value, (types.Float, types.Integer)):
        return None

    def codegen(_context, builder, _signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@_intrinsic
def _bits_float(_typingctx, bits):  # type: ignore[no-untyped-def]
    if not isinstance(bits, types.Integer):
        return None

    def codegen(_context, builder, _signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@kernel
def float_bits(value):  # type: ignore[no-untyped-def]
    """Return the 64 bits of a float64 as int64."""
    return _float_bits(value)


@kernel
def bits_float(bits):  # type: ignore[no-untyped-def]
    """Return the float64 that has these 64 bits (int64)."""
    return _bits_float(bits)


def _rotate(builder: Any, word: Any, bits: int) -> Any:
    return builder.or_(builder.shl(word, word.type(bits)), builder.lshr(word, word.type(64 - bits)))


def _round(builder: Any, v0: Any, v1: Any, v2: Any, v3: Any) -> tuple[Any, Any, Any, Any]:
    """Write one round of SipHash."""
    v0 = builder.add(v0, v1)
    v1 = builder.xor(_rotate(builder, v1, 13), v0)
    v0 = _rotate(builder, v0, 32)
    v2 = builder.add(v2, v3)
    v3 = builder.xor(_rotate(builder, v3, 16), v2)
    v0 = builder.add(v0, v3)
    v3 = builder.xor(_rotate(builder, v3, 21), v0)
    v2 = builder.add(v2, v1)
    v1 = builder.xor(_rotate(builder, v1, 17), v2)
    v2 = _rotate(builder, v2, 32)
    return v0, v1, v2, v3


@_intrinsic
def _sip_rounds(_typingctx, v0, v1, v2, v3, count):  # type: ignore[no-untyped-def]
    """Return the four words (uint64) after `count` rounds of SipHash. `count` is a constant.

    As an intrinsic, since a compiled function that is called per round is not always inlined, which costs more than
    the round itself (40 ns instead of 12 per short string).
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    rounds = count.literal_value
    words: Any = types.UniTuple(types.uint64, 4)  # type: ignore[no-untyped-call]

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        state = (args[0], args[1], args[2], args[3])
        for _ in range(rounds):
            state = _round(builder, *state)
        return context.make_tuple(builder, signature.return_type, state)

    return words(types.uint64, types.uint64, types.uint64, types.uint64, count), codegen


@inner
def _tail_word(span, off, length):  # type: ignore[no-untyped-def]
    """Return SipHash's last word: the bytes after the last full 8, and the length in the highest byte."""
    rest = length & 7
    last = np.uint64(length & 0xFF) << np.uint64(56)
    if rest == 0:
        return last
    # One load instead of up to 7. The 8 bytes must lie in the buffer: those that end here, or else those that begin.
    if off + length >= 8:
        return last | (bytes_at(span, off + length - 8) >> np.uint64(64 - 8 * rest))
    if off + length - rest + 8 <= span[1]:
        mask = (np.uint64(1) << np.uint64(8 * rest)) - np.uint64(1)
        return last | (bytes_at(span, off + length - rest) & mask)
    for i in range(rest):
        last |= np.uint64(byte_at(span, off + length - rest + i)) << np.uint64(8 * i)
    return last


_C0 = np.uint64(0x736F6D6570736575)
_C1 = np.uint64(0x646F72616E646F6D)
_C2 = np.uint64(0x6C7967656E657261)
_C3 = np.uint64(0x7465646279746573)


@inner
def span_siphash24_128(span, off, length, k0, k1):  # type: ignore[no-untyped-def]
    """Return `siphash24_128` of bytes of a span of uint8."""
    v0, v1, v2, v3 = k0 ^ _C0, k1 ^ _C1 ^ np.uint64(0xEE), k0 ^ _C2, k1 ^ _C3
    for i in range(length >> 3):
        word = bytes_at(span, off + 8 * i)
        v0, v1, v2, v3 = _sip_rounds(v0, v1, v2, v3 ^ word, 2)
        v0 ^= word
    word = _tail_word(span, off, length)
    v0, v1, v2, v3 = _sip_rounds(v0, v1, v2, v3 ^ word, 2)
    v0, v1, v2, v3 = _sip_rounds(v0 ^ word, v1, v2 ^ np.uint64(0xEE), v3, 4)
    low = v0 ^ v1 ^ v2 ^ v3
    v0, v1, v2, v3 = _sip_rounds(v0, v1 ^ np.uint64(0xDD), v2, v3, 4)
    return np.int64(low), np.int64(v0 ^ v1 ^ v2 ^ v3)


@inner
def span_siphash13_64(span, off, length, k0, k1):  # type: ignore[no-untyped-def]
    """Return `siphash13_64` of bytes of a span of uint8."""
    v0, v1, v2, v3 = k0 ^ _C0, k1 ^ _C1, k0 ^ _C2, k1 ^ _C3
    for i in range(length >> 3):
        word = bytes_at(span, off + 8 * i)
        v0, v1, v2, v3 = _sip_rounds(v0, v1, v2, v3 ^ word, 1)
        v0 ^= word
    word = _tail_word(span, off, length)
    v0, v1, v2, v3 = _sip_rounds(v0, v1, v2, v3 ^ word, 1)
    v0, v1, v2, v3 = _sip_rounds(v0 ^ word, v1, v2 ^ np.uint64(0xFF), v3, 3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def siphash24_128(buf, off, length, k0, k1):  # type: ignore[no-untyped-def]
    """Return SipHash-2-4 with 128 bits of `buf[off:off+length]` as two int64, low word first.

    Args:
        buf: uint8[:].
        off: Where the bytes begin.
        length: How many they are, >= 0; `off + length <= len(buf)`.
        k0: First half of the key, uint64.
        k1: Second half of the key, uint64.

    Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; the 128-bit form of its reference code.
    """
    return span_siphash24_128(span_of(buf), off, length, k0, k1)


@kernel
def siphash13_64(buf, off, length, k0, k1):  # type: ignore[no-untyped-def]
    """Return SipHash-1-3 with 64 bits of `buf[off:off+length]` as uint64. Arguments as in `siphash24_128`."""
    return span_siphash13_64(span_of(buf), off, length, k0, k1)


@inner
def span_string_id(span, off, length, k2, k3):  # type: ignore[no-untyped-def]
    """Return `string_id` of bytes of a span of uint8; `k2`, `k3` are the second half of the secret, uint64."""
    found = np.int64(span_siphash13_64(span, off, length, k2, k3))
    return found if found != 0 else np.int64(1)


@kernel
def string_id(buf, off, length, secret):  # type: ignore[no-untyped-def]
    """Return the id of the string `buf[off:off+length]`: a keyed 64-bit hash as int64, never 0.

    Args:
        buf: uint8[:].
        off: Where its bytes begin.
        length: How many they are, >= 0.
        secret: uint64[4]; the second half is the key.
    """
    return span_string_id(span_of(buf), off, length, secret[2], secret[3])


def text_id(text: bytes, secret: NDArray[np.uint64]) -> int:
    """Return the id of a string that is at hand in Python; see `string_id`."""
    return int(string_id(np.frombuffer(text, np.uint8), 0, len(text), secret))


def secret_from_bytes(key: bytes) -> NDArray[np.uint64]:
    """Return the secret that these 32 bytes are, uint64[4].

    They come from the operating system's randomness when a journal is created, and are kept with it.

    Raises:
        ValueError: `key` has not 32 bytes.
    """
    if len(key) != 32:
        raise ValueError(f"a secret has 32 bytes, this one has {len(key)}")
    return np.frombuffer(key, np.dtype("<u8")).astype(np.uint64)
