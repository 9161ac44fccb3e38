"""The Go module: what is written by hand, and the program of its README."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.printed import ROOT, Servers, attempt, block, needs, run, servers

MODULE = ROOT / "clients" / "go"
README = MODULE / "README.md"


@pytest.fixture(scope="module")
def module() -> Path:
    """The folder of the module, with what it needs fetched; skips where that cannot be."""
    needs("go")
    fetched = attempt(["go", "mod", "download"], MODULE)
    if fetched.returncode != 0:
        pytest.skip(f"Go cannot fetch what the module needs: {fetched.stderr.strip()[-300:]}")
    return MODULE


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers."""
    with servers(tmp_path_factory.mktemp("go-servers")) as running:
        yield running


@pytest.fixture(scope="module")
def program(module: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the README, built as a module of its own, as a user has it."""
    folder = tmp_path_factory.mktemp("go-example")
    (folder / "main.go").write_text(block(README, "go"), encoding="utf-8")
    language = next(line for line in (module / "go.mod").read_text().splitlines() if line.startswith("go "))
    (folder / "go.mod").write_text(f"module example\n\n{language}\n")
    # The workspace says that the module is the one here, and not one that is published.
    (folder / "go.work").write_text(f"{language}\n\nuse .\nuse {module}\n")
    assert run(["gofmt", "-l", "."], folder) == ""
    run(["go", "vet", "."], folder)
    run(["go", "build", "-o", "example", "."], folder)
    return folder / "example"


def test_what_is_written_by_hand(module: Path) -> None:
    """It is formatted, `go vet` has nothing to say, its own tests pass, and go.mod is what its imports ask for."""
    assert run(["gofmt", "-l", "."], module) == ""
    run(["go", "vet", "./..."], module)
    run(["go", "test", "./..."], module)
    run(["go", "mod", "tidy", "-diff"], module)


def test_the_program_of_the_readme(both: Servers, program: Path) -> None:
    """Against a new server it prints what the README says."""
    printed = run([program, "-address", both.plain], program.parent, timeout_s=600)
    assert printed == block(README, "text")


def test_the_program_of_the_readme_over_tls(both: Servers, program: Path) -> None:
    """Over TLS it prints the same, to whom it trusts, and fails with whom it does not."""
    command: list[str | Path] = [program, "-tls", "-address", both.secure]
    trusting = {"SSL_CERT_FILE": str(both.authority)}
    assert run(command, program.parent, trusting, timeout_s=600) == block(README, "text")
    distrusting = attempt(command, program.parent, timeout_s=600)
    assert distrusting.returncode == 1
    assert "certificate signed by unknown authority" in distrusting.stderr
