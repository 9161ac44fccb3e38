"""The life of a server in this process: start, signals, stop, and what to tell the user when it cannot start."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rte_server.cli.errors import CommandError, sentence

if TYPE_CHECKING:
    from rte_server.bootstrap import Application
    from rte_server.config import Config

INTERRUPTED = 130
"""Exit code after Ctrl-C, where there was no time to end in order."""

_CANCEL_S = 5.0

_PORT_ERRORS = ("cannot listen", "Failed to bind")
"""How the texts of the RuntimeErrors begin by which gRPC and the server say that a port is taken."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Running:
    """A server that runs, and what ends before it does."""

    application: Application
    _ends: list[Callable[[], None]] = field(default_factory=list)

    def at_stop(self, end: Callable[[], None]) -> None:
        """Call `end`, in a thread, before the server stops; the last one given first."""
        self._ends.append(end)

    async def end(self) -> None:
        """Call what was given."""
        while self._ends:
            await asyncio.to_thread(self._ends.pop())


def serve_until_stopped(
    config: Config, started: Callable[[Running], None], *, seconds: float, log: Path | None
) -> None:
    """Run a server until SIGINT, SIGTERM, its own failure, or for some time.

    Args:
        config: Its settings.
        started: Called in the event loop's thread once it serves.
        seconds: How long it serves; 0: without an end.
        log: File for the log; None: the standard error.

    Raises:
        CommandError: It cannot start, or it failed while it ran.
    """
    import uvloop

    from rte_server.bootstrap import configure_logging
    from rte_server.edge import EdgeError
    from rte_server.journal.protocol import JournalError
    from rte_server.mart.database import MartError
    from rte_server.models import ModelError

    out = log.open("a", encoding="utf-8") if log is not None else sys.stderr
    configure_logging(config.server.log_level, out)
    try:
        failed = uvloop.run(_serve(config, started, seconds))
    except ModelError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise CommandError(f"The models cannot be used:\n{problems}") from None
    except (JournalError, EdgeError, MartError, OSError) as error:
        raise CommandError(f"The server cannot start: {sentence(_text(error))}") from None
    except RuntimeError as error:
        if not str(error).startswith(_PORT_ERRORS):
            raise
        server = config.server
        text = f"The port {server.grpc_port} on {server.grpc_host} is taken or cannot be used; set another --grpc-port."
        raise CommandError(f"The server cannot start: {text}") from None
    finally:
        if log is not None:
            out.close()
            configure_logging(config.server.log_level)
    if failed:
        raise CommandError("The server failed and has stopped; its log says why. What it acknowledged is kept.")


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


async def _serve(config: Config, started: Callable[[Running], None], seconds: float) -> bool:
    """Return whether the server failed."""
    from rte_server.bootstrap import Application

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)  # Somebody asks for the second time: the journal is safe against that.
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    application = Application(config)
    await _start(application, stop)
    # What the server has made by now stays until it ends. To look through it for garbage holds up every
    # thread for 0.4 s now and then: there are half a million objects, most of them of the libraries.
    # Nor is it looked through once more before: that takes a third of that in which nobody is answered, for 150 objects
    # of garbage, or 10,000 where kernels were compiled.
    gc.freeze()
    running = Running(application)
    try:
        started(running)
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(application.failed.wait())]
        await asyncio.wait(waits, timeout=seconds or None, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        failed = application.failed.is_set()
    finally:
        _log.info("stopping")
        stop.set()
        await running.end()
        await application.stop()
    return failed


async def _start(application: Application, stop: asyncio.Event) -> None:
    """Start the server; end the process if it is told to stop before it serves."""
    start = asyncio.create_task(application.start())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not start.done():
        start.cancel()
        await asyncio.wait({start}, timeout=_CANCEL_S)
        # A kernel that is being compiled cannot be interrupted, and the end of the process would wait for it.
        print("Stopped before it served.", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)
    await start
