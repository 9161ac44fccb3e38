"""The TypeScript package: it builds, its README works, and it loses nothing; in Node.js, and in a real browser."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import rte
from rte_server.testing import TestServer
from tests.browser import browser
from tests.clients.printed import ROOT, attempt, needs, run
from tests.simulation.test_kill_server import Server

PACKAGE = ROOT / "clients" / "typescript"
PROGRAMS = Path(__file__).parent / "typescript"
README = PACKAGE / "README.md"
FLAGS = ("--ignore-scripts", "--no-audit", "--no-fund")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, built as its README says, and a program's folder beside it that has installed it."""
    needs("node", "npm")
    folder = tmp_path_factory.mktemp("typescript")
    built = folder / "package"
    shutil.copytree(PACKAGE, built, ignore=shutil.ignore_patterns("node_modules", "dist"))
    installed = attempt(["npm", "ci", *FLAGS], built)
    if installed.returncode != 0:
        pytest.skip(
            f"npm cannot install what the package needs: {(installed.stdout + installed.stderr).strip()[-300:]}"
        )
    run(["npm", "run", "build"], built)
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "rte-client").symlink_to(built, target_is_directory=True)
    for scope in ("@bufbuild", "@connectrpc"):
        (folder / "node_modules" / scope).symlink_to(built / "node_modules" / scope, target_is_directory=True)
    (folder / "package.json").write_text('{"type": "module"}')
    for program in PROGRAMS.glob("*.mjs"):
        shutil.copy(program, folder)
    return folder


def printed(language: str) -> str:
    """Return the program that the README prints in a language."""
    (program,) = re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(program)


def test_the_program_of_the_readme_works(package: Path, server: TestServer) -> None:
    """The program compiles under strict settings as it is printed, and prints what it is there to show."""
    program = printed("ts").replace("localhost:8080", f"localhost:{server.http_port}")
    (package / "example.ts").write_text(program)
    modules = package / "package" / "node_modules"
    options = ["--module", "NodeNext", "--target", "ES2022", "--strict", "--skipLibCheck", "--types", "node"]
    options += ["--typeRoots", str(modules / "@types")]
    run(["node", modules / "typescript" / "bin" / "tsc", *options, "example.ts"], package)
    shown = run(["node", "example.js"], package).splitlines()
    assert shown[0].startswith("2 ") and float(shown[0].split()[1]) == pytest.approx(29.7)
    assert shown[1:] == ["erin", "upsert", "synced", "free-shipping", "SESSION_NOT_FOUND visitor_id"]


def test_every_call_and_the_limits(package: Path, server: TestServer, visitor: str) -> None:
    """Tracked events count once, refused ones are told, calls give what the contract says, and limits hold."""
    url = f"http://127.0.0.1:{server.http_port}"
    found = json.loads(run(["node", "track.mjs", url, visitor, "http://127.0.0.1:1"], package))
    stats = found.pop("stats")
    assert (stats["tracked"], stats["delivered"], stats["rejected"], stats["held"]) == (734, 733, 1, 0)
    assert found == {
        "events": 731,
        "told": ["name"],
        "ingested": [1, 1, "visitor_id"],
        "tier": "gold",
        "ended": 2,
        "models": True,
        "error": [True, "SESSION_NOT_FOUND", "customer_id"],
        "listed": [visitor],
        "closed": "the client is closed",
        "full": True,
        "undelivered": [True, 3, 3, 36],
    }


def test_rules_that_need_no_server(package: Path) -> None:
    """The position covers all batches in whatever order they are answered; a token leaves no machine in plain text."""
    assert run(["node", "rules.mjs"], package).splitlines() == [
        "0-101",
        "refused",
        "taken",
        "taken",
        "SESSION_NOT_FOUND",
    ]


@pytest.mark.timeout(1800)
def test_nothing_is_lost_over_a_killed_server(package: Path, tmp_path: Path, visitor: str) -> None:
    """While a program tracks, the server is killed and started again: every event is in the state exactly once."""
    server = Server(tmp_path / "data", tmp_path / "server.log")
    try:
        server.wait_ready()
        command = ["node", "restart.mjs", f"http://127.0.0.1:{server.port}", visitor]
        with subprocess.Popen(
            command, cwd=package, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None and program.stdin is not None
            assert program.stdout.readline().startswith("delivered")
            server.end(signal.SIGKILL)
            server = Server(tmp_path / "data", tmp_path / "server.log", server.port)
            server.wait_ready()
            assert program.stdout.readline().startswith("delivered")
            program.stdin.write("end\n")
            program.stdin.flush()
            last = program.stdout.read().splitlines()[-1]
        _, tracked, delivered, failed = last.split()
        assert tracked == delivered and int(failed) > 0, last
        with rte.Client(f"127.0.0.1:{server.port}") as client:
            assert client.get_session(visitor_id=visitor).event_count == int(tracked)
    finally:
        server.end(signal.SIGKILL)


@pytest.fixture
def site(package: Path, server: TestServer, visitor: str) -> Iterator[str]:
    """A site of another port with the README's page, bundled; it asks for a visitor whom no other test knows."""
    program = printed("js").replace("location.origin", json.dumps(f"http://127.0.0.1:{server.http_port}"))
    program = program.replace('"erin"', json.dumps(visitor))
    folder = package / "site"
    folder.mkdir(exist_ok=True)
    (package / "page.js").write_text(program)
    bundler = package / "package" / "node_modules" / "esbuild" / "bin" / "esbuild"
    made = attempt(
        ["node", bundler, "page.js", "--bundle", "--format=esm", "--minify", "--outfile=site/page.js"], package
    )
    if made.returncode != 0:
        pytest.skip(f"esbuild does not run here: {made.stderr.strip()[-300:]}")
    (folder / "index.html").write_text(
        '<!doctype html><title>waiting</title><script type="module" src="page.js"></script>'
    )
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_a_page_reads_a_session_over_grpc_web(site: str, server: TestServer, visitor: str) -> None:
    """The page of the README, in a real browser and from another origin, reads a session through Envoy."""
    with rte.Client(server.address) as client:
        client.ingest([rte.Event("login", visitor)], wait="applied")
        count = client.get_session(visitor_id=visitor).event_count
    with browser() as chromium:
        page = chromium.open(site)
        page.wait_for("document.title != 'waiting'")
        assert page.evaluate("document.title") == f"{count} events"
        assert page.errors() == []


def test_the_lock_has_no_addresses() -> None:
    """The lock file pins every package by its hash and names no address."""
    lock = json.loads((PACKAGE / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages and all("integrity" in each and "resolved" not in each for each in packages.values())
