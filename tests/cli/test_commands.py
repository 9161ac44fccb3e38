"""Commands answer well without a server: help, versions, wrong calls, files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from rte_server.cli.connection import BACK_OFF_S_MAX, back_off_s
from rte_server.cli.errors import CommandError, from_call
from rte_server.cli.options import duration_s, speed_factor
from tests.cli.conftest import Rte, in_process
from tests.runners import plugins

COMMANDS = ("run", "serve", "replay", "simulate", "sessions", "customers", "models", "check", "bench")
NOBODY = "127.0.0.1:1"


def test_help_names_every_command_and_costs_little() -> None:
    """`rte --help` names all commands, and imports none of the packages that take their time to load."""
    result = in_process("--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.exit_code == 0
    assert all(name in result.out for name in COMMANDS)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.err.splitlines()}
    assert "typer" in imported
    assert not imported & {"numpy", "numba", "grpc", "google", "sqlalchemy", "onnxruntime", "lxml", "rte"}


@pytest.mark.parametrize(
    "command",
    [
        *((name,) for name in COMMANDS),
        *(("sessions", name) for name in ("get", "list", "watch")),
        *(("customers", name) for name in ("get", "update", "erase", "verify-receipt", "change-feed")),
        *(("models", name) for name in ("list", "show", "check", "test", "apply", "rollback", "versions", "diff")),
    ],
)
def test_every_command_has_help(rte: Rte, command: tuple[str, ...]) -> None:
    """Each command says what it does and how it is called."""
    result = rte(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: rte " + " ".join(command) in re.sub(r"\s+", " ", result.out)


@pytest.mark.parametrize(
    "arguments",
    [("replya",), ("replay",), ("replay", "x", "--speed"), ("sessions", "list", "--state", "open"), ("run", "-p", "x")],
)
def test_a_wrong_call_is_a_usage_error(rte: Rte, arguments: tuple[str, ...]) -> None:
    """A command called in a wrong way ends with 2 and says what is wrong, without a traceback."""
    result = rte(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.err
    assert result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("sessions", "list"),
        ("sessions", "get", "v-1"),
        ("sessions", "watch"),
        ("models", "list"),
        ("models", "show", "retail"),
        ("models", "versions"),
        ("models", "rollback"),
        ("models", "apply", "--remove", "retail"),
        ("simulate", "--duration", "1s"),
    ],
)
def test_without_a_server_commands_say_so(rte: Rte, arguments: tuple[str, ...]) -> None:
    """Where nobody answers, each client command fails with one sentence that says what to do."""
    result = rte(*arguments, "--server", NOBODY)
    assert result.exit_code == 1
    assert f"No RTE server answers at {NOBODY}. Start one with `rte run`" in result.err
    assert "Traceback" not in result.err


def test_what_a_server_says_is_shown_also_where_it_is_unavailable() -> None:
    """A server that answers UNAVAILABLE with a reason is there; its own words help more than those about a server that is not."""
    details = [any_pb2.Any()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason="SERVER_UNAVAILABLE", domain="rte.v1"))
    status = status_pb2.Status(code=14, message="the data mart cannot be written to", details=details)

    members = {
        "code": lambda _: grpc.StatusCode.UNAVAILABLE,
        "details": lambda _: status.message,
        "trailing_metadata": lambda _: (("grpc-status-details-bin", status.SerializeToString()),),
    }
    refused: Any = type("Refused", (grpc.RpcError, grpc.Call), members)()
    assert str(from_call(refused, NOBODY)) == "The data mart cannot be written to. (SERVER_UNAVAILABLE)"


@pytest.mark.parametrize("server", ["localhost", "http://localhost:8080", "localhost:99999", ":"])
def test_a_wrong_address_is_refused(rte: Rte, server: str) -> None:
    """An address that is none is a usage error that shows the right form."""
    result = rte("sessions", "list", "--server", server)
    assert result.exit_code == 2
    assert "must have the form HOST:PORT, such as localhost:8080" in result.err


def test_replay_refuses_what_it_cannot_read(rte: Rte, tmp_path: Path) -> None:
    """Missing files, unknown columns and wrong options are answered before anything is sent."""
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    for arguments, says in (
        ([tmp_path / "none.csv"], "cannot be opened: No such file or directory"),
        ([path], "has no column that is known to hold the time; its columns are a, b. Say which one by --time"),
        ([path, "--time", "c"], "has no column `c` (--time)"),
        ([path, "--property", "price"], "--property price must have the form NAME=COLUMN"),
        ([path, "--speed", "fast"], "--speed fast must be a factor such as 1 or 60, or max"),
        ([path, "--delimiter", "ab"], "--delimiter must be one character"),
        ([path, "--mapping", tmp_path / "none.yaml"], "cannot be read: No such file"),
        (["-", "--shift-to-now"], "cannot be read twice"),
    ):
        result = rte("replay", *arguments, "--server", NOBODY)
        assert result.exit_code in (1, 2)
        assert says in result.err


def test_check_shows_values_and_where_they_stand(rte: Rte, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rte check` prints each setting with its value and origin, as a table or as JSON."""
    path = tmp_path / "rte.toml"
    path.write_text("[session]\ngap_ms = 600000\n")
    monkeypatch.setenv("RTE_SERVER__PORT", "9000")
    result = rte("check", "--config", path, "--changed")
    assert result.exit_code == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["server.port", "9000", "RTE_SERVER__PORT"],
        ["session.gap_ms", "600000", str(path)],
    ]
    assert "Models: visit_basics 2" in result.err
    document = json.loads(rte("check", "--config", path, "--format", "json").out)
    assert {"setting": "server.stop_grace_ms", "value": "10000", "origin": "default"} in document


def test_check_names_all_problems(rte: Rte, tmp_path: Path) -> None:
    """A wrong configuration is refused with every problem at once."""
    path = tmp_path / "rte.toml"
    path.write_text("[session]\ngap = 1\n[server]\nport = 99999\n")
    result = rte("check", "--config", path)
    assert result.exit_code == 1
    assert "session.gap" in result.err
    assert "server.port = 99999" in result.err


def test_models_are_checked_and_tested(rte: Rte, tmp_path: Path) -> None:
    """`rte models check` names the line of a mistake, `rte models test` says whether the model's tests hold."""
    path = tmp_path / "mine.yaml"
    path.write_text("model: mine\nversion: 1\ndescription: Mine.\nattributes:\n  teas: {count: drink_tea}\n")
    result = rte("models", "check", path)
    assert (result.exit_code, result.out.splitlines()[0]) == (0, "mine, version 1: 1 attribute")
    assert "teas\tcount\t8\texact" in result.out
    result = rte("models", "test", path)
    assert result.exit_code == 1
    assert "the model names no tests" in result.out
    tests = "tests:\n- name: A tea counts.\n  given: [{event: drink_tea}]\n  then: {teas: 2}\n"
    (tmp_path / "mine_tests.yaml").write_text(tests)
    path.write_text(path.read_text() + "tests: mine_tests.yaml\n")
    assert rte("models", "check", path).exit_code == 0
    result = rte("models", "test", path)
    assert result.exit_code == 1
    assert "`teas` is 1.0, not 2" in result.out
    (tmp_path / "mine_tests.yaml").write_text(tests.replace("teas: 2", "teas: 1"))
    assert rte("models", "test", path).out == f"{path}: 1 test, all is well\n"
    (tmp_path / "mine_tests.yaml").unlink()
    result = rte("models", "check", path)
    assert (result.exit_code, f"{path}:6: the tests `mine_tests.yaml` cannot be read" in result.out) == (1, True)
    path.write_text("model: mine\nattributes:\n  teas: {cuont: drink_tea}\n")
    result = rte("models", "check", path)
    assert result.exit_code == 1
    assert f"{path}:3: " in result.out


def test_plugins_are_checked_where_they_are_installed(
    rte: Rte, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt one, or one that cannot be loaded, is a problem with its line; of one that is elsewhere nothing is known."""
    plugins.install(tmp_path, monkeypatch)
    path = tmp_path / "mine.yaml"
    text = "model: plugged\nattributes:\n  n: {count: view_item}\nscores:\n  s:\n    plugin: NAME\n    inputs: [n]\n"
    for name, message in (("maen", "did you mean 'mean'?"), ("gone", "has no attribute 'gone'")):
        path.write_text(text.replace("NAME", name))
        result = rte("models", "check", path)
        assert result.exit_code == 1
        assert f"{path}:6: score `s`: " in result.out and message in result.out
    path.write_text(text.replace("NAME", "lives_on_the_server"))
    result = rte("models", "check", path)
    assert result.exit_code == 0
    assert "The plug-in lives_on_the_server is not installed on this machine, so it was not checked." in result.out
    assert "s\tscore\t64\twhat the plugin says, some milliseconds later, of inputs that are exact" in result.out


def test_packs_are_checked_by_name(rte: Rte, tmp_path: Path) -> None:
    """A pack shows the models that it leads to and what they take together; what there is not is a problem, not a crash."""
    result = rte("models", "check", "retail")
    lines = [line.split("\t") for line in result.out.splitlines()]
    sizes = {line[0]: int(line[3]) for line in lines[2:]}
    assert {"visit_basics", "basket"} < sizes.keys()
    assert sizes.pop("all") == sum(sizes.values())
    missing = rte("models", "check", tmp_path / "missing.yaml")
    assert (missing.exit_code, "cannot be read" in missing.out) == (1, True)
    assert rte("models", "test", "basket").exit_code == 0


def test_a_pack_is_tested_by_its_name(rte: Rte) -> None:
    """The tests of all models that it uses are run, those of one that stands twice once."""
    result = rte("models", "test", "media", "content_interest")
    assert result.exit_code == 0, result.err
    tested = [line.split(":")[0] for line in result.out.splitlines()]
    assert {"content_interest", "subscription_readiness"} <= set(tested)
    assert len(tested) == len(set(tested))


def test_a_graph_that_cannot_be_used_is_found_in_the_file_that_was_given(rte: Rte, tmp_path: Path) -> None:
    """Whatever the model in it is called."""
    path = tmp_path / "model.yaml"
    path.write_text("model: teas\nattributes:\n  t: {count: t}\nscores:\n  p: {onnx: g.onnx, inputs: [t]}\n")
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    result = rte("models", "check", path)
    assert (result.exit_code, result.out.startswith(f"{path}:5: score `p`: ")) == (1, True)
    path.write_text(path.read_text().replace("onnx: g.onnx", "plugin: mine"))
    result = rte("models", "check", path)
    assert "p\tscore\t64\twhat the plugin says, some milliseconds later, of inputs that are exact" in result.out


def test_help_names_the_extra_that_training_needs(rte: Rte) -> None:
    """Its brackets are text, not markup."""
    assert "rte-server[train]" in rte("models", "train", "--help").out


def test_simulate_writes_what_replay_reads(rte: Rte, tmp_path: Path) -> None:
    """`rte simulate --output` writes NDJSON, in time order, that needs no mapping."""
    path = tmp_path / "shop.ndjson"
    result = rte("simulate", "--duration", "10m", "--output", path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert result.exit_code == 0
    assert f"{len(rows):,} events in {path}" in result.err
    assert [row["event_time"] for row in rows] == sorted(row["event_time"] for row in rows)
    assert {"event_id", "name", "visitor_id", "properties"} <= set(rows[0])


@pytest.mark.parametrize(
    ("words", "completed"), [("rte mo", "models"), ("rte models sh", "show"), ("rte sessions list --fil", "--filter")]
)
def test_commands_and_options_are_completed(words: str, completed: str) -> None:
    """What a shell asks when somebody presses the tab key is answered with the rest of the word.

    Asked as the installed completion asks: `--show-completion` looks for a shell among the parents of the process.
    """
    asked = {"_RTE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = in_process(**asked)
    assert (result.exit_code, result.out.split()) == (0, [completed])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("10m", 600), ("1h30m", 5400), ("2d", 172800)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """Durations are written as people write them."""
    assert duration_s(text, "--duration") == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "ten", "10 m m", "5x", "0s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Everything else is refused, zero too."""
    with pytest.raises(CommandError, match="must be a duration"):
        duration_s(text, "--duration")


def test_speeds_are_read() -> None:
    """A speed is a positive factor, or `max`."""
    assert (speed_factor("60"), speed_factor("0.5x"), speed_factor("max")) == (60.0, 0.5, None)
    for wrong in ("0", "-1", "fast", "nan", "inf"):
        with pytest.raises(CommandError):
            speed_factor(wrong)


def test_back_off_grows_up_to_its_limit() -> None:
    """Pauses double, vary by half, and end at their maximum."""
    pauses = [back_off_s(attempt) for attempt in range(12)]
    assert all(0 < pause <= BACK_OFF_S_MAX for pause in pauses)
    assert pauses[8] > pauses[0]
