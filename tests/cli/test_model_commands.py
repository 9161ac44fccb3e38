"""Models are changed and compared from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rte.v1.model_pb2 import ModelChange
from rte.v1.model_service_pb2 import ApplyModelsResponse
from rte_server.cli.model_changes import _print_summary
from tests.cli.conftest import Rte
from tests.runners import plugins
from tests.service.live_server import LiveServer
from tests.service.test_dry_run import graph

MODEL = """model: teas
version: {version}
attributes:
  teas: {{count: drink_tea{more}}}
  kinds: {{recent: event.kind, on: drink_tea, keep: 3}}
derived:
  many: teas > 1
"""
EVENTS = [("a", "green"), ("a", "black"), ("b", "green"), ("c", "white")]


def write(path: Path, version: int, more: str = "") -> Path:
    """Write a version of a model, and return its path."""
    path.write_text(MODEL.format(version=version, more=more))
    return path


def recorded(path: Path) -> Path:
    """Write some recorded events."""
    rows = [
        {"event_id": str(n), "name": "drink_tea", "visitor_id": visitor, "ts": 1_700_000_000 + n, "kind": kind}
        for n, (visitor, kind) in enumerate(EVENTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_models_are_applied_and_gone_back_from(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """A dry run shows what would change; then it does, with history; the versions tell who and why."""
    at = ("--server", server.address)
    assert rte("replay", recorded(tmp_path / "teas.ndjson"), *at).exit_code == 0
    path = write(tmp_path / "teas.yaml", 1)
    result = rte("models", "apply", path, "--dry-run", *at)
    assert result.exit_code == 0, result.err
    assert "teas\t1\tadded" in result.out
    assert "teas\tteas\tadded\t3\tnone → 2" in result.out
    assert "A dry run over 3 sessions: nothing was changed." in result.out
    assert "teas" not in rte("models", "list", *at).out
    result = rte("models", "apply", path, "--note", "tea time", *at)
    assert "These models run since position 0-" in result.out
    assert "many" in rte("sessions", "get", "a", *at).out
    write(path, 2, ", where: event.kind == 'green'")
    result = rte("models", "apply", path, "--alongside", *at)
    assert "teas_v2\t2\tadded" in result.out
    result = rte("models", "apply", path, *at)
    assert "teas\t1 → 2\tchanged" in result.out
    assert "teas_v2\t2\tremoved" in result.out
    result = rte("models", "apply", path, *at)
    assert "These models run already: nothing to do." in result.out
    listed = rte("models", "versions", *at).out.splitlines()
    assert listed[1].startswith("*\t0-")
    assert any("tea time" in line and "@" in line for line in listed)
    result = rte("models", "rollback", "--note", "too green", *at)
    assert result.exit_code == 0, result.err
    assert "teas_v2\t2\tadded" in result.out
    assert "too green" in rte("models", "versions", "--limit", "1", *at).out
    printed = rte("models", "versions", *at).out.splitlines()[2].split("\t")[1]
    result = rte("models", "rollback", printed, *at)
    assert result.exit_code == 0, result.err
    assert f"back to position {printed}" in rte("models", "versions", "--limit", "1", *at).out
    result = rte("models", "rollback", "3", *at)
    assert 'Position is "3", no position; pass one as an earlier answer gave it, such as 0-3' in result.err
    rte("models", "rollback", *at)
    result = rte("models", "apply", "--remove", "teas_v2", "--remove", "teas", "--format", "json", *at)
    assert {each["kind"] for each in json.loads(result.out)["models"]} == {"KIND_REMOVED"}


def test_a_wrong_model_is_told_before_anything_happens(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """Each problem stands on a line, with file, line and remedy."""
    path = tmp_path / "teas.yaml"
    path.write_text("model: teas\nattributes:\n  a: {cuont: drink_tea}\n  b: {sum: event.}\n")
    result = rte("models", "apply", path, "--server", server.address)
    assert result.exit_code == 1
    assert [line.split(": ")[0] for line in result.out.splitlines()] == [f"{path}:3", f"{path}:4"]
    assert "2 problems found; nothing was changed." in result.err
    result = rte("models", "apply", tmp_path / "none.yaml", "--server", server.address)
    assert "cannot be read" in result.out


@pytest.mark.parametrize(
    ("skip_history", "why"), [(True, "their history was skipped"), (False, "the journal has no more")]
)
def test_why_new_attributes_are_not_complete_is_told(
    skip_history: bool, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Because somebody wanted it so, or because the journal goes back no further."""
    answer = ApplyModelsResponse(models=[ModelChange(name="teas")], position="0-6")
    answer.complete_since_time.FromSeconds(1_700_000_000)
    _print_summary(answer, dry_run=False, skip_history=skip_history)
    assert f"that began after 2023-11-14 22:13:20 UTC: {why}." in capsys.readouterr().out


def test_a_graph_that_is_too_large_for_a_call_is_told_with_the_remedy(
    rte: Rte, server: LiveServer, tmp_path: Path
) -> None:
    """Both sizes are named, and how such a model comes to run all the same."""
    path = tmp_path / "teas.yaml"
    path.write_text("model: teas\nattributes:\n  teas: {count: t}\nscores:\n  p: {onnx: g.onnx, inputs: [teas]}\n")
    (tmp_path / "g.onnx").write_bytes(bytes(25 << 20))
    result = rte("models", "apply", path, "--server", server.address)
    assert result.exit_code == 1
    assert "larger than the server takes" in result.err
    assert "models.packs" in result.err
    assert "REQUEST_TOO_LARGE" in result.err


def test_versions_are_compared_over_recorded_events(rte: Rte, tmp_path: Path) -> None:
    """Per attribute: what changes, in how many sessions, and an example."""
    old = write(tmp_path / "old.yaml", 1)
    new = write(tmp_path / "new.yaml", 2, ", where: event.kind == 'green'")
    events = recorded(tmp_path / "teas.ndjson")
    result = rte("models", "diff", old, new, "--events", events)
    assert result.exit_code == 0, result.err
    assert result.out.splitlines()[1:3] == [
        "many\tother values\t1\t33.3%\ttrue → false",
        "teas\tchanged\t2\t66.7%\t2 → 1",
    ]
    assert "4 events, 3 sessions: 2 of 2 changed attributes have other values." in result.out
    found = json.loads(rte("models", "diff", old, new, "--events", events, "--format", "json").out)
    assert [each["session_count"] for each in found["attributes"]] == [1, 2]
    assert rte("models", "diff", old, old, "--events", events).out == "No attribute changes.\n"
    assert rte("models", "diff", old, new).exit_code == 2


def test_scores_of_graphs_and_plugins_are_compared(rte: Rte, tmp_path: Path) -> None:
    """Both graphs are run; what cannot be computed is not counted as no difference."""
    text = "model: teas\nattributes:\n  teas: {count: drink_tea}\nscores:\n  p: {%s, inputs: [teas]}\n"
    events = recorded(tmp_path / "teas.ndjson")
    for name, content in (("old", "onnx: g.onnx"), ("new", "onnx: g.onnx"), ("gone", "plugin: gone")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "teas.yaml").write_text(text % content)
    (tmp_path / "old" / "g.onnx").write_bytes(graph(0.5))
    (tmp_path / "new" / "g.onnx").write_bytes(graph(8.0))
    old, new, gone = (tmp_path / name / "teas.yaml" for name in ("old", "new", "gone"))
    result = rte("models", "diff", old, new, "--events", events)
    assert result.exit_code == 0, result.err
    assert result.out.splitlines()[1] == "p\tchanged\t3\t100.0%\t1 → 16"
    result = rte("models", "diff", old, gone, "--events", events)
    assert result.out.splitlines()[1].startswith("p\tchanged\tnot compared")
    assert "p was not compared: " in result.err
    found = json.loads(rte("models", "diff", old, gone, "--events", events, "--format", "json").out)["attributes"]
    assert found[0]["session_count"] is None
    assert found[0]["not_compared"]


def test_a_session_that_breaks_a_score_is_left_out_of_the_comparison(
    rte: Rte, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It alone, and the comparison says how many these are and why."""
    plugins.install(tmp_path, monkeypatch)
    text = "model: teas\nattributes:\n  teas: {count: drink_tea}\nscores:\n  p: {plugin: %s, inputs: [teas], time_limit: 60s}\n"
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(text % "mean")
    new.write_text(text % "breaks_on_three")
    events = tmp_path / "many.ndjson"
    lines = recorded(tmp_path / "teas.ndjson").read_text().splitlines()
    thirsty = [json.dumps(json.loads(lines[0]) | {"visitor_id": "thirsty", "event_id": f"t{n}"}) for n in range(3)]
    events.write_text("\n".join([*lines, *thirsty]) + "\n")
    result = rte("models", "diff", old, new, "--events", events)
    assert result.exit_code == 0, result.err
    assert result.out.splitlines()[1].startswith("p\tchanged\t3\t75.0%")
    assert "p was not compared in 1 of 4 sessions: the plug-in breaks_on_three failed: ValueError: three." in result.err
    found = json.loads(rte("models", "diff", old, new, "--events", events, "--format", "json").out)
    assert [found["attributes"][0][name] for name in ("session_count", "not_compared_count")] == [3, 1]


def test_versions_are_compared_over_the_journal_of_a_running_server(
    rte: Rte, server: LiveServer, tmp_path: Path
) -> None:
    """The journal is read beside the server that writes it."""
    assert rte("replay", recorded(tmp_path / "teas.ndjson"), "--server", server.address).exit_code == 0
    old = write(tmp_path / "old.yaml", 1)
    new = write(tmp_path / "new.yaml", 2, ", where: event.kind == 'green'")
    data_dir = server.application.config.server.data_dir
    result = rte("models", "diff", old, new, "--journal", data_dir)
    assert result.exit_code == 0, result.err
    assert "teas\tchanged\t2\t66.7%\t2 → 1" in result.out
    result = rte("models", "diff", old, new, "--journal", tmp_path)
    assert result.exit_code == 1
    assert "secret cannot be read" in result.err
