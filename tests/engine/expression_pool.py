"""Runs compiled expressions from Python: a string pool, look-up lists, and an event's bytes around one evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine import context as words
from rte_server.engine.assembly import list_table
from rte_server.engine.context import new_context
from rte_server.engine.evaluation import evaluate
from rte_server.engine.expressions import STACK_DEPTH_MAX, Code, Op, encode_code
from rte_server.engine.native import text_id
from rte_server.engine.program import ListSpec
from rte_server.engine.strings import LENGTH_BITS, StringPool, new_pool, text_of
from rte_server.engine.table import COUNT_WORDS
from rte_server.engine.url_parts import URL_STATE_WORDS, WORKSPACE_BYTES

SLOTS = 128


def pool_of(texts: Iterable[str], secret: NDArray[np.uint64]) -> StringPool:
    """Return a pool that holds some texts, fewer than SLOTS."""
    pool = new_pool(SLOTS, 65536)
    used = 0
    for text in set(texts):
        encoded = text.encode()
        string_id = text_id(encoded, secret)
        slot = string_id & (SLOTS - 1)
        while pool.slots[2 * slot] != 0:
            slot = (slot + 1) & (SLOTS - 1)
        pool.slots[2 * slot] = string_id
        pool.slots[2 * slot + 1] = used << LENGTH_BITS | len(encoded)
        pool.arena[used : used + len(encoded)] = np.frombuffer(encoded, np.uint8)
        used += len(encoded)
        pool.counts[0] += 1
    pool.counts[1] = used
    return pool


class Machine:
    """Evaluates one code on inputs as the fold does.

    Args:
        code: What is evaluated; its texts are kept.
        secret: uint64[4].
        lists: Look-up lists by name.
    """

    def __init__(
        self, code: Code, secret: NDArray[np.uint64], lists: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        specs = [ListSpec(name, name, tuple(values)) for name, values in (lists or {}).items()]
        self.lists, places = list_table(specs, secret)
        self.secret = secret
        self.names = sorted({step.name for step in code if step.name is not None}) or [""]
        self.constants = [step.text.decode() for step in code if step.op == Op.TEXT and step.text is not None]
        texts = bytearray()
        slots = {name: slot for slot, name in enumerate(self.names)}
        self.reads_event = any(step.op in (Op.URL, Op.FACT) for step in code)
        self.rows = encode_code(code, slots, texts, secret, places, keeps_result=True)
        self.texts = np.frombuffer(bytes(texts) + bytes(1), np.uint8).copy()
        self.pool = new_pool(SLOTS, 8)

    def run(
        self, inputs: Mapping[str, tuple[int, int]], texts_of: Mapping[str, str], known: Iterable[str] = ()
    ) -> tuple[int, int]:
        """Return the value (tag, bits).

        Args:
            inputs: Values by name; those that are not given are missing.
            texts_of: The texts of inputs that are strings, by name.
            known: More texts that are in the pool.
        """
        self.pool = pool_of([*self.constants, *texts_of.values(), *known], self.secret)
        encoded = [texts_of.get(name, "").encode() for name in self.names]
        offsets = np.cumsum([0, *(len(each) for each in encoded)])[:-1].astype(np.int64)
        values = [inputs.get(name, (0, 0)) for name in self.names]
        tags = np.array([tag for tag, _ in values], np.int64)
        bits = np.array([bits for _, bits in values], np.int64)
        arrays: dict[int, NDArray[Any]] = {
            int(words.COUNTS): np.zeros(COUNT_WORDS, np.int64),
            int(words.POOL_SLOTS): self.pool.slots,
            int(words.POOL_ARENA): self.pool.arena,
            int(words.POOL_COUNTS): self.pool.counts,
            int(words.TEXTS): self.texts,
            int(words.LISTS): self.lists,
            int(words.SLOT_TAGS): tags,
            int(words.SLOT_BITS): bits,
            int(words.SLOT_OFFSETS): offsets,
            int(words.SLOT_LENGTHS): np.array([len(each) for each in encoded], np.int64),
            int(words.URL_STATE): np.full(URL_STATE_WORDS, -1, np.int64),
            int(words.WORKSPACE): np.zeros(WORKSPACE_BYTES, np.uint8),
            int(words.SECRET): self.secret,
            int(words.REQUEST): np.frombuffer(b"".join(encoded) + bytes(1), np.uint8).copy(),
        }
        context = new_context(arrays, 0, 0)
        # What reads the event itself knows one lane; else another one, in which all inputs are missing, is computed beside.
        lanes, lane, chosen = (1, 0, [0]) if self.reads_event else (4, 2, [1, 2])
        loaded = np.full((2, max(1, len(tags)), lanes), -1, np.int64)
        loaded[:, :, chosen] = 0
        loaded[:, : len(tags), lane] = tags, bits
        stacks = np.full((2, STACK_DEPTH_MAX, lanes), -1, np.int64)
        evaluate(context, self.rows, 0, len(self.rows), self.texts, *loaded, *stacks, np.array(chosen, np.int64))
        untouched = [other for other in range(lanes) if other not in chosen]
        assert (stacks[:, :, untouched] == -1).all(), "a lane that was not chosen has been written"
        return int(stacks[0, 0, lane]), int(stacks[1, 0, lane])

    def text(self, string_id: int) -> str | None:
        """Return the text of a string id, or None if the pool does not hold it."""
        found = text_of(self.pool, string_id)
        return None if found is None else found.decode()
