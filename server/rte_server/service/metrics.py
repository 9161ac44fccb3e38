"""What the server counts, in the text form that Prometheus reads.

Everything is counted per call or per batch, never per event. What engine and pipeline count themselves is asked for
when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Numbers = Callable[[], Mapping[str, int | float]]
NumbersBy = Callable[[], Mapping[str, Mapping[str, int | float]]]

# From a read out of memory (some 50 us) to a call that waits for a slow disk.
CALL_SECONDS_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        """Make all counters, at zero, in a registry of their own."""
        registry = CollectorRegistry()
        self.registry = registry
        self.calls = Counter("rte_calls", "Calls that ended, by outcome", ["method", "code"], registry=registry)
        self.streams_open = Gauge("rte_streams_open", "Streaming calls that are open", ["method"], registry=registry)
        self.call_seconds = Histogram(
            "rte_call_seconds",
            "Time from the arrival of a unary call to its answer",
            ["method"],
            buckets=CALL_SECONDS_BUCKETS,
            registry=registry,
        )
        self.events_accepted = Counter("rte_events_accepted", "Events taken into the journal", registry=registry)
        self.events_rejected = Counter("rte_events_rejected", "Events refused", ["reason"], registry=registry)
        self._server: tuple[WSGIServer, Thread] | None = None

    def add_numbers(self, prefix: str, numbers: Numbers) -> None:
        """Show what `numbers` gives at each scrape, each under `prefix_name`."""
        self.registry.register(_Asked(prefix, numbers))

    def add_numbers_by(self, label: str, prefix: str, numbers: NumbersBy) -> None:
        """Show what `numbers` gives at each scrape, each under `prefix_name`, by the value of a label.

        Args:
            label: Its name.
            prefix: Of the names.
            numbers: Gives numbers by name, by value of the label. It bounds how many values there are.
        """
        self.registry.register(_AskedBy(label, prefix, numbers))

    def serve(self, port: int, host: str = "127.0.0.1") -> int:
        """Answer scrapes on `http://host:port/metrics`, from a thread of its own. Returns the port; 0 picks a free one.

        Raises:
            OSError: The port is taken.
        """
        self._server = start_http_server(port, addr=host, registry=self.registry)
        return self._server[0].server_port

    def close(self) -> None:
        """Stop answering scrapes."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None


class _Asked(Collector):
    """Numbers that their owner keeps."""

    def __init__(self, prefix: str, numbers: Numbers) -> None:
        self._prefix = prefix
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """Yield the present numbers."""
        for name, value in self._numbers().items():
            family = _family(self._prefix, name)
            family.add_metric([], value)
            yield family


class _AskedBy(Collector):
    """Numbers that their owner keeps, by the value of a label."""

    def __init__(self, label: str, prefix: str, numbers: NumbersBy) -> None:
        self._label = label
        self._prefix = prefix
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """Yield the present numbers."""
        families: dict[str, GaugeMetricFamily] = {}
        for value, numbers in self._numbers().items():
            for name, number in numbers.items():
                family = families.setdefault(name, _family(self._prefix, name, self._label))
                family.add_metric([value], number)
        yield from families.values()


def _family(prefix: str, name: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{prefix}_{name}", f"{name} of {prefix}".replace("_", " "), labels=labels)
