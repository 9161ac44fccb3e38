"""The benchmark document keeps what a run did not measure."""

from __future__ import annotations

from pathlib import Path

from tests.bench.figures import BEGIN, END, Figure, median_ratio, percentile, write_document


def test_a_part_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    """Writing the figures of one part leaves the text around them and the other parts as they were."""
    document = tmp_path / "benchmarks.md"
    document.write_text(f"Before.\n\n{BEGIN}\n{END}\n\nAfter.\n", encoding="utf-8")
    write_document([Figure("Engine", "fold", "1 ns"), Figure("Server", "call", "2 ms")], "today", document)
    write_document([Figure("Engine", "fold", "3 ns", "", ">= 1", met=False)], "tomorrow", document)
    text = document.read_text(encoding="utf-8")
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "| fold | 3 ns |  | >= 1 (**missed**) |" in text
    assert "| call | 2 ms |  |  |" in text
    assert "1 ns" not in text
    assert text.count("*Measured") == 2


def test_ratios_are_taken_round_by_round() -> None:
    """A minute in which the machine was slow for both candidates does not move their ratio."""
    assert median_ratio([2.0, 20.0, 4.0], [1.0, 10.0, 2.0]) == 2.0


def test_percentiles_are_values_that_were_measured() -> None:
    """The percentile is one of the values, the largest at most."""
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
