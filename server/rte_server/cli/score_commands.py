"""`rte models scores`, `rollback-weights`: what computes scores, how those do that learn, and back to earlier weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.check_command import OutputFormat
from rte_server.cli.connection import call, connect
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    from rte.v1.model_pb2 import Scorer

ROLL_BACK_EXAMPLES = "Example:\n\n  rte models rollback-weights p_online 4"
FormatOption = Annotated[OutputFormat, typer.Option("--format", help="How it is printed.")]


def scores(
    output: FormatOption = OutputFormat.TABLE, server: ServerOption = SERVER_DEFAULT, timeout: TimeoutOption = 10.0
) -> None:
    """List the scores: what computes them from what, and how those do that learn."""
    from google.protobuf.json_format import MessageToDict

    from rte.v1.model_service_pb2 import ListScoresRequest
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

    with connect(server) as channel:
        found = call(ModelServiceStub(channel).ListScores, ListScoresRequest(), timeout).scores
    if output is OutputFormat.JSON:
        typer.echo(json.dumps([MessageToDict(each, preserving_proto_field_name=True) for each in found], indent=2))
        return
    rows = [(each.name, each.model, each.runner, each.source, ", ".join(each.inputs)) for each in found]
    print_table(("score", "model", "runner", "source", "inputs"), rows)
    for each in found:
        if each.failed_session_count or each.failure_count:
            times = f"{each.failure_count} time{'s' if each.failure_count != 1 else ''}"
            sessions = f"{each.failed_session_count} session{'s' if each.failed_session_count != 1 else ''}"
            typer.echo(f"\n{each.name} failed {times}, {sessions} have no score now; last: {each.last_failure}")
    learning = [each for each in found if each.HasField("online")]
    if learning:
        typer.echo("")
        _print_learning(learning)


def roll_back_weights(
    score: Annotated[str, typer.Argument(metavar="SCORE", help="Name of a score that learns.")],
    version: Annotated[
        int, typer.Argument(metavar="VERSION", min=1, help="A version that is kept, as `rte models scores` shows it.")
    ],
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Put back earlier weights of a score that learns. What it learned since is lost; it goes on learning from there."""
    from google.protobuf.json_format import MessageToJson

    from rte.v1.model_service_pb2 import RollBackWeightsRequest
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

    with connect(server) as channel:
        request = RollBackWeightsRequest(score=score, version=version)
        answer = call(ModelServiceStub(channel).RollBackWeights, request, timeout)
    if output is OutputFormat.JSON:
        typer.echo(MessageToJson(answer, preserving_proto_field_name=True))
        return
    _print_learning([answer.score])
    typer.echo(f"\n{score} goes on with the weights of version {version} since position {answer.position}.")


def _print_learning(scores: list[Scorer]) -> None:
    """Print how scores that learn do, and why those in the shadow are there."""
    rows = [
        (
            each.name,
            "shown" if each.online.is_shown else "in the shadow",
            f"{each.online.example_count:,}",
            f"{each.online.positive_count:,}",
            f"{each.online.horizon_count:,}",
            f"{each.online.log_loss:.4f}",
            f"{each.online.baseline_log_loss:.4f}",
            each.online.baseline or "share of 1s",
            f"{each.online.auc:.3f}" if each.online.auc else "",
            ", ".join(map(str, each.online.versions)),
        )
        for each in scores
    ]
    titles = ("learns", "is", "examples", "of 1", "horizon", "log loss", "baseline's", "baseline", "AUC", "versions")
    print_table(titles, rows, lambda title: title in titles[2:7] or title == "AUC")
    for each in scores:
        if each.online.shadow_reason:
            typer.echo(f"\n{each.name} is in the shadow. {each.online.shadow_reason}")
