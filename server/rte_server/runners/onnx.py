"""ONNX graphs: one matrix of float32 in, one number per row out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.scores import TIMEOUT
from rte_server.runners.scorer import ScorerBusy, ScorerError
from rte_server.runners.timed_thread import StillBusy, TimedThread

LOAD_S = 30.0
"""How long a graph may take to be loaded and optimized."""

_FLOATS = ("tensor(float)", "tensor(double)")
_ERRORS_ONLY, _NOTHING_BUT_FATAL = 3, 4


class GraphError(Exception):
    """A graph cannot be used. The message says why, without a full stop; `remedy` says what to do.

    Attributes:
        remedy: One sentence without a full stop.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class OnnxScorer:
    """Runs a graph. Only the output with the score is asked for: labels would cost a third more.

    A graph may loop without end, so each batch has a time limit.
    """

    def __init__(self, graph: bytes, inputs: int, time_limit_s: float) -> None:
        """Load a graph.

        Args:
            graph: Content of an ONNX file.
            inputs: How many inputs the score names.
            time_limit_s: How long it may take for one batch, seconds, > 0.

        Raises:
            GraphError: It is no graph, or it takes or gives something else, or takes longer than LOAD_S to load.
        """
        self._time_limit_s = time_limit_s
        self._thread = TimedThread("rte-onnx")
        try:
            self._session = self._thread.run(lambda: _session_of(graph), LOAD_S)
        except TimeoutError:
            raise GraphError(f"it takes longer than {LOAD_S:.0f} s to load", "export a smaller model") from None
        except Exception as error:  # noqa: BLE001 - onnxruntime raises its own types, and others for bytes that are none
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
        rows, columns = found[0].shape
        if isinstance(rows, int):
            raise GraphError(
                f"it takes {rows} row{'s' if rows != 1 else ''} at a time, no more and no fewer",
                "export it with a dynamic first dimension: shape [N, inputs]",
            )
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
            ScorerBusy: TIMEOUT, the graph is within a large node since an earlier batch.
            ScorerError: TIMEOUT; FAILED, it gave something else than a number or a row of numbers per row.
        """
        try:
            found = self._run(inputs)
        except StillBusy:
            raise ScorerBusy("the graph still computes a batch that took too long", TIMEOUT) from None
        except TimeoutError:
            if self._thread.is_aborted:
                raise ScorerError("the server is ending") from None
            message = f"the graph took longer than {self._time_limit_s * 1000:.0f} ms for a batch"
            raise ScorerError(message, TIMEOUT, is_by_size=True) from None
        except Exception as error:  # noqa: BLE001 - as above
            raise ScorerError(f"the graph failed: {str(error)[:200]}") from None
        if found.ndim not in (1, 2) or len(found) != len(inputs) or found.size == 0:
            raise ScorerError(f"the graph gave {found.shape} for {len(inputs)} rows")
        return np.ascontiguousarray(found if found.ndim == 1 else found[:, -1], np.float64)

    def _run(self, inputs: NDArray[np.float32]) -> NDArray[np.generic]:
        import onnxruntime

        options: Any = onnxruntime.RunOptions()
        options.log_severity_level = _NOTHING_BUT_FATAL

        def run() -> NDArray[np.generic]:
            return np.asarray(self._session.run([self._output], {self._input: inputs}, options)[0])

        def terminate() -> None:
            # The runtime looks at it before each node, also of the body of a loop.
            options.terminate = True

        return self._thread.run(run, self._time_limit_s, terminate)

    def is_expendable(self) -> bool:
        """Return whether no batch that took too long is still computed."""
        return not self._thread.is_busy

    def abort(self) -> None:
        """End what is computed, from another thread: `score` fails at once."""
        self._thread.abort()

    def close(self) -> None:
        """Do nothing: the session ends with the object."""


def _session_of(graph: bytes) -> Any:
    """Return the session of a graph; raises whatever onnxruntime raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
