"""A server in a process of its own, started as an operator would start it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import psutil

from rte.v1.session_service_pb2 import GetSessionRequest
from tests.bench.callers import GET_SESSION, unary
from tests.ports import free_port

START_TIMEOUT_S = 900


class ServerProcess:
    """A running server.

    Attributes:
        address: Of its gRPC server.
        http_port: Its public port, behind Envoy.
        start_s: Seconds from the start of the process to the first answer of a read.
        serving_s: When the call was made that it answered first, seconds since 1970.
    """

    def __init__(self, data_dir: Path, *, edge: bool = True, **variables: str) -> None:
        """Start it and wait for its first answer.

        Args:
            data_dir: Its data directory, new or of an earlier server.
            edge: Whether Envoy serves the public port.
            variables: Environment variables that it gets beside those of this process. Without RTE_SERVER__PORT the public
                port is a free one.

        Raises:
            RuntimeError: It ended, or gave no answer in START_TIMEOUT_S.
        """
        self.http_port = int(variables.get("RTE_SERVER__PORT", 0)) or free_port()
        grpc_port = free_port()
        self.address = f"127.0.0.1:{grpc_port}"
        self._log = data_dir.with_suffix(".log")
        command = [sys.executable, "-m", "rte_server", "serve", "--data-dir", str(data_dir)]
        command += ["--port", str(self.http_port), "--grpc-port", str(grpc_port)]
        environment = os.environ | {"RTE_EDGE__ENABLED": str(edge).lower()} | variables
        # An installed server has its bytecode; a checkout writes it at the first start, wherever that is allowed.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        begun = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._wait(begun)
        self.start_s = time.monotonic() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def channel(self) -> grpc.Channel:
        """Return a new channel that takes answers of any size; the caller closes it."""
        return grpc.insecure_channel(self.address, options=[("grpc.max_receive_message_length", -1)])

    def resident_bytes(self) -> int:
        """Return the memory of the process, without Envoy's."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def stop(self) -> float:
        """Stop it in order; return the seconds that it took. A second call does nothing."""
        begun = time.monotonic()
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(300)
        return time.monotonic() - begun

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        self._process.kill()
        self._process.wait(60)

    def _wait(self, begun: float) -> None:
        request = GetSessionRequest(visitor_id="nobody").SerializeToString()
        while time.monotonic() - begun < START_TIMEOUT_S:
            if self._process.poll() is not None:
                break
            self.serving_s = time.time()
            try:
                with self.channel() as channel:
                    unary(channel, GET_SESSION)(request, timeout=5)
            except grpc.RpcError as error:
                if isinstance(error, grpc.Call) and error.code() == grpc.StatusCode.NOT_FOUND:
                    return
            time.sleep(0.02)
        self._process.kill()
        raise RuntimeError(f"the server gave no answer:\n{self._log.read_text(errors='replace')[-3000:]}")
