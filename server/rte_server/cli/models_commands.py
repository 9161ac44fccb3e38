"""`rte models`: which models run, what they compute, and whether a file is a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli import evaluate_command, model_changes, model_diff, score_commands, train_command
from rte_server.cli.check_command import OutputFormat
from rte_server.cli.connection import call, connect
from rte_server.cli.errors import CommandError
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, TimeoutOption
from rte_server.cli.tables import print_table

if TYPE_CHECKING:
    from rte.v1.model_pb2 import Attribute, Model, ModelProblem
    from rte_server.engine.program import ModelSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Models of a running server: list, show, change, go back. Model files: check, test, compare, train.",
    epilog="Examples:\n\n  rte models list\n\n  rte models check my_model.yaml\n\n  rte models apply my_model.yaml",
)

app.command("apply", epilog=model_changes.APPLY_EXAMPLES)(model_changes.apply)
app.command("rollback")(model_changes.roll_back)
app.command("versions")(model_changes.versions)
app.command("scores")(score_commands.scores)
app.command("rollback-weights", epilog=score_commands.ROLL_BACK_EXAMPLES)(score_commands.roll_back_weights)
app.command("diff", epilog=model_diff.EXAMPLES)(model_diff.diff)
app.command("evaluate", epilog=evaluate_command.EXAMPLES)(evaluate_command.evaluate)
app.command("train", epilog=train_command.EXAMPLES)(train_command.train)

FormatOption = Annotated[OutputFormat, typer.Option("--format", help="How it is printed.")]
PAGE_SIZE = 100


@app.command("list")
def list_models(
    output: FormatOption = OutputFormat.TABLE, server: ServerOption = SERVER_DEFAULT, timeout: TimeoutOption = 10.0
) -> None:
    """List the models that run."""
    from google.protobuf.json_format import MessageToDict

    from rte.v1.model_service_pb2 import ListModelsRequest
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

    models: list[Model] = []
    problems: list[ModelProblem] = []
    with connect(server) as channel:
        stub = ModelServiceStub(channel)
        token = ""
        while True:
            answer = call(stub.ListModels, ListModelsRequest(page_size=PAGE_SIZE, page_token=token), timeout)
            models += answer.models
            problems = list(answer.problems)
            token = answer.next_page_token
            if not token:
                break
    if output is OutputFormat.JSON:
        typer.echo(json.dumps([MessageToDict(model, preserving_proto_field_name=True) for model in models], indent=2))
        return
    rows = [
        (model.name, str(model.version), str(model.attribute_count), str(model.session_bytes), model.description)
        for model in models
    ]
    print_table(("model", "version", "attributes", "bytes/session", "description"), rows)
    for model in models:
        if model.problems:
            typer.echo(f"\n{model.name} runs on as it was, its file is broken:")
            model_changes.print_problems(model.problems)
    if problems:
        typer.echo("\nFiles of models that do not run:")
        model_changes.print_problems(problems)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    source: Annotated[bool, typer.Option("--source", help="Print the YAML source only.")] = False,
    output: FormatOption = OutputFormat.TABLE,
    server: ServerOption = SERVER_DEFAULT,
    timeout: TimeoutOption = 10.0,
) -> None:
    """Show one model: its attributes with type, unit and exactness, or its source."""
    from google.protobuf.json_format import MessageToJson

    from rte.v1.model_service_pb2 import GetModelRequest
    from rte.v1.model_service_pb2_grpc import ModelServiceStub

    with connect(server) as channel:
        answer = call(ModelServiceStub(channel).GetModel, GetModelRequest(name=name), timeout)
    if source:
        typer.echo(answer.source, nl=False)
        return
    if output is OutputFormat.JSON:
        typer.echo(MessageToJson(answer, preserving_proto_field_name=True))
        return
    model = answer.model
    uses = f", uses {', '.join(model.uses)}" if model.uses else ""
    typer.echo(f"{model.name}, version {model.version}{uses}: {model.description}")
    typer.echo(f"{model.attribute_count} attributes, {model.session_bytes} bytes per session\n")
    rows = [
        (each.name, each.kind, each.value_type, each.unit, _exactness(each), each.description)
        for each in answer.attributes
    ]
    print_table(("attribute", "kind", "type", "unit", "exact", "description"), rows)


def _exactness(attribute: Attribute) -> str:
    if attribute.exactness == attribute.EXACTNESS_EXACT_UP_TO:
        return f"up to {attribute.exact_up_to}"
    if attribute.exactness == attribute.EXACTNESS_APPROXIMATE:
        return f"within {attribute.relative_error:.2g}"
    if attribute.exactness == attribute.EXACTNESS_NO_BOUND:
        return f"up to {attribute.exact_up_to}, no bound beyond"
    return "n/a" if attribute.exactness == attribute.EXACTNESS_NOT_APPLICABLE else "yes"


FilesArgument = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Model files, YAML, and names of packs and models that ship.")
]


@app.command("check")
def check(files: FilesArgument) -> None:
    """Check models without a server: whether they are valid, and what their attributes cost and promise.

    Models may use one another and the packs that ship. Of a pack, all models that it uses are shown. Their tests are read;
    `rte models test` runs them.
    """
    from rte_server.models import ModelError, load_models, read_source
    from rte_server.models.trials import trials_of
    from rte_server.runners.packages import keep_graphs, plugin_problems

    try:
        models = load_models(files)
        named = {read_source(file).text: file for file in files}
        given = {model.name: str(named[model.source]) for model in models if model.source in named}
        keep_graphs(models, None, given)
        problems, unknown = plugin_problems(models, given, is_elsewhere=True)
        if problems:
            raise ModelError(problems)
        for file in files:
            trials_of(file, models)
    except ModelError as error:
        for problem in error.problems:
            typer.echo(str(problem))
        count = len(error.problems)
        raise CommandError(f"{count} problem{'s' if count != 1 else ''} found.") from None
    for name in dict.fromkeys(unknown):
        typer.echo(f"The plug-in {name} is not installed on this machine, so it was not checked.")
    for model in models:
        if model.source in named:
            _print_declared(model, models)


@app.command("test")
def test(files: FilesArgument) -> None:
    """Run the tests that model files name; of a pack, those of all models that it uses.

    Each case is played in order, in reverse, and with every event twice.
    """
    failed = sum(_run_tests(path) for path in dict.fromkeys(path for file in files for path in _parts(file)))
    if failed:
        raise CommandError(f"{failed} expectation{'s' if failed != 1 else ''} not met.")


def _print_declared(model: ModelSpec, models: Sequence[ModelSpec]) -> None:
    """Print what each attribute of a model declares: its memory per session and how exact it is; of a pack, what its models do."""
    from rte_server.engine.exactness import exactness, session_bytes

    count = len(model.attributes)
    if count > 0:
        typer.echo(f"{model.name}, version {model.version}: {count} attribute{'s' if count != 1 else ''}")
        sizes = [session_bytes(spec) for spec in model.attributes]
        known = {spec.name: spec for each in models for spec in each.attributes}
        rows = [
            (spec.name, spec.kind.name.lower(), str(size), str(exactness(spec, known)))
            for spec, size in zip(model.attributes, sizes, strict=True)
        ]
        print_table(("attribute", "kind", "bytes/session", "exactness"), [*rows, ("all", "", str(sum(sizes)), "")])
        return
    names = _used_by(model, {each.name: each for each in models})
    parts = [each for each in models if each.name in names and each.attributes]
    typer.echo(f"{model.name}, version {model.version}: a pack of {len(parts)} models")
    totals = [sum(map(session_bytes, each.attributes)) for each in parts]
    rows = [
        (each.name, str(each.version), str(len(each.attributes)), str(total))
        for each, total in zip(parts, totals, strict=True)
    ]
    attributes = sum(len(each.attributes) for each in parts)
    print_table(
        ("model", "version", "attributes", "bytes/session"), [*rows, ("all", "", str(attributes), str(sum(totals)))]
    )


def _used_by(model: ModelSpec, models: Mapping[str, ModelSpec]) -> set[str]:
    """Return the names of the models that a model uses, and that these use."""
    return set(model.uses).union(*(_used_by(models[name], models) for name in model.uses))


def _parts(path: str) -> list[str]:
    """Return a model, or the models of a pack that name tests, the pack itself last."""
    from rte_server.models import ModelError, load_models, read_source
    from rte_server.models.trials import trials_of

    try:
        models = load_models([path])
        source = read_source(path).text
        (model,) = (each for each in models if each.source == source)
        names = [] if model.attributes else sorted(_used_by(model, {each.name: each for each in models}))
        return [each for each in (*names, path) if not names or trials_of(each, models) is not None]
    except ModelError:
        return [path]  # Running its tests says what is wrong.


def _run_tests(path: str) -> int:
    """Run the tests that a model names, and return the number of expectations that are not met."""
    from rte_server.models import ModelError
    from rte_server.models.trials import run_file
    from rte_server.runners.at_once import score_all

    try:
        count, failures = run_file(path, score_all)
    except ModelError as error:
        for problem in error.problems:
            typer.echo(str(problem))
        raise CommandError(f"The tests of {path} cannot be run.") from None
    for failure in failures:
        typer.echo(str(failure))
    outcome = f"{len(failures)} expectation{'s' if len(failures) != 1 else ''} not met" if failures else "all is well"
    typer.echo(f"{path}: {count} test{'s' if count != 1 else ''}, {outcome}")
    return len(failures)
