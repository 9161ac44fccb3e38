"""Fitted models as ONNX graphs: the encoding and the model in one, float32[n, inputs] in, float32[n, 1] out.

The graphs are written operator by operator. Converters would do for the trees, but not for the encoding, and they round
thresholds to the nearest float32, so that a value on a threshold can fall to the other side; here a threshold is rounded
down, which sends every float32 the way that LightGBM sends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rte_server.training.encoding import Encoder
from rte_server.training.fitting import Fitted, Linear

INPUT = "inputs"
OUTPUT = "probability"
OPSET = 18
TREE_OPSET = 3
IR_VERSION = 9
"""Understood by every onnxruntime since 1.14."""

_TREE_ATTRIBUTES = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")


def graph_of(fitted: Fitted, inputs: int) -> bytes:
    """Return a fitted model as the bytes of an ONNX file.

    Args:
        inputs: Number of inputs.
    """
    writer = _Writer()
    columns = writer.encode(fitted.encoder)
    if isinstance(fitted.model, Linear):
        weights = writer.constant(fitted.model.weights.astype(np.float32)[:, None])
        product = writer.node("MatMul", [columns, weights])
        margin = writer.node("Add", [product, writer.constant(np.array([fitted.model.intercept], np.float32))])
    else:
        margin = writer.trees(columns, fitted.model.dump_model())
    writer.nodes.append(helper.make_node("Sigmoid", [margin], [OUTPUT]))
    graph = helper.make_graph(
        writer.nodes,
        "rte",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        writer.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREE_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="rte")
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Writer:
    """Collects the nodes and constants of a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, sources: Sequence[str], **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(sources), [name], **attributes))
        return name

    def encode(self, encoder: Encoder) -> str:
        """Add what `Encoder.encode` does; return the name of the columns."""
        parts: list[str] = []
        if encoder.logarithms:
            amounts = self.node("Relu", [self._columns(INPUT, encoder.logarithms)])
            one = self.constant(np.array([1.0], np.float32))
            parts.append(self.node("Log", [self.node("Add", [amounts, one])]))
        if encoder.numbers:
            parts.append(self._columns(INPUT, encoder.numbers))
        plain = self._joined(parts)
        parts = [plain]
        if encoder.bends:
            knots = self.constant(np.array([knot for _, knot in encoder.bends], np.float32))
            bent = self._columns(plain, [place for place, _ in encoder.bends])
            parts.append(self.node("Relu", [self.node("Sub", [bent, knots])]))
        if encoder.zeros:
            zero = self.constant(np.zeros(1, np.float32))
            parts.append(self._equal(self._columns(plain, encoder.zeros), zero))
        if encoder.codes:
            codes = self.constant(np.array([code for _, code in encoder.codes], np.float32))
            parts.append(self._equal(self._columns(INPUT, [number for number, _ in encoder.codes]), codes))
        return self._joined(parts)

    def _joined(self, parts: Sequence[str]) -> str:
        return self.node("Concat", parts, axis=1) if len(parts) > 1 else parts[0]

    def _columns(self, source: str, numbers: Sequence[int]) -> str:
        return self.node("Gather", [source, self.constant(np.array(numbers, np.int64))], axis=1)

    def _equal(self, left: str, right: str) -> str:
        return self.node("Cast", [self.node("Equal", [left, right])], to=TensorProto.FLOAT)

    def trees(self, columns: str, dumped: Mapping[str, Any]) -> str:
        """Add the trees that LightGBM dumps; return the name of their sum, the logarithm of the odds."""
        nodes: dict[str, list[Any]] = {name: [] for name in _TREE_ATTRIBUTES}
        leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
        for number, tree in enumerate(dumped["tree_info"]):
            _add_tree(number, tree["tree_structure"], nodes, leaves)
        return self.node(
            "TreeEnsembleRegressor",
            [columns],
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function="SUM",
            post_transform="NONE",
            **{f"nodes_{name}": values for name, values in nodes.items()},
            **{f"target_{name}": values for name, values in leaves.items()},
        )


def _add_tree(
    number: int, root: Mapping[str, Any], nodes: Mapping[str, list[Any]], leaves: Mapping[str, list[Any]]
) -> None:
    """Append the nodes of a tree; each gets the number of its place in the walk."""
    waiting: list[tuple[Mapping[str, Any], list[Any] | None, int]] = [(root, None, 0)]
    count = 0
    while waiting:
        node, parents, place = waiting.pop()
        if parents is not None:
            parents[place] = count
        is_leaf = "leaf_value" in node
        row = {
            "treeids": number,
            "nodeids": count,
            "featureids": 0 if is_leaf else node["split_feature"],
            "modes": "LEAF" if is_leaf else "BRANCH_LEQ",
            "values": 0.0 if is_leaf else _rounded_down(node["threshold"]),
            "truenodeids": 0,
            "falsenodeids": 0,
        }
        for name, value in row.items():
            nodes[name].append(value)
        at = len(nodes["nodeids"]) - 1
        if is_leaf:
            for name, value in (("treeids", number), ("nodeids", count), ("ids", 0), ("weights", node["leaf_value"])):
                leaves[name].append(value)
        else:
            waiting.append((node["right_child"], nodes["falsenodeids"], at))
            waiting.append((node["left_child"], nodes["truenodeids"], at))
        count += 1


def _rounded_down(threshold: float) -> float:
    """Return the greatest float32 that is at most `threshold`: the same float32 values are at most the one as the other."""
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)
