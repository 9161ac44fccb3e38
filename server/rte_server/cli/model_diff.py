"""`rte models diff`: two versions of models compared over recorded events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.check_command import OutputFormat
from rte_server.cli.errors import USAGE, CommandError
from rte_server.cli.model_changes import FormatOption, not_compared_text, shown
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rte_server.engine.engine import Engine
    from rte_server.engine.entries import Entry
    from rte_server.engine.program import ModelSpec
    from rte_server.models.comparison import Compared, Comparison, Difference

EXAMPLES = (
    "Examples:\n\n"
    "  rte models diff retail my_retail.yaml --journal rte-data\n\n"
    "  rte models diff old.yaml new.yaml --events day.csv.gz --mapping day.yaml"
)
FOREVER_MS = 1 << 50
"""Sessions stay for so long, so that all of the recording can be compared at its end."""


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A model file, or the name of a pack.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The other version.")],
    journal: Annotated[
        Path | None, typer.Option("--journal", metavar="DIR", help="A data directory; its server may run.")
    ] = None,
    events: Annotated[
        list[str] | None, typer.Option("--events", metavar="FILE", help="Recorded events, as for replay; repeatable.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", "-m", metavar="FILE.yaml", help="What the columns of --events mean.")
    ] = None,
    sessions_max: Annotated[
        int, typer.Option("--sessions-max", min=1000, help="Room for so many sessions; the oldest go first.")
    ] = 1_000_000,
    samples: Annotated[int, typer.Option("--samples", min=0, max=5, help="Sessions shown per attribute.")] = 1,
    output: FormatOption = OutputFormat.TABLE,
) -> None:
    """Compare two versions of a model over recorded events, without a server.

    Both see every event when it was received (of --events: when it happened),
    and time passes between them. The sessions are compared as they are at the end.
    """
    if (journal is None) == (not events):
        raise CommandError("Say what to compare over: --journal DIR or --events FILE.", USAGE)
    before, after = _models(old), _models(new)
    from rte_server.models.comparison import Comparison
    from rte_server.runners.at_once import score_rows_at_once

    comparison = Comparison(before, after)
    if not comparison.changes:
        typer.echo("No attribute changes.")
        return
    if journal is not None:
        secret, entries = _of_journal(journal)
    else:
        secret, entries = _of_events(events or [], mapping)
    engine = _folded(comparison, secret, entries, sessions_max)
    compared = comparison.compare(engine, 0, sessions_max, score_rows_at_once)
    events_count = engine.stats()["events_applied"]
    if output is OutputFormat.JSON:
        typer.echo(json.dumps(_as_json(compared, events_count), indent=2, ensure_ascii=False))
        return
    _print(compared, events_count, samples)
    _warn_of_evicted(engine)


def _models(name: str) -> list[ModelSpec]:
    from rte_server.models import ModelError, load_models

    try:
        return load_models([name])
    except ModelError as error:
        for problem in error.problems:
            typer.echo(str(problem))
        raise CommandError(f"{name} cannot be used.") from None


def _of_journal(directory: Path) -> tuple[NDArray[np.uint64], Iterator[Entry]]:
    from rte_server.engine.native import secret_from_bytes
    from rte_server.journal.protocol import JournalError
    from rte_server.journal.recording import read_recording, read_secret

    try:
        secret = secret_from_bytes(read_secret(directory))
    except JournalError as error:
        raise CommandError(f"{error}.") from None

    def entries() -> Iterator[Entry]:
        try:
            yield from read_recording(directory)
        except JournalError as error:
            raise CommandError(f"{error}.") from None

    return secret, entries()


def _of_events(files: list[str], mapping: Path | None) -> tuple[NDArray[np.uint64], Iterator[Entry]]:
    from rte.wire_events import batch_request
    from rte_server.engine.entries import Entry, EntryType
    from rte_server.engine.native import secret_from_bytes
    from rte_server.replay.files import Recording
    from rte_server.replay.mapping import ColumnMapping, read_mapping
    from rte_server.replay.problems import ReplayError, RowProblems

    def entries() -> Iterator[Entry]:
        received_ms = 0
        try:
            with Recording(files, read_mapping(mapping) if mapping else ColumnMapping()) as recording:
                problems = RowProblems(strict=False)
                for time_ms, event, *_ in recording.events(problems, 0, by_time=True):
                    received_ms = max(received_ms, time_ms)
                    yield Entry(EntryType.EVENTS, received_ms, batch_request([event]))
        except ReplayError as error:
            raise CommandError(str(error)) from None

    return secret_from_bytes(bytes(range(32))), entries()


def _folded(comparison: Comparison, secret: NDArray[np.uint64], entries: Iterator[Entry], sessions_max: int) -> Engine:
    """Return an engine in which both versions have seen all entries."""
    from rte_server.engine.engine import Engine
    from rte_server.engine.entries import Entry, EntryType
    from rte_server.engine.table import Capacity
    from rte_server.journal.recovery import to_body
    from rte_server.models.clocked import ClockedFold

    engine = Engine(secret, comparison.compile, Capacity(sessions_max=sessions_max))
    stay = {"closed_retention_ms": FOREVER_MS, "closed_max": sessions_max}
    engine.begin_refold(comparison.configuration)
    engine.apply(1, Entry(EntryType.CONFIGURE, 0, to_body({"settings": stay, "models": {}})))
    fold = ClockedFold(engine)
    for entry in entries:
        if entry.type == EntryType.CONFIGURE:
            # The settings that were in force then, but that sessions stay; the models are those of the comparison.
            settings = json.loads(entry.body)["settings"] | stay
            entry = Entry(entry.type, entry.received_ms, to_body({"settings": settings, "models": {}}))  # noqa: PLW2901
        if entry.type == EntryType.EVENTS:
            fold.events(entry.received_ms, entry.body)
        else:
            fold.entry(entry)
    return engine


def _print(compared: Compared, events_count: int, samples: int) -> None:
    rows = []
    for each in compared.differences:
        change = each.change.change.name.lower().replace("_", " ")
        count, share = f"{each.session_count:,}", f"{each.session_count / max(compared.compared_count, 1):.1%}"
        if _is_unknown(each, compared):
            count, share = "not compared", ""
        shown_samples = each.samples[: max(samples, 1)] if samples else []
        first = shown_samples[0] if shown_samples else None
        example = f"{shown(first.before)} → {shown(first.after)}" if first else ""
        rows.append((each.change.name, change, count, share, example))
        rows += [("", "", "", "", f"{shown(s.before)} → {shown(s.after)}") for s in shown_samples[1:]]
    print_table(
        ("attribute", "change", "sessions", "share", "for example"), rows, lambda title: title in ("sessions", "share")
    )
    differ = sum(1 for each in compared.differences if each.session_count)
    typer.echo(
        f"\n{events_count:,} events, {compared.compared_count:,} sessions: "
        f"{differ} of {len(compared.differences)} changed attributes have other values."
    )
    for each in compared.differences:
        if each.not_compared:
            lacking, of = each.not_compared_count, compared.compared_count
            typer.echo(not_compared_text(each.change.name, lacking, of, each.not_compared), err=True)


def _is_unknown(difference: Difference, compared: Compared) -> bool:
    """Return whether it was compared in no session."""
    return 0 < compared.compared_count == difference.not_compared_count


def _warn_of_evicted(engine: Engine) -> None:
    stats = engine.stats()
    left = stats["sessions_evicted_closed"] + stats["sessions_evicted_active"]
    if left:
        typer.echo(f"{left:,} older sessions found no room and were not compared; raise --sessions-max.", err=True)


def _as_json(compared: Compared, events_count: int) -> dict[str, object]:
    return {
        "event_count": events_count,
        "session_count": compared.compared_count,
        "attributes": [
            {
                "name": each.change.name,
                "model": each.change.model,
                "change": each.change.change.name.lower(),
                "session_count": None if _is_unknown(each, compared) else each.session_count,
                "not_compared_count": each.not_compared_count,
                "not_compared": each.not_compared or None,
                "samples": [
                    {"session_id": sample.session_id, "before": sample.before, "after": sample.after}
                    for sample in each.samples
                ],
            }
            for each in compared.differences
        ],
    }
