"""Facts that other models need about texts of history: found before the models are folded from it.

The refold must not ask libraries, since it is repeated after a restart, so what it needs is part of the CONFIGURE entry.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rte_server.engine.configurations import FACTS, TEXTS
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.protocol import Journal
from rte_server.journal.recovery import to_body
from rte_server.models import facts_of

HISTORY_FACTS_MAX = 100_000
"""Facts that one CONFIGURE entry carries, some 10 MB; events that would need more have no value there, and are counted."""

_log = logging.getLogger("rte.models")


def with_history_facts(
    journal: Journal, shard: int, base: int, configuration: Mapping[str, Any], engine: Engine
) -> dict[str, Any]:
    """Return a configuration with the facts that its models need about the events after a position.

    Reads all of the journal from there on, where the models have functions on texts; else nothing.

    Args:
        journal: Where the events are.
        shard: Which of its shards.
        base: The position from whose state on the models will be folded.
        configuration: The body of the CONFIGURE entry to come.
        engine: An empty one, which is not used afterwards.

    Raises:
        ValueError: The configuration cannot be understood.
        JournalError: The journal cannot be read.
    """
    wanted = {name: configuration[name] for name in ("settings", *TEXTS) if name in configuration}
    engine.apply(1, Entry(EntryType.CONFIGURE, 0, to_body(wanted)))
    if not engine.program.fact_functions:
        return dict(configuration)
    found: dict[tuple[str, str], None] = {}
    for position, entry in journal.read(shard, base + 1):
        if entry.type == EntryType.FACTS:
            engine.apply(engine.position + 1, entry)
        elif entry.type == EntryType.EVENTS:
            found |= dict.fromkeys(engine.unknown_facts(engine.scan(entry.body, entry.received_ms)))
        if len(found) > HISTORY_FACTS_MAX:
            _log.warning("history needs more than %d facts; found up to position %d", HISTORY_FACTS_MAX, position)
            break
    return {**configuration, FACTS: facts_of(list(found)[:HISTORY_FACTS_MAX])["facts"]}
