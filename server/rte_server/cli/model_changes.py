"""`rte models apply`, `rollback`, `versions`: other models in a running server."""

from __future__ import annotations

import getpass
import json
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.check_command import OutputFormat
from rte_server.cli.connection import call, connect
from rte_server.cli.errors import USAGE, CommandError
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.struct_pb2 import Value

    from rte.v1.model_pb2 import AttributeChange, ModelChange, ModelProblem
    from rte.v1.model_service_pb2 import ApplyModelsRequest, ApplyModelsResponse, RollBackModelsResponse
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

APPLY_EXAMPLES = (
    "Examples:\n\n"
    "  rte models apply shop.yaml --dry-run               what would change on the sessions alive\n\n"
    "  rte models apply shop.yaml --note 'new checkout'   lets it run\n\n"
    "  rte models apply shop.yaml --alongside             runs it beside the present version\n\n"
    "  rte models apply --remove shop_v4                  ends it"
)
NoteOption = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; stands in the list of versions.")]
FormatOption = Annotated[OutputFormat, typer.Option("--format", help="How it is printed.")]

JOURNAL_ENDS = "the journal has no more"

LONG_S = 600.0
PAGE_SIZE = 100
VALUE_CHARS_MAX = 40


def apply(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", help="Model files, YAML.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    alongside: Annotated[bool, typer.Option("--alongside", help="Keep the versions that run, beside these.")] = False,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="NAME", help="A model that runs no more; repeatable.")
    ] = None,
    skip_history: Annotated[
        bool, typer.Option("--skip-history", help="New attributes begin now, not with the history that there is.")
    ] = False,
    note: NoteOption = "",
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = LONG_S,
) -> None:
    """Let models run in the server, without a restart.

    They take the place of the models of the same names. New attributes begin with the history that the journal has.
    Files that a model names are looked for beside it.
    """
    from rte.v1.model_service_pb2 import ApplyModelsRequest

    if not files and not remove:
        raise CommandError("Name a model file, or a model with --remove.", USAGE)
    request = ApplyModelsRequest(
        request_id=f"cli-{uuid.uuid4().hex}",
        alongside=alongside,
        remove_names=remove or (),
        skip_history=skip_history,
        note=note,
        author=_author(),
    )
    _add_files(request, files or [])
    with connect(server) as channel:
        from rte.v1.model_service_pb2_grpc import ModelServiceStub

        stub = ModelServiceStub(channel)
        _refuse_problems(stub, request, timeout)
        request.mode = request.MODE_DRY_RUN if dry_run else request.MODE_ACTIVATE
        answer = call(stub.ApplyModels, request, timeout)
    if output is OutputFormat.JSON:
        typer.echo(_as_json(answer))
        return
    _print_changes(answer.models, answer.attributes, compared=answer.compared_session_count if dry_run else None)
    _print_summary(answer, dry_run=dry_run, skip_history=skip_history)


def roll_back(
    position: Annotated[
        str, typer.Argument(metavar="POSITION", help="As `rte models versions` shows it.  [the one before]")
    ] = "",
    note: NoteOption = "",
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = LONG_S,
) -> None:
    """Let the models of an earlier configuration run again.

    Going back is a change like any other: a second one without POSITION returns to what ran before the first one. To go
    further back, name a position.
    """
    from rte.v1.model_service_pb2 import RollBackModelsRequest
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

    request = RollBackModelsRequest(
        request_id=f"cli-{uuid.uuid4().hex}", position=position, note=note, author=_author()
    )
    with connect(server) as channel:
        answer = call(ModelServiceStub(channel).RollBackModels, request, timeout)
    if output is OutputFormat.JSON:
        typer.echo(_as_json(answer))
        return
    _print_changes(answer.models, answer.attributes, compared=None)
    typer.echo(f"These models run since position {answer.position}.{_since(answer, JOURNAL_ENDS)}")


def versions(
    limit: Annotated[int, typer.Option("--limit", min=1, max=PAGE_SIZE, help="At most so many.")] = 20,
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """List which models ran, since when, and why; the newest first."""
    from google.protobuf.json_format import MessageToDict

    from rte.v1.model_service_pb2 import ListModelVersionsRequest
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

    with connect(server) as channel:
        request = ListModelVersionsRequest(page_size=limit)
        found = call(ModelServiceStub(channel).ListModelVersions, request, timeout).configurations
    if output is OutputFormat.JSON:
        typer.echo(json.dumps([MessageToDict(each, preserving_proto_field_name=True) for each in found], indent=2))
        return
    rows = [
        (
            "*" if each.is_active else "",
            each.position,
            each.activated_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            each.author,
            each.note if len(each.note) <= VALUE_CHARS_MAX else each.note[: VALUE_CHARS_MAX - 1] + "…",
            ", ".join(f"{member.name} {member.version}" for member in each.models),
        )
        for each in found
    ]
    print_table(("", "position", "since (UTC)", "by", "note", "models"), rows)


def print_problems(problems: Sequence[ModelProblem]) -> None:
    """Print what is wrong with models, a line each."""
    for problem in problems:
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        typer.echo(f"{place}: {problem.message}" + (f"; {problem.remedy}" if problem.remedy else ""))


def shown(value: object) -> str:
    """Return a value as JSON, short enough for a table; nothing for no value."""
    text = "none" if value is None else json.dumps(_whole(value), ensure_ascii=False)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


def not_compared_text(attribute: str, count: int, of: int, why: str) -> str:
    """Return a sentence about sessions that could not be compared.

    Args:
        attribute: Its name.
        count: How many they are.
        of: How many sessions there were to compare.
        why: Without a full stop.
    """
    where = "" if count >= of else f" in {count:,} of {of:,} sessions"
    return f"{attribute} was not compared{where}: {why}."


def _add_files(request: ApplyModelsRequest, files: Sequence[Path]) -> None:
    """Add model files, and the files that they name, to a request."""
    from rte_server.models import ModelError
    from rte_server.models.loader import header, read_source

    problems = []
    for path in files:
        try:
            source = read_source(path)
            request.models.add(yaml=source.text, file=source.file)
            name, _ = header(source)
            for file, text in source.files.items():
                request.files[f"{name}/{file}"] = source.graphs.get(file, text.encode())
        except ModelError as error:
            problems += [str(problem) for problem in error.problems]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise _problems_found(len(problems))


def _refuse_problems(stub: ModelServiceStub, request: ApplyModelsRequest, timeout: float) -> None:
    """Ask the server for all that is wrong: a refusal of an activation lists only as much as headers hold."""
    request.mode = request.MODE_VALIDATE
    problems = call(stub.ApplyModels, request, timeout).problems
    if problems:
        print_problems(problems)
        raise _problems_found(len(problems))


def _problems_found(count: int) -> CommandError:
    return CommandError(f"{count} problem{'s' if count != 1 else ''} found; nothing was changed.")


def _print_changes(
    models: Sequence[ModelChange], attributes: Sequence[AttributeChange], *, compared: int | None
) -> None:
    """Print what changes; `compared` sessions were compared, None: none were."""
    if not models:
        typer.echo("No model changes.")
        return
    rows = [(each.name, _versions(each), _word(each.Kind.Name(each.kind))) for each in models]
    print_table(("model", "version", "change"), rows)
    typer.echo("")
    if not attributes:
        typer.echo("No attribute changes.")
        return
    columns = ["attribute", "model", "change"]
    lines = [[each.name, each.model, _word(each.Kind.Name(each.kind))] for each in attributes]
    if compared is not None:
        columns += ["sessions", "for example"]
        for line, each in zip(lines, attributes, strict=True):
            is_unknown = each.not_compared != "" and each.not_compared_session_count >= compared
            line += ["not compared" if is_unknown else f"{each.session_count:,}", _example(each)]
    print_table(columns, lines, lambda column: column == "sessions")
    typer.echo("")
    for each in attributes:
        if each.not_compared:
            count = each.not_compared_session_count
            typer.echo(not_compared_text(each.name, count, compared or 0, each.not_compared), err=True)


def _print_summary(answer: ApplyModelsResponse, *, dry_run: bool, skip_history: bool) -> None:
    why = "their history was skipped" if skip_history else JOURNAL_ENDS
    memory = f"{answer.session_bytes_before:,} bytes per session"
    if answer.session_bytes_after != answer.session_bytes_before:
        memory += f" before, {answer.session_bytes_after:,} after"
    if dry_run:
        count, compared = answer.session_count, answer.compared_session_count
        sessions = f"{count:,} sessions" if count == compared else f"{compared:,} of {count:,} sessions"
        typer.echo(f"A dry run over {sessions}: nothing was changed. {memory}.{_since(answer, why)}")
    elif not answer.models:
        typer.echo(f"These models run already: nothing to do. {memory}.")
    else:
        typer.echo(f"These models run since position {answer.position}. {memory}.{_since(answer, why)}")


def _since(answer: ApplyModelsResponse | RollBackModelsResponse, why: str) -> str:
    if not answer.HasField("complete_since_time"):
        return ""
    since = answer.complete_since_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
    return f"\nNew attributes are complete for sessions that began after {since} UTC: {why}."


def _versions(change: ModelChange) -> str:
    before, after = change.version_before, change.version_after
    return f"{before} → {after}" if before and after else str(before or after)


def _word(kind: str) -> str:
    return kind.removeprefix("KIND_").replace("_", " ").lower()


def _example(change: AttributeChange) -> str:
    if not change.samples:
        return ""
    sample = change.samples[0]
    before = _plain(sample.before) if sample.HasField("before") else None
    after = _plain(sample.after) if sample.HasField("after") else None
    return f"{shown(before)} → {shown(after)}"


def _plain(value: Value) -> object:
    from google.protobuf.json_format import MessageToDict

    found: object = MessageToDict(value)
    return found


def _whole(value: object) -> object:
    """Return a value in which whole numbers have no decimal point."""
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_json(message: Message) -> str:
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(message, preserving_proto_field_name=True)


def _author() -> str:
    """Return who calls, as far as this machine knows."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:100]
    except (KeyError, OSError):
        return socket.gethostname()[:100]
