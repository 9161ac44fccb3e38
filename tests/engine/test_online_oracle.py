"""Online scores beside a fit to all examples at once, and the gate to the shadow when the world changes."""

from __future__ import annotations

import numpy as np
import pytest

from rte_server.engine.online_state import O_WEIGHTS
from tests.engine.online_streams import (
    Offline,
    Stream,
    journal,
    known,
    learned,
    mean_loss,
    new_engine,
    predicted,
    progressive,
    rank_area,
    shoppers,
)


@pytest.mark.parametrize(
    ("count", "loss_gap", "area_gap", "weight_gap"), [(1000, 0.005, 0.005, 0.2), (10_000, 0.002, 0.002, 0.08)]
)
def test_with_defaults_it_comes_close_to_the_fit_to_all_examples(
    count: int, loss_gap: float, area_gap: float, weight_gap: float
) -> None:
    """On examples of a known model, in the engine: log loss and AUC on others, and weights per standard deviation."""
    stream, others = known(1, count), known(2, 10_000)
    engine = new_engine()
    for entry in journal(stream):
        engine.apply(engine.position + 1, entry)
    found, offline = learned(engine), Offline(stream)
    assert found.examples == count
    said, fitted = predicted(found, others.inputs.tolist()), offline.predicted(others)
    assert mean_loss(said, others.labels) <= mean_loss(fitted, others.labels) + loss_gap
    assert rank_area(said, others.labels) >= rank_area(fitted, others.labels) - area_gap
    assert np.abs(np.array(found.weights) - offline.weights).max() <= weight_gap
    assert abs(found.base - offline.base) <= weight_gap


@pytest.mark.parametrize("without", ["", "PageValues"])
def test_on_recorded_visits_it_comes_close_to_the_fit_to_all_of_them(without: str) -> None:
    """In the engine, whose weights are those of the twin to the last bit; each loss is from before it was learned."""
    stream = shoppers(3, without=without)
    train, others = stream[:6600], stream[6600:]
    said, twin = progressive(train)
    engine = new_engine()
    for entry in journal(train):
        engine.apply(engine.position + 1, entry)
    state = dict(engine.snapshot()[1])["online"]
    first, words = int(O_WEIGHTS), 4 * (train.inputs.shape[1] + 1)
    assert state[first : first + words].tolist() == [*twin.z, *twin.n, *twin.mean, 0.0, *twin.spread, 0.0]
    found, offline = learned(engine), Offline(train)
    fitted = offline.predicted(others)
    after = predicted(found, others.inputs.tolist())
    assert mean_loss(after, others.labels) <= mean_loss(fitted, others.labels) + 0.004
    assert rank_area(after, others.labels) >= rank_area(fitted, others.labels) - 0.01
    shares = (np.cumsum(train.labels) - train.labels + 1.0) / (np.arange(len(train.labels)) + 2.0)
    for count, gap in ((100, 0.05), (1000, 0.0)):
        assert mean_loss(said[:count], train.labels[:count]) <= mean_loss(shares[:count], train.labels[:count]) + gap


def turned(count: int, *, seed: int = 7) -> Stream:
    """Return visits of which those with much of x0 buy, and from the middle on those with little."""
    chance = np.random.default_rng(seed)
    inputs = np.where(chance.random((count, 1)) < 0.5, 5.0, 0.0)
    much = inputs[:, 0] > 0.0
    buys = np.where(np.arange(count) < count // 2, much, ~much)
    return Stream(inputs, (chance.random(count) < np.where(buys, 0.7, 0.1)).astype(np.float64))


def test_a_score_that_was_good_long_ago_goes_back_into_the_shadow() -> None:
    """Within a horizon, though it is better than the baseline over all its examples; and out again when it has learned."""
    stream = turned(8000)
    said, twin = progressive(stream)
    engine = new_engine()
    states: dict[int, bool] = {}
    for entry in journal(stream, "horizon: 300, "):
        engine.apply(engine.position + 1, entry)
        found = learned(engine)
        states[found.examples] = found.is_shown
        if found.examples == 4300:
            assert found.why_in_shadow().startswith("Its log loss over about the latest 300 sessions (`horizon`) is ")
    assert states[4000] and not states[4300] and states[8000]
    assert not states[499] and states[500]
    share = stream.labels[:4300].mean()
    assert mean_loss(said[:4300], stream.labels[:4300]) < mean_loss(np.full(4300, share), stream.labels[:4300]) - 0.005
    assert twin.examples == 8000


def test_between_the_bounds_it_stays_as_it_is() -> None:
    """It is shown at `margin` and hidden below 0, so that it does not come and go with each example."""
    chance = np.random.default_rng(5)
    inputs = chance.integers(0, 2, (1500, 1)).astype(np.float64)
    stream = Stream(inputs, (chance.random(1500) < 0.4 + 0.12 * inputs[:, 0]).astype(np.float64))
    engine = new_engine()
    was, between = False, {False: 0, True: 0}
    for entry in journal(stream, "examples: 20, margin: 0.01, horizon: 60, "):
        engine.apply(engine.position + 1, entry)
        found = learned(engine)
        gain = found.baseline_loss - found.loss
        if found.is_shown != was:
            assert gain >= 0.01 if found.is_shown else gain < 0.0
        elif 0.0 <= gain < 0.01 and found.examples > 20:
            between[was] += 1
        was = found.is_shown
    assert min(between.values()) > 20


def test_why_it_is_in_the_shadow_is_said() -> None:
    """It has seen too few examples, or is not better than the baseline by enough."""
    chance = np.random.default_rng(5)
    stream = Stream(chance.random((60, 1)), (chance.random(60) < 0.5).astype(np.float64))
    engine = new_engine()
    for entry in journal(stream, "examples: 50, margin: 0.5, "):
        engine.apply(engine.position + 1, entry)
        if learned(engine).examples == 40:
            assert learned(engine).why_in_shadow() == (
                "It has learned from 40 sessions; it may be shown after 50 (`examples`)."
            )
    found = learned(engine)
    assert found.why_in_shadow() == (
        f"Its log loss over about the latest 1,000 sessions (`horizon`) is {found.loss:.4f}; it is shown at "
        f"{found.baseline_loss - 0.5:.4f} or less, the baseline's {found.baseline_loss:.4f} without 0.5 (`margin`)."
    )
