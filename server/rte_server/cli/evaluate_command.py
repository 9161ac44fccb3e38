"""`rte models evaluate`: how good a score is, measured through a running server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.check_command import OutputFormat
from rte_server.cli.connection import call, connect
from rte_server.cli.errors import CommandError
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption

if TYPE_CHECKING:
    from rte.v1.model_pb2 import Model
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

EXAMPLES = "Example:\n\n  rte models evaluate purchase online_shoppers_test.csv.gz"


def evaluate(
    package: Annotated[Path, typer.Argument(help="Folder of the package whose model the server runs.")],
    recording: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled rows: CSV with a header, also gzip.")],
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="How long to wait for scores.")
    ] = 30.0,
    output: Annotated[OutputFormat, typer.Option("--format", help="How it is printed.")] = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 30.0,
) -> None:
    """Send each labelled row to a running server as a new visitor's event, read its score back, print the AUC.

    The server must run just the model of the package, also alongside another version:
    models.packs, or `rte models apply`.
    """
    from dataclasses import replace

    from rte.v1.event_service_pb2 import IngestEventsResponse
    from rte.v1.model_service_pb2_grpc import ModelServiceStub
    from rte.v1.session_service_pb2 import BatchGetSessionsRequest, BatchGetSessionsResponse
    from rte.v1.session_service_pb2_grpc import SessionServiceStub
    from rte_server.training.evaluation import evaluate as measure
    from rte_server.training.evaluation import running_score
    from rte_server.training.recordings import RecordingError
    from rte_server.training.reports import PackageError, model_sha256, read_report

    def progress(sentence: str) -> None:
        typer.echo(sentence, err=True)

    with connect(server) as channel:
        # The bytes are at hand; a message would only be taken apart and put together again.
        send: Callable[..., IngestEventsResponse] = channel.unary_unary(
            "/rte.v1.EventService/IngestEvents", None, response_deserializer=IngestEventsResponse.FromString
        )
        sessions = SessionServiceStub(channel)

        def get(request: BatchGetSessionsRequest) -> BatchGetSessionsResponse:
            return call(sessions.BatchGetSessions, request, timeout)

        def score_name() -> str:
            return running_score(trained, package, sha256, _running(ModelServiceStub(channel), timeout))

        try:
            trained, sha256 = read_report(package).trained_task(), model_sha256(package)
            task = replace(trained, score=score_name())
            found = measure(task, recording, lambda body: call(send, body, timeout), get, wait, progress)
            if score_name() != task.score:
                raise PackageError("The server runs the model under another name than before; evaluate it again.")
        except (RecordingError, PackageError) as error:
            raise CommandError(str(error)) from None
    if output is OutputFormat.JSON:
        summary = {"score": task.score, "auc": found.auc, "examples": found.examples, "scored": found.scored}
        typer.echo(json.dumps(summary | {"absent": found.absent}))
    else:
        typer.echo(f"{task.score}: AUC {found.auc:.4f} on {found.scored} of {found.examples} examples")
        for reason, count in sorted(found.absent.items()):
            typer.echo(f"  {count} without a score: {reason}")
    if not found.scored:
        raise CommandError("No example has a score; does the server run the model of this package?")


def _running(stub: ModelServiceStub, timeout: float) -> list[Model]:
    """Return the models that the server runs."""
    from rte.v1.model_service_pb2 import ListModelsRequest

    found: list[Model] = []
    request = ListModelsRequest()
    while True:
        answer = call(stub.ListModels, request, timeout)
        found += answer.models
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found
