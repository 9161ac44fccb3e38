"""A server in a process of its own that erases a person, and is killed when it comes to a step: `DATA_DIR STEP`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from rte_server.mart import mart
from tests.service.test_erasure import PERSON, deleted, prepared, started

STEPS = ("data mart", "log of the data mart", "log of the journal", "snapshots")
"""What is about to be done when the process is killed: the first has not begun, of the others the first half is done."""


def killed(*_: object, **__: object) -> None:
    """End this process at once: nothing is closed or written any more."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(data_dir: Path, step: str) -> None:
    """Erase a person up to a step."""
    with started(data_dir) as server, server.channel() as channel:
        prepared(channel)
        retention, eraser = server.application.pipeline.retention, server.application.eraser
        retention.forget_older().result(60)  # A snapshot that holds the person.
        targets: dict[str, tuple[object, str]] = {
            "data mart": (eraser._mart, "erase"),
            "log of the data mart": (mart, "give_up_wal"),
            "log of the journal": (eraser._journal, "_give_up_wal"),
            "snapshots": (retention._snapshots, "keep_only"),
        }
        target, name = targets[step]
        setattr(target, name, killed)
        deleted(channel, customer_id=PERSON)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
