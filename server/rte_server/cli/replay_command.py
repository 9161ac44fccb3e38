"""`rte replay`: recorded events from files into a running server."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.errors import FAILURE, USAGE, CommandError
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, speed_factor

if TYPE_CHECKING:
    from rte_server.cli.delivery import Delivery, Totals
    from rte_server.replay.files import Recording
    from rte_server.replay.mapping import ColumnMapping
    from rte_server.replay.problems import RowProblems

EXAMPLES = (
    "Examples:\n\n"
    "  rte replay ecom_events.csv.gz                      as fast as possible\n\n"
    "  rte replay --speed 60 --shift-to-now day.csv.gz    a minute takes a second\n\n"
    "  rte replay --time when --visitor user --property price=sum:number orders.csv\n\n"
    "  rte replay --name =purchase --mapping orders.yaml orders.ndjson"
)

BATCH_EVENTS = 500
REPORT_INTERVAL_S = 5.0


def replay(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="CSV or NDJSON, also gzip; - is the input.")],
    mapping: Annotated[
        Path | None, typer.Option("--mapping", "-m", metavar="FILE.yaml", help="What the columns mean.")
    ] = None,
    time_column: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="Column of the time; like the others also =TEXT.")
    ] = None,
    visitor: Annotated[str | None, typer.Option("--visitor", metavar="COLUMN", help="Column of the visitor.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="COLUMN", help="Column of the event's name.")] = None,
    event_id: Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="Column of the event's id.")] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="COLUMN", help="Column of the customer.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="COLUMN", help="Column of the source's own session id.")
    ] = None,
    channel: Annotated[str | None, typer.Option("--channel", metavar="COLUMN", help="Column of the channel.")] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=COLUMN[:TYPE]", help="Repeatable; number, text or bool."),
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(
            "--time-format", metavar="FORMAT", help="auto, iso, seconds, milliseconds, or like %d.%m.%Y %H:%M."
        ),
    ] = None,
    delimiter: Annotated[str | None, typer.Option("--delimiter", metavar="CHAR", help="Between columns.  [,]")] = None,
    drop_rest: Annotated[bool, typer.Option("--drop-rest", help="Do not send columns without a meaning.")] = False,
    speed: Annotated[str, typer.Option("--speed", metavar="FACTOR|max", help="How many times faster.")] = "max",
    shift: Annotated[
        bool, typer.Option("--shift-to-now", help="Move all times, so that the last event happens as it is sent.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row or event that is refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Send at most so many events; 0: all.")] = 0,
    server: ServerOption = SERVER_DEFAULT,
) -> None:
    """Send recorded events to a running server.

    Columns are recognized by common names (ts, visitor_id, event_type, ...);
    options and a mapping file say otherwise. What is left becomes a property.

    A second replay changes nothing: events with an id seen before count once.
    """
    from rte_server.replay.files import Recording, shift_to_now
    from rte_server.replay.problems import ReplayError, RowProblems

    factor = speed_factor(speed)
    try:
        told = _mapping(
            mapping,
            {
                "time": time_column,
                "visitor": visitor,
                "name": name,
                "id": event_id,
                "customer": customer,
                "session": session,
                "channel": channel,
                "time_format": time_format,
                "delimiter": delimiter,
            },
            properties or [],
            drop_rest,
        )
        problems = RowProblems(strict=strict)
        with Recording(files, told) as recording:
            shift_ms = 0
            if shift:
                span = recording.span_ms()
                shift_ms = shift_to_now(span, time.time_ns() // 1_000_000, factor) if span else 0
            run = _Run(recording, problems, shift_ms, factor, limit)
            run.deliver(server, strict)
    except ReplayError as error:
        raise CommandError(str(error)) from None


def _mapping(
    path: Path | None, options: dict[str, str | None], properties: list[str], drop_rest: bool
) -> ColumnMapping:
    from dataclasses import replace

    from rte_server.replay.mapping import ColumnMapping, read_mapping, with_options

    if options["delimiter"] is not None:
        options["delimiter"] = options["delimiter"].replace("\\t", "\t")
        if len(options["delimiter"]) != 1:
            raise CommandError("--delimiter must be one character, such as ; or \\t.", USAGE)
    told = with_options(read_mapping(path) if path else ColumnMapping(), options, properties)
    return replace(told, rest=False) if drop_rest else told


@dataclass(slots=True)
class _Run:
    """One replay: from the opened files to the summary."""

    recording: Recording
    problems: RowProblems
    shift_ms: int
    speed: float | None
    limit: int

    def deliver(self, server: str, strict: bool) -> None:
        from itertools import islice

        from rte_server.cli.delivery import Delivery
        from rte_server.replay.files import batches, paced

        events = self.recording.events(self.problems, self.shift_ms, by_time=self.speed is not None)
        if self.limit:
            events = islice(events, self.limit)
        due = events if self.speed is None else paced(events, self.speed, time.monotonic, time.sleep)
        delivery = Delivery(server, strict=strict)
        started_s = time.monotonic()
        interrupted = False
        try:
            with _interruptible(), _progress(self.recording, delivery) as report:
                try:
                    for batch in batches(iter(due), BATCH_EVENTS):
                        delivery.send(batch)
                        report()
                except KeyboardInterrupt:
                    interrupted = True
                delivery.finish()
                report()
        finally:
            delivery.close()
            if delivery.totals.sent or self.problems.counts or interrupted:
                _summarize(delivery.totals, self.problems, time.monotonic() - started_s, interrupted)
        if interrupted:
            raise typer.Exit(130)
        if delivery.totals.accepted == 0 and (delivery.totals.sent or self.problems.counts):
            raise typer.Exit(FAILURE)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end a replay as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Report:
    """Shows how far a replay is: a bar in a terminal, a line every few seconds elsewhere."""

    def __init__(self, recording: Recording, delivery: Delivery) -> None:
        self._recording = recording
        self._delivery = delivery
        self._started_s = self._reported_s = time.monotonic()

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s - self._reported_s >= REPORT_INTERVAL_S:
            self._reported_s = now_s
            sent, size = self._delivery.totals.sent, self._recording.size_bytes
            share = f"{self._recording.position_bytes() / size:.0%}, " if size else ""
            typer.echo(f"{share}{sent:,} events, {sent / (now_s - self._started_s):,.0f} events/s", err=True)


@contextmanager
def _progress(recording: Recording, delivery: Delivery) -> Iterator[_Report]:
    if not sys.stderr.isatty():
        yield _Report(recording, delivery)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    total = recording.size_bytes or None
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, text="")

        class _Bar(_Report):
            def __call__(self) -> None:
                sent = delivery.totals.sent
                rate = sent / max(0.001, time.monotonic() - self._started_s)
                bar.update(task, completed=recording.position_bytes(), text=f"{sent:,} events, {rate:,.0f} events/s")

        yield _Bar(recording, delivery)


def _summarize(totals: Totals, problems: RowProblems, seconds: float, interrupted: bool) -> None:
    skipped = sum(problems.counts.values())
    rejected = sum(totals.rejected.values())
    lines = [("sent", totals.sent, f"in {seconds:.1f} s, {totals.sent / max(seconds, 0.001):,.0f} events/s")]
    lines.append(("accepted", totals.accepted, ""))
    lines.append(("  duplicates", totals.duplicate, "seen before, counted once" if totals.duplicate else ""))
    lines.append(("  late", totals.late, "too late for any session" if totals.late else ""))
    lines.append(("rejected", rejected, "by the server" if rejected else ""))
    lines += [(f"  {reason}", count, "") for reason, count in totals.rejected.most_common()]
    lines.append(("not sent", skipped, "rows that are no events" if skipped else ""))
    lines += [(f"  {reason}", count, "") for reason, count in problems.counts.most_common()]
    for title, count, remark in lines:
        typer.echo(f"{title:<24}{count:>13,}  {remark}".rstrip())
    examples = [*map(str, problems.examples), *totals.examples]
    if examples:
        typer.echo("\nNot sent or rejected, the first of each reason:")
        for example in examples:
            typer.echo(f"  {example}")
    if interrupted:
        typer.echo("\nInterrupted. Replay again to send the rest; what was sent counts once.")
