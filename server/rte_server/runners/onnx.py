"""ONNX graphs: one matrix of float32 in, one number per row out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.runners.scorer import ScorerError

_FLOATS = ("tensor(float)", "tensor(double)")
_ERRORS_ONLY = 3


class GraphError(Exception):
    """A graph cannot be used. The message says why, without a full stop; `remedy` says what to do.

    Attributes:
        remedy: One sentence without a full stop.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class OnnxScorer:
    """Runs a graph on one thread. Only the output with the score is asked for: labels would cost a third more."""

    def __init__(self, graph: bytes, inputs: int) -> None:
        """Load a graph.

        Args:
            graph: Content of an ONNX file.
            inputs: How many inputs the score names.

        Raises:
            GraphError: It is no graph, or it takes or gives something else.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - it raises its own types, and others for bytes that are none
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise GraphError(f"it is no ONNX graph that can be run: {first}", "export the model again") from None
        self._input = self._checked_input(inputs)
        self._output = self._checked_output()

    def _checked_input(self, inputs: int) -> str:
        found = self._session.get_inputs()
        if len(found) != 1 or found[0].type != "tensor(float)" or len(found[0].shape) != 2:
            raise GraphError(
                f"it takes {', '.join(f'{each.name} {each.type}{each.shape}' for each in found) or 'nothing'}",
                "export it with one input of type float and shape [N, inputs]",
            )
        columns = found[0].shape[1]
        if isinstance(columns, int) and columns != inputs:
            raise GraphError(
                f"it takes {columns} inputs, and the score names {inputs}", "name the inputs that it was trained with"
            )
        return str(found[0].name)

    def _checked_output(self) -> str:
        """Return the name of the last output of floats: exported classifiers give labels first, probabilities then."""
        found = [each for each in self._session.get_outputs() if each.type in _FLOATS]
        if not found:
            raise GraphError("it gives no numbers", "export it with an output of probabilities (`zipmap=False`)")
        return str(found[-1].name)

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the score of each row; of several columns the last, the probability of the positive class.

        Raises:
            ScorerError: The graph failed, or gave something else than a number or a row of numbers per row.
        """
        try:
            found = np.asarray(self._session.run([self._output], {self._input: inputs})[0])
        except Exception as error:  # noqa: BLE001 - as above
            raise ScorerError(f"the graph failed: {str(error)[:200]}") from None
        if found.ndim not in (1, 2) or len(found) != len(inputs) or found.size == 0:
            raise ScorerError(f"the graph gave {found.shape} for {len(inputs)} rows")
        return np.ascontiguousarray(found if found.ndim == 1 else found[:, -1], np.float64)

    def retry_in_s(self) -> float | None:
        """Return None: what a graph cannot compute it never can."""
        return None

    def close(self) -> None:
        """Do nothing: the session ends with the object."""
