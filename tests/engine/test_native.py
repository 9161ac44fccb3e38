"""The loads, the ordered access and the hashes are what their names say."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte_server.engine import native
from rte_server.engine.kernel import kernel

MASK = (1 << 64) - 1
KEY = bytes(range(16))
# First entries of `vectors_sip64` and `vectors_sip128` of the reference code: key 00..0f, text 00, 01, ... of length n.
SIP24_64 = {
    0: "310e0edd47db6f72",
    1: "fd67dc93c539f874",
    2: "5a4fa9d909806c0d",
    7: "37d1018bf50002ab",
    15: "e545be4961ca29a1",
}
SIP24_128 = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
}


def siphash(text: bytes, key: bytes, rounds: int, final_rounds: int, bits: int) -> bytes:
    """Return SipHash as its paper states it, in plain Python."""
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turn(count: int) -> None:
        for _ in range(count):
            for a, b, x, y in ((13, 16, 0, 2), (17, 21, 2, 0)):
                v[x] = (v[x] + v[1]) & MASK
                v[1] = (v[1] << a | v[1] >> (64 - a)) & MASK
                v[1] ^= v[x]
                v[x] = (v[x] << 32 | v[x] >> 32) & MASK
                v[y] = (v[y] + v[3]) & MASK
                v[3] = (v[3] << b | v[3] >> (64 - b)) & MASK
                v[3] ^= v[y]

    if bits == 128:
        v[1] ^= 0xEE
    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        turn(rounds)
        v[0] ^= word
    v[2] ^= 0xEE if bits == 128 else 0xFF
    turn(final_rounds)
    result = struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    if bits == 128:
        v[1] ^= 0xDD
        turn(final_rounds)
        result += struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    return result


def as_array(text: bytes) -> NDArray[np.uint8]:
    """Return the bytes as an array, as kernels take them."""
    return np.frombuffer(text, np.uint8)


def words(key: bytes) -> tuple[np.uint64, np.uint64]:
    """Return the two halves of a key of 16 bytes."""
    first, second = struct.unpack("<QQ", key)
    return np.uint64(first), np.uint64(second)


@pytest.mark.parametrize(("length", "expected"), SIP24_64.items())
def test_the_python_twin_gives_the_published_64_bit_vectors(length: int, expected: str) -> None:
    """The plain Python SipHash-2-4 gives the vectors that its authors published."""
    assert siphash(bytes(range(length)), KEY, 2, 4, 64).hex() == expected


@pytest.mark.parametrize(("length", "expected"), SIP24_128.items())
def test_the_kernel_gives_the_published_128_bit_vectors(length: int, expected: str) -> None:
    """The compiled SipHash-2-4-128 gives the vectors that its authors published."""
    low, high = native.siphash24_128(as_array(bytes(range(length))), 0, length, *words(KEY))
    assert struct.pack("<qq", low, high).hex() == expected


@settings(deadline=None)  # The first call compiles.
@given(st.binary(max_size=70), st.binary(max_size=9), st.binary(max_size=9), st.binary(min_size=32, max_size=32))
def test_hashes_equal_the_twin_wherever_the_bytes_lie(text: bytes, before: bytes, after: bytes, key: bytes) -> None:
    """Both hashes depend on the bytes and the key alone, not on what stands around the bytes."""
    buf = as_array(before + text + after)
    low, high = native.siphash24_128(buf, len(before), len(text), *words(key[:16]))
    assert struct.pack("<qq", low, high) == siphash(text, key[:16], 2, 4, 128)
    short = native.siphash13_64(buf, len(before), len(text), *words(key[:16]))
    assert struct.pack("<Q", short) == siphash(text, key[:16], 1, 3, 64)
    secret = native.secret_from_bytes(key)
    expected = struct.unpack("<q", siphash(text, key[16:], 1, 3, 64))[0]
    assert native.string_id(buf, len(before), len(text), secret) == (expected or 1)
    assert native.text_id(text, secret) == (expected or 1)


def test_a_secret_has_32_bytes() -> None:
    """A secret is made of 32 bytes; a key of another length is refused."""
    assert native.secret_from_bytes(bytes(range(32))).tobytes() == bytes(range(32))
    with pytest.raises(ValueError, match="32 bytes"):
        native.secret_from_bytes(b"short")


@settings(deadline=None)  # The first call compiles.
@given(st.binary(min_size=8, max_size=40), st.integers(0, 40))
def test_loads_are_little_endian_at_any_alignment(text: bytes, off: int) -> None:
    """An 8 or 4 byte load gives what `int.from_bytes` gives."""
    off = min(off, len(text) - 8)
    wide, narrow, spanned, single = _loads(as_array(text), off)
    assert wide == spanned == int.from_bytes(text[off : off + 8], "little")
    assert narrow == int.from_bytes(text[off : off + 4], "little")
    assert single == text[off]


@settings(deadline=None)  # The first call compiles.
@given(st.floats(allow_nan=True))
def test_bit_casts_keep_every_bit(value: float) -> None:
    """A float64 turned into its bits and back is the same, and its bits are those of IEEE 754."""
    bits = native.float_bits(value)
    assert struct.pack("<q", bits) == struct.pack("<d", value)
    assert struct.pack("<d", native.bits_float(bits)) == struct.pack("<d", value)


def test_ordered_access_counts_over_all_dimensions() -> None:
    """A store with release and a load with acquire reach row * columns + column of a table."""
    table = np.zeros((3, 4), np.int64)
    assert _store_and_load(table, 1 * 4 + 2, -7) == -7
    assert table[1, 2] == -7
    assert np.count_nonzero(table) == 1


@kernel
def _loads(buf: NDArray[np.uint8], off: int) -> Any:
    span = native.span_of(buf)
    return native.load_u64(buf, off), native.load_u32(buf, off), native.bytes_at(span, off), native.byte_at(span, off)


@kernel
def _store_and_load(table: NDArray[np.int64], index: int, value: int) -> Any:
    native.prefetch(table, index)
    native.fence_release()
    native.store_release(table, index, value)
    native.fence_acquire()
    span = native.span_of(table)
    native.put_word(span, index, native.word_at(span, index))
    return native.load_acquire(table, index)


OUT_OF_BOUNDS = """
import numpy as np
from numba import njit
from numpy.typing import NDArray
from rte_server.engine import native

@njit(nogil=True)
def read(buf, off):
    return native.bytes_at(native.span_of(buf), off)

@njit(nogil=True)
def load(buf, off):
    return native.load_u64(buf, off)

for function in (read, load):
    function(np.zeros(9, np.uint8), 1)
    for off in (2, -1):
        try:
            function(np.zeros(9, np.uint8), off)
        except IndexError:
            continue
        raise SystemExit(f"no IndexError at {off}")
"""


def test_bounds_are_checked_when_numba_is_told_to(tmp_path: Path) -> None:
    """With NUMBA_BOUNDSCHECK=1 a load beyond the end or before the begin raises, so that fuzzing can see it."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", OUT_OF_BOUNDS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
