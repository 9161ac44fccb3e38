"""`rte customers`: what a running server knows about customers, and what the back office writes to them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rte_server.cli.check_command import OutputFormat
from rte_server.cli.connection import call, connect
from rte_server.cli.errors import USAGE, CommandError
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    from rte.v1.customer_pb2 import Customer
    from rte.v1.customer_service_pb2 import CustomerLink

app = typer.Typer(
    no_args_is_help=True,
    help="Get and change what a running server knows about customers.",
    epilog="Examples:\n\n"
    "  rte customers get c7\n\n"
    "  rte customers get c7 c8 --max-age 0 --format json\n\n"
    "  rte customers update c7 tier=gold score=0.9 --source crm --why 'call of today'\n\n"
    "  rte customers link c7 v-000007a --why 'called from this number' --author ann\n\n"
    "  rte customers erase c7 > receipt.json\n\n"
    "  rte customers verify-receipt receipt.json --customer c7\n\n"
    "  rte customers change-feed postgresql | psql crm",
)

FormatOption = Annotated[OutputFormat, typer.Option("--format", help="How it is printed; json: one object per line.")]


@app.command("get")
def get(
    customer_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of customers.")],
    max_age: Annotated[
        float | None,
        typer.Option("--max-age", min=0, max=86_400, help="Ask the data mart if what is known is older, seconds."),
    ] = None,
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Print customers with all their attributes, where each comes from, and how fresh it is."""
    from rte.v1.customer_service_pb2 import BatchGetCustomersRequest
    from rte.v1.customer_service_pb2_grpc import CustomerServiceStub

    request = BatchGetCustomersRequest(customer_ids=customer_ids)
    if max_age is not None:
        request.max_age.FromMilliseconds(round(max_age * 1000))
    with connect(server) as channel:
        answer = call(CustomerServiceStub(channel).BatchGetCustomers, request, timeout)
    for customer in answer.customers:
        _print(customer, output)


@app.command("update")
def update(
    customer_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the customer.")],
    attributes: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE...", help="Attributes to write; a value is JSON or else a text, an empty one removes."
        ),
    ],
    source: Annotated[str, typer.Option("--source", help="Where they come from.")],
    why: Annotated[str, typer.Option("--why", help="Why, for the audit.")] = "",
    author: Annotated[str, typer.Option("--author", help="Who, for the audit.")] = "",
    expires_in: Annotated[
        float, typer.Option("--expires-in", min=0, help="How long they hold, seconds; 0: for good.")
    ] = 0.0,
    etag: Annotated[str, typer.Option("--etag", help="Write only if the customer's etag is this one.")] = "",
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Write attributes of a customer; live sessions show them when the command ends."""
    from rte.v1.customer_service_pb2 import UpdateCustomerRequest
    from rte.v1.customer_service_pb2_grpc import CustomerServiceStub

    request = UpdateCustomerRequest(customer_id=customer_id, source=source, why=why, author=author, etag=etag)
    for name, value in _assignments(attributes).items():
        request.attributes[name] = value
    if expires_in:
        request.expire_time.FromMilliseconds(round((datetime.now(UTC).timestamp() + expires_in) * 1000))
    with connect(server) as channel:
        _print(call(CustomerServiceStub(channel).UpdateCustomer, request, timeout).customer, output)


CustomerArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the customer.")]
VisitorArgument = Annotated[str, typer.Argument(metavar="VISITOR", help="Id of the visitor.")]
WhyOption = Annotated[str, typer.Option("--why", help="Why, for the journal.")]
AuthorOption = Annotated[str, typer.Option("--author", help="Who, for the journal.")]


@app.command("link")
def link(
    customer_id: CustomerArgument,
    visitor_id: VisitorArgument,
    why: WhyOption,
    author: AuthorOption = "",
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Link a visitor to a customer, so that its sessions count as the customer's; `unlink` takes it back."""
    from rte.v1.customer_service_pb2 import LinkVisitorRequest
    from rte.v1.customer_service_pb2_grpc import CustomerServiceStub

    request = LinkVisitorRequest(customer_id=customer_id, visitor_id=visitor_id, why=why, author=author)
    with connect(server) as channel:
        _print_links(customer_id, call(CustomerServiceStub(channel).LinkVisitor, request, timeout).links)


@app.command("unlink")
def unlink(
    customer_id: CustomerArgument,
    visitor_id: VisitorArgument,
    why: WhyOption,
    author: AuthorOption = "",
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Take back that a visitor is linked to a customer."""
    from rte.v1.customer_service_pb2 import UnlinkVisitorRequest
    from rte.v1.customer_service_pb2_grpc import CustomerServiceStub

    request = UnlinkVisitorRequest(customer_id=customer_id, visitor_id=visitor_id, why=why, author=author)
    with connect(server) as channel:
        _print_links(customer_id, call(CustomerServiceStub(channel).UnlinkVisitor, request, timeout).links)


@app.command("erase")
def erase(
    person_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the person: the customer's.")],
    visitor: Annotated[bool, typer.Option("--visitor", help="ID is that of one visitor (device).")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Erase a person for good: sessions, journal, snapshots, RTE's rows in the data mart. Prints the receipt as JSON."""
    from google.protobuf.json_format import MessageToDict

    from rte.v1.customer_service_pb2 import DeleteCustomerRequest
    from rte.v1.customer_service_pb2_grpc import CustomerServiceStub

    whom = f"the visitor {person_id}" if visitor else f"{person_id} and all visitors who ever named this customer"
    if not yes and not typer.confirm(f"Erase {whom}?", err=True):
        raise CommandError("Nothing was erased.")
    request = DeleteCustomerRequest()
    setattr(request, "visitor_id" if visitor else "customer_id", person_id)
    with connect(server) as channel:
        answer = call(CustomerServiceStub(channel).DeleteCustomer, request, timeout)
    if answer.remaining_sources:
        sources = ", ".join(answer.remaining_sources)
        typer.echo(f"The data mart still knows the customer, in {sources}: these are yours to clear.", err=True)
    if answer.remaining_sources_unknown:
        typer.echo(
            "The data mart did not answer in time: it may know the customer still, in tables of yours.", err=True
        )
    for earlier in answer.earlier_receipts:
        found = json.dumps(MessageToDict(earlier, preserving_proto_field_name=True), ensure_ascii=False)
        typer.echo(f"Erased before, with the receipt {found}", err=True)
    typer.echo(json.dumps(MessageToDict(answer.receipt, preserving_proto_field_name=True), ensure_ascii=False))


@app.command("verify-receipt")
def verify_receipt(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A receipt as `erase` printed it.")],
    customer: Annotated[str, typer.Option(help="Check that it is about this customer.")] = "",
    visitor: Annotated[str, typer.Option(help="Check that it is about this visitor.")] = "",
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Check that a receipt is genuine, without the person's id or with it; exit code 1 if it is not."""
    from google.protobuf.json_format import ParseDict, ParseError

    from rte.v1.customer_service_pb2 import VerifyErasureReceiptRequest
    from rte.v1.customer_service_pb2_grpc import CustomerServiceStub

    request = VerifyErasureReceiptRequest()
    try:
        ParseDict(json.loads(path.read_text(encoding="utf-8")), request.receipt)
    except (OSError, ValueError, ParseError) as error:
        raise CommandError(f"{path} holds no receipt: {error}", USAGE) from error
    if customer and visitor:
        raise CommandError("A receipt is about a customer or about a visitor; give one of them.", USAGE)
    if customer or visitor:
        setattr(request, "customer_id" if customer else "visitor_id", customer or visitor)
    with connect(server) as channel:
        answer = call(CustomerServiceStub(channel).VerifyErasureReceipt, request, timeout)
    if not answer.genuine:
        raise CommandError("The receipt is not one of this server, or was changed.")
    if (customer or visitor) and not answer.person_matches:
        raise CommandError("The receipt is genuine, but about another person.")
    receipt = request.receipt
    typer.echo(f"Genuine: erasure {receipt.erasure_id}, {receipt.erase_time.ToJsonString()}.")
    if customer or visitor:
        typer.echo(f"It is about this person, who has {answer.session_count} sessions that began since.")


@app.command("change-feed")
def change_feed(
    database: Annotated[str, typer.Argument(metavar="DATABASE", help="Which database; there is one for postgresql.")],
) -> None:
    """Print the script that lets a database tell RTE of changes; see the guide to data marts."""
    from rte_server.mart.written import script

    if database != "postgresql":
        raise CommandError(f"There is no change feed for {database!r}, only for postgresql; others are polled.", USAGE)
    typer.echo(script("postgresql_change_feed.sql"), nl=False)


def _assignments(texts: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"{text} must have the form NAME=VALUE.", USAGE)
        try:
            found[name] = json.loads(value) if value else None
        except json.JSONDecodeError:
            found[name] = value
    return found


def _print_links(customer_id: str, links: Sequence[CustomerLink]) -> None:
    if not links:
        typer.echo(f"No visitor is linked to {customer_id}.")
        return
    rows = [
        (each.visitor_id, f"{each.link_time.ToDatetime():%Y-%m-%d %H:%M:%S}", each.author, each.why) for each in links
    ]
    print_table(("visitor", "since", "author", "why"), rows)


def _print(customer: Customer, output: OutputFormat) -> None:
    from google.protobuf.json_format import MessageToDict

    shown = MessageToDict(customer, preserving_proto_field_name=True)
    if output is OutputFormat.JSON:
        sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
        return
    freshness = shown["freshness"].removeprefix("FRESHNESS_")
    age = f", {shown['age']} old" if "age" in shown else ""
    typer.echo(f"{customer.customer_id}: {freshness}{age}")
    rows = [
        (name, json.dumps(each.get("value"), ensure_ascii=False), each.get("source", ""), each.get("expire_time", ""))
        for name, each in sorted(shown.get("attributes", {}).items())
    ]
    if rows:
        print_table(("attribute", "value", "source", "expires"), rows)
