"""The reference page of all settings: `python -m rte_server.config_reference` prints `docs/reference/configuration.md`."""

from __future__ import annotations

import sys
from dataclasses import fields

from rte_server.config import SECTIONS, MartSettings, MartSource, range_text, toml_text

_INTRODUCTION = """All settings have defaults; a server starts without any file. They are read once, at start:

1. the file that `--config FILE` or `RTE_CONFIG` names, in TOML, with the sections below,
2. variables `RTE_SECTION__NAME`, for example `RTE_SESSION__GAP_MS=600000`; lists are comma-separated,
3. options of the command line, which win.

Unknown names are errors. `rte check` prints every effective value and where it stands. Names end in their unit.
The deployment's secret is no setting: it is made in `data_dir` at the first start, readable by its owner only."""


def reference() -> str:
    """Return the reference page of all settings, Markdown."""
    lines = ["# Configuration", "", *_INTRODUCTION.splitlines()]
    for section, kind in SECTIONS.items():
        lines += ["", f"## `[{section}]`", "", str(kind.__doc__), ""]
        lines += ["| setting | default | range | what it does |", "|---|---|---|---|"]
        for found in fields(kind):
            low, high, among = (found.metadata[key] for key in ("low", "high", "among"))
            values = " ".join(f"`{value}`" for value in among) or (range_text(low, high) if low is not None else "")
            lines.append(f"| `{found.name}` | `{toml_text(found.default)}` | {values} | {found.metadata['text']} |")
        if kind is MartSettings:
            lines += _reference_of_sources()
    return "\n".join(lines) + "\n"


def _reference_of_sources() -> list[str]:
    lines = ["", "### `[[mart.sources]]`", "", f"{MartSource.__doc__} As a variable: a JSON list of objects.", ""]
    lines += ["| member | default | what it does |", "|---|---|---|"]
    return lines + [f"| `{f.name}` | `{toml_text(f.default)}` | {f.metadata['text']} |" for f in fields(MartSource)]


if __name__ == "__main__":
    sys.stdout.write(reference())
