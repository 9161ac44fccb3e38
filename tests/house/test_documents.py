"""The documents name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT, committed_files, shown

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
DECISIONS = ROOT / "docs" / "decisions"
SECTIONS = ("Problem", "Decision", "Consequences", "Rejected")


def documents() -> list[Path]:
    """Return all committed Markdown files."""
    return [path for path in committed_files() if path.suffix == ".md"]


def decisions() -> list[Path]:
    """Return the decision records, in order."""
    return sorted(DECISIONS.glob("[0-9]*.md"))


def test_links_lead_somewhere() -> None:
    """Every relative link of a document leads to a file or folder that exists."""
    broken = [
        f"{shown(path)}: {target}"
        for path in documents()
        for target in LINK.findall(path.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("#") and not (path.parent / target.split("#")[0]).exists()
    ]
    assert broken == []


def test_make_targets_exist() -> None:
    """Every `make` target that a document names is one of the Makefile."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for path in documents()
        for target in re.findall(r"(?:`|^)make ([a-z0-9-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named - targets == set()


@pytest.mark.parametrize("path", decisions(), ids=lambda path: path.stem)
def test_decisions_are_complete(path: Path) -> None:
    """A decision record has a title, a status with its date, and its sections in order."""
    text = path.read_text(encoding="utf-8")
    assert re.match(r"# \S", text)
    assert re.search(r"^(Accepted|Replaced by \[\S+\]\(\S+\)), \d{4}-\d{2}-\d{2}\.$", text, re.MULTILINE)
    headings = tuple(heading for heading in re.findall(r"^## (.+)$", text, re.MULTILINE) if heading in SECTIONS)
    assert headings == SECTIONS


def test_decisions_are_numbered_in_a_row() -> None:
    """Decision records are numbered 0001, 0002, ... without gaps or doubles."""
    assert [path.stem[:4] for path in decisions()] == [f"{number:04}" for number in range(1, len(decisions()) + 1)]
