"""All settings of the server: read once at start from a TOML file and `RTE_*` variables, then passed down as values.

A setting `gap_ms` in section `session` is `gap_ms` under `[session]` in the file, and `RTE_SESSION__GAP_MS` as a
variable; a variable wins over the file, an option of the command line over both. Lists are comma-separated in variables.
Unknown names are errors, and all problems are reported at once, each with where it stands.

`rte_server.config_reference` writes the reference page from what stands here.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

KIB = 1024
MIB = 1024 * KIB
DAY_MS = 86_400_000
DATA_DIR = Path("rte-data")
FILE_VARIABLE = "RTE_CONFIG"
"""Names the file when the command line does not."""
FOREIGN_VARIABLES = frozenset({FILE_VARIABLE, "RTE_ADDRESS"})
"""Variables that are none of the server's settings: the file above, and where clients find a server."""


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: One sentence per problem, with the name of the setting and where it stands. Never empty.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("the configuration cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = tuple(problems)


def setting(default: Any, text: str, *, low: int | None = None, high: int | None = None, among: str = "") -> Any:
    """Return a dataclass field with its documentation.

    Args:
        default: Its value when nothing is set.
        text: What it does, one or two sentences.
        low: The smallest value, if it is a number.
        high: The largest value, if there is one.
        among: The values that are possible, separated by spaces, if they are few.
    """
    return field(default=default, metadata={"text": text, "low": low, "high": high, "among": tuple(among.split())})


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the server listens and keeps its data."""

    host: str = setting("127.0.0.1", "IP address of the public port; `0.0.0.0` for every network.")
    port: int = setting(8080, "Public port (gRPC, gRPC-Web, HTTP/JSON); 0 takes a free one.", low=0, high=65535)
    grpc_host: str = setting("127.0.0.1", "IP address of the gRPC server behind the public port.")
    grpc_port: int = setting(
        0, "Port of the gRPC server behind the public port; 0 takes a free one.", low=0, high=65535
    )
    metrics_port: int = setting(
        0, "Port on which 127.0.0.1 answers `/metrics` for Prometheus; 0 switches it off.", low=0, high=65535
    )
    data_dir: Path = setting(  # noqa: RUF009 - it returns a dataclass field
        DATA_DIR, "Directory of the journal, the snapshots and the secret; made at the first start."
    )
    stop_grace_ms: int = setting(10_000, "How long a stop waits for open calls before it cancels them.", low=0)
    log_level: str = setting("info", "The least important messages that are logged.", among="debug info warning error")


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a session is, and how long it stays."""

    gap_ms: int = setting(1_800_000, "A gap between events strictly greater than this starts a new session.", low=1)
    max_length_ms: int = setting(DAY_MS, "No event makes a session longer than this; 0 switches it off.", low=0)
    lateness_ms: int = setting(
        DAY_MS, "An event older than this against the newest event of its visitor is too late.", low=0
    )
    closed_retention_ms: int = setting(3_600_000, "Closed sessions stay readable for this time.", low=0)
    closed_max: int = setting(200_000, "At most so many closed sessions stay readable.", low=0)
    sessions_max: int = setting(
        1_000_000, "Sessions in memory, active and closed. Fixed by the first start.", low=1_000, high=100_000_000
    )
    written_sessions_max: int = setting(
        131_072, "Sessions that may hold attributes written by applications.", low=1, high=100_000_000
    )


@dataclass(frozen=True, slots=True)
class DedupSettings:
    """How duplicates are recognized."""

    horizon_ms: int = setting(DAY_MS, "An `event_id` or `request_id` counts once within this time.", low=0)
    events_max: int = setting(4_194_304, "Ids that are remembered; the oldest go first.", low=1024, high=1 << 30)


@dataclass(frozen=True, slots=True)
class StringSettings:
    """The pool of distinct strings."""

    strings_max: int = setting(4_194_304, "Distinct strings in memory.", low=1024, high=1 << 30)
    string_bytes_max: int = setting(256 * MIB, "Bytes of all distinct strings.", low=MIB, high=1 << 36)
    facts_max: int = setting(262_144, "Facts about texts, such as user agents.", low=256, high=1 << 26)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What callers may do; beyond it they get the documented error."""

    batch_events_max: int = setting(5_000, "Events of a request.", low=1, high=1_000_000)
    event_bytes_max: int = setting(64 * KIB, "Bytes of an event on the wire.", low=256, high=16 * MIB)
    event_properties_max: int = setting(100, "Members of an event's properties.", low=0, high=10_000)
    property_depth_max: int = setting(8, "Levels of an event's properties.", low=1, high=64)
    string_bytes_max: int = setting(1_024, "Bytes of a key or string in an event's properties.", low=16, high=MIB)
    event_future_ms_max: int = setting(300_000, "How far an event may lie ahead of the server's clock.", low=0)
    message_bytes_max: int = setting(4 * MIB, "Bytes of a request, over gRPC and HTTP.", low=4 * KIB, high=32 * MIB)
    stream_batches_max: int = setting(16, "Batches of a stream that are worked on at a time.", low=1, high=1_000)
    watches_max: int = setting(1_000, "Watches that are open at a time.", low=1, high=100_000)
    queue_bytes_max: int = setting(64 * MIB, "Bytes that are accepted but not folded yet.", low=MIB)
    queue_entries_max: int = setting(8_192, "Requests that are accepted but not folded yet.", low=16)


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """The journal and its snapshots."""

    snapshot_entries: int = setting(100_000, "A snapshot is taken after so many entries,", low=1)
    snapshot_bytes: int = setting(
        256 * MIB, "or after so many bytes of entries, and at least half the size of the last snapshot,", low=1
    )
    snapshot_interval_ms: int = setting(600_000, "or after so much time with at least one entry.", low=1_000)
    snapshots_kept: int = setting(
        4,
        "So many snapshots are kept, and the entries since the oldest of them: a new attribute starts from there.",
        low=2,
        high=100,
    )
    trim: bool = setting(True, "Gives up entries that the oldest kept snapshot holds. `false` keeps all.")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which models run."""

    packs: tuple[str, ...] = setting(
        ("base", "retail"), "Names of packs that ship with the server, or paths of YAML files; used ones come first."
    )
    watch_interval_ms: int = setting(
        1_000,
        "How often the files of `packs` are looked at; those that changed are activated. 0 switches it off.",
        low=0,
    )
    refold_ms_max: int = setting(
        600_000, "How long models that are activated may take to catch up with the events that come.", low=1_000
    )
    compared_sessions_max: int = setting(
        100_000, "Sessions that a dry run compares; of more, so many are taken, evenly spread.", low=1
    )
    plugin_memory_bytes_max: int = setting(
        4096 * MIB,
        "What the process of a plug-in, and each one that it starts, may hold in memory. After a process was lost a second "
        "one stands ready.",
        low=128 * MIB,
        high=1 << 40,
    )


@dataclass(frozen=True, slots=True)
class ExplainSettings:
    """How far an explanation looks into the journal; beyond it the answer says that it is not complete."""

    entries_max: int = setting(200_000, "Entries of the journal that one explanation reads.", low=1)
    bytes_max: int = setting(512 * MIB, "Bytes of entries that one explanation reads.", low=1)
    time_ms_max: int = setting(3_000, "How long one explanation reads.", low=1, high=25_000)
    events_max: int = setting(10_000, "Events of a visitor after which one explanation reads no further.", low=1)
    waiting_max: int = setting(16, "Explanations that are worked on or wait; they are made one after the other.", low=1)


@dataclass(frozen=True, slots=True)
class MartSource:
    """A table, view or query of the data mart that holds customers."""

    table: str = setting("", "Table or view, as `schema.table` where it is not in the default schema.")
    query: str = setting("", "A SELECT statement instead of a table.")
    name: str = setting("", "What answers call it. Empty: as the table; needed with `query`.")
    key: str = setting("", "Column that holds the customer's id. Empty: `mart.key_column`.")
    columns: tuple[str, ...] = setting(
        (), "Columns that become attributes, `column` or `column as name`. Empty: all, and those that are added later."
    )
    items_max: int = setting(
        0, "0: one row per customer, each column an attribute. Else the rows are one list, at most so long.", high=1_000
    )
    order_by: str = setting("", "Column by which a list is ordered, then optionally ` desc`. Empty: see the guide.")
    updated_at: str = setting("", "Column with the time of a row's last change. Empty: `mart.updated_at_column`.")


@dataclass(frozen=True, slots=True)
class MartSettings:
    """The customer data mart."""

    enabled: bool = setting(True, "Joins sessions with a customer data mart.")
    url: str = setting(
        "",
        "Address for SQLAlchemy, such as `postgresql+asyncpg://user@host/database`. Empty: a SQLite file `mart.sqlite` in "
        "`server.data_dir`, made with a small reference schema.",
    )
    sources: tuple[MartSource, ...] = setting(
        (), "Tables, views and queries, in the order of precedence. Empty: all that have the column `key_column`."
    )
    schema: str = setting("", "Schema that is searched when `sources` is empty. Empty: the default one.")
    key_column: str = setting("customer_id", "Column that holds the customer's id.")
    updated_at_column: str = setting("updated_at", "Column with the time of a row's last change, where there is one.")
    items_max: int = setting(10, "Rows of a list, where `sources` does not say it.", low=1, high=1_000)
    own_tables: bool = setting(
        True, "Makes the tables `rte_*` in the data mart, for what the back office writes and for the change feed."
    )
    max_age_ms: int = setting(60_000, "A Customer State is FRESH up to this age, if the caller does not say.", low=1)
    read_wait_ms: int = setting(50, "How long a read with a maximum age waits for the data mart.", low=0, high=10_000)
    query_ms_max: int = setting(1_000, "How long one query may take.", low=10, high=600_000)
    write_ms_max: int = setting(10_000, "How long a write of the back office may take.", low=10, high=600_000)
    batch_max: int = setting(128, "Customers of one query.", low=1, high=1_000)
    queries_max: int = setting(4, "Look-ups at a time.", low=1, high=64)
    customers_max: int = setting(
        100_000, "Customers that are remembered; the one not read for longest goes first.", low=1
    )
    cache_bytes_max: int = setting(256 * MIB, "Bytes of the remembered states together.", low=MIB)
    customer_bytes_max: int = setting(
        64 * KIB, "Bytes of one Customer State; what exceeds it is left out and counted.", low=KIB, high=MIB
    )
    unknown_ms: int = setting(10_000, "How long an unknown customer is not looked up again.", low=0)
    failures_max: int = setting(3, "After so many failures in a row the data mart is left alone for `retry_ms`.", low=1)
    retry_ms: int = setting(1_000, "How often a data mart that failed is tried again.", low=10)
    poll_ms: int = setting(500, "How often changes and new columns are looked for, notifications apart.", low=10)


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Envoy, which serves the public port."""

    enabled: bool = setting(True, "Starts Envoy. `false`: only the gRPC server listens.")
    concurrency: int = setting(1, "Worker threads of Envoy.", low=1, high=256)
    connections_max: int = setting(10_000, "Open connections; beyond it new ones are closed.", low=1)
    heap_bytes_max: int = setting(1024 * MIB, "Heap of Envoy; at 95 % of it requests get 503.", low=64 * MIB)
    allowed_origins: tuple[str, ...] = setting(
        (), "Web origins that may call from browsers; `*` is every one. Empty: those of this machine."
    )
    tls_certificate: str = setting(
        "",
        "PEM file of the certificate with its chain: the public port takes TLS only. Read again when it is replaced.",
    )
    tls_key: str = setting("", "PEM file of the private key that belongs to `tls_certificate`.")
    demo: bool = setting(False, "Serves a demo shop at `/demo/`, whose visitors are measured. `rte run` sets it.")
    access_log: str = setting("", "File that gets one JSON line per request, `/dev/stdout` too. Empty: none.")


@dataclass(frozen=True, slots=True)
class SoapSettings:
    """The SOAP bridge, which Envoy reaches at `/soap`."""

    enabled: bool = setting(True, "Starts the bridge, if Envoy is started.")
    public_url: str = setting(
        "", "Address that the WSDL gives, such as `https://rte.example/soap`. Empty: as the caller reached Envoy."
    )
    plaintext_passwords: bool = setting(
        False, "Takes WS-Security passwords without TLS: only where something in front of Envoy ends TLS."
    )


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """The collectors, which take what the SDKs of Segment, RudderStack, Snowplow and CloudEvents send."""

    enabled: bool = setting(True, "Starts the collectors' bridge, if Envoy is started.")
    write_keys: tuple[str, ...] = setting(
        (), "Write keys that Segment's and RudderStack's SDKs may send. Empty: all are taken, and none is needed."
    )
    tables: str = setting(
        "",
        "Directory with tables of names that take the place of those that ship: `segment.yaml`, `snowplow.yaml`, "
        "`cloudevents.yaml`.",
    )
    quarantine_max: int = setting(10_000, "Refused events that are kept; the oldest go first.", low=0)
    quarantine_bytes_max: int = setting(64 * MIB, "Bytes of refused events that are kept.", low=0)
    quarantine_ms: int = setting(7 * DAY_MS, "How long a refused event is kept.", low=0)


@dataclass(frozen=True, slots=True)
class Config:
    """The effective settings."""

    server: ServerSettings = ServerSettings()
    session: SessionSettings = SessionSettings()
    dedup: DedupSettings = DedupSettings()
    strings: StringSettings = StringSettings()
    limits: LimitSettings = LimitSettings()
    journal: JournalSettings = JournalSettings()
    models: ModelSettings = ModelSettings()
    explain: ExplainSettings = ExplainSettings()
    mart: MartSettings = MartSettings()
    edge: EdgeSettings = EdgeSettings()
    soap: SoapSettings = SoapSettings()
    collect: CollectSettings = CollectSettings()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where a setting that is not at its default stands, by `section.name`."""

    def engine_settings(self) -> dict[str, int]:
        """Return what the fold is told, and the journal keeps: the fields of `engine.EngineSettings`."""
        session = self.session
        return {
            "gap_ms": session.gap_ms,
            "max_length_ms": session.max_length_ms,
            "lateness_ms": session.lateness_ms,
            "dedup_horizon_ms": self.dedup.horizon_ms,
            "closed_retention_ms": session.closed_retention_ms,
            "closed_max": session.closed_max,
        }

    def capacity(self) -> dict[str, int]:
        """Return the fields of `engine.table.Capacity`."""
        return {
            "sessions_max": self.session.sessions_max,
            "dedup_events_max": self.dedup.events_max,
            "strings_max": self.strings.strings_max,
            "string_bytes_max": self.strings.string_bytes_max,
            "written_sessions_max": self.session.written_sessions_max,
            "facts_max": self.strings.facts_max,
        }

    def scan_limits(self) -> dict[str, int]:
        """Return the fields of `engine.wire.Limits` that can be set."""
        names = (
            "batch_events_max",
            "event_bytes_max",
            "event_properties_max",
            "property_depth_max",
            "string_bytes_max",
            "event_future_ms_max",
        )
        return {name: getattr(self.limits, name) for name in names}

    def describe(self) -> list[tuple[str, str, str]]:
        """Return (name, effective value, origin) of every setting, in the order of the reference page."""
        return [
            (
                f"{section}.{name}",
                _PASSWORD.sub(r"\1***@", toml_text(getattr(getattr(self, section), name))),
                self.origins.get(f"{section}.{name}", "default"),
            )
            for section, kind in SECTIONS.items()
            for name in _names(kind)
        ]


_PASSWORD = re.compile(r"(://[^/@:]*:)[^@]*@")
"""The password in an address, which is shown to nobody."""

SECTIONS: Mapping[str, type] = {
    name: kind for name, kind in get_type_hints(Config).items() if isinstance(kind, type) and name != "origins"
}
"""The section classes by name, in order."""


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Config:
    """Read the configuration.

    Args:
        path: A TOML file. None: the one that RTE_CONFIG names, else none.
        environ: The variables. None: those of the process.
        options: Values by `section.name` that win over everything, for example from the command line.

    Raises:
        ConfigError: The file cannot be read, a name is unknown, a value has the wrong type or is out of range, or
            values contradict each other. It holds all problems.
    """
    variables = os.environ if environ is None else environ
    if path is None and variables.get(FILE_VARIABLE):
        path = Path(variables[FILE_VARIABLE])
    problems: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    given = [*_from_file(path, problems), *_from_variables(variables, problems)]
    given += [(name, value, "command line") for name, value in (options or {}).items()]
    for name, raw, origin in given:
        section, _, key = name.partition(".")
        if section not in SECTIONS or key not in _names(SECTIONS[section]):
            problems.append(f"{origin}: there is no setting {name}{_meant(name)}")
            continue
        try:
            values[name] = _converted(SECTIONS[section], key, raw)
            origins[name] = origin
        except ValueError as error:
            problems.append(f"{origin}: {name} = {toml_text(raw)!s}: {error}")
    config = Config(
        **{
            section: kind(
                **{name: values[f"{section}.{name}"] for name in _names(kind) if f"{section}.{name}" in values}
            )
            for section, kind in SECTIONS.items()
        },
        origins=origins,
    )
    problems += _contradictions(config)
    if problems:
        raise ConfigError(problems)
    return config


_Given = tuple[str, object, str]  # section.name, raw value, origin


def _from_file(path: Path | None, problems: list[str]) -> list[_Given]:
    if path is None:
        return []
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: is not TOML: {error}")
        return []
    found: list[_Given] = []
    for section, content in document.items():
        if isinstance(content, dict):
            found += [(f"{section}.{name}", value, str(path)) for name, value in content.items()]
        else:
            problems.append(f"{path}: {section} stands outside of a section; write it under one of {_sections()}")
    return found


def _from_variables(variables: Mapping[str, str], problems: list[str]) -> list[_Given]:
    found: list[_Given] = []
    for variable, value in sorted(variables.items()):
        if not variable.startswith("RTE_") or variable in FOREIGN_VARIABLES:
            continue
        section, separator, name = variable.removeprefix("RTE_").lower().partition("__")
        if separator:
            found.append((f"{section}.{name}", value, variable))
        else:
            problems.append(f"{variable}: names no setting; variables are written RTE_SECTION__NAME")
    return found


def _converted(kind: type, name: str, raw: object) -> object:
    """Return a value as the type of its field.

    Raises:
        ValueError: It has another type or is out of range; the message says what is expected.
    """
    wanted = get_type_hints(kind)[name]
    metadata = next(f.metadata for f in fields(kind) if f.name == name)
    if wanted is bool:
        return _boolean(raw)
    if wanted is int:
        return _integer(raw, metadata["low"], metadata["high"])
    if wanted is Path or wanted is str:
        if not isinstance(raw, str | Path) or (wanted is Path and not str(raw)):
            raise ValueError("expected a text" if wanted is str else "expected a path")
        if metadata["among"] and raw not in metadata["among"]:
            raise ValueError(f"expected one of {', '.join(metadata['among'])}")
        return wanted(raw)
    if wanted == tuple[MartSource, ...]:
        return _sources(raw)
    items = [item.strip() for item in raw.split(",") if item.strip()] if isinstance(raw, str) else raw
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError("expected a list of texts")
    return tuple(items)


def _source(item: Mapping[str, object]) -> MartSource:
    values: dict[str, Any] = {name: _converted(MartSource, name, value) for name, value in item.items()}
    return MartSource(**values)


def _sources(raw: object) -> tuple[MartSource, ...]:
    """Return the sources of a data mart: an array of tables in a file, the same as JSON in a variable."""
    try:
        items = json.loads(raw) if isinstance(raw, str) else raw
    except json.JSONDecodeError as error:
        raise ValueError(f"expected a JSON list of objects: {error}") from None
    if isinstance(items, tuple) and all(isinstance(item, MartSource) for item in items):
        return items
    if not isinstance(items, list | tuple) or not all(isinstance(item, dict) for item in items):
        raise ValueError("expected a list of tables")
    found = []
    for number, item in enumerate(items, 1):
        unknown = sorted(set(item) - set(_names(MartSource)))
        if unknown:
            raise ValueError(f"source {number} has no member {unknown[0]}; there are {', '.join(_names(MartSource))}")
        try:
            source = _source(item)
        except ValueError as error:
            raise ValueError(f"source {number}: {error}") from None
        if bool(source.table) == bool(source.query) or (source.query and not source.name):
            raise ValueError(f"source {number} needs either table, or query and name")
        found.append(source)
    return tuple(found)


def _boolean(raw: object) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    value = known.get(raw.lower()) if isinstance(raw, str) else raw
    if not isinstance(value, bool):
        raise ValueError("expected true or false")  # noqa: TRY004 - the caller reports every wrong value alike
    return value


def _integer(raw: object, low: int | None, high: int | None) -> int:
    try:
        value = int(raw) if isinstance(raw, str) else raw
    except ValueError:
        value = None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("expected a whole number")  # noqa: TRY004 - as above
    top = (1 << 62) if high is None else high
    if value < (low or 0) or value > top:
        raise ValueError(f"is outside of {range_text(low, high)}")
    return value


def _contradictions(config: Config) -> list[str]:
    """Return what is wrong between settings that are fine one by one."""
    session, limits, server, edge = config.session, config.limits, config.server, config.edge
    message = f"limits.message_bytes_max = {limits.message_bytes_max}"
    rules = [
        (
            0 < session.max_length_ms < session.gap_ms,
            f"session.max_length_ms = {session.max_length_ms} is shorter than session.gap_ms = {session.gap_ms}",
        ),
        (
            limits.event_bytes_max > limits.message_bytes_max,
            f"limits.event_bytes_max = {limits.event_bytes_max} is more than {message}",
        ),
        (
            limits.message_bytes_max > limits.queue_bytes_max,
            f"{message} is more than limits.queue_bytes_max = {limits.queue_bytes_max}",
        ),
        (
            bool(edge.tls_certificate) != bool(edge.tls_key),
            "edge.tls_certificate and edge.tls_key are set together or not at all",
        ),
        (
            edge.enabled and 0 < server.port == server.grpc_port and server.host == server.grpc_host,
            f"server.port and server.grpc_port are both {server.port}; Envoy needs one of its own",
        ),
    ]
    return [text for wrong, text in rules if wrong]


def _names(kind: type) -> list[str]:
    return [found.name for found in fields(kind)]


def _sections() -> str:
    return ", ".join(f"[{name}]" for name in SECTIONS)


def _meant(name: str) -> str:
    """Return a hint to the setting that was probably meant."""
    import difflib  # Only needed to explain a mistake.

    known = [f"{section}.{key}" for section, kind in SECTIONS.items() for key in _names(kind)]
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"; is {close[0]} meant?" if close else f"; the sections are {_sections()}"


def range_text(low: int | None, high: int | None) -> str:
    """Return a range of numbers as people read it."""
    return f">= {low or 0}" if high is None else f"{low or 0} to {high}"


def toml_text(value: object) -> str:
    """Return a value as a TOML file would hold it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, MartSource):
        given = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
        return "{" + ", ".join(f"{name} = {toml_text(each)}" for name, each in given.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_text(item) for item in value) + "]"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
