"""`rte sessions`: get, list, watch and explain the sessions of a running server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.check_command import OutputFormat
from rte_server.cli.connection import call, connect
from rte_server.cli.errors import USAGE, CommandError, reason_of
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    import grpc

    from rte.v1.session_explanation_pb2 import Explanation
    from rte.v1.session_pb2 import Session
    from rte.v1.session_service_pb2 import GetSessionResponse, ListSessionsRequest
    from rte.v1.session_service_pb2_grpc import SessionServiceStub

app = typer.Typer(
    no_args_is_help=True,
    help="Get, list, watch and explain the sessions of a running server.",
    epilog="Examples:\n\n"
    "  rte sessions get v-000007a\n\n"
    "  rte sessions list --filter 'open_basket_value > 50.0' --order-by 'open_basket_value desc'\n\n"
    "  rte sessions watch --filter 'purchases > 0' --format json\n\n"
    "  rte sessions explain v-000007a open_basket_value",
)

PAGE_SIZE_MAX = 1_000
KEYS = ("session", "visitor", "customer", "client-session")


class State(StrEnum):
    """Which sessions are meant."""

    ACTIVE = "active"
    CLOSED = "closed"
    ANY = "any"


class Key(StrEnum):
    """What kind of id is given."""

    ANY = "any"
    SESSION = "session"
    VISITOR = "visitor"
    CUSTOMER = "customer"
    CLIENT_SESSION = "client-session"


FormatOption = Annotated[OutputFormat, typer.Option("--format", help="How it is printed; json: one object per line.")]
FilterOption = Annotated[
    str, typer.Option("--filter", "-f", metavar="CEL", help="Such as 'basket_open && product_views > 3'.")
]
StateOption = Annotated[State, typer.Option("--state", help="Which sessions.")]


@app.command("get")
def get(
    session_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a session, visitor, customer or client session.")
    ],
    by: Annotated[Key, typer.Option("--by", help="What kind of id it is; any: tries them in this order.")] = Key.ANY,
    merged: Annotated[
        bool, typer.Option("--merged", help="All active sessions of a customer as one; ID is the customer's.")
    ] = False,
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Print one session with all its attributes."""
    from google.protobuf.json_format import MessageToDict

    from rte.v1.session_service_pb2_grpc import SessionServiceStub

    with connect(server) as channel:
        by = Key.CUSTOMER if merged else by
        kinds = KEYS if by is Key.ANY else (by.value,)
        answer = _first_found(SessionServiceStub(channel), session_id, kinds, timeout, merged=merged)
    if answer is None:
        raise _nowhere(session_id, by, server)
    if output is OutputFormat.JSON:
        typer.echo(json.dumps(MessageToDict(answer.session, preserving_proto_field_name=True), ensure_ascii=False))
        return
    _print_session(answer.session)
    if answer.merged_session_ids:
        typer.echo(f"\nMerged of {', '.join(answer.merged_session_ids)}.")


def _first_found(
    stub: SessionServiceStub, wanted: str, kinds: Sequence[str], timeout_s: float, *, merged: bool = False
) -> GetSessionResponse | None:
    import grpc

    from rte.v1.session_service_pb2 import GetSessionRequest

    for kind in kinds:
        request = GetSessionRequest(merged=merged)
        setattr(request, kind.replace("-", "_") + "_id", wanted)
        try:
            return call(stub.GetSession, request, timeout_s)
        except grpc.RpcError as error:
            # NOT_FOUND without our reason comes from something that is no RTE server.
            if reason_of(error) != "SESSION_NOT_FOUND":
                raise
    return None


def _nowhere(wanted: str, by: Key, server: str) -> CommandError:
    what = "no session, visitor, customer or client session" if by is Key.ANY else f"no session by {by.value} id"
    return CommandError(f'There is {what} "{wanted}" on {server}.')


@app.command("explain")
def explain(
    session_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a session, visitor, customer or client session.")
    ],
    attribute: Annotated[str, typer.Argument(metavar="ATTRIBUTE", help="Such as `open_basket_value`.")],
    by: Annotated[Key, typer.Option("--by", help="What kind of id it is; any: tries them in this order.")] = Key.ANY,
    contributed: Annotated[
        bool, typer.Option("--contributed", help="List only the events that stand behind the value.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=PAGE_SIZE_MAX, help="How many events at most.")
    ] = 20,
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Say why an attribute of a session has its value: the events behind it, its rule, the inputs of a score."""
    from google.protobuf.json_format import MessageToDict

    from rte.v1.session_service_pb2 import ExplainSessionRequest
    from rte.v1.session_service_pb2_grpc import SessionServiceStub

    with connect(server) as channel:
        stub = SessionServiceStub(channel)
        found = _first_found(stub, session_id, KEYS if by is Key.ANY else (by.value,), timeout)
        if found is None:
            raise _nowhere(session_id, by, server)
        request = ExplainSessionRequest(
            session_id=found.session.session_id, attribute=attribute, page_size=limit, contributed_only=contributed
        )
        explanation = call(stub.ExplainSession, request, timeout).explanation
    if output is OutputFormat.JSON:
        typer.echo(json.dumps(MessageToDict(explanation, preserving_proto_field_name=True), ensure_ascii=False))
        return
    _print_explanation(explanation)


def _print_explanation(explanation: Explanation) -> None:
    from rte_server.cli.explanation_text import (
        EVENT_COLUMNS,
        customer_lines,
        event_cells,
        events_heading,
        heading,
        rule_lines,
        score_lines,
    )

    lines = list(heading(explanation))
    if explanation.HasField("rule"):
        lines += ["", *rule_lines(explanation.rule)]
    if explanation.HasField("score"):
        lines += ["", *score_lines(explanation.score)]
    if explanation.HasField("customer"):
        lines += customer_lines(explanation.customer)
    if explanation.HasField("events"):
        lines += ["", *events_heading(explanation.events)]
    typer.echo("\n".join(line.rstrip() for line in lines))
    if explanation.events.events:
        print_table(EVENT_COLUMNS, [event_cells(event) for event in explanation.events.events])
    listed = len(explanation.events.events)
    counts = explanation.events.counts
    total = sum(getattr(counts, field.name) for field in counts.DESCRIPTOR.fields)
    if listed < total:
        typer.echo(f"{total:,} events, {listed:,} shown", err=True)


def _print_session(session: Session) -> None:
    from rte_server.cli.session_text import value_text

    state = {1: "active", 2: "closed"}.get(session.state, "unknown")
    rows = [
        ("session", session.session_id),
        ("visitor", f"{session.visitor_id}, visit {session.visit_number}" if session.visitor_id else ""),
        ("customer", session.customer_id),
        ("channel", session.channel),
        ("state", state),
        ("started", session.start_time.ToJsonString()),
        ("last event", session.last_event_time.ToJsonString()),
        ("ended", session.end_time.ToJsonString() if session.HasField("end_time") else ""),
        ("events", str(session.event_count)),
        ("late events", str(session.late_event_count) if session.late_event_count else ""),
        ("also known as", ", ".join(session.alias_ids)),
    ]
    rows += [("", "")]
    rows += [(name, value_text(value)) for name, value in sorted(session.attributes.fields.items())]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        if text or not name:
            typer.echo(f"{name:<{width}}  {text}".rstrip())


@app.command("list")
def list_sessions(
    filter_text: FilterOption = "",
    order_by: Annotated[
        str, typer.Option("--order-by", "-o", metavar="NAME [desc]", help="An attribute or `session.` field.")
    ] = "session.last_event_time desc",
    state: StateOption = State.ACTIVE,
    customer: Annotated[
        str, typer.Option("--customer", help="Only those of this customer, linked visitors included.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most; 0: all.")] = 50,
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List sessions that match a filter, in order."""
    from google.protobuf.json_format import MessageToDict

    from rte.v1.session_service_pb2 import ListSessionsRequest
    from rte_server.cli.session_text import COLUMNS, cells, is_number

    request = ListSessionsRequest(
        filter=filter_text,
        order_by=order_by,
        state=f"STATE_FILTER_{state.name}",
        page_size=min(limit or PAGE_SIZE_MAX, PAGE_SIZE_MAX),
        customer_id=customer,
    )
    with connect(server) as channel:
        total, sessions = _pages(channel, request, limit, timeout)
        if output is OutputFormat.JSON:
            for session in sessions:
                typer.echo(json.dumps(MessageToDict(session, preserving_proto_field_name=True), ensure_ascii=False))
            return
        shown = list(sessions)
    now = datetime.now(UTC)
    print_table(COLUMNS, [cells(session, now) for session in shown], is_number)
    more = "" if len(shown) == total else f", {len(shown):,} shown"
    which = "" if state is State.ANY else f"{state.value} "
    typer.echo(f"{total:,} {which}session{'s' if total != 1 else ''}{more}", err=True)


def _pages(
    channel: grpc.Channel, request: ListSessionsRequest, limit: int, timeout_s: float
) -> tuple[int, Iterator[Session]]:
    """Return the total count, and the sessions page by page as they are asked for."""
    from rte.v1.session_service_pb2_grpc import SessionServiceStub

    stub = SessionServiceStub(channel)
    first = call(stub.ListSessions, request, timeout_s)

    def sessions() -> Iterator[Session]:
        page, left = first, limit or sys.maxsize
        while True:
            yield from page.sessions[:left]
            left -= len(page.sessions)
            if left <= 0 or not page.next_page_token:
                return
            request.page_token = page.next_page_token
            page = call(stub.ListSessions, request, timeout_s)

    return first.total_count, sessions()


@app.command("watch")
def watch(
    filter_text: FilterOption = "",
    state: StateOption = State.ACTIVE,
    interval: Annotated[
        int,
        typer.Option("--interval", metavar="MS", min=0, max=60_000, help="Least time between two lines of a session."),
    ] = 1_000,
    snapshot: Annotated[bool, typer.Option(help="Begin with the sessions that match now.")] = True,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Stop after this time; 0: never.")] = 0.0,
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
) -> None:
    """Print each change of the sessions that match a filter, until Ctrl-C. Goes on after a break."""
    from rte_server.cli.watching import watch_changes

    if seconds < 0:
        raise CommandError("--seconds must not be negative.", USAGE)
    state_name = f"STATE_FILTER_{state.name}"
    with connect(server) as channel:
        watch_changes(
            channel,
            filter_text=filter_text,
            state=state_name,
            interval_ms=interval,
            snapshot=snapshot,
            seconds=seconds,
            as_json=output is OutputFormat.JSON,
        )
