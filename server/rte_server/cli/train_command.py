"""`rte models train`: a labelled recording becomes a package."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.errors import CommandError
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    from rte_server.training.reports import Report

EXAMPLES = (
    "Examples:\n\n"
    "  rte models train purchase online_shoppers.csv.gz --out purchase\n\n"
    "  rte models train purchase online_shoppers.csv.gz --out without --without PageValues --algorithm logistic\n\n"
    "  rte models train bot wiki_edits.csv.gz --out bot"
)


class TaskName(StrEnum):
    """What can be trained."""

    PURCHASE = "purchase"
    BOT = "bot"


class AlgorithmName(StrEnum):
    """How it can be fitted."""

    LIGHTGBM = "lightgbm"
    LOGISTIC = "logistic"


def train(
    task: Annotated[TaskName, typer.Argument(help="purchase: the visit ends in one; bot: a program edits.")],
    recording: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled rows: CSV with a header, also gzip.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the package.")],
    algorithm: Annotated[
        AlgorithmName, typer.Option("--algorithm", help="What the package holds; both are cross-validated.")
    ] = AlgorithmName.LIGHTGBM,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="COLUMN", help="Repeatable: a column to leave out.")
    ] = None,
) -> None:
    r"""Fit a model to labelled rows and write its package: model.yaml, model.onnx, report.json.

    Needs the extra `train`: pip install 'rte-server\[train]'.
    """
    try:
        from rte_server.training.fitting import Algorithm
        from rte_server.training.package import train as train_task
        from rte_server.training.recordings import RecordingError, read_events
        from rte_server.training.reports import PackageError, write_package
        from rte_server.training.tasks import TASKS
    except ModuleNotFoundError as error:
        raise CommandError(
            f"Training needs {error.name}, which is not installed: pip install 'rte-server[train]'."
        ) from None

    started_s = time.monotonic()

    def progress(sentence: str) -> None:
        typer.echo(f"{time.monotonic() - started_s:6.1f} s  {sentence}", err=True)

    try:
        events = list(read_events(TASKS[task.value], recording))
        report, files = train_task(
            TASKS[task.value], Algorithm(algorithm.value), tuple(without or ()), events, progress
        )
        write_package(out, files)
    except KeyError as error:
        raise CommandError(f"--without {error.args[0]}: no attribute comes from this column alone.") from None
    except (RecordingError, PackageError) as error:
        raise CommandError(str(error)) from None
    _print(report, out)


def _print(report: Report, out: Path) -> None:
    left_out = f", without {', '.join(report.without)}" if report.without else ""
    typer.echo(f"{report.task}{left_out}: {report.examples} examples, {report.positives} positive\n")
    rows = [(name, f"{each.auc:.4f}", f"{each.deviation:.4f}") for name, each in report.quality.items()]
    print_table(("algorithm", "AUC, cross-validated", "deviation"), rows)
    typer.echo(f"\n{out}: {report.algorithm}; check it with `rte models check {out}/model.yaml`")
