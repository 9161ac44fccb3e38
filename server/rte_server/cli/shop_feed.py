"""The synthetic shop at work: its events, when they are due, into a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from rte_server.cli.delivery import Delivery, Totals
from rte_server.cli.errors import CommandError
from rte_server.replay.files import batches, paced
from rte_server.simulate.shop import Shop, ShopSettings

BATCH_EVENTS = 500


class ShopClosed(Exception):
    """Raised inside the feed when it should stop."""


def feed(
    server: str,
    settings: ShopSettings,
    *,
    lead_s: float,
    speed: float | None,
    stop: threading.Event,
    progress: Callable[[Totals], None] | None = None,
) -> Totals:
    """Open the shop and send what happens until it closes or `stop` is set.

    Args:
        server: `host:port`.
        settings: What the shop is like; its `start_ms` is set here.
        lead_s: How long the shop has been open already, seconds, >= 0: what happened since is sent at once.
        speed: How many times faster than real time, > 0; None: as fast as possible, the last event at the present.
        stop: Closes the shop.
        progress: Called after each batch.

    Raises:
        CommandError: The server does not take the events.
    """
    now_ms = time.time_ns() // 1_000_000
    lasts_ms = settings.duration_ms
    # As for a replay: the last event happens as it is sent, so that none lies in the future.
    start_ms = now_ms - round(lead_s * 1000) if speed == 1.0 else now_ms - lasts_ms
    if speed is not None and speed != 1.0:
        start_ms += round(lasts_ms / speed)
    events = Shop(replace(settings, start_ms=start_ms, duration_ms=lasts_ms)).recorded()

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise ShopClosed

    delivery = Delivery(server)
    first_ms = now_ms if speed == 1.0 else start_ms
    due = iter(events) if speed is None else paced(events, speed, time.monotonic, pause, first_ms)
    try:
        for batch in batches(due, BATCH_EVENTS):
            delivery.send(batch)
            if progress is not None:
                progress(delivery.totals)
            if stop.is_set():
                break
        return delivery.finish()
    except ShopClosed:
        return delivery.finish()
    finally:
        delivery.close()


class ShopThread:
    """A feed in a thread of its own."""

    def __init__(self, server: str, settings: ShopSettings, lead_s: float) -> None:
        """Start to feed.

        Args:
            server: `host:port`.
            settings: What the shop is like; it must have no duration.
            lead_s: See `feed`.
        """
        self.failure = ""
        self._stop = threading.Event()
        self._arguments = (server, settings, lead_s)
        self._thread = threading.Thread(target=self._run, name="rte-shop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the shop and wait until what was sent is answered, at most 5 s."""
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        server, settings, lead_s = self._arguments
        try:
            feed(server, settings, lead_s=lead_s, speed=1.0, stop=self._stop)
        except CommandError as error:
            if not self._stop.is_set():
                self.failure = error.message
