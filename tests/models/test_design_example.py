"""A model that has something of everything keeps what it promises: its attributes, sequence, score and trigger."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from rte_server.models import load_models
from rte_server.models.documents import read_document
from rte_server.models.trials import read_trials, run_file
from rte_server.runners.at_once import score_all

EXAMPLE = Path(__file__).with_name("design_example")


def graph() -> bytes:
    """Return a graph that stands in for a trained one: the logistic function of weighted inputs."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [4, 1], [1.0, 0.1, 0.01, 1.0])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [1], [-8.0])
    inputs = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [None, 4])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    nodes = [
        helper.make_node("MatMul", ["inputs", "weights"], ["weighed"]),
        helper.make_node("Add", ["weighed", "bias"], ["total"]),
        helper.make_node("Sigmoid", ["total"], ["score"]),
    ]
    made = helper.make_graph(nodes, "purchase", [inputs], [score], [weights, bias])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The model with its tests, and the graph beside it."""
    shutil.copytree(EXAMPLE, tmp_path / "example")
    (tmp_path / "example" / "purchase.onnx").write_bytes(graph())
    return tmp_path / "example" / "retail.yaml"


def test_the_example_shows_what_it_promises(example: Path) -> None:
    """Each of its cases holds: counts, sums that reset, tops, rates, the sequence, the score, the trigger."""
    count, failures = run_file(example, score_all)
    assert count >= 4
    assert [str(failure) for failure in failures] == []


def test_the_cases_look_at_each_attribute_of_the_example(example: Path) -> None:
    """No attribute of the example is without a case that states its value."""
    looked_at = {
        name
        for trial in read_trials((EXAMPLE / "retail_tests.yaml").read_text("utf-8"), "t")
        for name in trial.expected
    }
    (model,) = (model for model in load_models([example]) if model.name == "retail")
    assert {spec.name for spec in model.attributes if not spec.owner} <= looked_at
    document = read_document(example.read_text("utf-8"), "retail.yaml").content
    assert isinstance(document, dict)
    assert {"attributes", "sequences", "derived", "scores", "triggers", "uses", "tests"} <= set(document)
