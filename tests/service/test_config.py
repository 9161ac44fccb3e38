"""Settings come from a file, variables and options, and every mistake is named at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rte_server import config as module
from rte_server.config import Config, ConfigError, load
from rte_server.config_reference import reference

ROOT = Path(__file__).parents[2]


def write(path: Path, text: str) -> Path:
    """Write a configuration file."""
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_the_defaults_hold() -> None:
    """No file and no variable give the documented defaults, and nothing has another origin."""
    config = load(environ={"HOME": "/", "RTE_ADDRESS": "example:8080"})
    assert config == Config()
    assert {origin for _, _, origin in config.describe()} == {"default"}
    assert config.session.gap_ms == 1_800_000


def test_options_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    """The last word is the command line's, and each value says where it stands."""
    path = write(tmp_path / "rte.toml", "[session]\ngap_ms = 1\nlateness_ms = 2\nclosed_max = 3\n")
    environ = {"RTE_CONFIG": str(path), "RTE_SESSION__LATENESS_MS": "20", "RTE_SESSION__CLOSED_MAX": "30"}
    config = load(environ=environ, options={"session.closed_max": 300})
    assert (config.session.gap_ms, config.session.lateness_ms, config.session.closed_max) == (1, 20, 300)
    rows = {name: (value, origin) for name, value, origin in config.describe()}
    assert rows["session.gap_ms"] == ("1", str(path))
    assert rows["session.lateness_ms"] == ("20", "RTE_SESSION__LATENESS_MS")
    assert rows["session.closed_max"] == ("300", "command line")


def test_every_type_is_read_from_file_and_variable(tmp_path: Path) -> None:
    """Numbers, booleans, texts, paths and lists mean the same in a file and in a variable."""
    path = write(
        tmp_path / "rte.toml",
        '[server]\ndata_dir = "/d"\nlog_level = "debug"\n[edge]\nenabled = false\n[models]\npacks = ["base", "x.yaml"]\n',
    )
    environ = {
        "RTE_SERVER__DATA_DIR": "/d",
        "RTE_SERVER__LOG_LEVEL": "debug",
        "RTE_EDGE__ENABLED": "no",
        "RTE_MODELS__PACKS": "base, x.yaml",
    }
    assert load(path, {}) == load(None, environ)
    assert load(path, {}).server.data_dir == Path("/d")
    assert load(None, {"RTE_EDGE__ALLOWED_ORIGINS": ""}).edge.allowed_origins == ()


def test_all_problems_are_reported_at_once_with_their_origin(tmp_path: Path) -> None:
    """Unknown names, wrong types, values out of range and contradictions come in one error, with hints."""
    path = write(
        tmp_path / "rte.toml",
        'stray = 1\n[session]\ngap = 5\ngap_ms = 0\nclosed_max = "many"\nlateness_ms = true\n[nothing]\na = 1\n'
        '[server]\nlog_level = "loud"\nport = 70000\n[models]\npacks = [1]\n[edge]\nenabled = 2\n'
        "[limits]\nqueue_bytes_max = 1048576\n",
    )
    with pytest.raises(ConfigError) as caught:
        load(path, {"RTE_SERVER_PORT": "1", "RTE_JOURNAL__TRIM": "perhaps", "RTE_SERVER__DATA_DIR": ""})
    text = "\n".join(caught.value.problems)
    for expected in (
        f"{path}: stray stands outside of a section",
        f"{path}: there is no setting session.gap; is session.gap_ms meant?",
        "session.gap_ms = 0: is outside of >= 1",
        'session.closed_max = "many": expected a whole number',
        "session.lateness_ms = true: expected a whole number",
        "there is no setting nothing.a; the sections are [server]",
        'server.log_level = "loud": expected one of debug, info, warning, error',
        "server.port = 70000: is outside of 0 to 65535",
        "models.packs = [1]: expected a list of texts",
        "edge.enabled = 2: expected true or false",
        "RTE_SERVER_PORT: names no setting; variables are written RTE_SECTION__NAME",
        'RTE_JOURNAL__TRIM: journal.trim = "perhaps": expected true or false',
        'RTE_SERVER__DATA_DIR: server.data_dir = "": expected a path',
        "limits.message_bytes_max = 4194304 is more than limits.queue_bytes_max = 1048576",
    ):
        assert expected in text
    assert len(caught.value.problems) == 14
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A missing file and one that is no TOML are errors that name it."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="is not TOML"):
        load(write(tmp_path / "bad.toml", "[session\n"), {})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"session.max_length_ms": 1000}, "shorter than session.gap_ms"),
        ({"limits.event_bytes_max": 8_000_000}, "more than limits.message_bytes_max"),
        ({"server.grpc_port": 8080}, "both 8080"),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], match: str) -> None:
    """Values that are fine one by one but not together are refused; what switches a rule off is not."""
    with pytest.raises(ConfigError, match=match):
        load(None, {}, options)
    load(None, {}, {"session.max_length_ms": 0, "server.grpc_port": 8080, "edge.enabled": False})


def test_the_parts_fit_those_who_take_them() -> None:
    """Engine settings, capacity and scan limits are fields of the engine's own types, with the same defaults."""
    from rte_server.engine.settings import EngineSettings
    from rte_server.engine.table import Capacity
    from rte_server.engine.wire import Limits

    config = Config()
    assert EngineSettings(**config.engine_settings()) == EngineSettings()
    assert Capacity(**config.capacity()) == Capacity()
    assert Limits(**config.scan_limits()) == Limits()


def test_the_pipeline_and_the_edge_have_the_same_defaults() -> None:
    """What is written twice says the same."""
    from rte_server.edge.settings import EdgeSettings
    from rte_server.service.pipeline_settings import PipelineSettings

    config, edge = Config(), EdgeSettings(run_dir=Path(), upstream="")
    assert PipelineSettings.of(config) == PipelineSettings()
    assert config.server.port == edge.port
    assert config.limits.message_bytes_max == edge.request_bytes_max
    for name in ("concurrency", "connections_max", "heap_bytes_max", "allowed_origins"):
        assert getattr(config.edge, name) == getattr(edge, name)


def test_the_reference_page_is_up_to_date() -> None:
    """The page is what `python -m rte_server.config_reference` prints."""
    assert (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8") == reference()


def test_nobody_else_reads_variables() -> None:
    """Only `config` reads variables, so that every setting has one place. Some are set for libraries before an import."""
    pattern = re.compile(r"os\.(getenv|environ(?!\.setdefault))")
    found = {
        str(path.relative_to(ROOT / "server"))
        for path in (ROOT / "server" / "rte_server").rglob("*.py")
        if path != Path(module.__file__) and pattern.search(path.read_text(encoding="utf-8"))
    }
    assert not found
