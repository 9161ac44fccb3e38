"""`make bench`, `rte bench`, `python -m tests.bench`: measures what DESIGN section 8 asks for and writes it down."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.bench import (
    client_part,
    collect_part,
    customer_part,
    engine_part,
    scale_part,
    score_part,
    server_part,
    soap_part,
    time_part,
)
from tests.bench.figures import Figure, machine, table, write_document

QUICK_EVENTS = 100_000
FULL_EVENTS = 1_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that were asked for; return the process's exit status."""
    options = _options(arguments)
    note = machine()
    print(note, flush=True)
    figures: list[Figure] = []
    for name in options.parts:
        begun = time.monotonic()
        found = PARTS[name](options)
        figures += found
        print(f"\n{table(found)}\n({name}: {time.monotonic() - begun:.0f} s)", flush=True)
        # After each part, so that a part that fails does not cost what was measured before it.
        if not options.no_document:
            write_document(found, note)
    return 0 if all(figure.met is not False for figure in figures) or not options.strict else 1


def _engine(options: argparse.Namespace) -> list[Figure]:
    return engine_part.measure(options.rounds, QUICK_EVENTS if options.quick else FULL_EVENTS)


def _server(options: argparse.Namespace) -> list[Figure]:
    return server_part.measure(*((QUICK_EVENTS, 300) if options.quick else (FULL_EVENTS, 2_000)))


def _scale(options: argparse.Namespace) -> list[Figure]:
    return scale_part.measure(*((QUICK_EVENTS, 50) if options.quick else (FULL_EVENTS, 300)))


def _time(options: argparse.Namespace) -> list[Figure]:
    return time_part.measure(*((QUICK_EVENTS, 200) if options.quick else (FULL_EVENTS, 1_000)))


def _scores(options: argparse.Namespace) -> list[Figure]:
    return score_part.measure(*((QUICK_EVENTS, 50) if options.quick else (FULL_EVENTS, 300)))


def _start(_: argparse.Namespace) -> list[Figure]:
    return scale_part.measure_first_start()


PARTS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "engine": _engine,
    "server": _server,
    "scores": _scores,
    "scale": _scale,
    "time": _time,
    "client": lambda options: client_part.measure(FULL_EVENTS // 10 if options.quick else FULL_EVENTS // 4),
    "collect": lambda options: collect_part.measure(4_000 if options.quick else 20_000),
    "soap": lambda options: soap_part.measure(300 if options.quick else 2_000),
    "customers": lambda options: customer_part.measure(300 if options.quick else 2_000),
    "start": _start,
}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rte bench", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"what to measure: {', '.join(PARTS)}; all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the engine part (5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to try things out, not to quote")
    parser.add_argument("--no-document", action="store_true", help="leave docs/benchmarks.md as it is")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar is missed")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
