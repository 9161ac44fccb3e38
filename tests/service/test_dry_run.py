"""A dry run of whatever models name: look-up lists, graphs, plug-ins, user agents; as given models and as running ones."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import pytest
from onnx import TensorProto, helper

from rte.v1 import model_pb2
from rte.v1 import model_service_pb2 as pb
from tests.runners.plugins import install
from tests.service.live_server import live_server
from tests.service.test_lifecycle import DRY_RUN, Caller

LIST = """model: listed
version: {version}
lists:
  dear: {{file: dear.csv}}
attributes:
  hits: {{count: view_item, where: event.item_id in lists.dear}}
"""
GRAPH = """model: scored
version: {version}
attributes:
  spent: {{sum: event.price, on: view_item}}
scores:
  p: {{onnx: g.onnx, inputs: [spent]}}
"""
PLUGIN = """model: plugged
version: {version}
attributes:
  seen: {{count: view_item}}
scores:
  q: {{plugin: {plugin}, inputs: [{inputs}]}}
"""
AGENT = """model: agents
attributes:
  browser: {first: ua.browser(event.user_agent), on: view_item}
"""
COUNT = "model: plain\nversion: {version}\nattributes:\n  plain: {{count: view_item}}\n"


def graph(factor: float) -> bytes:
    """Return an ONNX graph that multiplies its one input."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    made = helper.make_graph(
        [node],
        "multiply",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A server without models, and two visitors who looked at items of 4 and 8."""
    with pytest.MonkeyPatch.context() as patch:
        install(tmp_path_factory.mktemp("plugins"), patch)
        with live_server(tmp_path_factory.mktemp("data"), models__packs=()) as server, server.channel() as channel:
            caller = Caller(channel)
            caller.view("a", 4)
            caller.view("b", 8)
            yield caller


def source(text: str, **values: object) -> pb.ModelSource:
    """Return a model."""
    return pb.ModelSource(yaml=text.format(**values) if values else text, file="mine.yaml")


def tried(caller: Caller, model: pb.ModelSource, **files: bytes) -> dict[str, model_pb2.AttributeChange]:
    """Return what a dry run says of attributes, by name."""
    named = {name.replace("_", "."): content for name, content in files.items()}
    return {each.name: each for each in caller.apply(model, mode=DRY_RUN, files=named).attributes}


def samples(change: model_pb2.AttributeChange) -> list[tuple[object, object]]:
    """Return the values before and after, None where there is none."""
    found: list[tuple[object, object]] = []
    for each in change.samples:
        before, after = (
            getattr(value, value.WhichOneof("kind") or "null_value") if each.HasField(name) else None
            for name, value in (("before", each.before), ("after", each.after))
        )
        found.append((before, after))
    return sorted(found, key=str)


def test_a_model_with_a_list(caller: Caller) -> None:
    """As it is given, and as it runs: with another content of the list, and beside a model that has nothing to do with it."""
    assert samples(tried(caller, source(LIST, version=1), dear_csv=b"x\ni8\n")["hits"]) == [(None, 0.0), (None, 1.0)]
    caller.apply(source(LIST, version=1), files={"dear.csv": b"x\ni8\n"})
    assert set(tried(caller, source(COUNT, version=1))) == {"plain"}
    changed = tried(caller, source(LIST, version=1), dear_csv=b"x\ni4\n")["hits"]
    assert samples(changed) == [(0.0, 1.0), (1.0, 0.0)]


def test_a_model_with_a_graph(caller: Caller) -> None:
    """Both graphs are run over the sessions; the one that runs is kept by the server."""
    given = tried(caller, source(GRAPH, version=1), g_onnx=graph(0.5))["p"]
    assert (given.session_count, samples(given)) == (2, [(None, 2.0), (None, 4.0)])
    caller.apply(source(GRAPH, version=1), files={"g.onnx": graph(0.5)})
    assert set(tried(caller, source(COUNT, version=1))) == {"plain"}
    changed = tried(caller, source(GRAPH, version=1), g_onnx=graph(2.0))["p"]
    assert (changed.session_count, samples(changed)) == (2, [(2.0, 8.0), (4.0, 16.0)])
    removed = caller.apply(mode=DRY_RUN, remove_names=["scored"]).attributes
    assert {each.name: each.session_count for each in removed} == {"spent": 2, "p": 2}


def test_a_model_with_a_plugin(caller: Caller) -> None:
    """What the plug-in gives is compared; one that fails is not counted as no difference."""
    given = tried(caller, source(PLUGIN, version=1, plugin="mean", inputs="seen"))["q"]
    assert (given.session_count, given.not_compared) == (2, "")
    caller.apply(source(PLUGIN, version=1, plugin="mean", inputs="seen"))
    assert set(tried(caller, source(COUNT, version=1))) == {"plain"}
    same = tried(caller, source(PLUGIN, version=2, plugin="mean", inputs="seen, seen"))["q"]
    assert (same.session_count, same.not_compared) == (0, "")
    broken = tried(caller, source(PLUGIN, version=2, plugin="broken", inputs="seen"))["q"]
    assert "it is broken" in broken.not_compared
    assert (broken.session_count, samples(broken)) == (0, [])


def test_a_model_that_asks_a_library(caller: Caller) -> None:
    """Its facts about history are found first, with the lists and graphs of other models that run."""
    assert set(tried(caller, source(AGENT))) == {"browser"}
    caller.apply(source(AGENT))
    assert set(tried(caller, source(COUNT, version=1))) == {"plain"}
    assert samples(tried(caller, source(LIST, version=9), dear_csv=b"x\ni4\n")["hits"])


def test_a_session_that_breaks_a_score_is_left_out(caller: Caller) -> None:
    """It alone; the answer says how many these are and why."""
    for _ in range(3):
        caller.view("often", 4)
    found = tried(caller, source(PLUGIN, version=3, plugin="breaks_on_three", inputs="seen"))["q"]
    assert found.session_count == 2
    assert (found.not_compared_session_count, "ValueError: three" in found.not_compared) == (1, True)
