"""What 100,000 remembered customers cost, and that it is bounded."""

from __future__ import annotations

import gc
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

from rte_server.mart.states import KNOWN_BYTES
from tests.mart.live_mart import LiveMart, live_mart, values

COUNT = 100_000


def filled(folder: Path, count: int) -> None:
    """Make an embedded data mart with customers, each with 6 attributes and 3 recommended products."""
    with live_mart(folder):
        pass
    connection = sqlite3.connect(folder / "mart.sqlite")
    with connection:
        connection.executemany(
            "INSERT INTO customer (customer_id, segment, lifetime_value, order_count, is_newsletter_reader, preferences, "
            "updated_at) VALUES (?, 'gold', ?, ?, 1, '{\"size\": \"L\"}', '2026-01-01 00:00:00')",
            [(f"c{n}", n * 1.5, n % 30) for n in range(count)],
        )
        connection.executemany(
            "INSERT INTO recommended_products VALUES (?, ?, ?, 0.5, 'bought often')",
            [(f"c{n}", rank, f"item-{rank}") for n in range(count) for rank in (1, 2, 3)],
        )
        connection.execute("DELETE FROM rte_customer_change")
    connection.close()


def wait_idle(live: LiveMart, looked_up: int, timeout_s: float = 240) -> None:
    """Wait until so many customers have been looked up."""
    until_s = time.monotonic() + timeout_s
    while live.mart.stats()["customers_looked_up"] < looked_up:
        assert time.monotonic() < until_s, live.mart.stats()
        time.sleep(0.05)


@pytest.mark.long
def test_a_hundred_thousand_customers_are_warm(tmp_path: Path) -> None:
    """100,000 customers with 7 attributes take under 2 KiB each, and the gauge of it is near the truth."""
    filled(tmp_path, COUNT)
    process = psutil.Process()
    with live_mart(tmp_path, customers_max=COUNT) as live:
        live.known("c0")
        gc.collect()
        before = process.memory_info().rss
        began_s = time.monotonic()
        live.mart.states.want(f"c{n}" for n in range(1, COUNT))
        wait_idle(live, COUNT)
        took_s = time.monotonic() - began_s
        live.told.clear()
        gc.collect()
        measured = (process.memory_info().rss - before) / COUNT
        stated = live.mart.stats()["bytes"] / COUNT
        print(f"{measured:.0f} bytes per customer, stated {stated:.0f}; warm after {took_s:.1f} s")
        assert values(live.customer(f"c{COUNT - 1}"))["recommended_products"][0]["item_id"] == "item-1"
        assert measured < 2048
        assert 0.6 * measured < stated


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    """No more customers are remembered than the limits say; those who are asked for stay; large ones are cut and counted."""
    filled(tmp_path, 500)
    with live_mart(tmp_path, customers_max=100, batch_max=10) as live:
        live.known("c0")
        for start in range(0, 500, 50):
            live.mart.states.want(f"c{n}" for n in range(start, start + 50))
            live.known(f"c{start + 49}")
            live.customer("c0")
        stats = live.mart.stats()
        assert stats["customers"] <= 100 and stats["evicted"] >= 300
        assert values(live.customer("c0"))["lifetime_value"] == 0.0
        assert stats["bytes"] >= KNOWN_BYTES * stats["customers"]
    with live_mart(tmp_path, customer_bytes_max=1_024, cache_bytes_max=1 << 20) as live:
        assert len(live.known("c1").SerializeToString()) < 1_200
