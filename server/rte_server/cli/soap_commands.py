"""`rte soap`: tries operations of a running server over SOAP, as a caller would."""

from __future__ import annotations

import sys
import urllib.parse
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rte_server.cli.errors import USAGE, CommandError, sentence
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    from rte_soap.client import Exchange, SoapFault

app = typer.Typer(
    no_args_is_help=True,
    help="Try operations of a running server over SOAP.",
    epilog="Examples:\n\n"
    """  rte soap call GetSession '{"visitorId": "v-000007a"}'\n\n"""
    """  rte soap call ListSessions '{"pageSize": 2}' --soap 1.2 --envelope\n\n"""
    "  rte soap call IngestEvents @events.json --header 'authorization: Bearer TOKEN'\n\n"
    "  rte soap operations",
)


class SoapVersion(StrEnum):
    """A version of SOAP."""

    SOAP_11 = "1.1"
    SOAP_12 = "1.2"


@app.command("call")
def call(
    operation: Annotated[
        str, typer.Argument(metavar="OPERATION", help="Such as GetSession; see `rte soap operations`.")
    ],
    request: Annotated[
        str, typer.Argument(metavar="JSON", help="The request; @FILE reads a file, - the standard input.")
    ] = "{}",
    soap: Annotated[SoapVersion, typer.Option("--soap", help="The version of SOAP.")] = SoapVersion.SOAP_11,
    headers: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="NAME: VALUE", help="A header of HTTP; repeatable.")
    ] = None,
    envelope: Annotated[
        bool, typer.Option("--envelope", help="Also print both envelopes, to the standard error.")
    ] = False,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 30.0,
) -> None:
    """Call an operation and print its answer as JSON. A fault is printed with its reason, and the exit code is 1."""
    from google.protobuf import json_format

    from rte_soap.client import NoSoapAnswer, SoapClient, SoapFault
    from rte_soap.contract import new_message
    from rte_soap.envelope import Version

    url = server if "://" in server else f"http://{server}"
    url = url if urllib.parse.urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/soap"
    version = Version.SOAP_12 if soap is SoapVersion.SOAP_12 else Version.SOAP_11
    client = SoapClient(url, version, timeout, dict(_header(each) for each in headers or []))
    known = client.contract.operations
    if operation not in known:
        raise CommandError(f"There is no operation {operation}; {_meant(operation, list(known))}", USAGE)
    message = new_message(known[operation].request)
    try:
        json_format.Parse(_text(request), message)
    except json_format.ParseError as error:
        raise CommandError(f"The request is no {message.DESCRIPTOR.name}: {sentence(str(error))}", USAGE) from None
    try:
        answer = client.call(operation, message)
    except SoapFault as fault:
        raise CommandError(_fault_text(fault)) from None
    except NoSoapAnswer as error:
        raise CommandError(f"What answers at {url} is no SOAP service of RTE: {error}") from None
    except OSError as error:
        why = f"No RTE server answers at {url} ({error}). Start one with `rte run`, or name it with --server."
        raise CommandError(why) from None
    finally:
        if envelope and client.last is not None:
            _print_envelopes(client.last)
    typer.echo(json_format.MessageToJson(answer, indent=2, ensure_ascii=False))


@app.command("operations")
def operations() -> None:
    """List the operations that can be called."""
    from rte_soap.contract import Contract

    found = Contract.shipped().operations.values()
    rows = [[each.name, each.service, _first_sentence(each.documentation)] for each in found]
    print_table(["operation", "service", "what it does"], rows)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise CommandError(f"--header {text} must have the form NAME: VALUE.", USAGE)
    return name.strip().lower(), value.strip()


def _text(request: str) -> str:
    if request == "-":
        return sys.stdin.read()
    if not request.startswith("@"):
        return request
    try:
        return Path(request[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The file {request[1:]} cannot be read: {error}.", USAGE) from None


def _meant(name: str, known: list[str]) -> str:
    import difflib  # Only needed to explain a mistake.

    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"is {close[0]} meant?" if close else "`rte soap operations` lists them."


def _fault_text(fault: SoapFault) -> str:
    """Return what a fault says, in some lines."""
    detail: Any = fault.detail
    lines = [f"{sentence(fault.status.message)} ({detail.reason or fault.code})"]
    shown = ("field", "value", "limit", "request_id")
    lines += [f"  {name.replace('_', ' ')}: {getattr(detail, name)}" for name in shown if getattr(detail, name)]
    lines += [f"  {each.field}: {each.description}" for each in detail.field_violations if each.field != detail.field]
    lines.append(
        f"  fault code {fault.code}, HTTP {fault.http_status}, {'may be' if detail.retryable else 'not to be'} retried"
    )
    return "\n".join(lines)


def _print_envelopes(exchange: Exchange) -> None:
    typer.echo(_indented(exchange.request), err=True)
    typer.echo(f"HTTP {exchange.http_status}", err=True)
    typer.echo(_indented(exchange.answer), err=True)


def _indented(document: bytes) -> str:
    from lxml import etree

    try:
        root = etree.fromstring(
            document, etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=True)
        )
    except etree.XMLSyntaxError:
        return document.decode(errors="replace")
    return etree.tostring(root, pretty_print=True, encoding="unicode").rstrip()


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split()).partition(". ")[0].rstrip(".")
