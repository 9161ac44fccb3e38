"""Model files that change are followed, in a running server and over a restart; a broken one leaves what ran."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rte.v1 import model_pb2
from rte.v1 import model_service_pb2 as pb
from rte_server.models import ModelError
from rte_server.models.configured import Configured, Problems, read_configured
from rte_server.service import model_files
from tests.service.live_server import LiveServer, live_server
from tests.service.test_dry_run import graph
from tests.service.test_lifecycle import VIEWS, Caller


def write(path: Path, version: int, *, factor: float = 1.0, more: str = "") -> None:
    """Write a version of a model file, at once: one that is seen while it is being written is another test's."""
    put(path, VIEWS.format(version=version, factor=factor, keep=3) + more)


def put(path: Path, text: str) -> None:
    """Put a file in the place of another one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def following(path: Path) -> Iterator[tuple[LiveServer, Caller]]:
    """Run a server that follows a model file, with its data beside the file."""
    settings: dict[str, Any] = {"models__packs": [str(path)], "models__watch_interval_ms": 20}
    with live_server(path.parent / "data", **settings) as server, server.channel() as channel:
        yield server, Caller(channel)


def test_files_are_followed(tmp_path: Path) -> None:
    """A changed file is activated with history; a broken one changes nothing and is told, until it is sound again."""
    path = tmp_path / "views.yaml"
    write(path, 1)
    with following(path) as (server, caller):

        def listed() -> dict[str, model_pb2.Model]:
            return {each.name: each for each in caller.models.ListModels(pb.ListModelsRequest()).models}

        caller.view("v", 2)
        write(path, 2, factor=3.0)
        until(lambda: listed()["views"].version == 2)
        assert caller.attributes("v")["value"] == 6
        newest = caller.models.ListModelVersions(pb.ListModelVersionsRequest()).configurations[0]
        assert newest.note == "changed files: views"
        write(path, 3, more="  wrong: 1 +\n")
        until(lambda: listed()["views"].problems)
        found = listed()["views"]
        assert found.version == 2
        assert found.problems[0].file == str(path)
        assert found.problems[0].line == 10
        caller.view("v", 1)
        assert caller.attributes("v")["value"] == 9
        assert server.application.model_files.stats() == {"reloads": 1, "broken_files": 1}
        path.unlink()
        until(lambda: "cannot be read" in listed()["views"].problems[0].message)
        write(path, 4)
        until(lambda: listed()["views"].version == 4)
        assert not listed()["views"].problems
        assert caller.attributes("v")["value"] == 3


def test_a_file_and_its_list_are_followed(tmp_path: Path) -> None:
    """A look-up list that changes is another rule: what came before is judged by it, too."""
    (tmp_path / "bad.csv").write_text("x\n")
    path = tmp_path / "cards.yaml"
    path.write_text(
        "model: cards\nlists:\n  bad: {file: bad.csv}\nattributes:\n"
        "  hits: {count: view_item, where: event.item_id in lists.bad}\n"
    )
    with following(path) as (_, caller):
        caller.view("v", 7)
        assert caller.attributes("v")["hits"] == 0
        put(tmp_path / "bad.csv", "x\ni7\n")
        until(lambda: caller.attributes("v")["hits"] == 1)


CARDS = (
    "model: cards\nversion: {version}\nlists:\n  bad: {{file: bad.csv}}\n{more}attributes:\n"
    "  hits: {{count: view_item, where: event.item_id in lists.bad}}\n"
)


def test_a_list_that_changes_changes_the_list_of_the_version_that_runs(tmp_path: Path) -> None:
    """Whether it was gone back to or applied by a call; the version in the file has its say when that changes."""
    lists, path = tmp_path / "bad.csv", tmp_path / "cards.yaml"
    lists.write_text("x\n")
    path.write_text(CARDS.format(version=1, more=""))
    with following(path) as (_, caller):

        def version() -> int:
            return caller.models.GetModel(pb.GetModelRequest(name="cards")).model.version

        def newest() -> str:
            return caller.models.ListModelVersions(pb.ListModelVersionsRequest()).configurations[0].note

        caller.view("v", 7)
        put(path, CARDS.format(version=2, more=""))
        until(lambda: version() == 2)
        caller.models.RollBackModels(pb.RollBackModelsRequest())
        assert version() == 1
        put(lists, "x\ni7\n")
        until(lambda: caller.attributes("v")["hits"] == 1)
        assert (version(), newest()) == (1, "changed lists of: cards")
        two = CARDS.format(version=7, more="  more: {file: more.csv}\n")
        files = {"bad.csv": b"y\n", "more.csv": b"z\n"}
        caller.apply(pb.ModelSource(yaml=two, file="cards.yaml"), files=files)
        assert caller.attributes("v")["hits"] == 0
        put(lists, "x\ni7\nother\n")
        until(lambda: caller.attributes("v")["hits"] == 1)
        assert version() == 7
        put(path, CARDS.format(version=3, more=""))
        until(lambda: version() == 3)
        assert caller.attributes("v")["hits"] == 1


def test_going_back_passes_over_lists(tmp_path: Path) -> None:
    """Without a position the last other model runs again, with the lists of now; with one, all that ran then."""
    lists, path = tmp_path / "bad.csv", tmp_path / "cards.yaml"
    lists.write_text("x\n")
    path.write_text(CARDS.format(version=1, more=""))
    with following(path) as (server, caller):
        caller.view("v", 7)
        first = caller.models.ListModelVersions(pb.ListModelVersionsRequest()).configurations[0].position

        def reloads() -> int:
            return server.application.model_files.stats()["reloads"]

        put(path, CARDS.format(version=2, more=""))
        until(lambda: caller.models.GetModel(pb.GetModelRequest(name="cards")).model.version == 2)
        for number in range(3):
            put(lists, f"x\ni7\n{number}\n")
            until(lambda: reloads() > 1 + number)  # noqa: B023 - it is called in this round
        (change,) = caller.models.RollBackModels(pb.RollBackModelsRequest()).models
        assert (change.version_before, change.version_after) == (2, 1)
        assert caller.attributes("v")["hits"] == 1
        caller.models.RollBackModels(pb.RollBackModelsRequest(position=first))
        assert caller.attributes("v")["hits"] == 0


def test_a_list_that_is_gone_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """As any broken file; it is followed when it is there again."""
    lists, path = tmp_path / "bad.csv", tmp_path / "cards.yaml"
    lists.write_text("i7\n")
    path.write_text(CARDS.format(version=1, more=""))
    with following(path) as (server, caller):
        caller.view("v", 7)
        lists.unlink()
        until(lambda: server.application.model_files.problems)
        assert "no file `bad.csv`" in server.application.model_files.problems["cards"][0].message
        assert caller.attributes("v")["hits"] == 1
        put(lists, "other\n")
        until(lambda: caller.attributes("v")["hits"] == 0)
        until(lambda: not server.application.model_files.problems)


def test_a_list_that_is_cut_off_is_told_and_the_one_that_ran_stays(tmp_path: Path) -> None:
    """A list without values is followed only if its model allows it."""
    lists, path = tmp_path / "bad.csv", tmp_path / "cards.yaml"
    lists.write_text("i7\n")
    path.write_text(CARDS.format(version=1, more=""))
    with following(path) as (server, caller):
        caller.view("v", 7)
        put(lists, "")
        until(lambda: server.application.model_files.problems)
        (problem,) = server.application.model_files.problems["cards"]
        assert problem.message == "list `bad`: the file `bad.csv` has no values"
        assert caller.attributes("v")["hits"] == 1
        put(path, CARDS.format(version=2, more="").replace("{file:", "{allow_empty: true, file:"))
        until(lambda: caller.attributes("v")["hits"] == 0)
        assert not server.application.model_files.problems


GRAPHED = (
    "model: graphed\nattributes:\n  n: {count: view_item}\nscores:\n  p: {onnx: g.onnx, sha256: %s, inputs: [n]}\n"
)


def test_a_graph_that_is_gone_is_no_sound_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong graph that is deleted is told as gone: what is kept of the right one runs on."""
    path, file = tmp_path / "graphed.yaml", tmp_path / "g.onnx"
    file.write_bytes(graph(2.0))
    path.write_text(GRAPHED % hashlib.sha256(graph(2.0)).hexdigest())
    settings: dict[str, Any] = {"models__packs": [str(path)], "models__watch_interval_ms": 20}
    with live_server(tmp_path / "data", **settings) as server:
        files = server.application.model_files
        caplog.set_level("INFO", "rte.models")
        file.write_bytes(graph(3.0))
        until(lambda: files.problems)
        file.unlink()
        until(lambda: not files.problems)
        until(lambda: f"runs with what is kept of files that are gone: {file}" in caplog.text)
        assert "sound again" not in caplog.text
        file.write_bytes(graph(3.0))
        until(lambda: files.problems)
        file.write_bytes(graph(2.0))
        until(lambda: "the file of the model graphed is sound again" in caplog.text)


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning is a model, too, but it never runs: a file is followed when it looks the same twice."""
    path = tmp_path / "views.yaml"
    write(path, 1)
    with following(path) as (_, caller):

        def read(paths: Sequence[str]) -> Configured:
            found = read_configured(paths)
            if not reads:
                write(path, 2)
            reads.append(found)
            return found

        reads: list[Configured] = []
        monkeypatch.setattr(model_files, "read_configured", read)
        put(path, "model: views\nversion: 2\nattributes:\n  views: {count: view_item}\n")
        until(lambda: caller.models.GetModel(pb.GetModelRequest(name="views")).model.version == 2)
        assert caller.models.GetModel(pb.GetModelRequest(name="views")).model.attribute_count == 4
        assert len(caller.models.ListModelVersions(pb.ListModelVersionsRequest()).configurations) == 2


def test_a_file_is_tried_again_after_an_unexpected_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not change again."""
    path = tmp_path / "views.yaml"
    write(path, 1)
    with following(path) as (server, caller):
        follow = server.application.lifecycle.follow
        failed: list[Configured] = []

        async def fail_twice(configured: Configured) -> tuple[Problems, list[str]]:
            if len(failed) < 2:
                failed.append(configured)
                raise RuntimeError("a fault")
            return await follow(configured)

        monkeypatch.setattr(server.application.lifecycle, "follow", fail_twice)
        write(path, 2)
        until(lambda: caller.models.GetModel(pb.GetModelRequest(name="views")).model.version == 2)
        assert len(failed) == 2


def test_a_file_that_takes_the_name_of_a_version_alongside_is_a_broken_one(tmp_path: Path) -> None:
    """What runs alongside runs on, and the other files are followed."""
    path, other = tmp_path / "views.yaml", tmp_path / "other.yaml"
    write(path, 1)
    other.write_text("model: other\nattributes:\n  others: {count: view_item}\n")
    settings: dict[str, Any] = {"models__packs": [str(path), str(other)], "models__watch_interval_ms": 20}
    with live_server(tmp_path / "data", **settings) as server, server.channel() as channel:
        caller = Caller(channel)
        caller.apply(pb.ModelSource(yaml=VIEWS.format(version=2, factor=5.0, keep=3)), alongside=True)
        put(other, "model: views_v2\nattributes:\n  others: {count: view_item}\n")
        until(lambda: server.application.model_files.problems)
        write(path, 3)
        until(lambda: caller.models.GetModel(pb.GetModelRequest(name="views")).model.version == 3)
        assert caller.models.GetModel(pb.GetModelRequest(name="views_v2")).model.is_alongside


def test_a_restart_follows_what_changed_and_keeps_what_was_applied(tmp_path: Path) -> None:
    """A changed file has all the history; a model that a caller activated stays, as long as its file does not change."""
    path = tmp_path / "views.yaml"
    write(path, 1)
    settings: dict[str, Any] = {"models__packs": [str(path)], "models__watch_interval_ms": 0}
    with live_server(tmp_path / "data", **settings) as server, server.channel() as channel:
        caller = Caller(channel)
        caller.view("v", 2)
    write(path, 2, factor=3.0)
    with live_server(tmp_path / "data", **settings) as server, server.channel() as channel:
        caller = Caller(channel)
        assert caller.attributes("v")["value"] == 6
        caller.apply(pb.ModelSource(yaml=VIEWS.format(version=9, factor=5.0, keep=3)))
    path.write_text("model: views\n  broken")
    with live_server(tmp_path / "data", **settings) as server, server.channel() as channel:
        caller = Caller(channel)
        model = caller.models.GetModel(pb.GetModelRequest(name="views")).model
        assert model.version == 9
        assert model.problems
        assert caller.attributes("v")["value"] == 10
    with live_server(tmp_path / "data", models__packs=[]) as server, server.channel() as channel:
        assert not Caller(channel).models.ListModels(pb.ListModelsRequest()).models


def test_a_first_start_with_a_broken_file_is_refused(tmp_path: Path) -> None:
    """There is nothing that could run on."""
    path = tmp_path / "views.yaml"
    path.write_text("model: views\n  broken")
    with pytest.raises(ModelError, match=r"views\.yaml:1"), live_server(tmp_path / "data", models__packs=[str(path)]):
        pass
