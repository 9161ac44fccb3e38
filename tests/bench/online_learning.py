"""How fast online scores learn: progressive log loss and AUC after 100, 1,000 and 10,000 examples, for several settings.

    python -m tests.bench.online_learning [ROUNDS]

On visits with known weights and on the recorded visits to a shop in random orders; beside the share of 1s so far, and
what a fit to the same examples says of other ones. Means over the rounds (5).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from rte_server.engine.program import OnlineSpec
from tests.engine.online_streams import (
    Offline,
    Stream,
    known,
    mean_loss,
    predicted_by,
    progressive,
    rank_area,
    shoppers,
)

DEFAULT = OnlineSpec(("bought",))
SETTINGS = {
    "defaults": DEFAULT,
    "alpha 0.1": replace(DEFAULT, alpha=0.1),
    "alpha 0.5": replace(DEFAULT, alpha=0.5),
    "beta 1": replace(DEFAULT, beta=1.0),
    "l2 10": replace(DEFAULT, l2=10.0),
}
COUNTS = (100, 1000, 10_000)


def streams() -> dict[str, Callable[[int], tuple[Stream, Stream]]]:
    """Return by name what makes the examples of a round and others to judge by."""

    def halves(stream: Stream) -> tuple[Stream, Stream]:
        return stream[:6600], stream[6600:]

    return {
        "known weights": lambda seed: (known(seed, 10_000), known(1000 + seed, 2000)),
        "shop": lambda seed: halves(shoppers(seed)),
        "shop without PageValues": lambda seed: halves(shoppers(seed, without="PageValues")),
    }


def figures(train: Stream, others: Stream) -> Iterator[tuple[str, int, list[float]]]:
    """Yield who, after how many examples, and progressive loss and AUC, then loss and AUC on other examples."""
    for count in sorted({min(count, len(train.labels)) for count in COUNTS}):
        part = train[:count]
        shares = (np.cumsum(part.labels) - part.labels + 1.0) / (np.arange(count) + 2.0)
        yield "share of 1s so far", count, [mean_loss(shares, part.labels), 0.5, np.nan, np.nan]
        fitted = Offline(part).predicted(others)
        yield (
            "fit to all of them",
            count,
            [np.nan, np.nan, mean_loss(fitted, others.labels), rank_area(fitted, others.labels)],
        )
        for name, spec in SETTINGS.items():
            said, twin = progressive(part, spec)
            after = predicted_by(twin, others)
            yield (
                name,
                count,
                [
                    *(mean_loss(said, part.labels), rank_area(said, part.labels)),
                    *(mean_loss(after, others.labels), rank_area(after, others.labels)),
                ],
            )


def main() -> None:
    """Print a table per stream."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for title, make in streams().items():
        found: dict[tuple[str, int], list[list[float]]] = {}
        for seed in range(rounds):
            for name, count, row in figures(*make(seed)):
                found.setdefault((name, count), []).append(row)
        print(f"\n{title}: progressive loss, AUC; on others loss, AUC")
        for (name, count), rows in sorted(found.items(), key=lambda item: item[0][1]):
            print(f"{count:7,} {name:20}", *(f"{figure:7.4f}" for figure in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
