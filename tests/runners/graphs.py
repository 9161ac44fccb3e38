"""ONNX graphs for tests that do what no trained model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import GraphProto, NodeProto, TensorProto, helper

ROUNDS = 1e12
"""Of a loop: some hours or days."""


def _encoded(
    nodes: list[NodeProto], constants: Mapping[str, tuple[int, Sequence[int], Sequence[float]]], inputs: int
) -> bytes:
    """Return a graph from `x`, float32[N, inputs], to `y`; constants are (type, shape, values) by name."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor(name, *constant) for name, constant in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def endless(*, always: bool, inputs: int = 1) -> bytes:
    """Return a graph whose loop does not end, always or for rows whose sum is at least 1; else it gives their inputs."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "more"], ["sum_and_more"]),
        helper.make_node("Mul", ["sum_and_more", "rounds"], ["count"]),
        helper.make_node("Cast", ["count"], ["count_as_int"], to=TensorProto.INT64),
        helper.make_node("Loop", ["count_as_int", "", "x"], ["y"], body=_one_round(inputs)),
    ]
    constants: dict[str, tuple[int, list[int], list[float]]] = {
        "more": (TensorProto.FLOAT, [], [float(always)]),
        "rounds": (TensorProto.FLOAT, [], [ROUNDS]),
    }
    return _encoded(nodes, constants, inputs)


def _one_round(inputs: int) -> GraphProto:
    """Return the body of the loop: it squares its value and goes on."""
    nodes = [
        helper.make_node("Identity", ["go_on"], ["goes_on"]),
        helper.make_node("Mul", ["value", "value"], ["next"]),
    ]
    return helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, [None, inputs]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [None, inputs]),
        ],
    )


def stuck(size: int = 5000) -> bytes:
    """Return a graph that gives 1, after one product of square matrices of that size where the inputs add up to at least 3."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Div", ["sum", "three"], ["share"]),
        helper.make_node("Floor", ["share"], ["whole"]),
        helper.make_node("Min", ["whole", "one"], ["is_bad"]),
        helper.make_node("Mul", ["is_bad", "size"], ["rows"]),
        helper.make_node("Add", ["rows", "one"], ["rows_and_one"]),
        helper.make_node("Cast", ["rows_and_one"], ["count"], to=TensorProto.INT64),
        helper.make_node("Concat", ["count", "count"], ["square"], axis=0),
        helper.make_node("Expand", ["one", "square"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
        helper.make_node("ReduceMin", ["product"], ["least"], keepdims=0),
        helper.make_node("Min", ["least", "one"], ["some"]),
        helper.make_node("Mul", ["x", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "some"], ["y"]),
    ]
    values = {"one": 1.0, "three": 3.0, "size": float(size), "zero": 0.0}
    constants = {name: (TensorProto.FLOAT, [1], [value]) for name, value in values.items()}
    return _encoded(nodes, constants, 1)


def identity(inputs: int = 1) -> bytes:
    """Return a graph that gives the last input of each row."""
    return _encoded([helper.make_node("Identity", ["x"], ["y"])], {}, inputs)


def one_row_inside(inputs: int = 1) -> bytes:
    """Return a graph that takes one row only, though its input does not say so."""
    constants = {"shape": (TensorProto.INT64, [2], [1, inputs])}
    return _encoded([helper.make_node("Reshape", ["x", "shape"], ["y"])], constants, inputs)
