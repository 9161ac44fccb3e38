"""What is outside the language is refused with a sentence that says what to write instead."""

from __future__ import annotations

import time

import pytest

from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.reasons import EngineError, Reason
from rte_server.models.cel import (
    EXPRESSION_BYTES_MAX,
    compile_event_expression,
    compile_filter,
    compile_row_expression,
)
from rte_server.models.problems import ExpressionError
from rte_server.models.types import row_inputs

ATTRIBUTES = [
    AttributeSpec("views", "shop", Kind.COUNT, "int"),
    AttributeSpec("basket_value", "shop", Kind.SUM, "double"),
    AttributeSpec("last_search", "shop", Kind.LAST, "string"),
    AttributeSpec("has_basket", "shop", Kind.DERIVED, "bool"),
    AttributeSpec("seen", "shop", Kind.RECENT, "list"),
]
INPUTS = row_inputs(ATTRIBUTES)


@pytest.mark.parametrize(
    "text",
    [
        "basket_value > 50",
        "basket_value * 2.0 > 50",
        "views * 2 > 3 && basket_value >= views",
        "has_basket ? basket_value : null",
        "last_search in ['a', 'b'] || last_search == null",
        "session.event_count > 3 && session.customer_id != null",
        "session.start_time > 1700000000000 && session.duration_s > 60",
        "last_search in seen && !('sale' in seen)",
        "last_search.startsWith('a') && size(last_search) > 3 && last_search < 'm'",
        ".views > 1",
    ],
)
def test_what_people_write_first_works(text: str) -> None:
    """Natural expressions compile: an int literal beside a double attribute, null, lists, fields of the session."""
    assert compile_row_expression(text, INPUTS).code


@pytest.mark.parametrize(
    ("text", "column", "message", "remedy"),
    [
        ("basket_value * 2", 14, "`*` does not mix an int and a double", "write `2.0`"),
        ("views * 0.5", 7, "`*` does not mix an int and a double", "write `double(views)`"),
        ("basket_value % 2.0", 14, "`%` is for ints only", "int(...)"),
        ("last_search + 1", 13, "only be joined with a string", "two attributes"),
        ("last_search in lists.names", 16, "no list `names`", "write `lists:`"),
        ("last_search == lists.names", 16, "stands only after `in`", "in lists.names"),
        ("url.host(last_search) == 'a'", 10, "for properties of events", "make it an attribute"),
        ("math.greatest(views) > 1", 14, "two or more numbers", "math.greatest(a, b)"),
        ("math.greatest(views, last_search) > 1", 22, "must be an int or a double", "texts are not converted"),
        ("math.abs(views) > 1", 9, "`math.abs` is not part", "write `x < 0.0 ? -x : x`"),
        ("math.floor(basket_value) > 1", 11, "`math.floor` is not part", "int(x)"),
        ("max(views, 1) > 1", 4, "`max` is not part", "math.greatest(a, b)"),
        ("last_search.lowerAscii(1) == 'a'", 23, "not used this way", "x.lowerAscii()"),
        ("last_search.split(',') == []", 18, "`split` is not part", "startsWith"),
        ("has_basket ? 1 : 2.0", 12, "the choices are an int and a double", "2.0"),
        ("last_search == 5", 13, "never equal", "one type"),
        ("last_search in [1]", 17, "never equal", "one type"),
        ("last_search > 5", 13, "cannot compare a string with an int", "one type"),
        ("last_search.matches(last_search)", 20, "takes a constant pattern", "x.matches('^/checkout')"),
        ("last_search.matches('a(?=b)')", 21, "looks around or back", "simpler"),
        ("[1, 2].exists(x, x > 1)", 14, "`exists`", "written out"),
        ("seen == null", 1, "`seen` is a list", "write `'a' in seen`"),
        ("'a' in last_search", 8, "is a string, and `in` looks into lists", "last_search.contains('x')"),
        ("[1] == [1]", 1, "only after `in`", "in ['a', 'b']"),
        ("{'a': 1} == {}", 1, "maps", "single values"),
        ("timestamp('2024-01-01T00:00:00Z') > views", 10, "`timestamp`", "milliseconds"),
        ("duration('1s') > views", 9, "`duration`", "seconds"),
        ("string(views) == '1'", 7, "`string`", "the value itself"),
        ("dyn(views) > 1", 4, "`dyn`", "leave `dyn` out"),
        ("1u < 2u", 1, "unsigned", "write `1`"),
        ("b'a' == b'b'", 1, "bytes", "string"),
        ("session.event_cout > 3", 1, "no attribute `session.event_cout`", "`session.event_count`"),
        ("basket_valu > 1", 1, "no attribute `basket_valu`", "`basket_value`"),
        ("event.price > 1", 1, "cannot read events", "attribute first"),
        ("views > 1 || has(session.channel)", 14, "`has` is for properties", "!= null"),
        ("views and has_basket", 7, "syntax error", "write `&&`"),
        ("views = 3", 7, "syntax error", "write `==`"),
        ("views AND has_basket", 7, "syntax error", "write `&&`"),
        ("not has_basket", 5, "syntax error", "write `!x`"),
        ("((views > 1)", 13, "missing ')'", "write `)`"),
        ("views > 1)", 10, "syntax error", "leave it out"),
        ("views > 1; views < 3", 10, "syntax error", "join conditions with `&&`"),
        ("views =! 3", 7, "syntax error", "write `!=`"),
        ("views <> 3", 8, "syntax error", "write `!=`"),
        ("views =< 3", 7, "syntax error", "write `<=`"),
        ("views & has_basket", 7, "syntax error", "write `&&`"),
        ("views ** 2 > 3", 8, "syntax error", "x * x"),
        ("views > 1 has_basket", 11, "syntax error", "an operator before `has_basket`"),
        ("last_search == \u201ca\u201d", 16, "syntax error", "put texts between"),
        ('last_search == "a', 16, "syntax error", "quote"),
        ("views is null", 7, "syntax error", "x == null"),
        ("$views > 1", 1, "syntax error", "write one CEL expression"),
        ("has(views)", 5, "has() argument", "write `has(event.price)` for a property, `x != null`"),
        ("-last_search", 2, "must be an int or a double", "texts are not converted"),
        ('int("3") > 1', 5, "must be a bool or an int or a double", "texts are not converted"),
        ("double(last_search) > 1", 8, "must be an int or a double", "texts are not converted"),
        ("size(views) > 1", 6, "must be a string", "that is a text"),
        ("null + 1 > 3", 1, "must be an int or a double, but it is null", "write a number"),
        ("views > 1,000", 10, "syntax error", "thousands"),
        ("last_search == 'a", 16, "syntax error", "quote"),
        ("views >", 8, "syntax error", "not complete"),
        ("views + has_basket", 9, "must be an int or a double, but it is a bool", "(x ? 1 : 0)"),
        ("!views", 2, "must be a bool", "x > 0"),
        ("last_search.startsWith(last_search)", 24, "constant text", "x.startsWith('text')"),
        ("'a' < 'b'", 5, "constants", "attribute"),
        ("views == 99999999999999999999", 10, "int literal", "write a double, such as `1e20`"),
        ("", 1, "empty", "CEL"),
        (" + ".join(["views"] * 40), 1, "nested more than 32 deep", "split"),
        ("views == 1 || " * 200 + "false", 1, f"more than {EXPRESSION_BYTES_MAX}", "split"),
    ],
)
def test_refusals_name_the_construct_the_place_and_the_remedy(
    text: str, column: int, message: str, remedy: str
) -> None:
    """Each refusal says what is wrong, where, and what to write instead."""
    with pytest.raises(ExpressionError) as caught:
        compile_row_expression(text, INPUTS)
    assert message in caught.value.message
    assert caught.value.remedy
    assert remedy in caught.value.remedy
    assert (caught.value.line, caught.value.column) == (1, column)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("price > 1", "no `price` on an event", "write `event.price`"),
        ("event", "`event` is not a value", "name of a property"),
        ("event.a.b == 1", "reaches into a property", "property of its own"),
        ("event.price * 2", "does not mix", "write `2.0`"),
        ("event[0] == 1", "cannot be indexed", "event['name of a property']"),
        ("'x' + 1", "only be joined with a string", "two attributes"),
        ("url.host('http://a.b') == 'a'", "takes a property of the event", "url.host(event.page_location)"),
        ("url.host(url.path(event.a)) == 'a'", "takes a property of the event", "url.host(event.page_location)"),
        ("url.query(event.a) == 'a'", "takes 2 arguments", "url.query(event.page_location, 'utm_source')"),
        ("url.query(event.a, event.b) == 'a'", "as a constant text", "'utm_source'"),
        ("url.hots(event.a) == 'a'", "`url.hots` is not part", "`url.host`"),
    ],
)
def test_refusals_of_expressions_on_events(text: str, message: str, remedy: str) -> None:
    """On events, too, each refusal says what to write instead."""
    with pytest.raises(ExpressionError) as caught:
        compile_event_expression(text)
    assert message in caught.value.message and remedy in caught.value.remedy


def test_the_line_of_a_refusal_is_that_in_the_text() -> None:
    """In an expression over several lines the place is a line and a column."""
    with pytest.raises(ExpressionError) as caught:
        compile_row_expression("views > 1 &&\n  product > 2", INPUTS)
    assert (caught.value.line, caught.value.column) == (2, 3)


def test_a_filter_is_refused_with_reason_field_and_value() -> None:
    """A filter that is wrong or no condition is an INVALID_EXPRESSION of the field `filter`."""
    for text in ("views >", "views", "nothing > 1", "x" * (EXPRESSION_BYTES_MAX + 1), "a\0b"):
        with pytest.raises(EngineError) as caught:
            compile_filter(text, ATTRIBUTES)
        assert caught.value.reason == Reason.INVALID_EXPRESSION
        assert caught.value.field == "filter" and caught.value.value.rstrip(".") in text + "..."
        assert "column" in caught.value.message


@pytest.mark.parametrize("text", ["last_search.lowerAscii() == 'a'", "'x' + last_search == 'xa'"])
def test_a_filter_makes_no_texts(text: str) -> None:
    """A filter runs beside the writer, so it cannot make texts; a derived attribute can, and the filter can read it."""
    assert compile_row_expression(text, INPUTS).code
    with pytest.raises(EngineError, match=r"a filter cannot use .* make it a derived attribute"):
        compile_filter(text, ATTRIBUTES)


def test_a_new_filter_compiles_in_less_than_two_milliseconds() -> None:
    """Compiling a filter is cheap enough to be done for each new one, also where a program has many attributes."""
    many = [AttributeSpec(f"attribute_{number}", "shop", Kind.COUNT, "int") for number in range(120)]
    compile_filter("attribute_1 > 0", many)
    took_s = []
    for number in range(20):
        start = time.thread_time()
        compile_filter(f"attribute_{number} > {number} && session.customer_id == 'c{number}'", many)
        took_s.append(time.thread_time() - start)
    assert sorted(took_s)[len(took_s) // 2] < 0.002
