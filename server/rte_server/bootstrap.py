"""Composition root: the only module that knows every part of the server and puts them together."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.config import Config
from rte_server.edge import Bridge, BridgeSettings, Edge, check_port
from rte_server.edge import EdgeSettings as EdgeConfiguration
from rte_server.engine.engine import CompileModels, Engine
from rte_server.engine.native import secret_from_bytes
from rte_server.engine.outcome import Outcome
from rte_server.engine.program import ModelSpec
from rte_server.engine.table import Capacity
from rte_server.engine.wire import Limits, ScannedRequest
from rte_server.journal.directory import DataDirectory
from rte_server.journal.protocol import Journal
from rte_server.journal.recovery import configure, recover
from rte_server.journal.snapshots import SnapshotStore
from rte_server.journal.sqlite import SqliteJournal
from rte_server.mart.mart import CustomerMart
from rte_server.models import ModelError, compile_models, configuration_of, load_models
from rte_server.models.configured import follow, read_configured
from rte_server.models.loader import compile_sources, sources_of
from rte_server.models.scores import digests_in
from rte_server.runners.at_once import score_rows_at_once
from rte_server.runners.packages import GraphStore, keep_graphs, plugin_names, plugin_problems
from rte_server.runners.runners import Runners
from rte_server.service.change_log import ChangeLog
from rte_server.service.collector_service import SERVICE as COLLECTOR_SERVICE
from rte_server.service.collector_service import CollectorService
from rte_server.service.customer_inputs import CustomerFeed
from rte_server.service.customer_join import CustomerFollower, CustomerJoin
from rte_server.service.customer_links import LinkCalls
from rte_server.service.customer_messages import CustomerEncoder
from rte_server.service.customer_service import CustomerService
from rte_server.service.erasure.calls import ErasureCalls
from rte_server.service.erasure.eraser import Eraser
from rte_server.service.erasure.receipt import ReceiptSeal
from rte_server.service.event_service import EventService
from rte_server.service.explain import Explainer, JournalSearch
from rte_server.service.history_facts import with_history_facts
from rte_server.service.interceptors import Guard, Handler
from rte_server.service.lifecycle import LifecycleSettings, ModelLifecycle
from rte_server.service.log_format import configure_logging
from rte_server.service.metrics import Metrics
from rte_server.service.model_files import ModelFiles
from rte_server.service.model_service import ModelService
from rte_server.service.pipeline import Pipeline
from rte_server.service.pipeline_settings import PipelineSettings
from rte_server.service.receipts import Want
from rte_server.service.score_listing import ScoreCalls
from rte_server.service.server import GrpcServer
from rte_server.service.session_reads import SessionReads
from rte_server.service.session_service import SessionService
from rte_server.service.tokens import SHARD, TokenSeal
from rte_server.service.warm_up import warm_up
from rte_server.service.watch import WatchHub

__all__ = ["Application", "configure_logging", "wall_clock_ms"]

CALLS_MAX = 10_000
"""Unary calls in flight. Each that waits for the disk takes some 10 KiB; the pipeline's own limits come first."""

STREAMS_MAX = 2_000
"""Streams of events and watches that are open, together; `limits.watches_max` comes first."""

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""The largest answer: a page of 1,000 sessions, each full of long strings."""

JSON_GROWTH = 6
"""A JSON request grows on its way through Envoy: as a Struct it has up to 5.5 times its bytes."""

_log = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Return the time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Application:
    """A server: everything from the journal to the public port. Belongs to the event loop that starts it.

    Attributes:
        grpc_port: Where the gRPC server listens, after `start`.
        http_port: The public port, after `start`; 0 if the edge is not enabled.
        failed: Set when the server has failed and takes nothing more; the process should then stop it and end.
    """

    def __init__(self, config: Config, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        """Make a server that does not run yet.

        Args:
            config: Its settings.
            clock_ms: Gives the time, milliseconds since 1970.
        """
        self.config = config
        self.grpc_port = 0
        self.http_port = 0
        self.failed = asyncio.Event()
        self.metrics = Metrics()
        self._clock_ms = clock_ms
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Recover the state and begin to serve. If it raises, nothing is left open.

        Raises:
            JournalError: The journal is locked, damaged or cannot be used.
            ModelError: A model cannot be used, or the graph of a score.
            MartError: The data mart's address cannot be used.
            EdgeError: Envoy cannot serve the public port.
            RuntimeError: The gRPC port cannot be bound.
            OSError: The port for metrics is taken.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Stop in order; what was acknowledged is durable, what was taken is answered. A second call does nothing.

        Say so to callers, end watches and streams, let calls under way end, fold what is taken, store a snapshot.
        """
        await self._stack.aclose()

    async def _start(self) -> None:
        """Start part by part; each puts its end on the stack, so that they end in the opposite order."""
        self._loop = asyncio.get_running_loop()
        directory = DataDirectory(self.config.server.data_dir)
        self._stack.callback(directory.close)
        if self.config.edge.enabled:
            # Envoy takes the port last; that it cannot is said before the kernels are compiled and the state is read.
            check_port(self.config.server.host, self.config.server.port)
        journal = SqliteJournal(directory)
        self._stack.push_async_callback(asyncio.to_thread, journal.close)
        snapshots = SnapshotStore(directory.snapshots_path)
        self.graphs = GraphStore(directory.graphs_path)
        # In a thread, so that the process can be told to stop while it recovers.
        self.engine = await asyncio.to_thread(self._recovered, directory.secret, journal, snapshots)
        self.pipeline: Pipeline[ScannedRequest, Outcome] = Pipeline(
            journal,
            SHARD,
            self.engine,
            snapshots,
            PipelineSettings.of(self.config),
            self._clock_ms,
            self._pipeline_failed,
        )
        self._stack.push_async_callback(asyncio.to_thread, self.pipeline.stop)
        self.lifecycle = ModelLifecycle(
            self.engine,
            self.pipeline,
            journal,
            snapshots,
            self._maker(directory.secret),
            self._clock_ms,
            LifecycleSettings(
                refold_s_max=self.config.models.refold_ms_max / 1000,
                compared_sessions_max=self.config.models.compared_sessions_max,
            ),
            partial(
                score_rows_at_once,
                store=self.graphs,
                plugin_memory_bytes_max=self.config.models.plugin_memory_bytes_max,
            ),
            lambda models, files: self._keep_graphs(self.engine.configuration, models, files),
        )
        self._stack.push_async_callback(self.lifecycle.close)
        self.model_files = ModelFiles(
            self.config.models.packs,
            self.lifecycle,
            self._configured,
            self._file_problems,
            self.config.models.watch_interval_ms / 1000,
        )
        self._stack.push_async_callback(self.model_files.close)
        await self._serve(directory.secret, journal)

    def _maker(self, key: bytes) -> Callable[[CompileModels], Engine]:
        """Return what makes empty engines of the configured capacity."""
        secret = secret_from_bytes(key)
        capacity, limits = Capacity(**self.config.capacity()), Limits(**self.config.scan_limits())
        return lambda compile_: Engine(secret, compile_, capacity, limits)

    def _recovered(self, key: bytes, journal: SqliteJournal, snapshots: SnapshotStore) -> Engine:
        """Return the engine as the journal says, configured as the settings say."""
        make = self._maker(key)
        started_s = time.monotonic()
        small = {"settings": self.config.engine_settings(), **configuration_of(load_models(_WARM_UP_PACKS))}
        warm_up(lambda: Engine(secret_from_bytes(key), compile_models, _SMALL), small)
        _log.info("kernels are ready after %.1f s", time.monotonic() - started_s)
        started_s = time.monotonic()
        engine = recover(journal, SHARD, snapshots, lambda: make(compile_models), _report_recovery)
        self._plugins_known = plugin_names(engine.program.models)
        configuration = self._configuration(engine.configuration)

        def prepared(wanted: Mapping[str, Any], base: int) -> dict[str, Any]:
            return with_history_facts(journal, SHARD, base, wanted, make(compile_models))

        now_ms = self._clock_ms()
        configure(journal, SHARD, snapshots, engine, lambda: make(compile_models), configuration, now_ms, prepared)
        _log.info("state is at position %d after %.1f s", engine.position, time.monotonic() - started_s)
        return engine

    def _keep_graphs(self, running: Mapping[str, Any], models: Iterable[ModelSpec], files: Mapping[str, str]) -> None:
        """Check the graphs and plug-ins of models that may run, and keep the graphs where a restart finds them.

        Raises:
            ModelError: One cannot be used. A plug-in that ran or was found once is not looked at again.
        """
        found = list(models)
        problems, _ = plugin_problems(found, files, self._plugins_known, self.config.models.plugin_memory_bytes_max)
        if problems:
            raise ModelError(problems)
        keep_graphs(found, self.graphs, files, digests_in(running.get("files", {}).values()))
        self._plugins_known |= plugin_names(found)

    def _configuration(self, running: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is in force from this start on: the settings, and the model files that changed since the last one.

        Raises:
            ModelError: Nothing ran before, and a model cannot be used.
        """
        sources = sources_of(running.get("models", {}), running.get("files", {}))
        self._configured = read_configured(self.config.models.packs)
        followed = follow(self._configured, running.get("configured", {}), sources, partial(self._keep_graphs, running))
        self._file_problems = followed.problems
        problems = [problem for found in followed.problems.values() for problem in found]
        if problems and not sources:
            raise ModelError(problems)
        for problem in problems:
            _log.error("a model runs on as it was, its file is broken: %s", problem)
        models = configuration_of(compile_sources(followed.sources))
        return {"settings": self.config.engine_settings(), **models, "configured": followed.seen}

    async def _serve(self, key: bytes, journal: Journal) -> None:
        """Start what serves calls."""
        limits, server = self.config.limits, self.config.server
        seal = TokenSeal(hashlib.blake2b(key=key, digest_size=32, person=b"rte.v1.seal").digest())
        log = ChangeLog(self.engine, self.engine.position)

        def told(rows: NDArray[np.int64]) -> None:
            log.add_scored(rows)
            hub.published()

        mart = await asyncio.to_thread(self._start_mart, secret_from_bytes(key), told)
        join = None if mart is None else CustomerJoin(mart, self._clock_ms)
        reads = SessionReads(self.engine, self._clock_ms, join, secret_from_bytes(key))
        hub = WatchHub(reads, log, seal, self._clock_ms, watches_max=limits.watches_max)
        self.pipeline.add_listener(_publisher(log, hub))
        runners = self._start_runners(told)
        self.pipeline.start()
        events = EventService(
            self.engine,
            self.pipeline,
            self.metrics,
            self._clock_ms,
            stream_batches_max=limits.stream_batches_max,
            message_bytes_max=limits.message_bytes_max,
        )
        explainer = self._explainer(reads, journal, secret_from_bytes(key), runners)
        sessions = SessionService(reads, self.pipeline, hub, seal, explainer, self._clock_ms)
        models = ModelService(self.engine, seal, self.lifecycle, lambda: self.model_files.problems)
        handlers = {
            "rte.v1.EventService": events.handlers(),
            "rte.v1.SessionService": sessions.handlers(),
            "rte.v1.ModelService": {
                **models.handlers(),
                **ScoreCalls(self.engine, self.pipeline, self._clock_ms, runners.failures).handlers(),
            },
        }
        self._collectors = self._collector_service()
        if mart is not None:
            handlers["rte.v1.CustomerService"] = self._customer_calls(mart, reads, journal, key)
        if self._collectors is not None:
            handlers[COLLECTOR_SERVICE] = self._collectors.handlers()
        guard = Guard(self.metrics, calls_max=CALLS_MAX, streams_max=STREAMS_MAX)
        grpc_server = GrpcServer(
            handlers,
            guard,
            request_bytes_max=JSON_GROWTH * limits.message_bytes_max,
            answer_bytes_max=ANSWER_BYTES_MAX,
        )
        self.metrics.add_numbers("rte_engine", self.engine.stats)
        self.metrics.add_numbers("rte_pipeline", self.pipeline.stats)
        self.metrics.add_numbers("rte_models", lambda: self.lifecycle.stats() | self.model_files.stats())
        self.metrics.add_numbers("rte", lambda: {"watches_open": hub.open_count})
        if server.metrics_port:
            self.metrics.serve(server.metrics_port)
            self._stack.callback(self.metrics.close)
        grace_s = server.stop_grace_ms / 1000
        self.grpc_port = await grpc_server.start(server.grpc_host, server.grpc_port)
        self._stack.push_async_callback(grpc_server.stop, grace_s)
        edge = await self._start_edge(grace_s)

        async def announce() -> None:
            await grpc_server.announce_stop()
            if edge is not None:
                await edge.begin_drain(grace_s)
            hub.close()
            events.close()

        self._stack.push_async_callback(announce)
        _log.info("serving: gRPC on port %d, HTTP on port %d", self.grpc_port, self.http_port)

    def _collector_service(self) -> CollectorService | None:
        """Return what passes calls on to the collectors, if they are wanted; it ends with the server."""
        if not (self.config.edge.enabled and self.config.collect.enabled):
            return None
        service = CollectorService()
        self._stack.push_async_callback(service.close)
        return service

    def _explainer(
        self, reads: SessionReads, journal: Journal, secret: NDArray[np.uint64], runners: Runners
    ) -> Explainer:
        """Return what explains attributes from the journal; it ends with the server."""
        limits = self.config.explain
        search = JournalSearch(journal, SHARD, secret, limits)
        explainer = Explainer(
            reads,
            search,
            secret,
            self._clock_ms,
            waiting_max=limits.waiting_max,
            contributions=runners.contributions,
        )
        self._stack.push_async_callback(asyncio.to_thread, explainer.close)
        # Before that: the explanation that is worked on may wait for a score.
        self._stack.callback(runners.end_asking)
        return explainer

    def _start_mart(self, secret: NDArray[np.uint64], told: Callable[[NDArray[np.int64]], None]) -> CustomerMart | None:
        """Start the data mart, if there is one; it ends with the server.

        Args:
            secret: uint64[4], the deployment secret.
            told: Tells watchers of rows. First called when the pipeline runs.
        """
        settings = self.config.mart
        if not settings.enabled:
            return None
        encode = CustomerEncoder(settings.customer_bytes_max)
        follower = CustomerFollower(self.engine, secret)

        feed = CustomerFeed(
            self.engine,
            secret,
            lambda entry: self.pipeline.submit_and_wait(entry, want=Want.APPLIED),
            self._clock_ms,
        )

        def changed(customers: Iterable[str]) -> None:
            told(follower.rows_of(customers))
            feed.note(customers)

        mart = CustomerMart(settings, self.config.server.data_dir, encode, self._clock_ms, changed)
        self._stack.push_async_callback(asyncio.to_thread, mart.stop)
        self._stack.push_async_callback(asyncio.to_thread, feed.stop)
        self.pipeline.add_listener(lambda _, outcome: follower.applied(outcome, mart.states.want))
        self.pipeline.add_listener(lambda _, outcome: feed.applied(outcome))
        self.metrics.add_numbers("rte_customer_feed", feed.stats)
        self._customer_feed = feed
        feed.start(mart.states.state)
        self.metrics.add_numbers("rte_mart", lambda: mart.stats() | {"attributes_left_out": encode.left_out_count})
        return mart

    def _customer_calls(
        self, mart: CustomerMart, reads: SessionReads, journal: Journal, key: bytes
    ) -> dict[str, Handler]:
        """Return the methods of CustomerService, and finish erasures that had begun."""
        customers = CustomerService(self.engine, mart, self._clock_ms, self.config.mart.customer_bytes_max)
        links = LinkCalls(reads, self.pipeline, mart, self._clock_ms)
        seal = ReceiptSeal(key)
        refused = None if self._collectors is None else self._collectors.drop_naming
        self.eraser = Eraser(
            self.engine,
            self.pipeline,
            journal,
            mart,
            secret_from_bytes(key),
            seal,
            self._clock_ms,
            self._customer_feed.settle,
            refused,
        )
        self._stack.push_async_callback(self.eraser.close)
        self.eraser.resume()
        self.metrics.add_numbers("rte_erasures", self.eraser.stats)
        erasures = ErasureCalls(mart, self.eraser, seal, self._clock_ms)
        return {**customers.handlers(), **links.handlers(), **erasures.handlers()}

    def _start_runners(self, told: Callable[[NDArray[np.int64]], None]) -> Runners:
        """Start what computes scores beside the fold; it ends with the server."""
        memory_bytes_max = self.config.models.plugin_memory_bytes_max
        runners = Runners(self.engine, self.graphs, self._clock_ms, told, memory_bytes_max)
        self.pipeline.add_listener(lambda _, outcome: runners.applied(outcome.rows))
        self._stack.push_async_callback(asyncio.to_thread, runners.stop)
        self.metrics.add_numbers("rte_scores", runners.stats)
        self.metrics.add_numbers_by("score", "rte_score", runners.stats_by_score)
        runners.start()
        return runners

    async def _start_edge(self, grace_s: float) -> Edge | None:
        """Start Envoy, if it is wanted."""
        settings, server = self.config.edge, self.config.server
        if not settings.enabled:
            return None
        run_dir = server.data_dir.resolve() / "run"
        run_dir.mkdir(mode=0o700, exist_ok=True)
        upstream_host = "127.0.0.1" if server.grpc_host == "0.0.0.0" else server.grpc_host
        upstream = f"{upstream_host}:{self.grpc_port}"
        bridges = self._bridges(run_dir, upstream)
        upstreams = {name: bridge.upstream for name, bridge in bridges.items()}
        edge = Edge(
            EdgeConfiguration(
                run_dir=run_dir,
                upstream=upstream,
                soap_upstream=upstreams.get("soap"),
                collect_upstream=upstreams.get("collect"),
                host=server.host,
                port=server.port,
                concurrency=settings.concurrency,
                request_bytes_max=self.config.limits.message_bytes_max,
                connections_max=settings.connections_max,
                heap_bytes_max=settings.heap_bytes_max,
                allowed_origins=settings.allowed_origins,
                tls_certificate=Path(settings.tls_certificate) if settings.tls_certificate else None,
                tls_key=Path(settings.tls_key) if settings.tls_key else None,
                demo=settings.demo,
                access_log=Path(settings.access_log) if settings.access_log else None,
            )
        )
        self._stack.push_async_callback(edge.stop, grace_s)
        starts = [edge.start(), *(bridge.start() for bridge in bridges.values())]
        for result in await asyncio.gather(*starts, return_exceptions=True):
            if result is not None:
                raise result
        self.http_port = edge.port
        return edge

    def _bridges(self, run_dir: Path, upstream: str) -> dict[str, Bridge]:
        """Return the bridges that are wanted, by the name of Envoy's cluster; they end after Envoy, with the server."""
        soap, collect = self.config.soap, self.config.collect
        arguments: dict[str, list[str]] = {}
        if soap.enabled:
            arguments["soap"] = ["--body-bytes-max", str(self.config.limits.message_bytes_max)]
            arguments["soap"] += ["--public-url", soap.public_url]
            arguments["soap"] += ["--plaintext-passwords"] if soap.plaintext_passwords else []
        if collect.enabled:
            settings = run_dir / "collect.json"
            settings.write_text(json.dumps(self._collect_settings()), encoding="utf-8")
            arguments["collect"] = ["--settings", str(settings)]
        bridges = {
            name: Bridge(BridgeSettings(name, f"rte_{name}", run_dir, upstream, given))
            for name, given in arguments.items()
        }
        for bridge in bridges.values():
            self._stack.push_async_callback(bridge.stop)
        if self._collectors is not None:
            self._collectors.connect(f"{bridges['collect'].upstream}.grpc")
        return bridges

    def _collect_settings(self) -> dict[str, Any]:
        """Return what the collectors' bridge reads from its file, since a command line is no place for keys."""
        limits, collect = self.config.limits, self.config.collect
        return {
            "body_bytes_max": limits.message_bytes_max,
            "batch_events_max": limits.batch_events_max,
            "event_bytes_max": limits.event_bytes_max,
            "write_keys": collect.write_keys,
            "tables": str(Path(collect.tables).resolve()) if collect.tables else "",
            "quarantine": str((self.config.server.data_dir / "quarantine.sqlite").resolve()),
            "quarantine_max": collect.quarantine_max,
            "quarantine_bytes_max": collect.quarantine_bytes_max,
            "quarantine_ms": collect.quarantine_ms,
        }

    def _pipeline_failed(self, failure: BaseException) -> None:
        """Take note, from one of the pipeline's threads, that nothing more will be folded."""
        _log.critical("the server takes nothing more: %s", failure)
        self._loop.call_soon_threadsafe(self.failed.set)


_SMALL = Capacity(
    sessions_max=1024, dedup_events_max=1024, strings_max=4096, string_bytes_max=1 << 20, written_sessions_max=64
)
"""For engines that are made only to try something."""

_WARM_UP_PACKS = ("retail",)
"""What runs kernels so that they are compiled: that does not depend on the models."""


def _publisher(log: ChangeLog, hub: WatchHub) -> Callable[[int, Outcome], None]:
    """Return what tells watches of an applied entry; it runs in the fold thread."""

    def publish(position: int, outcome: Outcome) -> None:
        is_complete = outcome.removed_all == len(outcome.removed) and not outcome.is_new_state
        log.add(position, outcome.rows, outcome.removed, is_complete=is_complete)
        hub.published()

    return publish


def _report_recovery(position: int, last: int) -> None:
    _log.info("recovering: position %d of %d", position, last)
