"""Parts of addresses equal what Python's `urllib.parse` says, on made-up and on recorded addresses."""

from __future__ import annotations

import gzip
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.native import text_id
from rte_server.engine.url_parts import PART_BYTES_MAX, UrlPart
from rte_server.engine.values import DOUBLE, ERROR, NULL, STRING
from tests.engine.expression_pool import Machine
from tests.engine.recorded import shared_file
from tests.models.url_oracle import part_of

SECRET = np.arange(7, 11, dtype=np.uint64)
NAMES = ("utm_source", "q", "é", "a b", "")
MACHINES = {
    (part, name): Machine((Instruction(Op.URL, int(part), name.encode(), "u"),), SECRET)
    for part in UrlPart
    for name in (NAMES if part == UrlPart.QUERY else ("",))
}
PIECES = [
    *("https:", "http:", "HTTP:", "mailto:", "a+1.-:", "1a:", ":", "//", "/", "///", "?", "#", "&", "=", "+", "@", "."),
    *("Shop.Example", "shop.example", ":443", "user:pw@", "[::1]", "[", "]", "é.example", " ", "\t", "\x7f", "\0"),
    *(
        "utm_source=",
        "utm%5Fsource=",
        "q=",
        "q",
        "%C3%A9=",
        "a+b=",
        "a%20b=",
        "google",
        "a%20b",
        "%",
        "%4",
        "%zz",
        "%25",
    ),
    *("%C3%A9", "%c3", "%A9", "%E2%82", "%ED%A0%80", "%F0%9F%98%80", "%F4%90%80%80", "%00", "é", "日本", "😀", ";"),
]
urls = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=30)


def found_part(url: str, part: UrlPart, name: str = "") -> str | None:
    """Return what the kernel finds, or None for no value."""
    machine = MACHINES[part, name]
    tag, bits = machine.run({"u": (STRING, text_id(url.encode(), SECRET))}, {"u": url})
    assert tag in (STRING, NULL)
    return machine.text(bits) if tag == STRING else None


def agree(url: str) -> None:
    """Assert that every part is as it should be."""
    for part, name in MACHINES:
        assert found_part(url, part, name) == part_of(url, part.name.lower(), name), (url[:200], part, name)


@settings(max_examples=300, deadline=None)
@given(url=urls)
@example("https://Shop.Example:443/a/b?utm_source=caf%C3%A9+x&q=&q=2#top")
@example("https://shop.example")
@example("https://shop.example?q=1")
@example("/only/a/path?q=%F0%9F%98%80")
@example("?q=%E2%82&utm_source=%A9%C3")
@example("https://h/" + "x" * PART_BYTES_MAX)
@example("https://h/?q=" + "x" * PART_BYTES_MAX + "&q=2")
@example("https://h/?q=" + "%C3" * 342)
def test_parts_equal_those_of_the_standard_library(url: str) -> None:
    """Whatever the text, each part is what `urllib.parse` gives, and malformed addresses have none."""
    agree(url)


def recorded_urls() -> list[str]:
    """Return the different addresses and referrers of a recorded log."""
    with gzip.open(shared_file("access_web_dev.log.gz"), "rt", encoding="utf-8", errors="replace") as lines:
        found = [re.search(r'"\S+ (\S+) [^"]*" \d+ \S+ "([^"]*)"', line) for line in lines]
    paths = {match[1] for match in found if match} | {match[2] for match in found if match}
    return sorted(paths | {f"https://www.example.com{path}" for path in paths if path.startswith("/")})


def test_parts_of_recorded_addresses_equal_those_of_the_standard_library() -> None:
    """On every address and referrer of a recorded log the parts are what `urllib.parse` gives."""
    urls = recorded_urls()
    assert len(urls) > 1000
    chosen = random.Random(3).sample(urls, min(len(urls), 2500))
    for url in chosen:
        for part, name in ((UrlPart.HOST, ""), (UrlPart.PATH, ""), (UrlPart.QUERY, "q"), (UrlPart.FRAGMENT, "")):
            assert found_part(url, part, name) == part_of(url, part.name.lower(), name), (url, part)


def test_only_a_text_has_parts() -> None:
    """A number has no parts, nor has a property that is missing: an error, as of any function of CEL."""
    machine = MACHINES[UrlPart.HOST, ""]
    assert machine.run({"u": (DOUBLE, 0)}, {})[0] == ERROR
    assert machine.run({}, {})[0] == ERROR


def fuzz(seed: int, count: int) -> None:
    """Take broken addresses apart."""
    chance = random.Random(seed)
    for _ in range(count):
        url = "".join(chance.choices(PIECES, k=chance.randrange(12)))
        if chance.random() < 0.3:
            url += "%C3" * chance.randrange(1400) + "x" * chance.randrange(1100)
        agree(url)


SCRIPT = """
from tests.engine import test_url_parts
test_url_parts.fuzz(11, 1500)
"""


@pytest.mark.timeout(1800)
def test_no_address_leads_out_of_the_arrays(tmp_path: Path) -> None:
    """Compiled with bounds checks, the kernels meet no index outside of an array on broken addresses."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), *sys.path])
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 0, result.stderr[-3000:]
