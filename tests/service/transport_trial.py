"""Measures grpc.aio against synchronous gRPC for calls that wait; see docs/decisions. Not a test.

Run as `python tests/service/transport_trial.py`. Each server answers two calls: `wait`, which is answered by the next
group commit (every 4 ms, as a disk would), and `watch`, a stream that stays open. Client and server are two processes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop

COMMIT_INTERVAL_S = 0.004
CALLS_IN_FLIGHT = 256
WATCHES = 200
SECONDS = 4.0
SYNC_THREADS = 64
BATCH = b"x" * 350

Waiters = list["asyncio.Future[bytes] | Future[bytes]"]


class Committer:
    """Answers all waiting calls at each commit, from its own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self.waiters: Waiters = []
        self.loop = loop
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(COMMIT_INTERVAL_S)
            done, self.waiters = self.waiters, []
            if self.loop is None:
                self._answer(done)
            else:
                self.loop.call_soon_threadsafe(self._answer, done)

    @staticmethod
    def _answer(done: Waiters) -> None:
        for waiter in done:
            if not waiter.cancelled():
                waiter.set_result(b"ok")


def serve_sync(pipe: Connection) -> None:
    """Serve with threads."""
    committer = Committer(None)
    stop = threading.Event()

    def wait(body: bytes, context: grpc.ServicerContext) -> bytes:
        future: Future[bytes] = Future()
        committer.waiters.append(future)
        return future.result()

    def watch(body: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"synced"
        stop.wait()

    handlers: dict[str, Any] = {
        "wait": grpc.unary_unary_rpc_method_handler(wait),
        "watch": grpc.unary_stream_rpc_method_handler(watch),
    }
    server = grpc.server(ThreadPoolExecutor(SYNC_THREADS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t", handlers),))
    pipe.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    report(pipe)


def serve_aio(pipe: Connection) -> None:
    """Serve with grpc.aio on uvloop."""

    async def main() -> None:
        committer = Committer(asyncio.get_running_loop())

        async def wait(body: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            committer.waiters.append(future)
            return await future

        async def watch(body: bytes, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
            await context.write(b"synced")
            await asyncio.Event().wait()

        handlers: dict[str, Any] = {
            "wait": grpc.unary_unary_rpc_method_handler(wait),
            "watch": grpc.unary_stream_rpc_method_handler(watch),
        }
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t", handlers),))
        pipe.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await asyncio.to_thread(report, pipe)

    uvloop.run(main())


def report(pipe: Connection) -> None:
    """Tell what the process used, each time the client asks."""
    while pipe.recv():
        used = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send((used.ru_utime + used.ru_stime, threading.active_count(), used.ru_maxrss // 1024))
    os._exit(0)


async def load(port: int, watches: int) -> tuple[int, list[float]]:
    """Return the calls answered in SECONDS and their latencies in ms, beside `watches` open streams."""
    channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    async with channel:
        streams = [channel.unary_stream("/t/watch")(b"") for _ in range(watches)]
        opened = await asyncio.gather(
            *(asyncio.wait_for(stream.read(), 5) for stream in streams), return_exceptions=True
        )
        print(f"    watches open: {sum(isinstance(answer, bytes) for answer in opened)} of {watches}")
        call = channel.unary_unary("/t/wait")
        latencies: list[float] = []
        until = time.perf_counter() + SECONDS

        async def caller() -> None:
            while (start := time.perf_counter()) < until:
                try:
                    await call(BATCH, timeout=SECONDS)
                except grpc.aio.AioRpcError:
                    return
                latencies.append((time.perf_counter() - start) * 1000)

        await asyncio.gather(*(caller() for _ in range(CALLS_IN_FLIGHT)))
        for stream in streams:
            stream.cancel()
        return len(latencies), sorted(latencies)


def main() -> int:
    """Print one line per server and load."""
    for name, serve in (("sync", serve_sync), ("aio+uvloop", serve_aio)):
        for watches in (0, WATCHES):
            here, there = multiprocessing.Pipe()
            server = multiprocessing.get_context("fork").Process(target=serve, args=(there,), daemon=True)
            server.start()
            port = here.recv()
            here.send(True)
            before_s = here.recv()[0]
            calls, latencies = asyncio.run(load(port, watches))
            here.send(True)
            after_s, threads, megabytes = here.recv()
            here.send(False)
            server.join(5)
            p50, p99 = (latencies[int(len(latencies) * share)] if latencies else float("nan") for share in (0.5, 0.99))
            print(
                f"{name}, {watches} watches: {calls / SECONDS:.0f} calls/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
                f"{calls / (after_s - before_s + 1e-9):.0f} calls per server CPU s, {threads} threads, {megabytes} MB"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
