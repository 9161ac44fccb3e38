"""Look-up lists: how their files are read, what an expression finds in them, and that they are part of the journal."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.native import text_id
from rte_server.engine.table import Capacity
from rte_server.engine.values import STRING
from rte_server.models import ModelError, compile_model, compile_models, configuration_of, load_models
from rte_server.models.lists import FILES_BYTES_MAX, LIST_FILE_BYTES_MAX, LIST_VALUES_MAX, VALUE_BYTES_MAX, parse_list
from rte_server.models.trials import read_trials, run_file, run_trial
from tests.engine.expression_pool import Machine
from tests.service.live_engine import batch

SECRET = np.arange(7, 11, dtype=np.uint64)
START_MS = 1_790_000_000_000
MODEL = """
model: fraud
lists:
  stolen_cards: {file: stolen_cards.csv, column: card, description: Cards that were reported.}
  watched: {file: lists/watched.txt}
attributes:
  stolen_uses: {count: pay, where: event.card in lists.stolen_cards}
  evidence: {recent: event.card, on: pay, where: event.card in lists.stolen_cards, keep: 5}
  last_card: {last: event.card, on: pay, type: string}
derived:
  is_watched: last_card in lists.watched || session.customer_id in lists.watched
tests: fraud_tests.yaml
"""
CSV = 'card,reported\n"4000 1",2026-01-01\n# not yet\n4000-2 , 2026-02-01\n\n4000-2,again\n'
FILES = {"stolen_cards.csv": CSV, "lists/watched.txt": "\ufeff# people\r\n4000-9\r\n  customer 7 \r\n"}
TESTS = """
tests:
  - name: A match leaves its evidence
    given:
      - {event: pay, properties: {card: 4000 1}}
      - {event: pay, at: 1s, properties: {card: 4000-2}}
      - {event: pay, at: 2s, properties: {card: 4000-3}, customer: customer 7}
      - {event: pay, at: 3s, properties: {card: 4000}}
    then: {stolen_uses: 2, evidence: [4000-2, 4000 1], is_watched: true}
  - name: What is in one list is in no other
    given: [{event: pay, properties: {card: "4000-9"}}]
    then: {stolen_uses: 0, evidence: null, is_watched: true}
"""


def written(folder: Path, files: dict[str, str]) -> Path:
    """Write the model with its files; return its path."""
    for name, text in {"fraud.yaml": MODEL, "fraud_tests.yaml": TESTS, **files}.items():
        folder.joinpath(name).parent.mkdir(exist_ok=True)
        folder.joinpath(name).write_text(text)
    return folder / "fraud.yaml"


def refused(model: str, files: dict[str, str]) -> str:
    """Return the problems of a model."""
    with pytest.raises(ModelError) as caught:
        compile_model(model, "fraud.yaml", {}, files)
    return str(caught.value)


def test_a_list_is_read_from_beside_the_model_and_its_tests_see_it(tmp_path: Path) -> None:
    """Values come from a column of a CSV file or from the lines of a text; the model's tests run with them."""
    path = written(tmp_path, FILES)
    (model,) = load_models([path])
    assert [(each.name, each.values) for each in model.lists] == [
        ("stolen_cards", ("4000 1", "4000-2")),
        ("watched", ("4000-9", "customer 7")),
    ]
    assert run_file(path) == (2, [])


def test_the_trial_fails_with_another_list() -> None:
    """The trials would notice a list that does not hold what it should."""
    model = compile_model(MODEL, "fraud.yaml", {}, FILES | {"stolen_cards.csv": "card\nx\n"})
    failures = run_trial([model], read_trials(TESTS, "t.yaml")[0])
    assert {failure.attribute for failure in failures} == {"stolen_uses", "evidence"}


def test_membership_equals_a_set_and_lists_never_mix() -> None:
    """On lists of every size, two at a time, a value is found exactly if it is in that list."""
    chance = random.Random(5)
    for size in (0, 1, 2, 7, 8, 100, 5000):
        first = {f"v{chance.randrange(10**6)}" for _ in range(size)}
        second = {f"v{chance.randrange(10**6)}" for _ in range(size)} - first
        load = Instruction(Op.LOAD, name="x")
        machines = {
            name: Machine((load, Instruction(Op.IN_LIST, text=name.encode())), SECRET, {"a": [*first], "b": [*second]})
            for name in "ab"
        }
        asked = [*sorted(first)[:50], *sorted(second)[:50], *(f"v{chance.randrange(10**6)}" for _ in range(50)), ""]
        for value in asked:
            found = {
                name: machine.run({"x": (STRING, text_id(value.encode(), SECRET))}, {})[1]
                for name, machine in machines.items()
            }
            assert found == {"a": value in first, "b": value in second}


def pay(card: str, second: int) -> Entry:
    """Return an entry with one payment."""
    event = {"visitor_id": "v", "name": "pay", "event_id": str(second), "properties": {"card": card}}
    return Entry(EntryType.EVENTS, START_MS + 1000 * second, batch([event]).SerializeToString())


def replayed(entries: list[Entry]) -> str:
    """Return the session that the entries make, as text."""
    engine = Engine(SECRET, compile_models, Capacity(sessions_max=64))
    for position, entry in enumerate(entries, 1):
        engine.apply(position, entry)
    assert engine.configuration["files"]
    return engine.encode([engine.find_visitor("v")])[0].hex()


def configured(files: dict[str, str], second: int) -> Entry:
    """Return a CONFIGURE entry with the model and these files."""
    model = compile_model(MODEL, "fraud.yaml", {}, files)
    body = json.dumps({"settings": {}} | configuration_of([model]))
    return Entry(EntryType.CONFIGURE, START_MS + 1000 * second, body.encode())


def test_a_replay_uses_the_list_that_was_valid_then() -> None:
    """The texts of lists stand in the journal, so what counted under the old list stays, and replays give the same."""
    later = FILES | {"stolen_cards.csv": "card\n4000-3\n"}
    entries = [configured(FILES, 0), pay("4000-2", 1), pay("4000-3", 2), configured(later, 3)]
    entries += [pay("4000-2", 4), pay("4000-3", 5)]
    assert configured(FILES, 0).body != configured(later, 0).body
    engine = Engine(SECRET, compile_models, Capacity(sessions_max=64))
    for position, entry in enumerate(entries, 1):
        engine.apply(position, entry)
    session = engine.copied(engine.find_visitor, "v")
    number = engine.program.number_of("stolen_uses")
    assert session is not None and session.cells[engine.program.words_of(number)[0]] == 2
    assert replayed(entries) == replayed(entries)


@pytest.mark.parametrize(
    ("text", "file", "column", "message", "line"),
    [
        ("a,b\n1,2\n", "f.csv", "", "2 columns; say which one it is: `column: card`", 1),
        ("a,b\n1,2\n", "f.csv", "card", "names no column `card`; known are `a`, `b`", 1),
        ("# x\ncards,b\n1,2\n", "f.csv", "card", "names no column `card`; did you mean `cards`?", 2),
        ("card,b,card\n1,2,3\n", "f.csv", "card", "names `card` twice; rename one", 1),
        ("a,card\n1,2\n3\n", "f.csv", "card", "no column `card`; give every line as many", 3),
        ("a\n", "f.txt", "a", "for files that end in `.csv`; rename", 0),
        (f"a\n{'x' * (VALUE_BYTES_MAX + 1)}\n", "f.txt", "", f"1025 bytes, more than {VALUE_BYTES_MAX}", 2),
        (f"a\n{'x' * 200_000}\n", "f.csv", "", "not CSV: field larger than field limit", 2),
        ('a,card\n1,2\n3,"4\n5,6\n', "f.csv", "card", "not CSV: unexpected end of data; close the quotes", 3),
        ('card\n"4"5\n', "f.csv", "card", "not CSV: ',' expected after '\"'; close the quotes", 2),
        ("a\nb\0\n", "f.txt", "", "no text; save the file as UTF-8", 2),
        ("x" * (LIST_FILE_BYTES_MAX + 1), "f.txt", "", f"more than {LIST_FILE_BYTES_MAX}; split", 0),
        ("\n".join(map(str, range(LIST_VALUES_MAX + 1))), "f.txt", "", f"more than {LIST_VALUES_MAX}", 250_001),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(
    text: str, file: str, column: str, message: str, line: int
) -> None:
    """Each refusal of a list names the file, the line and the remedy."""
    _, problem = parse_list(text, file, column)
    assert problem is not None and message in f"{problem.message}; {problem.remedy}"
    assert (problem.file, problem.line) == (file, line)


def test_a_list_is_empty_only_where_the_model_allows_it() -> None:
    """A file of nothing but its heading, or of comments, is taken for one that was cut off, unless `allow_empty` says otherwise."""
    nothing = {"stolen_cards.csv": "card,reported\n", "lists/watched.txt": "# nobody\n\n"}
    found = refused(MODEL, nothing)
    assert "fraud.yaml:4: list `stolen_cards`: the file `stolen_cards.csv` has no values; fill it" in found
    assert "fraud.yaml:5: list `watched`: the file `lists/watched.txt` has no values" in found
    allowed = MODEL.replace("{file:", "{allow_empty: true, file:")
    assert [each.values for each in compile_model(allowed, "fraud.yaml", {}, nothing).lists] == [(), ()]


def test_an_empty_list_of_a_journal_is_taken_as_it_was() -> None:
    """A configuration that ran when empty lists were allowed to must not keep a server from its journal."""
    files = {f"fraud/{name}": "" for name in FILES} | {"fraud/stolen_cards.csv": "card\n"}
    (model,) = compile_models({"fraud": MODEL}, files)
    assert [each.values for each in model.lists] == [(), ()]


def test_cells_in_quotes_may_have_commas_quotes_and_line_ends() -> None:
    """A value is what RFC 4180 says, comments and empty lines stand between rows only, and lines are counted in the file."""
    text = '\ufeffcard,note\r\n"4,1","two\r\n# lines\r\n\r\nof it"\r\n# "no row\r\n"4 ""2""",x\r\n'
    assert parse_list(text, "f.csv", "card") == (("4,1", '4 "2"'), None)
    _, problem = parse_list(text + "4\r\n5,6,7\r\n" + '"8', "f.csv", "note")
    assert problem is not None and problem.line == 8


@pytest.mark.parametrize(
    ("found", "instead", "files", "message"),
    [
        (
            "stolen_cards.csv, column",
            "stolen.csv, column",
            FILES,
            "fraud.yaml:4: list `stolen_cards`: there is no file",
        ),
        ("stolen_cards.csv, column", "../x.csv, column", FILES, "`../x.csv` cannot be the file of a list; name a file"),
        ("stolen_cards.csv, column", "/etc/passwd, column", FILES, "cannot be the file of a list; name a file"),
        ("file: stolen_cards.csv, column", "column", FILES, "fraud.yaml:4: list `stolen_cards` names no file"),
        ("column: card", "colum: card", FILES, "has no member `colum`; did you mean `column`?"),
        (
            "in lists.stolen_cards}",
            "in lists.stolen}",
            FILES,
            "no list `stolen` (column 15 of the expression); did you",
        ),
        ("count: pay, where: event.card in", "count: pay, where: 1 in", FILES, "must be a string, but it is an int"),
        ("last: event.card", "last: lists.watched", FILES, "stands only after `in` (column 1"),
        ("column: card", "column: nr", FILES, "stolen_cards.csv:1: the first line names no column `nr`"),
    ],
)
def test_what_is_wrong_with_a_model_with_lists(found: str, instead: str, files: dict[str, str], message: str) -> None:
    """Wrong lists, and expressions that name them wrongly, are refused with the line and what to write."""
    assert message in refused(MODEL.replace(found, instead), files)


def test_lists_of_models_that_are_used_can_be_read_and_not_repeated() -> None:
    """A model reads the lists of those that it uses; two models in use cannot have lists of one name."""
    fraud = compile_model(MODEL, "fraud.yaml", {}, FILES)
    other = "model: other\nuses: [fraud]\nattributes: {n: {count: pay, where: event.card in lists.watched}}\n"
    assert compile_model(other, "other.yaml", {"fraud": fraud}).attributes[0].where
    with pytest.raises(ModelError, match="there is no list `watched`"):
        compile_model(other.replace("uses: [fraud]\n", ""), "other.yaml", {"fraud": fraud})
    again = other + "lists: {watched: {file: w.txt}}\n"
    with pytest.raises(ModelError, match="`fraud` has a list `watched` already"):
        compile_model(again, "other.yaml", {"fraud": fraud}, {"w.txt": "a"})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A list that is no UTF-8, or is not there, is a problem of the line that names it."""
    path = written(tmp_path, FILES)
    (tmp_path / "stolen_cards.csv").write_bytes(b"card\n\xff\n")
    with pytest.raises(ModelError, match=r"fraud\.yaml:4: the file `stolen_cards.csv` is not UTF-8"):
        load_models([path])
    (tmp_path / "stolen_cards.csv").unlink()
    with pytest.raises(ModelError, match=r"fraud\.yaml:4: list `stolen_cards`: there is no file"):
        load_models([path])


def test_all_files_together_have_a_limit() -> None:
    """What a configuration holds fits into one entry of the journal: the files together are limited."""
    files = {f"m/{number}.txt": "x" * LIST_FILE_BYTES_MAX for number in range(5)}
    with pytest.raises(ModelError, match=f"more than {FILES_BYTES_MAX}"):
        compile_models({"m": "model: m\nattributes: {n: {count: pay}}\n"}, files)
