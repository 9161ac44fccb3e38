"""From the entries of `scores` to attribute specifications: linear models, ONNX graphs, plug-ins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from rte_server.engine.program import CUSTOMER_PREFIX, M_LABEL_COUNT, AttributeSpec, Kind, OnlineSpec, ScoreSpec
from rte_server.models.documents import Item
from rte_server.models.lists import FILE_NAME_CHARS_MAX, is_file_name
from rte_server.models.problems import did_you_mean
from rte_server.models.schema import (
    DURATION_MS_MAX,
    GOLDEN_MEMBERS,
    LINEAR_MEMBERS,
    LINKS,
    NAME_CHARS_MAX,
    ONLINE_MEMBERS,
    SCORE_MEMBERS,
    TEXT_CHARS_MAX,
    UNIT_CHARS_MAX,
    WEIGHTS_MAX,
    Reader,
)
from rte_server.models.types import BOOL, LIST, NUMBER, STRING, UNKNOWN, TypeSet, known_names, type_name

INPUTS_MAX = 256  # inputs of a score that a runner computes
GOLDEN_MAX = 64  # golden rows of a score
EXAMPLES_MAX = 1_000_000_000
HORIZON_MIN = 10  # examples: over fewer of them a mean loss says nothing
ALPHA_MIN = 1e-6
"""Least learning rate: what is learned is divided by it, and must stay finite."""
LEARNING_MAX = 1e6
"""Largest `alpha`, `beta`, `l1`, `l2` and `margin`."""
PLUGIN_NAME_CHARS_MAX = 128
TIME_LIMIT_MS_MIN = 10  # of a score that a runner computes, for one batch
TIME_LIMIT_MS_MAX = 60_000
"""Every failed attempt may take so long, and other sessions wait for two of them when one breaks a score (see `runners.isolation`), with
all graphs where it is a graph's. 60 s for 2,048 rows are 29 ms a row, and what takes longer gets smaller batches."""
PLUGIN_TIME_LIMIT_MS, ONNX_TIME_LIMIT_MS = 200, 2_000  # where none is stated

_DIGEST = re.compile(r"[0-9a-f]{64}")
DIGEST_TEXT = "sha256:"
_LINEAR_EXAMPLE = "{linear: {intercept: -3.0, weights: {product_views: 0.1}}}"
_ONLINE_EXAMPLE = "{inputs: [product_views], label: purchase}"


def digest_text(digest: str) -> str:
    """Return what stands for an ONNX file among the texts of a model's files: its digest, not its bytes."""
    return DIGEST_TEXT + digest


def digests_in(texts: Iterable[str]) -> list[str]:
    """Return the digests of the ONNX files among the texts of models' files."""
    return [text.removeprefix(DIGEST_TEXT) for text in texts if text.startswith(DIGEST_TEXT)]


def graph_files(members: Mapping[str, Item]) -> dict[str, Item]:
    """Return the ONNX files that the scores of a model name, leniently: `read_score` says what is wrong with them."""
    content = members["scores"].content if "scores" in members else None
    found: dict[str, Item] = {}
    for item in (content if isinstance(content, dict) else {}).values():
        stated = item.content.get("onnx") if isinstance(item.content, dict) else None
        if stated is not None and isinstance(stated.content, str) and is_file_name(stated.content):
            found[stated.content] = stated
    return found


def score_inputs(item: Item) -> list[str]:
    """Return the names that a score reads, leniently."""
    members = item.content if isinstance(item.content, dict) else {}
    stated = members["inputs"].content if "inputs" in members else None
    names = [str(each.content) for each in stated] if isinstance(stated, list) else []
    online = members["online"].content if "online" in members else None
    if isinstance(online, dict):
        baseline = [str(online["baseline"].content)] if "baseline" in online else []
        return [*score_inputs(Item(online, item.line, item.line)), *baseline]
    linear = members["linear"].content if "linear" in members else None
    weights = linear["weights"].content if isinstance(linear, dict) and "weights" in linear else None
    return [*names, *(weights if isinstance(weights, dict) else ())]


def read_score(
    reader: Reader,
    model: str,
    name: str,
    item: Item,
    inputs: Mapping[str, TypeSet],
    files: Mapping[str, str],
) -> AttributeSpec | None:
    """Return the attribute of an entry of `scores`, or None; notes its problems.

    Args:
        reader: Of the model file.
        model: Name of the model.
        name: Name of the score.
        item: The entry.
        inputs: Types of what it may read.
        files: The texts of the model's files; that of an ONNX file is its digest, see `digest_text`.
    """
    where = f"score `{name}`"
    members = reader.mapping(item, where, _LINEAR_EXAMPLE)
    runners = [word for word in SCORE_MEMBERS if word in members]
    if len(runners) != 1:
        message = f"{where} has {'two runners' if runners else 'no runner'}"
        known = ", ".join(f"`{word}`" for word in SCORE_MEMBERS)
        reader.problem(item, message, f"write one of {known}, for example `{_LINEAR_EXAMPLE}`")
        return None
    reader.known_members(members, (runners[0], *SCORE_MEMBERS[runners[0]]), where)
    plain = AttributeSpec(
        name=name,
        model=model,
        kind=Kind.SCORE,
        value_type="double",
        unit=reader.text(members, "unit", UNIT_CHARS_MAX),
        description=reader.text(members, "description", TEXT_CHARS_MAX),
    )
    if runners[0] == "linear":
        return _linear(reader, where, members, inputs, plain)
    if runners[0] == "online":
        return _online(reader, where, members, inputs, plain)
    if runners[0] == "onnx":
        score = _onnx(reader, where, members, inputs, files)
    else:
        source = reader.text(members, "plugin", PLUGIN_NAME_CHARS_MAX)
        if not source:
            reader.problem(members["plugin"], f"{where} names no plug-in", "write the name of its entry point")
        named = _inputs(reader, where, members, inputs)
        score = ScoreSpec(
            "plugin", source, inputs=named, time_limit_ms=_time_limit_ms(reader, members, PLUGIN_TIME_LIMIT_MS)
        )
    return replace(plain, score=score)


def _linear(
    reader: Reader, where: str, members: Mapping[str, Item], inputs: Mapping[str, TypeSet], plain: AttributeSpec
) -> AttributeSpec:
    linear = reader.mapping(members["linear"], f"{where}, `linear`", "{intercept: -3.0, weights: {product_views: 0.1}}")
    reader.known_members(linear, LINEAR_MEMBERS, f"{where}, `linear`")
    return replace(
        plain,
        kind=Kind.LINEAR,
        weights=_weights(reader, members["linear"], linear, where, inputs),
        intercept=reader.number(linear["intercept"], f"{where}, `intercept`") if "intercept" in linear else 0.0,
        link=reader.choice(members, "link", "logistic", LINKS),
    )


def _weights(
    reader: Reader, whole: Item, linear: Mapping[str, Item], where: str, inputs: Mapping[str, TypeSet]
) -> tuple[tuple[str, float, float], ...]:
    """Return (attribute, weight, value where it is absent) of a linear score; `linear` are the members of `whole`."""
    empty = Item({}, 0, 0)
    stated = reader.mapping(linear.get("weights", empty), f"{where}, `weights`", "{product_views: 0.1}")
    defaults = reader.mapping(linear.get("default", empty), f"{where}, `default`", "{mean_viewed_price: 20}")
    if not 1 <= len(stated) <= WEIGHTS_MAX:
        message = f"{where} needs 1 to {WEIGHTS_MAX} weights"
        reader.problem(linear.get("weights", whole), message, "write `weights: {product_views: 0.1}`")
    reader.known_members(defaults, stated, f"{where}, `default`")
    weights: list[tuple[str, float, float]] = []
    for name, item in stated.items():
        _check_input(reader, where, name, item, inputs)
        absent = reader.number(defaults[name], f"{where}, `default` of `{name}`") if name in defaults else 0.0
        weights.append((name, reader.number(item, f"{where}, weight of `{name}`"), absent))
    return tuple(weights)


def _check_input(reader: Reader, where: str, name: str, item: Item, inputs: Mapping[str, TypeSet]) -> None:
    """Note it if a score cannot read what it names."""
    if name not in inputs:
        reader.problem(item, f"{where}: there is no attribute `{name}`", did_you_mean(name, known_names(inputs)))
    elif name.startswith(CUSTOMER_PREFIX):
        return  # Only the data mart knows its type; what is no number or bool counts as absent.
    elif inputs[name] == UNKNOWN:
        return  # It is refused itself.
    elif not inputs[name] & (NUMBER | BOOL) or inputs[name] & (STRING | LIST):
        reader.problem(
            item,
            f"{where}: `{name}` is {type_name(inputs[name])}, and only numbers and bools can be weighted",
            "derive a number or a bool from it",
        )


def _inputs(
    reader: Reader, where: str, members: Mapping[str, Item], inputs: Mapping[str, TypeSet]
) -> tuple[tuple[str, float | None], ...]:
    """Return (attribute, value where it is absent) of a score that a runner computes."""
    empty = Item({}, 0, 0)
    item = members.get("inputs")
    stated = item.content if item is not None and isinstance(item.content, list) else []
    if not 1 <= len(stated) <= INPUTS_MAX:
        line = item if item is not None else next(iter(members.values()))
        reader.problem(line, f"{where} needs a list of 1 to {INPUTS_MAX} `inputs`", "write `inputs: [product_views]`")
    names = [str(each.content) for each in stated]
    for each, name in zip(stated, names, strict=True):
        _check_input(reader, where, name, each, inputs)
    defaults = reader.mapping(members.get("defaults", empty), f"{where}, `defaults`", "{product_views: 0}")
    reader.known_members(defaults, names, f"{where}, `defaults`")
    absent = {name: reader.number(value, f"{where}, default of `{name}`") for name, value in defaults.items()}
    return tuple((name, absent.get(name)) for name in names)


def _online(
    reader: Reader, where: str, members: Mapping[str, Item], inputs: Mapping[str, TypeSet], plain: AttributeSpec
) -> AttributeSpec:
    """Return an online score; see `engine.online`."""
    online = reader.mapping(members["online"], f"{where}, `online`", _ONLINE_EXAMPLE)
    reader.known_members(online, ONLINE_MEMBERS, f"{where}, `online`")
    labels = reader.events(online["label"], f"{where}, `label`") if "label" in online else ()
    if not 1 <= len(labels) <= M_LABEL_COUNT:
        item = online.get("label", members["online"])
        reader.problem(
            item, f"{where} needs a `label`: 1 to {M_LABEL_COUNT} events", f"write `online: {_ONLINE_EXAMPLE}`"
        )
    baseline = reader.text(online, "baseline", NAME_CHARS_MAX)
    if baseline:
        _check_input(reader, where, baseline, online["baseline"], inputs)
    named = _inputs(reader, where, online or members, inputs)
    if len(named) > WEIGHTS_MAX:
        reader.problem(online["inputs"], f"{where} has more than {WEIGHTS_MAX} inputs", "leave some out")

    plain_spec = OnlineSpec(labels)

    def number(word: str, default: float, least: float) -> float:
        value = reader.number(online[word], f"{where}, `{word}`") if word in online else default
        if not least <= value <= LEARNING_MAX:
            message = f"{where}: `{word}` must be a number from {least:g} to {LEARNING_MAX:,.0f}"
            reader.problem(online[word], message, f"the default is {default:g}")
        return value

    spec = OnlineSpec(
        labels=labels,
        baseline=baseline,
        examples=reader.whole(online, "examples", plain_spec.examples, 1, EXAMPLES_MAX),
        margin=number("margin", plain_spec.margin, 0.0),
        horizon=reader.whole(online, "horizon", plain_spec.horizon, HORIZON_MIN, EXAMPLES_MAX),
        shadow=reader.flag(members, "shadow", plain_spec.shadow),
        alpha=number("alpha", plain_spec.alpha, ALPHA_MIN),
        beta=number("beta", plain_spec.beta, 0.0),
        l1=number("l1", plain_spec.l1, 0.0),
        l2=number("l2", plain_spec.l2, 0.0),
    )
    weights = tuple((name, 0.0, absent or 0.0) for name, absent in named)
    return replace(plain, kind=Kind.ONLINE, weights=weights, online=spec)


def _onnx(
    reader: Reader, where: str, members: Mapping[str, Item], inputs: Mapping[str, TypeSet], files: Mapping[str, str]
) -> ScoreSpec:
    source = reader.text(members, "onnx", FILE_NAME_CHARS_MAX)
    stated = reader.text(members, "sha256", len(DIGEST_TEXT) + 64).removeprefix(DIGEST_TEXT)
    if "sha256" in members and not _DIGEST.fullmatch(stated):
        reader.problem(
            members["sha256"], f"{where}: `sha256` must be 64 hexadecimal digits", "write what `sha256sum` says"
        )
    # A file whose digest is stated may be kept from before: `runners.packages` says so, or that it is not.
    found = files.get(source, stated).removeprefix(DIGEST_TEXT)
    if not is_file_name(source):
        remedy = "name a file in the folder of the model file, or below: letters, digits, `_`, `-`, `.` and `/`"
        reader.problem(members["onnx"], f"{where}: `{source}` cannot be the file of a score", remedy)
    elif not found:
        reader.problem(members["onnx"], f"{where}: there is no file `{source}`", "put it beside the model file")
    elif stated and found != stated:
        remedy = f"put back the file that the model was made with, or write `sha256: {found}`"
        reader.problem(members["sha256"], f"{where}: `{source}` has another digest than `sha256` says", remedy)
    named = _inputs(reader, where, members, inputs)
    golden = _golden(reader, where, members, len(named))
    return ScoreSpec("onnx", source, found, named, golden, _time_limit_ms(reader, members, ONNX_TIME_LIMIT_MS))


def _time_limit_ms(reader: Reader, members: Mapping[str, Item], default: int) -> int:
    """Return how long a runner may take for a batch of rows, ms."""
    if "time_limit" not in members:
        return default
    most_ms = DURATION_MS_MAX if reader.is_recorded else TIME_LIMIT_MS_MAX
    return reader.duration_ms(members["time_limit"], TIME_LIMIT_MS_MIN, most_ms)


def _golden(
    reader: Reader, where: str, members: Mapping[str, Item], inputs: int
) -> tuple[tuple[tuple[float, ...], float], ...]:
    """Return the golden rows of a score."""
    item = members.get("golden")
    if item is None:
        return ()
    example = "write `golden: [{inputs: [2, 0.5], score: 0.25}]`"
    stated = item.content if isinstance(item.content, list) else []
    if not 1 <= len(stated) <= GOLDEN_MAX:
        reader.problem(item, f"{where}: `golden` must be a list of 1 to {GOLDEN_MAX} rows", example)
        return ()
    rows: list[tuple[tuple[float, ...], float]] = []
    for each in stated:
        row = each.content if isinstance(each.content, dict) else {}
        reader.known_members(row, GOLDEN_MEMBERS, f"{where}, a golden row")
        values = row["inputs"].content if "inputs" in row else None
        if "score" not in row or not isinstance(values, list):
            reader.problem(each, f"{where}: a golden row needs `inputs` and `score`", example)
        elif len(values) != inputs:
            reader.problem(each, f"{where}: the golden row has {len(values)} inputs, the score {inputs}", example)
        else:
            numbers = tuple(reader.number(value, f"{where}, an input of a golden row") for value in values)
            rows.append((numbers, reader.number(row["score"], f"{where}, the score of a golden row")))
    return tuple(rows)
