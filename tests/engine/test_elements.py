"""Reading the elements of a list: as the official parser reads them, and never outside of the bytes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from rte_server.engine import context as places
from rte_server.engine.assembly import assemble
from rte_server.engine.elements import find_list, next_element, read_element
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.kernel import kernel
from rte_server.engine.native import span_of, word_at
from rte_server.engine.program import ELEMENT_MEMBER, AttributeSpec, Kind, ModelSpec
from rte_server.engine.values import BOOL, COMPOUND, DOUBLE, ERROR, NULL
from tests.engine.strategies import SECRET

PRICE = (Instruction(Op.LOAD, name=ELEMENT_MEMBER + "price"),)
SPEC = AttributeSpec("sum", "laws", Kind.SUM, "double", value=PRICE, each="items")
KEY = b"items"

Found = list[tuple[int, int]]
TAGS = {
    "number_value": DOUBLE,
    "bool_value": BOOL,
    "null_value": NULL,
    "list_value": COMPOUND,
    "struct_value": COMPOUND,
}


class Reader:
    """Reads the member `price` of the elements of `items` with the kernels of the fold."""

    def __init__(self) -> None:
        arrays = assemble([ModelSpec("laws", 1, "", (), "", (SPEC,))], SECRET).arrays
        self.uses = arrays.uses[0].copy()
        self.key_at = int(arrays.each[0, 0])
        self.arrays: dict[int, NDArray[np.generic]] = {
            int(places.TEXTS): arrays.texts,
            int(places.ELEMENT_KEYS): arrays.element_keys,
            int(places.KEYS): arrays.keys,
            int(places.PROPERTY_SLOTS): arrays.slots,
            int(places.POOL_SLOTS): np.zeros(16, np.int64),
            int(places.SECRET): SECRET.view(np.int64),
        }
        for number in (places.SLOT_TAGS, places.SLOT_BITS, places.SLOT_OFFSETS, places.SLOT_LENGTHS):
            self.arrays[int(number)] = np.zeros(1, np.int64)
        self.context = places.new_context(self.arrays, 1, 1)

    def read(self, body: bytes) -> Found:
        """Return tag and bits of the price of each element."""
        out = np.zeros((2 * len(body) + 2, 2), np.int64)
        buf = np.frombuffer(body or b"\0", np.uint8).copy()
        count = _read_all(self.context, buf, len(body), self.key_at, len(KEY), self.uses, out)
        return [(int(tag), int(bits)) for tag, bits in out[:count]]


@kernel
def _read_all(
    context: NDArray[np.int64],
    buf: NDArray[np.uint8],
    length: int,
    key: int,
    key_length: int,
    uses: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    ctx, span = span_of(context), span_of(buf)
    at, end = find_list(ctx, span, np.int64(0), length, key, key_length)
    count = 0
    while at >= 0:
        element, at = next_element(span, at, end)
        if element < 0:
            break
        read_element(ctx, span, element, at, span_of(uses), np.int64(-1))
        out[count, 0] = word_at(places.span_in(ctx, places.SLOT_TAGS), 0)
        out[count, 1] = word_at(places.span_in(ctx, places.SLOT_BITS), 0)
        count += 1
    return count


def expected(properties: Struct) -> list[tuple[int, float] | None]:
    """Return what the official parser says: tag and number of each price; None where it is a text."""
    if "items" not in properties.fields or not properties.fields["items"].HasField("list_value"):
        return []
    found: list[tuple[int, float] | None] = []
    for element in properties.fields["items"].list_value.values:
        members = element.struct_value.fields
        price = members["price"] if "price" in list(members) else None
        kind = price.WhichOneof("kind") if price is not None else None
        if kind == "string_value":
            found.append(None)
        else:
            tag = TAGS.get(kind or "", ERROR)
            number = price.number_value if kind == "number_value" and price is not None else 0.0
            found.append((tag, number))
    return found


def agrees(found: Found, wanted: list[tuple[int, float] | None]) -> bool:
    """Return whether the kernels read what the official parser did."""
    if len(found) != len(wanted):
        return False
    for (tag, bits), want in zip(found, wanted, strict=True):
        if want is None or want[0] == BOOL:
            continue
        number = float(np.int64(bits).view(np.float64)) if tag == DOUBLE else 0.0
        if tag != want[0] or (tag == DOUBLE and number != want[1]):
            return False
    return True


def made_up(random_: random.Random) -> Struct:
    """Return properties, most of them with a list."""
    scalars = [1.5, "x" * random_.choice((0, 3, 200)), True, None, [1.0], {"price": 2.0}]
    elements = [
        random_.choice(
            [
                {"price": random_.choice(scalars), "item_id": "a"},
                {"item_id": "é" * 70, "price": random_.random()},
                {},
                random_.choice(scalars),
            ]
        )
        for _ in range(random_.choice((0, 1, 3, 300)))
    ]
    properties = Struct()
    name = random_.choice(("items", "items", "item"))
    properties.update({"price": 9.0, name: elements, "itemss": [1.0]})  # type: ignore[dict-item]
    return properties


def fuzz(seed: int, rounds: int) -> None:
    """Read made-up properties: whole ones must be read as by the official parser, damaged ones without harm."""
    random_ = random.Random(seed)
    reader = Reader()
    for _ in range(rounds):
        body = bytearray(made_up(random_).SerializeToString())
        assert agrees(reader.read(bytes(body)), expected(Struct.FromString(bytes(body))))
        for _ in range(random_.choice((1, 2, 5))):
            if body:
                body[random_.randrange(len(body))] = random_.choice((0, 1, 0x0A, 0x12, 0x2A, 0x32, 0x7F, 0x80, 0xFF))
        damaged = bytes(body[: random_.randint(0, len(body))]) if random_.random() < 0.3 else bytes(body)
        reader.read(damaged)


def test_elements_are_read_as_by_the_official_parser() -> None:
    """Lists of objects, of scalars and of anything; long and short, in properties of any order."""
    fuzz(11, 400)


def test_the_last_of_two_values_counts() -> None:
    """A key that stands twice means its last value, and so does a field of a value."""
    first, second = Struct(), Struct()
    first["items"] = [{"price": 1.0}, {"price": 2.0}]
    second["items"] = [{"price": 3.0}]
    body = first.SerializeToString() + second.SerializeToString()
    assert agrees(Reader().read(body), expected(Struct.FromString(body)))
    second["items"] = 5.0
    assert Reader().read(first.SerializeToString() + second.SerializeToString()) == []


def test_no_bytes_lead_outside_of_them(tmp_path: Path) -> None:
    """Compiled with bounds checks, the kernels meet no index outside of an array in thousands of broken lists."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), *sys.path])
    command = [sys.executable, "-c", "from tests.engine.test_elements import fuzz; fuzz(12, 4000)"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 0, result.stderr[-3000:]
