"""`rte models diff` over recorded events: each is folded when it happened, and time passes between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rte_server.engine.program import OnlineSpec
from tests.cli.conftest import Rte
from tests.engine.online_twin import OnlineTwin, bent
from tests.engine.recorded import Row, read_rows, shared_file, visits

MINUTE_MS = 60_000
MODEL = """model: looks
attributes:
  looks: {count: view_item}
derived:
  came_back: left.count > 0 && !left
triggers:
  left: {when: looks > 0, quiet_for: %dm, once_per: quiet}
"""


def write(folder: Path, quiet_min: int) -> Path:
    """Write the model with a trigger that waits so long, and return its path."""
    path = folder / f"looks_{quiet_min}.yaml"
    path.write_text(MODEL % quiet_min)
    return path


def told(visit: list[Row], quiet_ms: int, end_ms: int) -> tuple[int, bool]:
    """Return how often the trigger fired in a visit, and whether it has since its last event."""
    times = [row.time_ms for row in visit]
    looks_since = next((row.time_ms for row in visit if row.name == "view_item"), end_ms + 1)
    fired = [
        at + quiet_ms <= until and at >= looks_since for at, until in zip(times, [*times[1:], end_ms], strict=True)
    ]
    return sum(fired), fired[-1]


def test_a_trigger_is_compared_as_it_would_have_fired(rte: Rte, tmp_path: Path) -> None:
    """15 quiet minutes fire one that waits 10 minutes, and not one that waits 25, though both events come in one file."""
    events = tmp_path / "e.csv"
    events.write_text("ts,visitor_id,event_type\n2026-01-01T00:00:00Z,a,view_item\n2026-01-01T00:15:00Z,a,page_view\n")
    result = rte("models", "diff", write(tmp_path, 10), write(tmp_path, 25), "--events", events, "--format", "json")
    assert result.exit_code == 0, result.err
    found = {each["name"]: each["samples"] for each in json.loads(result.out)["attributes"]}
    assert [(each["before"], each["after"]) for each in found["left.count"]] == [(1, 0)]
    assert [(each["before"], each["after"]) for each in found["came_back"]] == [(True, False)]


def test_what_triggers_tell_over_a_recording_is_what_brute_force_says(rte: Rte, tmp_path: Path) -> None:
    """In as many sessions as a plain loop over the sorted rows finds, the two waits differ."""
    name = "ecom_events_dev.csv.gz"
    rows = read_rows(name)
    end_ms = max(row.time_ms for row in rows if row.visitor_id)
    result = rte(
        *("models", "diff", write(tmp_path, 10), write(tmp_path, 25)),
        *("--events", shared_file(name), "--format", "json"),
    )
    assert result.exit_code == 0, result.err
    found = {each["name"]: each["session_count"] for each in json.loads(result.out)["attributes"]}
    both = [
        (told(visit, 10 * MINUTE_MS, end_ms), told(visit, 25 * MINUTE_MS, end_ms))
        for own in visits(rows).values()
        for visit in own
    ]
    assert found["left.count"] == sum(1 for short, long in both if short[0] != long[0])
    assert found["left"] == sum(1 for short, long in both if short[1] != long[1])
    back = [[count > 0 and not is_told for count, is_told in pair] for pair in both]
    assert found["came_back"] == sum(1 for short, long in back if short != long) > 0


def test_scores_that_learn_are_compared_as_each_version_would_have_learned(rte: Rte, tmp_path: Path) -> None:
    """Each session with the weights at its latest event, which are those of the twin."""
    text = "model: m\nattributes:\n  looks: {count: view_item}\nscores:\n  p:\n    online: {inputs: [looks], label: purchase, alpha: %s}\n    shadow: false\n"
    visits_made = [(1 + number % 4, number % 3 > 0) for number in range(12)]
    lines, expected = ["ts,visitor_id,event_type"], []
    twins = [OnlineTwin(OnlineSpec(("purchase",), alpha=alpha), 1) for alpha in (0.2, 0.5)]
    for number, (looks, buys) in enumerate(visits_made):
        names = ["view_item"] * looks + ["purchase"] * buys
        lines += [f"2026-01-01T00:{number:02}:{second:02}Z,v{number},{name}" for second, name in enumerate(names)]
        row = [bent(float(looks))]
        for twin in twins:
            if buys:
                twin.learn(row, 1.0)
        expected.append(tuple(twin.probability(row) for twin in twins))
    (tmp_path / "e.csv").write_text("\n".join(lines) + "\n")
    for alpha in ("0.2", "0.5"):
        (tmp_path / f"{alpha}.yaml").write_text(text % alpha)
    paths = [tmp_path / f"{alpha}.yaml" for alpha in ("0.2", "0.5")]
    result = rte("models", "diff", *paths, "--events", tmp_path / "e.csv", "--format", "json")
    assert result.exit_code == 0, result.err
    (found,) = json.loads(result.out)["attributes"]
    assert found["name"] == "p" and found["session_count"] == sum(1 for old, new in expected if old != new) > 5
    pairs = [(each["before"], each["after"]) for each in found["samples"]]
    assert pairs and all(any(pair == pytest.approx(one, rel=1e-9) for one in expected) for pair in pairs)
