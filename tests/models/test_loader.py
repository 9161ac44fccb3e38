"""Model files: what they may say, and how everything that is wrong with them is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec
from rte_server.engine.values import STRING
from rte_server.models import ModelError, compile_model, compile_models, configuration_of, load_models
from rte_server.models.documents import DOCUMENT_BYTES_MAX, DOCUMENTS_KEPT_MAX, KEPT_BYTES_MAX, read_document
from rte_server.models.schema import ATTRIBUTES_MAX


def compiled(attributes: str, known: dict[str, ModelSpec] | None = None) -> dict[str, AttributeSpec]:
    """Compile a model with these lines of `attributes`; return its attributes by name."""
    model = compile_model(f"model: shop\nattributes:\n{attributes}", "shop.yaml", known or {})
    return {spec.name: spec for spec in model.attributes}


def refused(source: str, known: dict[str, ModelSpec] | None = None) -> list[tuple[int, str]]:
    """Return the lines and texts of the problems of a model."""
    with pytest.raises(ModelError) as caught:
        compile_model(source, "shop.yaml", known or {})
    assert all(problem.file == "shop.yaml" for problem in caught.value.problems)
    return [(problem.line, f"{problem.message}; {problem.remedy}") for problem in caught.value.problems]


def test_each_kind_is_read() -> None:
    """Every kind of this version is read with its members, and has the value type that is known of it."""
    found = compiled(
        """
  a: {count: view_item}
  b: {count: "*"}
  c: {sum: event.price * event.quantity, on: add_to_cart, where: event.currency == "EUR", unit: currency}
  d: {min: event.price, on: [view_item, add_to_cart]}
  e: {max: event.price}
  f: {mean: event.price}
  g: {first: event.utm_source, type: string}
  h: {last: event.item_id, on: view_item, description: Product seen latest.}
  i: {distinct: event.item_id, on: view_item, keep: 32}
  j: {recent: event.item_id, keep: 5, unique: false}
  k: {elapsed: "*"}
  l: {elapsed: view_item, to: [purchase, refund]}
"""
    )
    assert [spec.kind for spec in found.values()] == [
        *(Kind.COUNT, Kind.COUNT, Kind.SUM, Kind.MIN, Kind.MAX, Kind.MEAN, Kind.FIRST, Kind.LAST),
        *(Kind.DISTINCT, Kind.RECENT, Kind.ELAPSED, Kind.ELAPSED),
    ]
    types = "int int double double double double string any int list double double"
    assert [spec.value_type for spec in found.values()] == types.split()
    assert found["a"].events == ("view_item",) and found["b"].events == ()
    assert found["c"].unit == "currency" and found["c"].where and found["c"].events == ("add_to_cart",)
    assert found["d"].events == ("view_item", "add_to_cart")
    assert found["h"].description == "Product seen latest." and found["h"].model == "shop"
    assert found["i"].keep == 32 and found["j"].keep == 5 and not found["j"].unique
    assert found["k"].unit == "s" and found["l"].roles[0].events == ("purchase", "refund")


def test_a_stated_type_lets_only_its_values_count() -> None:
    """`type` turns values of other types into no value; a type that the expression has anyway costs nothing."""
    found = compiled(
        """
  a: {last: event.x, type: string}
  b: {last: event.x, type: int}
  c: {last: event.x > 1, type: bool}
  d: {first: int(event.x)}
  e: {sum: 1}
"""
    )
    assert found["a"].value[-1] == Instruction(Op.ONLY, STRING)
    assert found["b"].value[-1].op == Op.WHOLE and found["b"].value_type == "int"
    assert found["c"].value[-1].op == Op.GREATER and found["c"].value_type == "bool"
    assert found["d"].value_type == "int"
    assert found["e"].value[-1].op == Op.TO_DOUBLE


def test_words_of_yaml_1_1_are_words() -> None:
    """`on`, `yes` and `off` are names, not booleans."""
    assert compiled("  a: {sum: event.x, on: on}")["a"].events == ("on",)


def test_derived_attributes_and_scores_come_after_what_they_read() -> None:
    """Whatever the order in the file, attributes stand in the order in which they can be computed."""
    model = compile_model(
        """
model: shop
derived:
  likely: score > 0.5
  open: {cel: "adds > 0 && !bought", unit: "", description: An open basket.}
  bought: purchases > 0
  channel: session.channel
attributes:
  adds: {count: add_to_cart}
  purchases: {count: purchase}
scores:
  score: {linear: {intercept: -1, weights: {open: 2, adds: 0.5}, default: {open: 0.25}}, link: identity}
""",
        "shop.yaml",
        {},
    )
    names = [spec.name for spec in model.attributes]
    for earlier, later in (("bought", "open"), ("open", "score"), ("adds", "score"), ("score", "likely")):
        assert names.index(earlier) < names.index(later)
    score = model.attributes[names.index("score")]
    assert score.weights == (("open", 2.0, 0.25), ("adds", 0.5, 0.0))
    assert (score.intercept, score.link, score.kind, score.value_type) == (-1.0, "identity", Kind.LINEAR, "double")
    assert model.attributes[names.index("channel")].value_type == "string"


def test_all_problems_of_a_file_are_reported_at_once_with_lines_and_remedies() -> None:
    """One run finds everything, in the order of lines."""
    found = refused(
        """model: Shop
version: 0
vers: 3
uses: [bas]
attributes:
  Views: {count: view_item}
  size: {count: y}
  b: {cout: view_item}
  c: {count: view_item, sum: event.x}
  d: {sum: event.x, on: [a, a], keep: 3}
  e: {sum: event.x * 2}
  f: {recent: event.x, keep: 51}
  g: {last: event.x, type: strng}
  h: {count: view_item, where: event.x * 2.0}
  i: view_item
  j:
    last: |
      event.x == 1 ||
        foo
  k: {distinct: event.x, keep: 257}
derived:
  m: nope > 1
scores:
  n: {linear: {weights: {g: 1, b: x}}, link: log}
""",
        {"base": load_models(["base"])[0]},
    )
    expected = [
        (1, "`Shop` is not a name for a model"),
        (2, "`version` must be a whole number from 1"),
        (3, "a model has no member `vers`; did you mean `version`?"),
        (4, "there is no model `bas`; did you mean `base`?"),
        (6, "`Views` is not a name for an attribute"),
        (7, "`size` is a word of the expression language"),
        (8, "attribute `b` has no kind, and `cout` is none; did you mean `count`?"),
        (9, "attribute `c` has two kinds"),
        (10, "attribute `d` has no member `keep`"),
        (10, "names `a` twice"),
        (11, "`*` does not mix an int and a double (column 9 of the expression); write `2.0`"),
        (12, "`keep` must be a whole number from 1 to 50"),
        (13, "`type` cannot be `strng`; did you mean `string`?"),
        (14, "must be true or false"),
        (15, "attribute `i` must be a mapping"),
        (19, "there is no `foo` on an event (column 3 of the expression); write `event.foo`"),
        (20, "`keep` must be a whole number from 8 to 256"),
        (22, "there is no attribute `nope`"),
        (24, "weight of `b` must be a number"),
        (24, "`link` cannot be `log`"),
    ]
    for line, text in expected:
        assert any(line == at and text in message for at, message in found), (line, text, found)
    assert [line for line, _ in found] == sorted(line for line, _ in found)


@pytest.mark.parametrize(
    "line",
    [
        "attributes: {a: {timer: view}}",
    ],
)
def test_kinds_of_other_versions_are_refused_plainly(line: str) -> None:
    """Words that this version does not have are refused as such, not as misspelt."""
    assert any("this version has no" in message for _, message in refused(f"model: shop\n{line}\n"))


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("", 1, "empty"),
        ("- a", 1, "must be a mapping"),
        ("model: shop", 1, "no attributes"),
        ("model: shop\nattributes:\n  a: {count: x}\n  a: {count: y}", 4, "`a` stands twice; the first is in line 3"),
        ("model: shop\nattributes:\n  a: {count: *}", 3, "not valid YAML"),
        ("model: shop\nattributes:\n  a: &x {count: x}\n  b: *x", 3, "anchors and aliases"),
        ("model: shop\nattributes:\n  a: {count: x, where: !has(event.x)}", 3, "quotes"),
        ("model: shop\nattributes:\n  a: {count: x, where: a ? b : c}", 3, "quotes"),
        ("model: shop\nattributes:\n  a: {count: x\n", 4, "not valid YAML"),
        ("model: shop\nattributes: {a: {count: x}}\nderived: {b: c > 1, c: b > 1}", 3, "need one another"),
        ("model: shop\nattributes: {a: {count: x}}\nderived: {b: b > 1}", 3, "need one another"),
        ("model: shop\nattributes: {a: {count: x}}\nderived: {a: 'a > 1'}", 3, "`a` stands twice"),
        ("model: shop\nderived: {b: session}", 2, "no attribute `session`"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested more than 16"),
        ("[" * 8000, 1, "nested more than 16"),
        ("model:\n" + "".join(f"{' ' * depth}a:\n" for depth in range(1, 600)), 17, "nested more than 16"),
        ("#" * (DOCUMENT_BYTES_MAX + 1), 0, "more than 262144"),
        (f"model: shop\nversion: {'9' * 5000}\nattributes: {{a: {{count: x}}}}", 2, "`version` must be"),
        ("model: [shop]\nattributes: {a: {count: x}}", 1, "the model's name is no word"),
        (
            "model: shop\nattributes:\n" + "".join(f"  a{n}: {{set: event.x, keep: 256}}\n" for n in range(17)),
            1,
            "bytes per session, more than 65536; make it smaller: `a0` alone takes 4096",
        ),
    ],
)
def test_damaged_files_are_refused(source: str, line: int, message: str) -> None:
    """A file that is no model is refused with the line and the reason."""
    found = refused(source)
    assert any(at == line and message in text for at, text in found), found


def test_too_many_attributes_are_refused() -> None:
    """A model has a named limit of attributes."""
    lines = "".join(f"  a{number}: {{count: x}}\n" for number in range(ATTRIBUTES_MAX + 1))
    assert any(f"more than {ATTRIBUTES_MAX}" in text for _, text in refused(f"model: shop\nattributes:\n{lines}"))


def test_models_together_have_a_limit_of_memory() -> None:
    """What each of them may take, all of them together may not exceed."""
    sets = "".join(f"  {{name}}{number}: {{{{set: event.x, keep: 256}}}}\n" for number in range(9))
    models = {name: f"model: {name}\nattributes:\n{sets.format(name=name)}" for name in ("a", "b")}
    assert len(compile_models({"a": models["a"]})) == 1
    with pytest.raises(ModelError, match="all models together take 73728 bytes per session, more than 65536"):
        compile_models(models)


@pytest.mark.parametrize(
    "other",
    [
        "q == 'it\\'s b'",
        "q == '''x'y b'''",
        "q == r'it\\s b'",
        "q == 'a' // unlike b",
        'q == "b" && q != "\\" b"',
    ],
)
def test_names_in_strings_and_comments_are_no_names(other: str) -> None:
    """An attribute that only mentions another one does not need it; both may be written in any order."""
    source = f"model: shop\nattributes: {{q: {{last: event.q, type: string}}}}\nderived:\n  a: |\n    {other}\n  b: 'a ? 1 : 2'\n"
    names = [spec.name for spec in compile_model(source, "shop.yaml", {}).attributes]
    assert names.index("a") < names.index("b")


def test_functions_are_no_names_and_what_they_are_called_on_is() -> None:
    """A model in use may have an attribute called as a function is; the receiver of a call is read before the call."""
    other = compile_model("model: other\nattributes: {matches: {count: x}}", "other.yaml", {})
    source = "model: shop\nattributes: {q: {last: event.q, type: string}}\nderived:\n  a: long.matches('x')\n  long: \"q + 'x'\"\n"
    names = [spec.name for spec in compile_model(source, "shop.yaml", {"other": other}).attributes]
    assert names.index("long") < names.index("a")


def test_names_are_unique_over_all_models_and_uses_are_stated() -> None:
    """An attribute of another model can be neither repeated nor read without naming that model in `uses`."""
    base = {model.name: model for model in load_models(["base"])}
    found = refused(
        "model: shop\nattributes: {page_views: {count: x}}\nderived: {a: conversions > 0}\n",
        base,
    )
    assert any("the model `visit_basics` has an attribute `page_views` already" in text for _, text in found)
    assert any("add `conversion` to `uses`" in text for _, text in found)
    fine = compile_model("model: shop\nuses: [base]\nderived: {a: conversions > 0}\n", "shop.yaml", base)
    assert fine.uses == ("base",)


def test_models_are_loaded_each_after_those_that_it_uses(tmp_path: Path) -> None:
    """Files and packs are loaded in the order of use; packs that are used are added."""
    path = tmp_path / "mine.yaml"
    path.write_text("model: mine\nuses: [retail]\nderived: {rich: revenue > 100}\n")
    names = [model.name for model in load_models([path])]
    assert names[-1] == "mine" and names.index("base") < names.index("retail")
    models = load_models([path, "base"])
    stored = configuration_of(models)
    again = compile_models(stored["models"], stored["files"])
    assert [model.name for model in again] == [model.name for model in models]
    assert [model.attributes for model in again] == [model.attributes for model in models]


def test_wrong_sets_of_models_are_refused(tmp_path: Path) -> None:
    """Unknown packs, files that are not there, models given twice and rings of `uses` are refused."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("model: one\nuses: [two]\nattributes: {a: {count: x}}\n")
    two.write_text("model: two\nuses: [one]\nattributes: {b: {count: x}}\n")
    same = tmp_path / "same.yaml"
    same.write_text(one.read_text())
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("model: größe".encode("latin-1"))
    for paths, message in (
        (["reatil"], "did you mean `retail`?"),
        ([tmp_path / "none.yaml"], "cannot be read"),
        ([latin], "not UTF-8"),
        ([one, two], "in a ring"),
        ([one, same], "given twice"),
    ):
        with pytest.raises(ModelError, match=message.replace("?", r"\?")):
            load_models(paths)


def test_a_ring_of_models_is_found_where_one_uses_the_next(tmp_path: Path) -> None:
    """The line is that of the entry in `uses`, and the ring is shown in the direction in which models use one another."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("model: one\nattributes: {a: {count: x}}\nuses:\n  - base\n  - two\n")
    two.write_text("model: two\nattributes: {b: {count: x}}\nuses: [one]\n")
    with pytest.raises(ModelError) as caught:
        load_models([one, two])
    (problem,) = caught.value.problems
    places = {"one.yaml": (5, "one -> two -> one"), "two.yaml": (3, "two -> one -> two")}
    assert (problem.line, problem.message.rpartition(": ")[2]) == places[Path(problem.file).name]


def test_what_a_journal_has_is_read_without_the_bounds_that_are_younger() -> None:
    """Else a server could not read its journal any more."""
    text = 'model: old\nattributes: {n: {count: "a\\tb"}}\nscores: {s: {plugin: slow, inputs: [n], time_limit: 5m}}\n'
    with pytest.raises(ModelError) as caught:
        compile_model(text, "old.yaml", {})
    assert [problem.line for problem in caught.value.problems] == [2, 3]
    (model,) = compile_models({"old": text})
    assert model.attributes[0].events == ("a\tb",) and model.attributes[1].score is not None
    assert model.attributes[1].score.time_limit_ms == 300_000


def test_an_error_shows_file_line_message_and_remedy() -> None:
    """The text of an error is one line per problem, in the form editors understand."""
    with pytest.raises(ModelError) as caught:
        compile_model("model: shop\nattributes:\n  a: {cout: x}\n", "shop.yaml", {})
    error = caught.value
    assert str(error) == "shop.yaml:3: attribute `a` has no kind, and `cout` is none; did you mean `count`?"
    assert (error.file, error.line, error.remedy) == ("shop.yaml", 3, "did you mean `count`?")
    assert error.message == "attribute `a` has no kind, and `cout` is none"


def test_a_text_is_parsed_once_and_its_problems_name_the_file_that_was_asked_for() -> None:
    """A start reads each model many times, under the name of its file and under that of the model."""
    sound = "model: shop\nattributes:\n  a: {count: parsed_once}\n"
    assert read_document(sound, "shop.yaml") is read_document(sound, "models/shop.yaml")
    for file in ("shop.yaml", "models/shop.yaml"):
        with pytest.raises(ModelError) as caught:
            read_document("a: [", file)
        assert [problem.file for problem in caught.value.problems] == [file]


@pytest.mark.parametrize("size", [1_000, DOCUMENT_BYTES_MAX], ids=["many", "large"])
def test_texts_that_nobody_asks_for_any_more_are_forgotten(size: int) -> None:
    """However many texts are tried, those that are kept have a bounded number and a bounded size; they are the last ones."""
    kept_max = min(DOCUMENTS_KEPT_MAX, KEPT_BYTES_MAX // size)
    texts = [f"model: m{number}  # ".ljust(size, "x") for number in range(kept_max + 10)]
    documents = [read_document(text, "") for text in texts]
    for number in range(len(texts) - kept_max, len(texts)):
        assert read_document(texts[number], "") is documents[number]
    assert read_document(texts[0], "") is not documents[0]
