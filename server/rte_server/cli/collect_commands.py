"""`rte collect`: what the collectors of a running server refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rte_server.cli.check_command import OutputFormat
from rte_server.cli.connection import call, connect
from rte_server.cli.errors import USAGE, CommandError
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    from rte.v1.collector_service_pb2 import ListQuarantinedEventsResponse

app = typer.Typer(no_args_is_help=True, help="See what the collectors of a running server refused.")
quarantine_app = typer.Typer(
    no_args_is_help=True,
    help="List refused events, take them once more, or drop them.",
    epilog="Examples:\n\n"
    "  rte collect quarantine list --reason FIELD_MISSING\n\n"
    "  rte collect quarantine list --format json | jq -r .document\n\n"
    "  rte collect quarantine resubmit 17 18\n\n"
    "  rte collect quarantine drop --all",
)
app.add_typer(quarantine_app, name="quarantine")

_SHOWN_CHARACTERS_MAX = 60

IdsArgument = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids, as `list` shows them.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that are there.")]


@quarantine_app.command("list")
def list_quarantine(
    protocol: Annotated[str, typer.Option("--protocol", help="Only of segment, snowplow or cloudevents.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Only with this reason, such as FIELD_MISSING.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0: all.")] = 100,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="How they are printed; json: one object per line.")
    ] = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 30.0,
) -> None:
    """List refused events, the oldest first, each with its reason, protocol and time."""
    from google.protobuf.json_format import MessageToDict

    rows: list[tuple[str, ...]] = []
    count = total = lost = 0
    for answer in _pages(server, protocol, _reason_number(reason), limit, timeout):
        total, lost = answer.total_count, answer.lost_count
        for event in answer.events:
            if limit and count == limit:
                break
            count += 1
            shown = MessageToDict(event, preserving_proto_field_name=True)
            shown["reason"] = shown["reason"].removeprefix("ERROR_REASON_")
            if output is OutputFormat.JSON:
                sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
                continue
            document = event.document[:_SHOWN_CHARACTERS_MAX]
            told = (shown["quarantine_id"], shown["receive_time"], event.protocol, shown["reason"], event.field)
            rows.append((*told, event.message, document))
    if output is OutputFormat.JSON:
        return
    print_table(["id", "received", "protocol", "reason", "field", "message", "event"], rows)
    typer.echo(f"{count} of {total} refused events; {lost} left because the quarantine was full or they were too old")


@quarantine_app.command("resubmit")
def resubmit(
    ids: IdsArgument = None,
    all_of_them: AllOption = False,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Take refused events once more, after a table of names or a limit was changed; what is still refused stays."""
    from rte.v1.collector_service_pb2 import ResubmitQuarantinedEventsRequest
    from rte.v1.collector_service_pb2_grpc import CollectorServiceStub

    _check(ids, all_of_them)
    request = ResubmitQuarantinedEventsRequest(quarantine_ids=ids or (), all=all_of_them)
    with connect(server) as channel:
        answer = call(CollectorServiceStub(channel).ResubmitQuarantinedEvents, request, timeout)
    typer.echo(f"accepted {answer.accepted_count}, refused again {answer.rejected_count}")


@quarantine_app.command("drop")
def drop(
    ids: IdsArgument = None,
    all_of_them: AllOption = False,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Remove refused events for good."""
    from rte.v1.collector_service_pb2 import DropQuarantinedEventsRequest
    from rte.v1.collector_service_pb2_grpc import CollectorServiceStub

    _check(ids, all_of_them)
    request = DropQuarantinedEventsRequest(quarantine_ids=ids or (), all=all_of_them)
    with connect(server) as channel:
        answer = call(CollectorServiceStub(channel).DropQuarantinedEvents, request, timeout)
    typer.echo(f"dropped {answer.dropped_count}")


def _check(ids: list[str] | None, all_of_them: bool) -> None:
    if bool(ids) == all_of_them:
        raise CommandError("Give ids of refused events, or --all.", USAGE)


def _reason_number(name: str) -> Any:
    from rte.v1.error_reason_pb2 import ErrorReason

    if not name:
        return 0
    try:
        return ErrorReason.Value(f"ERROR_REASON_{name.upper().removeprefix('ERROR_REASON_')}")
    except ValueError:
        raise CommandError(f"There is no reason {name}.", USAGE) from None


def _pages(
    server: str, protocol: str, reason: Any, limit: int, timeout: float
) -> Iterator[ListQuarantinedEventsResponse]:
    from rte.v1.collector_service_pb2 import ListQuarantinedEventsRequest
    from rte.v1.collector_service_pb2_grpc import CollectorServiceStub

    request = ListQuarantinedEventsRequest(protocol=protocol, reason=reason, page_size=min(limit or 1000, 1000))
    left = limit
    with connect(server) as channel:
        while True:
            answer = call(CollectorServiceStub(channel).ListQuarantinedEvents, request, timeout)
            yield answer
            left -= len(answer.events)
            if not answer.next_page_token or (limit and left <= 0):
                return
            request.page_token = answer.next_page_token
