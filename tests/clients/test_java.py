"""The Java package: what is written by hand, and the program of its README."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.clients.printed import ROOT, Servers, attempt, block, needs, run, servers

PACKAGE = ROOT / "clients" / "java"
README = PACKAGE / "README.md"
POM = "{http://maven.apache.org/POM/4.0.0}"


@pytest.fixture(scope="module")
def package() -> Path:
    """The folder of the package, built, with what it needs beside it; skips where that cannot be fetched."""
    needs("java", "javac", "mvn")
    goals = ["-DincludeScope=runtime", "package", "dependency:copy-dependencies"]
    built = attempt(["mvn", "-q", "-B", *goals], PACKAGE)
    output = built.stdout + built.stderr
    if "Could not find artifact" in output or "Could not transfer artifact" in output:
        pytest.skip(f"Maven cannot fetch what the package needs: {output.strip()[:300]}")
    assert built.returncode == 0, output[-4000:]
    return PACKAGE


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers."""
    with servers(tmp_path_factory.mktemp("java-servers")) as running:
        yield running


@pytest.fixture(scope="module")
def program(package: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The command of the README's program, compiled without a warning."""
    folder = tmp_path_factory.mktemp("java-example")
    (folder / "Example.java").write_text(block(README, "java"), encoding="utf-8")
    libraries = f"{package}/target/*:{package}/target/dependency/*"
    run(["javac", "--release", "11", "-Xlint:all", "-Werror", "-cp", libraries, "-d", ".", "Example.java"], folder)
    return ["java", "-cp", f"{libraries}:{folder}", "Example"]


def test_the_version_is_that_of_the_contract() -> None:
    """The package, and what its README tells to depend on, have the version of this repository."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    pom = ET.parse(PACKAGE / "pom.xml")
    dependency = ET.fromstring(block(README, "xml"))
    assert pom.findtext(f"{POM}version") == dependency.findtext("version") == version
    for name in ("groupId", "artifactId"):
        assert pom.findtext(f"{POM}{name}") == dependency.findtext(name)


def test_what_is_written_by_hand(package: Path) -> None:
    """Its own tests ran when it was built, and none failed."""
    reports = [ET.parse(path).getroot() for path in (package / "target/surefire-reports").glob("*.xml")]
    assert sum(int(report.attrib["tests"]) for report in reports) >= 5
    assert all(report.attrib[name] == "0" for report in reports for name in ("failures", "errors", "skipped"))


def test_the_program_of_the_readme(both: Servers, program: list[str | Path], tmp_path: Path) -> None:
    """Against a new server it prints what the README says."""
    assert run([*program, both.plain], tmp_path) == block(README, "text")


def test_the_program_of_the_readme_over_tls(both: Servers, program: list[str | Path], tmp_path: Path) -> None:
    """Over TLS it prints the same, to whom it trusts, and fails with whom it does not."""
    store = tmp_path / "authorities.p12"
    keystore: list[str | Path] = ["-storetype", "PKCS12", "-storepass", "changeit", "-keystore", store]
    run(["keytool", "-importcert", "-noprompt", *keystore, "-alias", "rte", "-file", both.authority], tmp_path)
    java, *rest = program
    trusting = [java, f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit", *rest]
    assert run([*trusting, both.secure, "tls"], tmp_path) == block(README, "text")
    distrusting = attempt([*program, both.secure, "tls"], tmp_path)
    assert distrusting.returncode == 1
    assert "unable to find valid certification path" in distrusting.stderr
