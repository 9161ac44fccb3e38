"""Rows of a data mart that hold what nobody should have written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.mart.live_mart import live_mart, values

TEXTS = ('{"size": "L"}', '"\\ud83d\\ude00"', '{"size": ', "[" * 50_000, '"\\ud800"', '{"\\uD800": 1}', '{"a": 1e}', "")
"""Two documents, and what looks like some."""


def test_a_text_in_a_column_of_documents_is_shown_as_it_stands(tmp_path: Path) -> None:
    """What is no JSON in a column of JSON is a text; the customer's other attributes and other customers are there."""
    with live_mart(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "mart.sqlite")
    with connection:
        connection.executemany(
            "INSERT INTO customer (customer_id, segment, preferences) VALUES (?, 'gold', ?)",
            [(f"c{n}", text) for n, text in enumerate(TEXTS)],
        )
    connection.close()
    with live_mart(tmp_path, customer_bytes_max=1 << 20) as live:
        live.mart.states.want(f"c{n}" for n in range(len(TEXTS)))
        shown = [values(live.known(f"c{n}")) for n in range(len(TEXTS))]
        assert [each["segment"] for each in shown] == ["gold"] * len(TEXTS)
        assert [each["preferences"] for each in shown] == [{"size": "L"}, "\U0001f600", *TEXTS[2:]]
        stats = live.mart.stats()
        assert stats["look_up_failures"] == 0 and stats["customers_unreadable"] == 0
