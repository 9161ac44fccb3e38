"""Model files to model specifications: one file, several that use one another, the packs that ship."""

from __future__ import annotations

import graphlib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rte_server.engine.exactness import session_bytes
from rte_server.engine.program import CUSTOMER_PREFIX, AttributeSpec, Kind, ListSpec, ModelSpec
from rte_server.models.alongside import alongside_name, renamed
from rte_server.models.attributes import derived_text, read_attribute, read_derived
from rte_server.models.customers import CUSTOMER_ATTRIBUTES_MAX, customer_names, customer_spec
from rte_server.models.documents import Item, line_of, read_document
from rte_server.models.keyed_attributes import names_of, parts_of
from rte_server.models.lists import FILES_BYTES_MAX, LIST_FILE_BYTES_MAX, list_files, read_lists
from rte_server.models.problems import ModelError, Problem, did_you_mean, unreadable
from rte_server.models.schema import (
    ATTRIBUTES_MAX,
    MODEL_MEMBERS,
    SCORE_MEMBERS,
    SESSION_BYTES_MAX,
    TEXT_CHARS_MAX,
    USES_MAX,
    VERSION_MAX,
    Reader,
)
from rte_server.models.scores import digest_text, graph_files, read_score, score_inputs
from rte_server.models.sequences import read_sequence
from rte_server.models.shipped import shipped_names, shipped_path
from rte_server.models.triggers import TRIGGERS_MAX, read_trigger, trigger_inputs
from rte_server.models.types import UNKNOWN, TypeSet, row_inputs

MODELS_MAX = 64  # models loaded together
GRAPH_BYTES_MAX = 64 * 1024 * 1024  # of one ONNX file

# Tokens of CEL as far as names need it: comments and strings (raw ones know no escapes) are matched first and so are not
# taken for names; a name before a bracket is that of a function, after its last dot.
_WORD = re.compile(
    r"""//[^\n]*
      | (?:[bB]?[rR][bB]?)(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")
      | [bB]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")
      | (?P<name>[A-Za-z_][A-Za-z0-9_.]*+)(?P<is_call>\s*\()?""",
    re.VERBOSE | re.DOTALL,
)


def load_pack(name: str) -> ModelSpec:
    """Return a pack or a model that ships, compiled together with the models that it uses.

    Raises:
        ModelError: There is no such model.
    """
    return next(model for model in load_models([name]) if model.name == name)


def load_models(paths: Iterable[str | Path]) -> list[ModelSpec]:
    """Return models, each after those that it uses.

    Args:
        paths: Names of packs and of models that ship, and paths of YAML files. What ships and is used, but not named,
            is loaded, too. The files that a model names are looked for beside it.

    Raises:
        ModelError: With the problems of all files.
    """
    sources: list[Source] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            sources.append(read_source(path))
        except ModelError as error:
            problems += error.problems
    if problems:
        raise ModelError(problems)
    return _checked_bytes(_compile_files(_with_packs(sources)))


def configuration_of(models: Iterable[ModelSpec]) -> dict[str, dict[str, str]]:
    """Return the members of a CONFIGURE entry that make these models: `models` and `files`."""
    found = list(models)
    return {
        "models": {model.name: model.source for model in found},
        "files": {f"{model.name}/{name}": text for model in found for name, text in sorted(model.files.items())},
    }


@dataclass(frozen=True, slots=True)
class Source:
    """A model file that is not compiled yet.

    Attributes:
        file: Its name in error messages.
        text: Its YAML text.
        files: The texts of the files that it names, by name; that of an ONNX file is its digest.
        graphs: The bytes of the ONNX files, by name, where they are at hand.
        is_recorded: Whether a journal has it: it has run, so bounds that are younger do not hold for it.
    """

    file: str
    text: str
    files: Mapping[str, str]
    graphs: Mapping[str, bytes] = field(default_factory=dict)
    is_recorded: bool = False


def read_source(path: str | Path) -> Source:
    """Return the source of the name of a model that ships, or of a path, with the files that it names.

    Raises:
        ModelError: It cannot be read.
    """
    text = str(path)
    file = Path(path)
    if "/" not in text and "\\" not in text and not text.endswith((".yaml", ".yml")):
        file = shipped_path(text)
        text = file.name
    try:
        source = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError([unreadable(text, error)]) from None
    return Source(text, source, *_read_files(source, text, file.parent))


def _read_files(source: str, file: str, folder: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the texts of the files that a model names, and the bytes of its ONNX files; those that there are not are left out.

    Raises:
        ModelError: A file cannot be read, or is too large.
    """
    content = read_document(source, file).content
    members = content if isinstance(content, dict) else {}
    lists, scores = list_files(members), graph_files(members)
    texts: dict[str, str] = {}
    graphs: dict[str, bytes] = {}
    problems: list[Problem] = []
    for name, item in {**lists, **scores}.items():
        try:
            with folder.joinpath(name).open("rb") as stream:
                # One byte more than is allowed, so that a huge file is refused without being read.
                found = stream.read((GRAPH_BYTES_MAX if name in scores else LIST_FILE_BYTES_MAX) + 1)
            if name in scores:
                graphs[name] = found
            texts[name] = digest_text(hashlib.sha256(found).hexdigest()) if name in scores else found.decode()
        except FileNotFoundError:
            continue
        except UnicodeDecodeError:
            problems.append(Problem(file, item.line, f"the file `{name}` is not UTF-8", "save it as UTF-8"))
        except OSError as error:
            message = f"the file `{name}` cannot be read: {error.strerror}"
            problems.append(Problem(file, item.line, message, "let the file be readable"))
        else:
            if name in scores and len(found) > GRAPH_BYTES_MAX:
                message = f"the file `{name}` has more than {GRAPH_BYTES_MAX} bytes"
                problems.append(Problem(file, item.line, message, "train a smaller model"))
    if problems:
        raise ModelError(problems)
    return texts, graphs


def compile_models(sources: Mapping[str, str], files: Mapping[str, str] | None = None) -> list[ModelSpec]:
    """Compile models that may use one another, and nothing else: what a journal holds must not change with the packs.

    Args:
        sources: YAML text by name of the model, at most MODELS_MAX. Under the name of the model and its version, as
            `retail_v4`, it runs alongside the version under the plain name, see `alongside`.
        files: The texts of the files that they name, by `model/file`.

    Returns:
        The models, each after those that it uses.

    Raises:
        ModelError: With the problems of all of them.
    """
    return compile_sources(sources_of(sources, files or {}))


def sources_of(models: Mapping[str, str], files: Mapping[str, str]) -> dict[str, Source]:
    """Return sources by name of the model, of texts by name and files by `model/file`."""
    named: dict[str, dict[str, str]] = {name: {} for name in models}
    for path, text in files.items():
        name, _, file = path.partition("/")
        if name in named:
            named[name][file] = text
    return {name: Source(f"{name}.yaml", text, named[name], is_recorded=True) for name, text in models.items()}


def compile_sources(sources: Mapping[str, Source]) -> list[ModelSpec]:
    """Compile models as `compile_models` does."""
    models = _compile_files([source for name, source in sources.items() if header(source)[0] == name])
    beside = {name: source for name, source in sources.items() if header(source)[0] != name}
    return _checked_bytes([*models, *_compile_alongside(beside, models)])


def _compile_alongside(sources: Mapping[str, Source], plain: Sequence[ModelSpec]) -> list[ModelSpec]:
    """Compile versions of models that run alongside others, under names of their own, each after those that it uses."""
    known = {model.name: model for model in plain}
    beside: dict[str, ModelSpec] = {}
    problems: list[Problem] = []
    for source in _by_uses(list(sources.values())):
        # A model alongside uses the newest version alongside of another one, so that several are tried together.
        used = {model.name: model for model in sorted(beside.values(), key=lambda model: model.version)}
        try:
            found = _ModelReader(source, known | used).model()
        except ModelError as error:
            problems += error.problems
            continue
        key = alongside_name(found)
        if key in known or key in beside:
            problems.append(Problem(source.file, 1, f"there is a model `{key}` already", "raise `version`"))
        beside[key] = found
    if problems:
        raise ModelError(problems)
    newest = {model.name: key for key, model in sorted(beside.items(), key=lambda each: each[1].version)}
    return [renamed(model, key, {**newest, model.name: key}, beside) for key, model in beside.items()]


def _by_uses(sources: Sequence[Source]) -> list[Source]:
    """Return sources so that each stands after those that it uses; a ring is noted when they are compiled."""
    order: list[Source] = []
    left = [(source, *header(source)) for source in sources]
    while left:
        names = {name for _, name, _ in left}
        ready = [each for each in left if not names & (set(each[2]) - {each[1]})] or left
        order += [source for source, _, _ in ready]
        left = [each for each in left if each not in ready]
    return order


def _with_packs(sources: Sequence[Source]) -> list[Source]:
    """Return the sources and those of the models that ship and that they use, directly or not."""
    found = list(sources)
    names = {header(each)[0] for each in found}
    for each in found:
        for used in header(each)[1]:
            if used not in names and used in shipped_names():
                names.add(used)
                found.append(read_source(used))
    return found


def _compile_files(sources: Sequence[Source]) -> list[ModelSpec]:
    files: dict[str, Source] = {}
    uses: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for each in sources:
        name, used = header(each)
        if name in files:
            remedy = f"the other is {files[name].file}"
            problems.append(Problem(each.file, 1, f"the model `{name}` is given twice", remedy))
        files[name], uses[name] = each, used
    if len(files) > MODELS_MAX:
        problems.append(Problem("models", 0, f"there are {len(files)} models, more than {MODELS_MAX}", "use fewer"))
    size = sum(len(text.encode("utf-8", "surrogatepass")) for each in sources for text in each.files.values())
    if size > FILES_BYTES_MAX:
        message = f"the files of all models have {size} bytes, more than {FILES_BYTES_MAX}"
        problems.append(Problem("models", 0, message, "leave out what no list needs"))
    if problems:
        raise ModelError(problems)
    return _compile_in_order(files, uses)


def header(source: Source) -> tuple[str, list[str]]:
    """Return name and `uses` of a model, leniently: `compile_model` says what is wrong with them."""
    content = read_document(source.text, source.file).content
    members = content if isinstance(content, dict) else {}
    name = members["model"].content if "model" in members else source.file
    used = members["uses"].content if "uses" in members else []
    items = used if isinstance(used, list) else []
    return str(name), [str(item.content) for item in items]


def _compile_in_order(files: Mapping[str, Source], uses: Mapping[str, list[str]]) -> list[ModelSpec]:
    graph = {name: [each for each in used if each in files] for name, used in uses.items()}
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        ring = error.args[1][::-1]  # Each uses the next one.
        first = files[ring[0]]
        line = line_of(read_document(first.text, first.file), "uses", ring[1])
        message = "models use one another in a ring: " + " -> ".join(ring)
        raise ModelError([Problem(first.file, line, message, "take one of them out of `uses`")]) from None
    known: dict[str, ModelSpec] = {}
    problems: list[Problem] = []
    for name in order:
        if any(each not in known for each in graph[name]):
            continue  # what it uses has problems of its own; those come first
        try:
            known[name] = _ModelReader(files[name], known).model()
        except ModelError as error:
            problems += error.problems
    if problems:
        raise ModelError(problems)
    return list(known.values())


def _checked_bytes(models: list[ModelSpec]) -> list[ModelSpec]:
    """Return models that run together, held to the memory per session that they may take.

    Raises:
        ModelError: They take more.
    """
    taken = {model.name: sum(map(session_bytes, model.attributes)) for model in models}
    if sum(taken.values()) > SESSION_BYTES_MAX:
        message = f"all models together take {sum(taken.values())} bytes per session, more than {SESSION_BYTES_MAX}"
        largest = max(taken, key=taken.__getitem__)
        remedy = f"make them smaller: `{largest}` alone takes {taken[largest]}"
        raise ModelError([Problem("models", 0, message, remedy)])
    return models


def compile_model(
    source: str, filename: str, known: Mapping[str, ModelSpec], files: Mapping[str, str] | None = None
) -> ModelSpec:
    """Compile one model.

    Args:
        source: Its YAML text.
        filename: Its name in error messages.
        known: The other models in use, by name: what it may use, and whose attribute names it may not repeat.
        files: The texts of the files that it names, by name.

    Raises:
        ModelError: With all problems of the file.
    """
    return _ModelReader(Source(filename, source, files or {}), known).model()


class _ModelReader:
    """Reads one model file."""

    def __init__(self, source: Source, known: Mapping[str, ModelSpec]) -> None:
        self.source = source
        self.reader = Reader(source.file, is_recorded=source.is_recorded)
        self.document = read_document(source.text, source.file)
        self.known = known
        self.members: dict[str, Item] = {}
        self.name = ""
        self.used: tuple[str, ...] = ()
        self.owners: dict[str, str] = {}
        self.specs: dict[str, AttributeSpec] = {}
        self.left_out: set[str] = set()
        self.list_names: frozenset[str] = frozenset()

    def model(self) -> ModelSpec:
        reader = self.reader
        self.members = reader.mapping(self.document, "a model", "model: shop")
        reader.known_members(self.members, MODEL_MEMBERS, "a model")
        self.name = self._name()
        self.used = self._uses()
        self.owners = {
            name: model.name
            for model in self.known.values()
            if model.name != self.name
            for spec in model.attributes
            for name in (spec.name, spec.name if spec.kind == Kind.CUSTOMER else spec.name.partition(".")[0])
        }
        lists = self._lists()
        words = ("attributes", "sequences", "derived", "scores", "triggers")
        entries = {word: self._entries(word) for word in words}
        reader.attributes = frozenset((*(name for section in entries.values() for name in section), *self.owners))
        self._refuse_repeats(entries)
        for word, read in (("attributes", read_attribute), ("sequences", read_sequence)):
            for name, item in entries[word].items():
                spec = read(reader, self.name, name, item, self.list_names)
                if spec is not None:
                    self.specs |= {each.name: each for each in (spec, *parts_of(spec))}
        self._read_customers(entries)
        plain = {**entries["attributes"], **entries["sequences"]}
        self._read_computed(plain, entries["derived"], entries["scores"], entries["triggers"])
        count = max(sum(len(each) for each in entries.values()), len(self.specs))
        if not self.used and not any(self.members[word].content for word in words if word in self.members):
            reader.problem(self.document, "the model has no attributes", "write `attributes:` and at least one")
        if count > ATTRIBUTES_MAX:
            reader.problem(self.document, f"the model has {count} attributes, more than {ATTRIBUTES_MAX}", "split it")
        self._check_bytes()
        version = reader.whole(self.members, "version", 1, 1, VERSION_MAX)
        description = reader.text(self.members, "description", TEXT_CHARS_MAX)
        reader.text(self.members, "tests", TEXT_CHARS_MAX)
        if reader.problems:
            raise ModelError(reader.problems)
        scores = [spec.score for spec in self.specs.values() if spec.score is not None]
        digests = {score.source: digest_text(score.sha256) for score in scores if score.sha256}
        return ModelSpec(
            self.name,
            version,
            description,
            self.used,
            self.source.text,
            tuple(self.specs.values()),
            tuple(lists),
            {each.file: self.source.files[each.file] for each in lists} | digests,
            self.source.graphs,
        )

    def _lists(self) -> list[ListSpec]:
        """Read the model's lists; note which ones its expressions can name: those of the models that it uses, too."""
        owners = {each.name: model.name for model in self.known.values() for each in model.lists}
        lists = read_lists(self.reader, self.members, self.source.files)
        stated = self.members["lists"].content if "lists" in self.members else None
        for name, item in (stated if isinstance(stated, dict) else {}).items():
            if name in owners and owners[name] != self.name:
                message = f"the model `{owners[name]}` has a list `{name}` already"
                self.reader.problem(item, message, "choose another name")
        # A list that could not be read is there all the same: its own problem is enough.
        own = stated if isinstance(stated, dict) else {}
        used = [each.name for name in self._readable() for each in self.known[name].lists]
        self.list_names = frozenset((*used, *own))
        return lists

    def _check_bytes(self) -> None:
        """Hold the model to the memory per session that a model may take, and to what it declares."""
        if self.reader.problems:
            return  # Attributes that could not be read are not counted; their own problems come first.
        taken = sum(map(session_bytes, self.specs.values()))
        if taken > SESSION_BYTES_MAX:
            largest = max(self.specs.values(), key=session_bytes)
            message = f"the model takes {taken} bytes per session, more than {SESSION_BYTES_MAX}"
            remedy = f"make it smaller: `{largest.name}` alone takes {session_bytes(largest)}"
            self.reader.problem(self.document, message, remedy)
            return
        stated = self.members.get("bytes_max")
        if stated is None:
            return
        declared = stated.content
        if isinstance(declared, bool) or not isinstance(declared, int) or not 0 <= declared <= SESSION_BYTES_MAX:
            message = f"`bytes_max` must be a whole number of bytes from 0 to {SESSION_BYTES_MAX}"
            self.reader.problem(stated, message, "write for example `bytes_max: 600`")
            return
        if taken > declared:
            largest = max(self.specs.values(), key=session_bytes)
            remedy = f"declare more, or make it smaller: `{largest.name}` alone takes {session_bytes(largest)}"
            self.reader.problem(stated, f"the model takes {taken} bytes per session, more than it declares", remedy)

    def _name(self) -> str:
        item = self.members.get("model")
        if item is None:
            self.reader.problem(self.document, "the model has no name", "write for example `model: shop`")
            return ""
        if isinstance(item.content, list | dict):
            self.reader.problem(item, "the model's name is no word", "write for example `model: shop`")
            return ""
        name = str(item.content)
        self.reader.name(name, item.line, "a model")
        return name

    def _uses(self) -> tuple[str, ...]:
        item = self.members.get("uses")
        if item is None:
            return ()
        items = item.content if isinstance(item.content, list) else None
        if items is None or len(items) > USES_MAX:
            self.reader.problem(item, f"`uses` must be a list of at most {USES_MAX} models", "write `uses: [base]`")
            return ()
        names = [str(each.content) for each in items]
        for each, name in zip(items, names, strict=True):
            if name not in self.known:
                known = {*self.known, *shipped_names()}
                self.reader.problem(each, f"there is no model `{name}`", did_you_mean(name, known))
        return tuple(dict.fromkeys(names))

    def _readable(self) -> tuple[str, ...]:
        """Return the models whose attributes may be read: those in `uses`, and those that they use."""
        found = [name for name in self.used if name in self.known]
        for name in found:
            found += [each for each in self.known[name].uses if each not in found]
        return tuple(found)

    def _entries(self, word: str) -> dict[str, Item]:
        item = self.members.get(word)
        if item is None or item.content is None:
            return {}
        entries = self.reader.mapping(item, f"`{word}`", "product_views: {count: view_item}")
        return {name: entry for name, entry in entries.items() if self.reader.name(name, entry.line, "an attribute")}

    def _refuse_repeats(self, entries: Mapping[str, Mapping[str, Item]]) -> None:
        lines: dict[str, int] = {}
        for section in entries.values():
            for name, item in section.items():
                if name in lines:
                    self.reader.problem(item, f"`{name}` stands twice", f"the first is in line {lines[name]}")
                if name in self.owners:
                    self.reader.problem(
                        item,
                        f"the model `{self.owners[name]}` has an attribute `{name}` already",
                        "choose another name",
                    )
                lines.setdefault(name, item.line)

    def _read_customers(self, entries: Mapping[str, Mapping[str, Item]]) -> None:
        """Bring the attributes of customers that the model reads, and no other model does yet."""
        if any(f"{name}." == CUSTOMER_PREFIX for section in entries.values() for name in section):
            return  # The model means parts of an attribute of its own.
        items = [item for word in ("derived", "scores", "triggers") for item in entries[word].values()]
        read = customer_names(word for item in items for word in _words(item))
        if len(read) > CUSTOMER_ATTRIBUTES_MAX:
            message = f"the model reads {len(read)} attributes of customers, more than {CUSTOMER_ATTRIBUTES_MAX}"
            self.reader.problem(self.document, message, "split it")
        self.specs |= {name: customer_spec(name, self.name) for name in read if name not in self.owners}

    def _read_computed(
        self,
        plain: Mapping[str, Item],
        derived: Mapping[str, Item],
        scores: Mapping[str, Item],
        triggers: Mapping[str, Item],
    ) -> None:
        """Read derived attributes and scores, each after those that it reads, and triggers after all of them."""
        used = [spec for name in self._readable() for spec in self.known[name].attributes]
        others = [spec for model in self.known.values() for spec in model.attributes if spec.kind == Kind.CUSTOMER]
        inputs = row_inputs([*others, *used, *self.specs.values()])
        unread = plain.keys() - {name.partition(".")[0] for name in self.specs}
        inputs.update({each: UNKNOWN for name in unread for each in names_of(name)})
        for name in triggers:
            inputs.update(trigger_inputs(name))
        order = self._order({**derived, **scores})
        inputs.update(dict.fromkeys(self.left_out, UNKNOWN))
        for name in order:
            item = derived[name] if name in derived else scores[name]
            if self._refuse_unused(name, item) or self._refuse_scores(name, item):
                continue
            if name in derived:
                spec = read_derived(self.reader, self.name, name, item, inputs, self.list_names)
            else:
                spec = read_score(self.reader, self.name, name, item, inputs, self.source.files)
            if spec is not None and name not in self.specs:
                self.specs[name] = spec
            inputs.update(row_inputs([spec]) if spec is not None else {name: UNKNOWN})
        self._read_triggers(triggers, inputs)

    def _read_triggers(self, triggers: Mapping[str, Item], inputs: Mapping[str, TypeSet]) -> None:
        if len(triggers) > TRIGGERS_MAX:
            message = f"the model has {len(triggers)} triggers, more than {TRIGGERS_MAX}"
            self.reader.problem(self.members["triggers"], message, "split it")
        for name, item in triggers.items():
            if not (self._refuse_unused(name, item) or self._refuse_scores(name, item)):
                specs = read_trigger(self.reader, self.name, name, item, inputs, self.list_names)
                self.specs.update({spec.name: spec for spec in specs})

    def _order(self, items: Mapping[str, Item]) -> list[str]:
        """Return the names of derived attributes and scores so that each comes after those that it reads.

        Those that need one another are noted and left out.
        """
        graph = {name: [each for each in _words(item) if each in items] for name, item in items.items()}
        while True:
            try:
                return [name for name in graphlib.TopologicalSorter(graph).static_order() if name in graph]
            except graphlib.CycleError as error:
                ring = error.args[1]
                message = "these need one another: " + " -> ".join(f"`{name}`" for name in ring)
                self.reader.problem(items[ring[0]], message, "break the ring")
                self.left_out.update(ring)
                graph = {name: reads for name, reads in graph.items() if name not in ring}

    def _refuse_scores(self, name: str, item: Item) -> bool:
        """Refuse what reads a score that is computed beside the fold; return whether there is any."""
        known = [spec for model in self.known.values() for spec in model.attributes]
        beside = {spec.name for spec in (*known, *self.specs.values()) if spec.kind == Kind.SCORE}
        found = [word for word in _words(item) if word in beside]
        for word in found:
            message = f"`{name}` reads the score `{word}`, which is computed beside the fold"
            self.reader.problem(item, message, "use its inputs, or filter by the score when sessions are read")
        return bool(found)

    def _refuse_unused(self, name: str, item: Item) -> bool:
        """Refuse attributes of models that are in use but not named in `uses`; return whether there are any."""
        readable = self._readable()
        found = [
            word
            for word in _words(item)
            if word in self.owners and self.owners[word] not in readable and word not in self.specs
            if not word.startswith(CUSTOMER_PREFIX)
        ]
        for word in found:
            owner = self.owners[word]
            self.reader.problem(item, f"`{name}` reads `{word}` of the model `{owner}`", f"add `{owner}` to `uses`")
        return bool(found)


def _words(item: Item) -> list[str]:
    """Return the names that a derived attribute or a score may read, and other words of its expression."""
    if _is_score(item):
        return score_inputs(item)
    members = item.content if isinstance(item.content, dict) else {}
    content = derived_text(members.get("when", item)).content
    found = _WORD.finditer(content) if isinstance(content, str) else iter(())
    names = (
        each["name"].rpartition(".")[0] if each["is_call"] else each["name"]
        for each in found
        if each["name"] is not None
    )
    return [name for name in dict.fromkeys(names) if name]


def _is_score(item: Item) -> bool:
    return isinstance(item.content, dict) and any(word in item.content for word in SCORE_MEMBERS)
