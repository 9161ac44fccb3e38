"""Real clients: each ingests, gets, lists, updates and meets a fault, and all see the same.

What a machine lacks is skipped, with the reason. Packages of npm and Maven are installed into `.cache/soap-clients`, once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = Path(__file__).parent / "clients"
CACHE = ROOT / ".cache" / "soap-clients"
NPM_PACKAGE = "soap@1.13.0"
TIMEOUT_S = 1200
GSOAP = Path("/usr/share/gsoap")
GSOAP_TYPES = """xsd__duration = #import "custom/duration.h" | xsd__duration
xsd__dateTime = #import "custom/struct_timeval.h" | xsd__dateTime
rte = <urn:rte:v1>
"""


def expected(version: str) -> dict[str, Any]:
    """Return what every client must see."""
    return {
        "accepted": 2,
        "channel": "web <&> \u00e9",
        "events": 2,
        "listed": True,
        "tier": "gold",
        "vip": True,
        "code": "Client" if version == "1.1" else "Sender",
        "reason": "SESSION_NOT_FOUND",
        "field": "visitor_id",
        "retryable": False,
    }


def needs(*programs: str) -> None:
    """Skip the test where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    """Run a program to its end and return what it prints; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-3000:]
    return done.stdout.decode()


def install(name: str, command: Sequence[str]) -> Path:
    """Return the folder into which a package manager has installed what a client needs; skips where it cannot."""
    folder = CACHE / name
    done = folder / "installed"
    if done.exists() and done.read_text() == " ".join(command):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode != 0:
        pytest.skip(f"{command[0]} cannot install what {name} needs: {(result.stdout + result.stderr).strip()[-300:]}")
    done.write_text(" ".join(command))
    return folder


def check(output: str, version: str) -> None:
    """Check what a client printed."""
    assert json.loads(output) == expected(version)


@pytest.fixture
def visitor() -> str:
    """A visitor whom no other test knows."""
    return f"soap-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_zeep(url: str, version: str, visitor: str) -> None:
    """Zeep (Python) makes all calls over both versions."""
    check(run([sys.executable, CLIENTS / "zeep_client.py", url, version, visitor]), version)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_node(url: str, version: str, visitor: str) -> None:
    """The package `soap` (Node.js) makes all calls over both versions."""
    needs("node", "npm")
    flags = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    folder = install("node", ["npm", "install", *flags, "--prefix", ".", NPM_PACKAGE])
    check(run(["node", CLIENTS / "soap_client.mjs", url, version, visitor], folder), version)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_php(url: str, version: str, visitor: str) -> None:
    """SoapClient (PHP) makes all calls over both versions."""
    needs("php")
    if "soap" not in run(["php", "-m"]).split():
        pytest.skip("the extension soap of PHP is not installed")
    check(run(["php", CLIENTS / "soap_client.php", url, version, visitor]), version)


def needs_perl(*modules: str) -> None:
    """Skip the test where a module of Perl is missing."""
    needs("perl")
    for module in modules:
        if subprocess.run(["perl", f"-M{module}", "-e", "1"], capture_output=True, check=False).returncode != 0:
            pytest.skip(f"the module {module} of Perl is not installed")


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_xml_compile(url: str, version: str, visitor: str) -> None:
    """XML::Compile (Perl), which refuses whatever the XML Schema does not have, makes all calls over both versions."""
    needs_perl("XML::Compile::Schema", "LWP::UserAgent")
    check(run(["perl", CLIENTS / "xml_compile.pl", url, version, visitor]), version)


def test_soap_lite(url: str, visitor: str) -> None:
    """SOAP::Lite (Perl), which knows no schema and no order, makes all calls over SOAP 1.1."""
    needs_perl("SOAP::Lite")
    check(run(["perl", CLIENTS / "soap_lite.pl", url, "1.1", visitor]), "1.1")


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_gsoap(url: str, version: str, visitor: str, tmp_path: Path) -> None:
    """GSOAP (C++), compiled from the WSDL and strict about it, makes all calls over both versions."""
    needs("wsdl2h", "soapcpp2", "g++")
    types, header, program = tmp_path / "types.dat", tmp_path / "rte.h", tmp_path / "client"
    types.write_text(GSOAP_TYPES)
    run(["wsdl2h", "-c++11", "-t", types, "-o", header, f"{url}?wsdl&soap={version}"], tmp_path)
    run(["soapcpp2", "-C", "-j", "-x", "-L", "-w", f"-I{GSOAP}:{GSOAP / 'import'}", header], tmp_path)
    (proxy,) = (path.name.removeprefix("soap").removesuffix(".h") for path in tmp_path.glob("soap*Proxy.h"))
    (names,) = tmp_path.glob("*.nsmap")
    macros = [f"-DPROXY={proxy}", f'-DPROXY_HEADER="soap{proxy}.h"', f'-DPROXY_NSMAP="{names.name}"']
    sources: list[str | Path] = [CLIENTS / "GsoapClient.cpp", "soapC.cpp", f"soap{proxy}.cpp"]
    sources += [GSOAP / "custom" / "duration.c", GSOAP / "custom" / "struct_timeval.c"]
    command: list[str | Path] = [
        "g++",
        "-std=c++17",
        "-w",
        "-I.",
        f"-I{GSOAP}",
        *macros,
        "-o",
        program,
        *sources,
        "-lgsoap++",
    ]
    run(command, tmp_path)
    check(run([program, url, visitor]), version)


@pytest.fixture(scope="package")
def java_classes(url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The class path of the Java client, made by wsimport from the WSDL."""
    needs("java", "javac", "mvn")
    flags = ["-q", "-B", "-f", str(CLIENTS / "pom.xml"), f"-DoutputDirectory={CACHE / 'java'}"]
    libraries = install("java", ["mvn", *flags, "dependency:copy-dependencies"])
    folder = tmp_path_factory.mktemp("java")
    with urllib.request.urlopen(f"{url}?wsdl", timeout=60) as answer:
        (folder / "rte.wsdl").write_bytes(answer.read())
    flags = ["-extension", "-Xnocompile", "-encoding", "UTF-8", "-s", str(folder), "-p", "rte.soap"]
    tool = ["java", "-cp", f"{libraries}/*", "com.sun.tools.ws.WsImport"]
    output = run([*tool, *flags, "rte.wsdl"], folder)
    # SOAP 1.2 is none of JAX-WS's standard bindings, which it says once per port.
    warnings = [line for line in output.splitlines() if "warning" in line.lower()]
    assert len(warnings) == 1 and "SOAP 1.2 binding" in warnings[0] and "error" not in output.lower(), output
    sources = [*folder.rglob("*.java"), CLIENTS / "JaxWsClient.java"]
    run(["javac", "-encoding", "UTF-8", "-cp", f"{libraries}/*", "-d", folder, *sources], folder)
    return f"{libraries}/*:{folder}"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_jax_ws(java_classes: str, url: str, version: str, visitor: str) -> None:
    """JAX-WS (Java), with classes that wsimport makes without complaint, makes all calls over both versions."""
    check(run(["java", "-Dfile.encoding=UTF-8", "-cp", java_classes, "JaxWsClient", url, version, visitor]), version)
