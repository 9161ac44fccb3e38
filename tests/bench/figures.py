"""Figures: what a measurement says, how it is shown, and where it is written down."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        part: The part of the run that it belongs to, a heading.
        what: What was measured.
        value: With its unit, as text.
        ratio: To the baseline of the same run, or empty.
        bar: What DESIGN section 8 asks for, or empty.
        met: Whether the bar is met; None where there is no bar.
    """

    part: str
    what: str
    value: str
    ratio: str = ""
    bar: str = ""
    met: bool | None = None


def interleaved(candidates: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each candidate once per round, in turn, so that a busy minute of the machine hits all of them.

    Args:
        candidates: Functions that return what they measured.
        rounds: How often, >= 1.
    """
    measured: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            measured[name].append(run())
    return measured


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the value below which `fraction` (0 to 1) of `values` (not empty) lie, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def milliseconds(seconds: float) -> str:
    """Return a duration for a table."""
    return f"{seconds * 1000:.2f} ms"


def machine() -> str:
    """Return a sentence about the machine and the minute: it belongs beside every figure."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {model}, {os.cpu_count()} CPUs, "
        f"{memory_gib:.0f} GiB, CPython {platform.python_version()}, load average {os.getloadavg()[0]:.1f} at the start"
    )


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as Markdown, one table per part."""
    lines: list[str] = []
    for part in dict.fromkeys(figure.part for figure in figures):
        lines += [f"### {part}", "", "| what | measured | against the baseline | bar |", "|---|---:|---|---|"]
        for figure in figures:
            if figure.part == part:
                mark = {None: "", True: " (met)", False: " (**missed**)"}[figure.met]
                lines.append(f"| {figure.what} | {figure.value} | {figure.ratio} | {figure.bar}{mark} |")
        lines.append("")
    return "\n".join(lines)


def write_document(figures: Sequence[Figure], note: str, document: Path = DOCUMENT) -> None:
    """Replace the measured section of the document; parts that this run left out keep what they had.

    Args:
        figures: Of this run.
        note: About the machine, see `machine`.
        document: The Markdown file, with the lines BEGIN and END in it.
    """
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    kept = _sections(old)
    for part in dict.fromkeys(figure.part for figure in figures):
        mine = [figure for figure in figures if figure.part == part]
        kept[part] = f"{table(mine).rstrip()}\n\n*Measured {note}.*"
    body = "\n\n".join(kept.values())
    document.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def _sections(text: str) -> dict[str, str]:
    """Return the sections of the measured part by their heading."""
    sections: dict[str, str] = {}
    for chunk in text.split("### ")[1:]:
        heading = chunk.splitlines()[0].strip()
        sections[heading] = f"### {chunk.strip()}"
    return sections
