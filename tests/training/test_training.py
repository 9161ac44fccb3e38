"""Training: what is written equals what was fitted, and tells buyers from others as well as it should."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rte_server.training.encoding import fit_encoder
from rte_server.training.examples import Examples, examples_of
from rte_server.training.fitting import Algorithm, Fitted, cross_validate, fit
from rte_server.training.graph import graph_of
from rte_server.training.package import DIFFERENCE_MAX, train
from rte_server.training.recordings import RecordingError, read_events
from rte_server.training.reports import PackageError, read_report, write_package
from rte_server.training.tasks import BOT, PURCHASE, TASKS, Encoding, Task
from tests.engine.recorded import shared_file

ENCODINGS = (Encoding.AMOUNT, Encoding.SHARE, Encoding.PLAIN, Encoding.CATEGORY)
HEADER = "row_id,Administrative,ProductRelated,PageValues,Month,VisitorType,Weekend,Revenue\n"


def made_up(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32[count, 4] and labels that depend on them."""
    chance = np.random.default_rng(seed)
    inputs = np.stack(
        (
            np.floor(chance.exponential(20.0, count)),
            chance.random(count),
            chance.integers(0, 2, count),
            chance.integers(0, 5, count),
        ),
        axis=1,
    ).astype(np.float32)
    margin = np.log1p(inputs[:, 0]) - 2.0 * inputs[:, 1] + (inputs[:, 3] == 2) - 1.5
    return inputs, chance.random(count) < 1.0 / (1.0 + np.exp(-margin))


@cache
def fitted_once(algorithm: Algorithm) -> tuple[np.ndarray, Fitted, onnxruntime.InferenceSession]:
    """Return made-up inputs, a model that is fitted to them, and its graph, ready to run."""
    inputs, labels = made_up(150, 7)
    fitted = fit(algorithm, ENCODINGS, inputs, labels)
    return inputs, fitted, onnxruntime.InferenceSession(graph_of(fitted, 4), providers=["CPUExecutionProvider"])


def small_file(folder: Path, rows: int = 200) -> Path:
    """Return a recording in which those buy who have looked at many pages."""
    chance = np.random.default_rng(3)
    lines = [HEADER]
    for number in range(rows):
        pages = int(chance.exponential(20.0))
        buys = int(pages + chance.normal(0, 10) > 25)
        month = ("Nov", "May", "Feb")[number % 3]
        lines.append(f"{number},{number % 4},{pages},{chance.random():.3f},{month},New_Visitor,{number % 2},{buys}\n")
    path = folder / "rows.csv"
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("algorithm", Algorithm)
@given(seed=st.integers(0, 2**16))
def test_a_graph_gives_what_the_fitted_model_gives(algorithm: Algorithm, seed: int) -> None:
    """Also for inputs that lie on thresholds and knots, and for codes and sizes that were never seen."""
    inputs, fitted, session = fitted_once(algorithm)
    others, _ = made_up(100, seed)
    others[:10] = np.array([-1.0, 1e6, 0.25, 99.0], np.float32)
    for rows in (inputs, others):
        found = session.run(None, {"inputs": rows})[0][:, 0]
        assert np.abs(found - fitted.probabilities(rows)).max() < DIFFERENCE_MAX


def test_trees_are_cut_where_lightgbm_cuts_them() -> None:
    """A threshold between two neighbouring float32 values sends each to its own side."""
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1.0))
    inputs = np.repeat(np.array([[low], [high]], np.float32), 100, axis=0)
    labels = inputs[:, 0] == high
    fitted = fit(Algorithm.LIGHTGBM, (Encoding.PLAIN,), inputs, labels)
    found = onnxruntime.InferenceSession(graph_of(fitted, 1)).run(None, {"inputs": inputs})[0][:, 0]
    assert np.abs(found - fitted.probabilities(inputs)).max() < DIFFERENCE_MAX


def test_an_encoder_marks_zeros_codes_and_bends() -> None:
    """An amount of zero has a column of its own, and so has each code."""
    inputs, _ = made_up(150, 1)
    encoder = fit_encoder(ENCODINGS, inputs, for_trees=False)
    columns = encoder.encode(inputs)
    assert columns.shape[1] == 3 + len(encoder.bends) + 2 + 5
    assert (columns[:, -5:].sum(axis=1) == 1.0).all()
    assert (columns[:, -7] == (inputs[:, 0] == 0)).all()


def test_a_package_is_a_model_with_golden_rows(tmp_path: Path) -> None:
    """What is written names its graph, its digest and rows that it gives again; training twice gives the same bytes."""
    task = available(PURCHASE, ("Administrative", "ProductRelated", "PageValues", "Month", "VisitorType", "Weekend"))
    events = list(read_events(task, small_file(tmp_path)))
    report, files = train(task, Algorithm.LOGISTIC, (), events, lambda _: None)
    assert train(task, Algorithm.LOGISTIC, (), events, lambda _: None)[1] == files
    score = yaml.safe_load(files["model.yaml"])["scores"]["purchase_probability"]
    session = onnxruntime.InferenceSession(files["model.onnx"])
    rows = np.array([each["inputs"] for each in score["golden"]], np.float32)
    assert rows.shape == (8, len(score["inputs"]))
    found = session.run(None, {"inputs": rows})[0][:, 0]
    assert np.abs(found - [each["score"] for each in score["golden"]]).max() == 0.0
    write_package(tmp_path / "package", files)
    assert read_report(tmp_path / "package") == report
    assert json.loads(files["report.json"])["examples"] == 200


def test_who_was_not_told_of_has_no_score_and_what_is_missing_is_typical(tmp_path: Path) -> None:
    """The required input has no default; the others have one that occurs, in training and in the server: no zeros."""
    task = available(PURCHASE, ("Administrative", "ProductRelated", "Month", "VisitorType"))
    path = tmp_path / "rows.csv"
    rows = [f"{n},{n % 3 + 1},{5 if n % 4 else ''},{'May' if n % 3 else 'Nov'},New_Visitor,{n % 2}" for n in range(40)]
    path.write_text("row_id,Administrative,ProductRelated,Month,VisitorType,Revenue\n" + "\n".join(rows) + "\n")
    events = list(read_events(task, path))
    examples = examples_of(task, events)
    assert set(examples.inputs[:, examples.names.index("product_related")]) == {5.0}
    files = train(task, Algorithm.LOGISTIC, (), events, lambda _: None)[1]
    score = yaml.safe_load(files["model.yaml"])["scores"]["purchase_probability"]
    assert score["inputs"][0] == "has_visit_summary"
    assert score["defaults"] == {"administrative": 2.0, "product_related": 5.0, "month": 5.0, "visitor_type": 2.0}
    for known in TASKS.values():
        assert [each.encoding for each in known.inputs].count(Encoding.REQUIRED) == 1


def available(task: Task, columns: tuple[str, ...]) -> Task:
    """Return a task without what comes from other columns."""
    for feature in task.features:
        if feature.column and feature.column not in columns:
            task = task.without(feature.column)
    return task


def test_the_file_of_uci_is_read_as_it_is_downloaded(tmp_path: Path) -> None:
    """Each row is a visitor of its own; labels and weekends are TRUE and FALSE."""
    path = tmp_path / "online_shoppers_intention.csv"
    path.write_text("ProductRelated,Weekend,Revenue\n7,TRUE,FALSE\n9,FALSE,TRUE\n")
    numbered = tmp_path / "rows.csv"
    numbered.write_text("row_id,ProductRelated,Weekend,Revenue\n0,7,1,0\n1,9,0,1\n")
    found = list(read_events(PURCHASE, path))
    assert found == list(read_events(PURCHASE, numbered))
    assert [(each.visitor_id, each.label) for each in found] == [("0", False), ("1", True)]
    with pytest.raises(RecordingError, match="no column event_type, ts, visitor_id"):
        list(read_events(replace(BOT, label="Revenue"), path))


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    """Missing columns, labels that are none, too few rows and unknown columns are named."""
    path = tmp_path / "bad.csv"
    path.write_text("row_id,ProductRelated\n1,2\n")
    with pytest.raises(RecordingError, match="no column Revenue"):
        list(read_events(PURCHASE, path))
    path.write_text("row_id,Revenue\n1,yes\n")
    with pytest.raises(RecordingError, match=r"bad\.csv:2: Revenue is 'yes'"):
        list(read_events(PURCHASE, path))
    path.write_text("row_id,Revenue\n1,1\n2,0\n")
    with pytest.raises(RecordingError, match="2 examples, 1 of them positive"):
        examples_of(PURCHASE, list(read_events(PURCHASE, path)))
    with pytest.raises(KeyError, match="Nonsense"):
        PURCHASE.without("Nonsense")
    with pytest.raises(PackageError, match="cannot be read"):
        read_report(tmp_path)


@pytest.mark.parametrize(
    ("without", "algorithm", "auc"),
    [
        ((), "lightgbm", 0.931),
        (("PageValues",), "lightgbm", 0.776),
        pytest.param((), "logistic", 0.914, marks=pytest.mark.long),
        pytest.param(("PageValues",), "logistic", 0.761, marks=pytest.mark.long),
    ],
)
def test_buyers_are_told_from_others(without: tuple[str, ...], algorithm: str, auc: float) -> None:
    """In cross-validation, with and without the column that nearly gives the label away."""
    examples = _recorded(PURCHASE, "online_shoppers_train.csv.gz")
    task = PURCHASE
    columns = list(range(len(examples.names)))
    for column in without:
        task = task.without(column)
        kept = {feature.name for feature in task.inputs}
        columns = [place for place in columns if examples.names[place] in kept]
    encodings = [feature.encoding for feature in task.inputs if feature.encoding is not None]
    reduced = Examples(
        tuple(examples.names[place] for place in columns),
        examples.inputs[:, columns],
        examples.labels,
        examples.defaults[columns],
    )
    assert cross_validate(Algorithm(algorithm), encodings, reduced).auc > auc - 0.01


def test_programs_are_told_from_people() -> None:
    """From how they edit a wiki."""
    encodings = [feature.encoding for feature in BOT.inputs if feature.encoding is not None]
    examples = _recorded(BOT, "wiki_edits_dev.csv.gz")
    assert cross_validate(Algorithm.LIGHTGBM, encodings, examples).auc > 0.9


_EXAMPLES: dict[str, Examples] = {}


def _recorded(task: Task, name: str) -> Examples:
    if name not in _EXAMPLES:
        _EXAMPLES[name] = examples_of(task, list(read_events(task, shared_file(name))))
    return _EXAMPLES[name]


def test_each_task_names_its_inputs_once() -> None:
    """A name that stands twice would hide an attribute."""
    for task in TASKS.values():
        names = [feature.name for feature in task.features]
        assert len(names) == len(set(names))
