"""Models, attributes and their changes as the contract shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from google.protobuf import struct_pb2, timestamp_pb2

from rte.v1 import model_pb2
from rte_server.engine.configurations import Configured
from rte_server.engine.engine import Engine
from rte_server.engine.program import ModelSpec
from rte_server.models.changes import AttributeChange, Change, ModelChange, reads
from rte_server.models.comparison import Difference, Sample
from rte_server.models.given import version_of
from rte_server.models.loader import Source, header
from rte_server.models.problems import ModelError, Problem
from rte_server.models.trials import Value
from rte_server.service.tokens import position_text

_MODEL_KINDS = {
    Change.ADDED: model_pb2.ModelChange.KIND_ADDED,
    Change.REMOVED: model_pb2.ModelChange.KIND_REMOVED,
    Change.CHANGED: model_pb2.ModelChange.KIND_CHANGED,
}
_ATTRIBUTE_KINDS = {
    Change.ADDED: model_pb2.AttributeChange.KIND_ADDED,
    Change.REMOVED: model_pb2.AttributeChange.KIND_REMOVED,
    Change.CHANGED: model_pb2.AttributeChange.KIND_REDEFINED,
    Change.OTHER_VALUES: model_pb2.AttributeChange.KIND_OTHER_VALUES,
}


def problem_message(problem: Problem) -> model_pb2.ModelProblem:
    """Return the contract's form of a problem."""
    return model_pb2.ModelProblem(file=problem.file, line=problem.line, message=problem.message, remedy=problem.remedy)


def model_change_message(change: ModelChange) -> model_pb2.ModelChange:
    """Return the contract's form of what becomes of a model."""
    return model_pb2.ModelChange(
        name=change.name,
        kind=_MODEL_KINDS[change.change],
        version_before=change.version_before,
        version_after=change.version_after,
    )


def attribute_change_message(
    change: AttributeChange, difference: Difference | None = None
) -> model_pb2.AttributeChange:
    """Return the contract's form of what becomes of an attribute, and how sessions differ, if they were compared."""
    message = model_pb2.AttributeChange(name=change.name, model=change.model, kind=_ATTRIBUTE_KINDS[change.change])
    if difference is not None:
        message.session_count = difference.session_count
        message.not_compared = difference.not_compared
        message.not_compared_session_count = difference.not_compared_count
        message.samples.extend(_sample_message(sample) for sample in difference.samples)
    return message


def configuration_message(entry: Configured, *, is_active: bool) -> model_pb2.ModelConfiguration:
    """Return the contract's form of a configuration."""
    return model_pb2.ModelConfiguration(
        position=position_text(entry.position),
        activated_time=time_message(entry.received_ms),
        note=entry.configuration.get("note", ""),
        author=entry.configuration.get("author", ""),
        models=[
            model_pb2.ModelConfiguration.Member(name=name, version=_version(source), source_sha256=sha256(source))
            for name, source in sorted(entry.configuration["models"].items())
        ],
        is_active=is_active,
    )


def is_alongside(model: ModelSpec) -> bool:
    """Return whether a model runs beside the version that has its name."""
    return header(Source(model.name, model.source, {}))[0] != model.name


class Completeness:
    """Since when attributes are complete, at one moment."""

    def __init__(self, engine: Engine) -> None:
        self._since = engine.since
        self._specs = {spec.name: spec for spec in engine.program.attributes}
        self._oldest = engine.oldest_position() if self._since else 0

    def since_ms(self, names: Sequence[str]) -> int:
        """Return since which time some attributes are complete, milliseconds since 1970; 0: for all sessions alive.

        Attributes that follow from others are complete when those are.
        """
        found = [since for name in names for since in self._of(name)]
        return max((time_ms for position, time_ms in found if self._oldest <= position), default=0)

    def _of(self, name: str) -> list[tuple[int, int]]:
        found = [self._since[name]] if name in self._since else []
        spec = self._specs.get(name)
        return found + [since for read in (reads(spec) if spec else ()) for since in self._of(read)]


def time_message(time_ms: int) -> timestamp_pb2.Timestamp:
    """Return a time, milliseconds since 1970, as a message."""
    return timestamp_pb2.Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _sample_message(sample: Sample) -> model_pb2.AttributeChange.Sample:
    message = model_pb2.AttributeChange.Sample(session_id=sample.session_id)
    if sample.before is not None:
        message.before.CopyFrom(_value_message(sample.before))
    if sample.after is not None:
        message.after.CopyFrom(_value_message(sample.after))
    return message


def _value_message(value: Value) -> struct_pb2.Value:
    holder = struct_pb2.Struct()
    holder.update({"value": value})
    return holder.fields["value"]


@lru_cache(maxsize=1000)
def _version(source: str) -> int:
    """Return the version of a model, or 0 where this version of RTE cannot read it."""
    try:
        text = version_of(Source("model", source, {}))
    except ModelError:
        return 0
    return int(text) if text.isascii() and text.isdigit() else 0
