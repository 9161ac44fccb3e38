"""Patterns: the automaton that the kernel runs says what RE2 says, on random patterns and texts."""

from __future__ import annotations

import random
import time

import pytest

from rte_server.engine.reasons import EngineError
from rte_server.models.cel import compile_event_expression, compile_filter
from rte_server.models.patterns import STATES_MAX, compile_pattern
from rte_server.models.problems import ExpressionError
from tests.models.patterns_oracle import finds_match, official_match

ATOMS = [
    *("a", "b", "ab", "é", "日", ".", r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", "[a-c]", "[^a]", "[é-ü]", r"[^é\d]"),
    *(r"\.", "x", "-", "k", "[ks]", "😀", r"[\w-]", r"[^\s/]", "/"),
]
REPEATS = ["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?"]
CHARACTERS = [*"abcéü日😀 \n1x-KkSs/._A", "\u212a", "\u017f"]


def random_pattern(chance: random.Random, depth: int) -> str:
    """Return a pattern of what is supported."""
    choice = chance.random()
    if depth == 0 or choice < 0.3:
        return chance.choice(ATOMS)
    inner = random_pattern(chance, depth - 1)
    if choice < 0.55:
        return inner + random_pattern(chance, depth - 1)
    if choice < 0.65:
        return f"({inner}|{random_pattern(chance, depth - 1)})"
    if choice < 0.8:
        return f"({inner}){chance.choice(REPEATS)}"
    if choice < 0.87:
        return "^" + inner
    return inner + "$" if choice < 0.94 else f"(?{chance.choice(['i', 's', 'is', ''])}:{inner})"


def compare(seed: int, count: int) -> int:
    """Compare random patterns with RE2 on random texts; return the number of comparisons."""
    chance = random.Random(seed)
    compared = 0
    for _ in range(count):
        pattern = chance.choice(["", "", "", "(?i)"]) + random_pattern(chance, 4)
        try:
            automaton = compile_pattern(pattern)
        except ExpressionError:
            continue
        for _ in range(12):
            text = "".join(chance.choices(CHARACTERS, k=chance.randrange(8)))
            expected = official_match(pattern, text)
            if expected is not None:
                assert finds_match(automaton, text) == expected, (pattern, text)
                compared += 1
    return compared


@pytest.mark.parametrize("pattern", ["$^", r"$\A", "^$|a$^", "(?:^$)"])
def test_start_and_end_together_are_the_empty_text_only(pattern: str) -> None:
    """A state in the middle of a text is not the first one, though it may stand for the same places of the pattern."""
    automaton = compile_pattern(pattern)
    for text in ("", "a", "b", "ab"):
        assert finds_match(automaton, text) == official_match(pattern, text), (pattern, text)


def test_random_patterns_equal_re2() -> None:
    """On random patterns and texts, also beyond ASCII, the automaton and RE2 agree."""
    assert compare(1, 500) > 4000


@pytest.mark.long
def test_many_random_patterns_equal_re2() -> None:
    """The same, often."""
    assert compare(2, 20_000) > 200_000


@pytest.mark.parametrize(
    ("pattern", "message", "remedy"),
    [
        ("(", "the pattern is not supported", "simpler"),
        (r"\bfoo", "only `^` and `$`", "characters around"),
        ("a(?=b)", "looks around or back", "simpler"),
        (r"(a)\1", "looks around or back", "simpler"),
        ("(?m)^a", "only `i` and `s`", "leave the others out"),
        ("(?i)é", "letters of ASCII", "both cases"),
        ("[[:alpha:]]", "has `[:`", "`[a-z]`"),
        ("a{,3}", "has `{,`", "`{0,n}`"),
        ("(a|b)*c.{12}d", "too large for an automaton", "repeat less"),
        ("((a{100}){100}){100}", "too large", "repeat less"),
        (r"\u0041", "is not one of RE2", "Syntax"),
        ("a++", "looks around or back", "simpler"),
        (r"a{2}\Z", "only `^` and `$`", "characters around"),
    ],
)
def test_what_is_not_supported_is_refused(pattern: str, message: str, remedy: str) -> None:
    """A pattern that would be large, or that both engines would not understand alike, is refused with the construct."""
    began = time.perf_counter()
    with pytest.raises(ExpressionError) as caught:
        compile_event_expression(f"event.a.matches(r'{pattern}')")
    assert message in caught.value.message and remedy in caught.value.remedy
    assert time.perf_counter() - began < 60.0


def test_a_pattern_must_be_constant_and_a_filter_may_have_one() -> None:
    """A pattern that is no constant is refused; filters can use patterns, too."""
    with pytest.raises(ExpressionError, match="takes a constant pattern"):
        compile_event_expression("event.a.matches(event.b)")
    assert compile_filter("session.channel.matches('^web|app$')", [])
    with pytest.raises(EngineError, match="is not one of RE2"):
        compile_filter("session.channel.matches(r'\\u0041')", [])


def test_the_patterns_of_a_filter_together_have_a_limit_of_work() -> None:
    """A reader cannot hold up the server: neither one costly pattern nor many that are just below the limit pass."""
    with pytest.raises(EngineError, match="too long to prepare"):
        compile_filter("session.visitor_id.matches('[ab]{1,900}$')", [])
    one = "session.visitor_id.matches('[a%s]{1,70}$')"
    assert compile_filter(one % "b", [])
    with pytest.raises(EngineError, match="too long to prepare"):
        compile_filter(" || ".join(one % letter for letter in "bcdefghijklmnopqrstuvwxyz"), [])


def test_the_limit_of_states_is_near_what_is_used() -> None:
    """A long pattern at the start of a text is taken; one with more states than the limit is not."""
    assert compile_pattern(f"^x{{{STATES_MAX - 10}}}")
    with pytest.raises(ExpressionError, match="too large"):
        compile_pattern(f"^x{{{STATES_MAX // 2}}}y{{{STATES_MAX // 2}}}z")
