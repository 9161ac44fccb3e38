"""The words of model files, their limits, and how members are read from a document."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping

from rte_server.engine.program import Kind
from rte_server.models.documents import Item
from rte_server.models.problems import Problem, did_you_mean

ATTRIBUTES_MAX = 128  # attributes of one model, derived ones and scores included
EVENTS_MAX = 16  # event names of one attribute
EVENT_NAME_BYTES_MAX = 128
NAME_CHARS_MAX = 64  # of models and attributes
TEXT_CHARS_MAX = 500  # of descriptions
UNIT_CHARS_MAX = 32
USES_MAX = 16
VERSION_MAX = 2**31 - 1
SESSION_BYTES_MAX = 65_536  # that a model, and all models together, may take per session
DURATION_MS_MAX = 366 * 86_400_000
WEIGHTS_MAX = 64  # inputs of a linear score
TILES_MIN, TILES_DEFAULT, TILES_MAX = 2, 10, 60
KEEP = {
    Kind.DISTINCT: (8, 16, 256),
    Kind.WINDOW_DISTINCT: (2, 16, 256),
    Kind.RECENT: (1, 10, 50),
    Kind.SET: (1, 16, 256),
    Kind.BASKET: (1, 16, 64),
    Kind.RESET_SUM: (1, 16, 256),
    Kind.SEQUENCE: (1, 4, 16),
    Kind.TOP: (1, 5, 50),
}
"""Least, default and greatest `keep` of the kinds that have it."""

TOP_OF_DEFAULT, TOP_OF_MAX = 16, 64  # values among which a top looks
KINDS = {
    "count": Kind.COUNT,
    "sum": Kind.SUM,
    "min": Kind.MIN,
    "max": Kind.MAX,
    "mean": Kind.MEAN,
    "first": Kind.FIRST,
    "last": Kind.LAST,
    "distinct": Kind.DISTINCT,
    "recent": Kind.RECENT,
    "elapsed": Kind.ELAPSED,
    "absence": Kind.ABSENCE,
    "rate": Kind.RATE,
    "ewma": Kind.EWMA,
    "set": Kind.SET,
    "basket": Kind.BASKET,
    "top": Kind.TOP,
}
MODEL_MEMBERS = (
    *("model", "version", "description", "uses", "bytes_max", "lists", "attributes", "sequences", "derived", "scores"),
    *("triggers", "tests"),
)
COMMON_MEMBERS = ("where", "each", "unit", "description")
WINDOW_MEMBERS = ("window", "tiles")
MEMBERS = {
    Kind.COUNT: (*WINDOW_MEMBERS, *COMMON_MEMBERS),
    Kind.SUM: ("on", "resets_on", *WINDOW_MEMBERS, *COMMON_MEMBERS),
    Kind.MIN: ("on", *WINDOW_MEMBERS, *COMMON_MEMBERS),
    Kind.MAX: ("on", *WINDOW_MEMBERS, *COMMON_MEMBERS),
    Kind.MEAN: ("on", *WINDOW_MEMBERS, *COMMON_MEMBERS),
    Kind.FIRST: ("on", "type", *COMMON_MEMBERS),
    Kind.LAST: ("on", "type", *COMMON_MEMBERS),
    Kind.DISTINCT: ("on", "keep", *WINDOW_MEMBERS, *COMMON_MEMBERS),
    Kind.RECENT: ("on", "keep", "unique", *COMMON_MEMBERS),
    Kind.ELAPSED: ("to", *COMMON_MEMBERS),
    Kind.ABSENCE: ("of", "for", *COMMON_MEMBERS),
    Kind.RATE: ("window", "half_life", "weight", *COMMON_MEMBERS),
    Kind.EWMA: ("on", "window", "half_life", *COMMON_MEMBERS),
    Kind.SET: ("on", "keep", *COMMON_MEMBERS),
    Kind.BASKET: ("add", "remove", "set", "clear", "quantity", "price", "keep", *COMMON_MEMBERS),
    Kind.TOP: ("on", "weight", "half_life", "keep", "of", *COMMON_MEMBERS),
    Kind.RESET_SUM: ("on", "resets_on", "keep", *COMMON_MEMBERS),
}
SEQUENCE_MEMBERS = ("steps", "within", "not", "optional", "keep", "description")
STEP_MEMBERS = ("event", "where")
DERIVED_MEMBERS = ("cel", "unit", "description")
SCORE_MEMBERS = {
    "linear": ("link", "unit", "description"),
    "onnx": ("inputs", "defaults", "sha256", "golden", "time_limit", "unit", "description"),
    "online": ("shadow", "unit", "description"),
    "plugin": ("inputs", "defaults", "time_limit", "unit", "description"),
}
GOLDEN_MEMBERS = ("inputs", "score")
ONLINE_MEMBERS = (
    *("inputs", "defaults", "label", "baseline", "examples", "margin", "horizon"),
    *("alpha", "beta", "l1", "l2"),
)
LINEAR_MEMBERS = ("intercept", "weights", "default")
LINKS = ("logistic", "identity")
LIST_MEMBERS = ("file", "column", "allow_empty", "description")
FIRST_LAST_TYPES = ("any", "bool", "int", "double", "string")

# Words that readers of the design may expect; refusing them as misspelt would mislead.
NOT_IN_THIS_VERSION = frozenset(
    (
        *(
            "sequence",
            "timer",
            "list",
        ),
        *("python",),
    )
)

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CEL_WORDS = frozenset(
    (
        *("as", "bool", "break", "bytes", "const", "continue", "double", "dyn", "else", "event", "false", "for"),
        *(
            "function",
            "has",
            "if",
            "import",
            "in",
            "int",
            "let",
            "list",
            "loop",
            "map",
            "namespace",
            "null",
            "null_type",
        ),
        *("package", "return", "session", "size", "string", "true", "type", "uint", "var", "void", "while"),
        *("lists", "math", "ua", "url"),
    )
)


class Reader:
    """Reads members of a document and collects what is wrong, so that a file's problems are reported at once.

    Attributes:
        problems: What was found so far.
        is_recorded: Whether the file stands in a journal: what ran must be usable again, so bounds that are younger do not hold.
        attributes: Names of the attributes that there are, for remedies; empty where nobody knows.
    """

    def __init__(self, file: str, *, is_recorded: bool = False) -> None:
        self.file = file
        self.is_recorded = is_recorded
        self.problems: list[Problem] = []
        self.attributes: frozenset[str] = frozenset()

    def problem(self, item: Item | int, message: str, remedy: str = "") -> None:
        """Note a problem at an item or a line."""
        line = item if isinstance(item, int) else item.line
        self.problems.append(Problem(self.file, line, message, remedy))

    def mapping(self, item: Item, what: str, example: str) -> dict[str, Item]:
        """Return the members of a mapping; where it is none, note that and return nothing."""
        if isinstance(item.content, dict):
            return item.content
        self.problem(item, f"{what} must be a mapping", f"write for example `{example}`")
        return {}

    def known_members(self, members: Mapping[str, Item], known: Collection[str], where: str) -> None:
        """Note members that are not known, naming the nearest known word."""
        for word, item in members.items():
            if word in known:
                continue
            if word in NOT_IN_THIS_VERSION:
                self.problem(item, f"{where}: this version has no `{word}`", did_you_mean("", known))
            else:
                self.problem(item, f"{where} has no member `{word}`", did_you_mean(word, known))

    def name(self, text: str, line: int, what: str) -> bool:
        """Return whether `text` is a good name; note why not."""
        if not _NAME.fullmatch(text) or len(text) > NAME_CHARS_MAX:
            remedy = f"use lower-case letters, digits and `_`, a letter first, at most {NAME_CHARS_MAX} characters"
            self.problem(line, f"`{text[:NAME_CHARS_MAX]}` is not a name for {what}", remedy)
            return False
        if text in _CEL_WORDS:
            self.problem(line, f"`{text}` is a word of the expression language", "choose another name")
            return False
        return True

    def text(self, members: Mapping[str, Item], word: str, chars_max: int) -> str:
        """Return a text member, or an empty string."""
        item = members.get(word)
        if item is None or item.content is None:
            return ""
        if not isinstance(item.content, str):
            self.problem(item, f"`{word}` must be a text", "put it into quotes")
            return ""
        if len(item.content) > chars_max:
            self.problem(item, f"`{word}` has {len(item.content)} characters, more than {chars_max}", "shorten it")
        return item.content.strip()

    def whole(self, members: Mapping[str, Item], word: str, default: int, low: int, high: int) -> int:
        """Return a member that is a whole number in [low, high]; `default` where it is absent."""
        item = members.get(word)
        if item is None:
            return default
        number = item.content
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            self.problem(item, f"`{word}` must be a whole number from {low} to {high}", f"the default is {default}")
            return default
        return number

    def number(self, item: Item, what: str) -> float:
        """Return a finite number."""
        number = item.content
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            self.problem(item, f"{what} must be a number", "write for example `0.5`")
            return 0.0
        return float(number)

    def duration_ms(self, item: Item, low_ms: int = 0, high_ms: int = DURATION_MS_MAX) -> int:
        """Return a duration such as `10m` in milliseconds, at least `low_ms` and at most `high_ms`, whole seconds."""
        found = _DURATION.fullmatch(str(item.content))
        if found is None:
            self.problem(item, f"`{item.content}` is not a duration", "write for example `500ms`, `5s`, `31m`, `2h`")
            return low_ms
        # Cut off above what is refused anyway, since a long row of digits is an infinite float.
        duration_ms = round(min(float(found[1]) * _UNIT_MS[found[2]], 2.0 * DURATION_MS_MAX))
        if not low_ms <= duration_ms <= high_ms:
            unit, name = ("d", "days") if high_ms >= _UNIT_MS["d"] else ("s", "s")
            limits = f"from {low_ms} ms to {high_ms // _UNIT_MS[unit]} {name}"
            self.problem(item, f"`{item.content}` is not a duration {limits}", "choose another one")
            return low_ms
        return duration_ms

    def flag(self, members: Mapping[str, Item], word: str, default: bool) -> bool:
        """Return a member that is true or false."""
        item = members.get(word)
        if item is None:
            return default
        if not isinstance(item.content, bool):
            self.problem(item, f"`{word}` must be true or false", "write `true` or `false`, or leave it out")
            return default
        return item.content

    def choice(self, members: Mapping[str, Item], word: str, default: str, choices: Collection[str]) -> str:
        """Return a member that is one of some words."""
        item = members.get(word)
        if item is None:
            return default
        if not isinstance(item.content, str) or item.content not in choices:
            self.problem(item, f"`{word}` cannot be `{item.content}`", did_you_mean(str(item.content), choices))
            return default
        return item.content

    def events(self, item: Item, what: str) -> tuple[str, ...]:
        """Return event names; () for `*`, every event."""
        items = item.content if isinstance(item.content, list) else [item]
        if not 1 <= len(items) <= EVENTS_MAX:
            self.problem(item, f"{what} must name 1 to {EVENTS_MAX} events", 'write "*" for every event')
            return ()
        names: list[str] = []
        for each in items:
            if not isinstance(each.content, str) or not 1 <= len(each.content.encode()) <= EVENT_NAME_BYTES_MAX:
                self.problem(each, f"{what} must name events", 'write for example `view_item`, or "*" for every event')
            elif _CONTROL.search(each.content) and not self.is_recorded:
                shown = json.dumps(each.content)
                self.problem(each, f"{what} names {shown}, which has a control character", "write the name in one line")
            elif each.content in names:
                self.problem(each, f"{what} names `{each.content}` twice", "leave one out")
            else:
                names.append(each.content)
        if "*" in names:
            if len(names) > 1:
                self.problem(item, f'{what} names "*" beside other events', 'write "*" alone')
            return ()
        return tuple(names)
