"""The programs that READMEs of clients print, and the servers that tests run them against."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.service.live_server import live_server

ROOT = Path(__file__).resolve().parents[2]
BUILD_S_MAX = 900
"""The first build of a machine fetches packages and compiles them, beside other work."""


@dataclass(frozen=True)
class Servers:
    """Two servers behind Envoy, each of them new.

    Attributes:
        plain: Address of the one without TLS, `host:port`.
        secure: Address of the one with TLS.
        authority: PEM file of the authority that signed its certificate.
    """

    plain: str
    secure: str
    authority: Path


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run both servers for the time of a block."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    paths = {name: folder / f"{name}.pem" for name in ("authority", "certificate", "key")}
    authority.cert_pem.write_to_path(str(paths["authority"]))
    leaf.private_key_pem.write_to_path(str(paths["key"]))
    paths["certificate"].write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    certificate, key = str(paths["certificate"]), str(paths["key"])
    with (
        live_server(folder / "plain", edge=True) as plain,
        live_server(folder / "secure", edge=True, edge__tls_certificate=certificate, edge__tls_key=key) as secure,
    ):
        yield Servers(f"localhost:{plain.http_port}", f"localhost:{secure.http_port}", paths["authority"])


def block(readme: Path, language: str) -> str:
    """Return the only block of a language that a README prints."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(found)


def needs(*programs: str) -> None:
    """Skip the test where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def attempt(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] = {}, timeout_s: float = BUILD_S_MAX
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] = {}, timeout_s: float = BUILD_S_MAX
) -> str:
    """Run a program to its end and return what it prints; it must succeed."""
    done = attempt(command, folder, environment, timeout_s)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout
