"""Online logistic regression: a score that learns from what happens later in the same session.

One example per session: its inputs as they stood right before the label event are an example of 1; its inputs when it
closes without one are an example of 0. Each is predicted before it is learned (progressive validation), so the losses
are those on examples that the model had not seen. The weights are part of the state: a replay learns the same.

It is no monoid over the events of a session: the weights depend on the order of the entries. What a session shows
follows from its inputs and from the weights at its latest event.

FTRL-proximal, per coordinate; the last coordinate is the intercept, its input is 1. Another input x is bent to
sign(x) * ln(1 + |x|), so that counts and amounts are of one size, and enters as its distance from the mean of all
examples before, in their standard deviations, cut to [-INPUT_MAX, INPUT_MAX]. Without a mean of 0 each input would
stand for the intercept, too, and learning by coordinates takes thousands of examples to tell them apart. The
logarithm of the odds of all examples before is added, so that the score begins at the share of 1s.

Whether it is shown follows from the losses of the latest examples: each weighs `fade` = 1 - 1 / horizon times as much after
every other one.

Source: McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1 and section 5.1; Welford,
"Note on a Method for Calculating Corrected Sums of Squares and Products", Technometrics 1962; Gama et al., "On evaluating
stream learning algorithms", Machine Learning 2013 (fading factors).
"""

from __future__ import annotations

import math

import numpy as np

from rte_server.engine.attributes import as_number
from rte_server.engine.context import LOADS, ONLINE_MODELS, ONLINE_STATE, WEIGHT_INPUTS, WEIGHTS, span_in
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.lanes import WIDTH
from rte_server.engine.native import bits_float, float_bits, put_word, span_of, word_at
from rte_server.engine.online_state import (
    BINS,
    CELL_LEARNED,
    COORDINATE_WORDS,
    O_BASELINE_LOSS,
    O_BINS,
    O_EXAMPLES,
    O_LOSS,
    O_POSITIVES,
    O_RECENT,
    O_RECENT_POSITIVES,
    O_ROLLBACKS,
    O_SHOWN,
    O_VERSION,
    O_WEIGHTS,
    VERSION_EXAMPLES,
    VERSIONS,
)
from rte_server.engine.program import (
    M_ALPHA,
    M_AT,
    M_BASELINE,
    M_BETA,
    M_END,
    M_EXAMPLES,
    M_FADE,
    M_FIRST,
    M_L1,
    M_L2,
    M_LABEL_COUNT,
    M_LABELS,
    M_MARGIN,
    M_SHADOW,
    M_STATE,
    M_WORDS,
)
from rte_server.engine.row_values import load_input, session_time
from rte_server.engine.table import EVENTS, EXAMPLES_SKIPPED, add_count
from rte_server.engine.values import DOUBLE, NULL

PROBABILITY_MIN = 1e-6
"""Predictions are cut to [1e-6, 1 - 1e-6] where a loss is computed, so that one surprise is no infinite loss."""

MARGIN_MAX = 35.0
"""The logarithm of the odds is cut to [-35, 35]: beyond it a double is 0 or 1."""

INPUT_MAX = 4.0
"""Inputs are cut to 4 standard deviations: the first 1 after ten thousand 0s would be a hundred of them, and one such
example would decide the next one's score."""

SPREAD_PRIOR = 0.01
"""Squared deviations before the first example, as if it had one of 0.1: two that are nearly equal are no scale."""

COUNT_MIN = 1e-9
"""Less than this of a fading count is 0, so that it does not stay at the smallest of all doubles."""


@inner
def get_number(state, at):  # type: ignore[no-untyped-def]
    """Return a double of the state."""
    return bits_float(word_at(state, at))


@inner
def put_number(state, at, number):  # type: ignore[no-untyped-def]
    """Set a double of the state."""
    put_word(state, at, float_bits(number))


@inner
def squashed(number, absent):  # type: ignore[no-untyped-def]
    """Return how an input enters; NaN stands for one without a value."""
    if math.isnan(number):
        number = absent
    return math.log(1.0 + number) if number >= 0.0 else -math.log(1.0 - number)


@inner
def entered(state, at, count, i, number):  # type: ignore[no-untyped-def]
    """Return how a bent input enters: its distance from the mean so far, in standard deviations.

    Args:
        state: Span of what was learned.
        at: Word at which the block of the score begins.
        count: Its coordinates.
        i: Which of them.
        number: What `squashed` returned.

    Returns:
        From -INPUT_MAX to INPUT_MAX; NaN if the number is not finite.
    """
    if not math.isfinite(number):
        return math.nan
    examples = get_number(state, at + O_EXAMPLES)
    if examples == 0.0:
        return 0.0
    mean = get_number(state, at + O_WEIGHTS + 2 * count + i)
    spread = get_number(state, at + O_WEIGHTS + 3 * count + i)
    deviation = math.sqrt((spread + SPREAD_PRIOR) / (examples + 1.0))
    return min(max((number - mean) / deviation, -INPUT_MAX), INPUT_MAX)


@inner
def weight_at(state, model, at, count, i):  # type: ignore[no-untyped-def]
    """Return the weight of coordinate `i` of `count`; z and n stand at `at`."""
    z = get_number(state, at + i)
    l1 = bits_float(word_at(model, M_L1))
    if abs(z) <= l1:
        return 0.0
    n = get_number(state, at + count + i)
    rate = (bits_float(word_at(model, M_BETA)) + math.sqrt(n)) / bits_float(word_at(model, M_ALPHA))
    return -(z - l1 if z > 0.0 else z + l1) / (rate + bits_float(word_at(model, M_L2)))


@inner
def base_total(state, model, at, count):  # type: ignore[no-untyped-def]
    """Return the logarithm of the odds where all inputs are at their means; the block begins at `at`."""
    positives = get_number(state, at + O_POSITIVES)
    negatives = get_number(state, at + O_EXAMPLES) - positives
    return math.log((positives + 1.0) / (negatives + 1.0)) + weight_at(state, model, at + O_WEIGHTS, count, count - 1)


@inner
def logistic(total):  # type: ignore[no-untyped-def]
    """Return the probability that belongs to the logarithm of some odds."""
    return 1.0 / (1.0 + math.exp(-min(max(total, -MARGIN_MAX), MARGIN_MAX)))


@inner
def model_span(ctx, number):  # type: ignore[no-untyped-def]
    """Return the span of the words of an online score."""
    return span_in(ctx, ONLINE_MODELS)[0] + number * M_WORDS * 8, np.int64(M_WORDS)


@inner
def predict_online(ctx, loaded, lane, number):  # type: ignore[no-untyped-def]
    """Return what an online score shows (tag, bits) from loaded inputs: NULL as long as it is in the shadow.

    Args:
        ctx: Span of the context.
        loaded: Spans of the loaded inputs' types and values, as from `lanes.lane_inputs`.
        lane: The lane of the session.
        number: Row of the score in `ProgramArrays.online`.
    """
    model = model_span(ctx, number)
    state = span_in(ctx, ONLINE_STATE)
    block = word_at(model, M_STATE)
    first = word_at(model, M_FIRST)
    count = word_at(model, M_END) - first + 1
    weights = span_in(ctx, WEIGHTS)
    inputs = span_in(ctx, WEIGHT_INPUTS)
    total = base_total(state, model, block, count)
    for i in range(count - 1):
        place = word_at(inputs, first + i) * WIDTH + lane
        absent = bits_float(word_at(weights, 2 * (first + i) + 1))
        number = squashed(as_number(word_at(loaded[0], place), word_at(loaded[1], place)), absent)
        total += weight_at(state, model, block + O_WEIGHTS, count, i) * entered(state, block, count, i, number)
    if not math.isfinite(total):
        return np.int64(NULL), np.int64(0)
    tag = DOUBLE if get_number(state, block + O_SHOWN) != 0.0 else NULL
    return np.int64(tag), float_bits(logistic(total))


@inner
def learn_label(ctx, cells, name_id, now_ms):  # type: ignore[no-untyped-def]
    """Learn examples of 1 if an event of this name, which is about to be folded, is a label.

    Args:
        ctx: Span of the context.
        cells: Span of the row, as it stands before the event.
        name_id: Id of the event's name.
        now_ms: Received time of the entry.
    """
    models = span_in(ctx, ONLINE_MODELS)
    for m in range(models[1] // M_WORDS):
        for i in range(M_LABEL_COUNT):
            if word_at(models, m * M_WORDS + M_LABELS + i) == name_id:
                _learn(ctx, cells, np.int64(m), 1.0, now_ms)
                break


@inner
def learn_closed(ctx, cells, now_ms):  # type: ignore[no-untyped-def]
    """Learn examples of 0 from a session that has closed and was no example yet. Arguments as in `learn_label`."""
    for m in range(span_in(ctx, ONLINE_MODELS)[1] // M_WORDS):
        _learn(ctx, cells, np.int64(m), 0.0, now_ms)


@inner
def _learn(ctx, cells, m, label, now_ms):  # type: ignore[no-untyped-def]
    """Learn from a session, once: predict, judge, then change the weights."""
    model = model_span(ctx, m)
    learned = word_at(model, M_AT) + CELL_LEARNED
    if word_at(cells, learned) != 0:
        return
    put_word(cells, learned, 1)
    if word_at(cells, EVENTS) == 0:
        # A session that begins with the label event has nothing to learn from.
        return
    state = span_in(ctx, ONLINE_STATE)
    block = word_at(model, M_STATE)
    at = block + O_WEIGHTS
    count = word_at(model, M_END) - word_at(model, M_FIRST) + 1
    time_ms = session_time(cells, now_ms)
    total = base_total(state, model, block, count)
    for i in range(count - 1):
        number = _input(ctx, cells, model, i, time_ms)
        total += weight_at(state, model, at, count, i) * entered(state, block, count, i, number)
    if not math.isfinite(total):
        # Learned from, it would make all weights NaN for good.
        add_count(ctx, EXAMPLES_SKIPPED, 1)
        return
    probability = logistic(total)
    examples = get_number(state, block + O_EXAMPLES) + 1.0
    for i in range(count - 1):
        number = _input(ctx, cells, model, i, time_ms)
        _learn_coordinate(state, model, at, count, i, (probability - label) * entered(state, block, count, i, number))
        mean = get_number(state, at + 2 * count + i)
        after = mean + (number - mean) / examples
        put_number(state, at + 2 * count + i, after)
        spread = get_number(state, at + 3 * count + i) + (number - mean) * (number - after)
        put_number(state, at + 3 * count + i, spread)
    _learn_coordinate(state, model, at, count, count - 1, probability - label)
    _judge(ctx, cells, model, probability, label, time_ms)
    _keep_version(state, model, count)


@inner
def _learn_coordinate(state, model, at, count, i, gradient):  # type: ignore[no-untyped-def]
    """Change the weight of coordinate `i` by its part of an example's gradient."""
    n = get_number(state, at + count + i)
    sigma = (math.sqrt(n + gradient * gradient) - math.sqrt(n)) / bits_float(word_at(model, M_ALPHA))
    weight = weight_at(state, model, at, count, i)
    put_number(state, at + i, get_number(state, at + i) + (gradient - sigma * weight))
    put_number(state, at + count + i, n + gradient * gradient)


@inner
def _input(ctx, cells, model, i, time_ms):  # type: ignore[no-untyped-def]
    """Return input `i` of an online score, bent, read from the row."""
    at = word_at(model, M_FIRST) + i
    number = word_at(span_in(ctx, LOADS), word_at(span_in(ctx, WEIGHT_INPUTS), at))
    tag, bits = load_input(ctx, cells, number, time_ms)
    return squashed(as_number(tag, bits), bits_float(word_at(span_in(ctx, WEIGHTS), 2 * at + 1)))


@inner
def _loss(probability, label):  # type: ignore[no-untyped-def]
    """Return the logarithmic loss of a prediction, nats."""
    probability = min(max(probability, PROBABILITY_MIN), 1.0 - PROBABILITY_MIN)
    return -math.log(probability) if label == 1.0 else -math.log(1.0 - probability)


@inner
def _judge(ctx, cells, model, probability, label, time_ms):  # type: ignore[no-untyped-def]
    """Compare a prediction and the baseline's with what came, and decide whether the score is shown."""
    state = span_in(ctx, ONLINE_STATE)
    block = word_at(model, M_STATE)
    baseline = (get_number(state, block + O_RECENT_POSITIVES) + 1.0) / (get_number(state, block + O_RECENT) + 2.0)
    place = word_at(model, M_BASELINE)
    if place >= 0:
        tag, bits = load_input(ctx, cells, word_at(span_in(ctx, LOADS), place), time_ms)
        named = as_number(tag, bits)
        if 0.0 <= named <= 1.0:
            baseline = named
    examples = get_number(state, block + O_EXAMPLES) + 1.0
    put_number(state, block + O_EXAMPLES, examples)
    put_number(state, block + O_POSITIVES, get_number(state, block + O_POSITIVES) + label)
    fade = bits_float(word_at(model, M_FADE))
    for word in range(O_RECENT, O_WEIGHTS):
        faded = get_number(state, block + word) * fade
        put_number(state, block + word, faded if faded >= COUNT_MIN else 0.0)
    _add(state, block + O_RECENT, 1.0)
    _add(state, block + O_RECENT_POSITIVES, label)
    _add(state, block + O_LOSS, _loss(probability, label))
    _add(state, block + O_BASELINE_LOSS, _loss(baseline, label))
    _add(state, block + O_BINS + min(np.int64(probability * BINS), BINS - 1) + (BINS if label == 1.0 else 0), 1.0)
    gain = get_number(state, block + O_BASELINE_LOSS) - get_number(state, block + O_LOSS)
    gain /= get_number(state, block + O_RECENT)
    if word_at(model, M_SHADOW) == 0:
        put_number(state, block + O_SHOWN, 1.0)
    elif examples >= np.float64(word_at(model, M_EXAMPLES)) and gain >= bits_float(word_at(model, M_MARGIN)):
        put_number(state, block + O_SHOWN, 1.0)
    elif gain < 0.0:
        # Between the two it stays as it is, so that it does not come and go with each example.
        put_number(state, block + O_SHOWN, 0.0)


@inner
def _add(state, at, number):  # type: ignore[no-untyped-def]
    """Add to a double of the state."""
    put_number(state, at, get_number(state, at) + number)


@inner
def _keep_version(state, model, count):  # type: ignore[no-untyped-def]
    """Keep a copy of what was learned, every VERSION_EXAMPLES examples; the oldest of VERSIONS gives way."""
    block = word_at(model, M_STATE)
    if np.int64(get_number(state, block + O_EXAMPLES)) % VERSION_EXAMPLES != 0:
        return
    version = np.int64(get_number(state, block + O_VERSION)) + 1
    put_number(state, block + O_VERSION, np.float64(version))
    kept = version_place(block, count, (version - 1) % VERSIONS)
    put_number(state, kept, np.float64(version))
    for i in range(learned_words(count)):
        put_word(state, kept + 1 + i, word_at(state, block + O_EXAMPLES + i))


@inner
def learned_words(count):  # type: ignore[no-untyped-def]
    """Return how many words of a block a version holds, with `count` coordinates."""
    return O_WEIGHTS - O_EXAMPLES + COORDINATE_WORDS * count


@inner
def version_place(block, count, slot):  # type: ignore[no-untyped-def]
    """Return where the version in a slot begins: its number, then what was learned."""
    return block + O_EXAMPLES + learned_words(count) + slot * (1 + learned_words(count))


@kernel
def roll_back_weights(context, number, version):  # type: ignore[no-untyped-def]
    """Make an online score what it was at an earlier version. Called by the writer, from Python.

    What was learned since is lost, and so is what was measured since: it was about other weights.

    Args:
        context: int64[CONTEXT_WORDS].
        number: Row of the score in `ProgramArrays.online`.
        version: Number of the version.

    Returns:
        False if it is not kept; nothing has changed then.
    """
    ctx = span_of(context)
    model = model_span(ctx, number)
    state = span_in(ctx, ONLINE_STATE)
    block = word_at(model, M_STATE)
    count = word_at(model, M_END) - word_at(model, M_FIRST) + 1
    kept = version_place(block, count, (version - 1) % VERSIONS)
    if version < 1 or get_number(state, kept) != np.float64(version):
        return False
    for i in range(learned_words(count)):
        put_word(state, block + O_EXAMPLES + i, word_at(state, kept + 1 + i))
    put_number(state, block + O_ROLLBACKS, get_number(state, block + O_ROLLBACKS) + 1.0)
    return True
