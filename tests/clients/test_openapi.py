"""The OpenAPI description: it is valid, complete, served, and what it says is what Envoy and the server do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from rte_server.edge.descriptors import compile_public_set, http_pattern, http_rules
from rte_server.edge.openapi import operations
from rte_server.edge.openapi_comments import failures, plain, summary
from rte_server.service.tokens import parse_position
from rte_server.testing import TestServer

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "envoy" / "openapi.json"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """A server of its own: what Schemathesis calls changes models and erases customers, which other tests rely on."""
    with TestServer(tmp_path_factory.mktemp("data"), edge=True, mart__enabled=True, edge__demo=True) as running:
        yield running


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """The committed description."""
    loaded: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return loaded


def get(server: TestServer, path: str) -> tuple[str, bytes]:
    """Return the content type and the body that the public port answers with."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}", timeout=60) as answer:
        return answer.headers["content-type"], answer.read()


def test_it_is_openapi(description: dict[str, Any]) -> None:
    """The description is valid OpenAPI 3.1."""
    openapi_spec_validator.validate(description)


def test_it_has_every_path_of_the_contract(description: dict[str, Any]) -> None:
    """Every HTTP rule of the contract is an operation, with a text, and nothing else is."""
    contract = compile_public_set(ROOT / "proto", [ROOT / "proto" / "third_party"])
    rules = {
        http_pattern(rule)
        for file in contract.file
        for service in file.service
        for method in service.method
        for rule in http_rules(method)
    }
    found = {(verb.upper(), template) for template, verb, _ in operations(description)}
    assert found == rules
    assert all(operation["summary"] and operation["description"] for _, _, operation in operations(description))


def test_its_examples_are_what_it_describes(description: dict[str, Any]) -> None:
    """Every example of a body or an answer fits its schema."""
    components = {"components": description["components"]}
    found = 0
    for _, _, operation in operations(description):
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (each.get("content", {}).get("application/json", {}) for each in contents):
            if "example" in content:
                Draft202012Validator(content["schema"] | components).validate(content["example"])
                found += 1
    assert found >= 8


def test_its_positions_look_like_positions(description: dict[str, Any]) -> None:
    """A position in an example has the form that the server gives and takes."""
    answers = (each for _, _, operation in operations(description) for each in operation["responses"].values())
    examples = [each.get("content", {}).get("application/json", {}).get("example", {}) for each in answers]
    positions = [example["position"] for example in examples if "position" in example]
    assert positions and all(parse_position(position) > 0 for position in positions)


def test_comments_become_texts() -> None:
    """Lines of a comment become paragraphs, examples stay, and what a call fails with is found by status."""
    text = " Gets one thing.\n For all.\n\n     {}\n Fails with NOT_FOUND (A_B),\n ABORTED (C, D)."
    assert plain(text) == "Gets one thing. For all.\n\n    {}\nFails with NOT_FOUND (A_B), ABORTED (C, D)."
    assert summary(text) == "Gets one thing"
    assert failures(text) == {404: "A_B.", 409: "C, D."}
    assert failures("All fail with UNIMPLEMENTED if it is off (`x.y`).") == {501: "UNIMPLEMENTED if it is off."}


class References(HTMLParser):
    """Gathers what a page refers to, and what can be referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag."""
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in {"href", "src"}:
                self.links.append(value or "")


def test_it_is_served_with_its_page(server: TestServer, description: dict[str, Any]) -> None:
    """The public port serves the description, and a page that leads nowhere else and whose links have an aim."""
    kind, body = get(server, "/openapi.json")
    assert (kind, json.loads(body)) == ("application/json", description)
    kind, body = get(server, "/api")
    assert kind == "text/html; charset=utf-8"
    references = References()
    references.feed(body.decode())
    assert len(references.ids) == len(set(references.ids))
    assert {link for link in references.links if not link.startswith("#")} == {"/openapi.json"}
    assert {link.removeprefix("#") for link in references.links if link.startswith("#")} <= set(references.ids)
    assert not references.tags & {"script", "link", "img", "iframe"} and "url(" not in body.decode()
    assert len(references.ids) > len(list(operations(description)))


def schemathesis(server: TestServer, document: Path, examples: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Let Schemathesis make requests from a description and judge the answers of the public port."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", str(document), "--no-color"]
    command += ["--url", f"http://127.0.0.1:{server.http_port}", "--checks", CHECKS, "--max-examples", str(examples)]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--suppress-health-check", "all"]
    # A watch has no end; what else there is to say of it, the tests of the edge do.
    command += ["--exclude-path", "/v1/sessions:watch", *options]
    environment = os.environ | {"PYTHONPATH": ""}
    return subprocess.run(
        command, cwd=document.parent, env=environment, capture_output=True, text=True, timeout=1500, check=False
    )


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """The description in a folder where Schemathesis may write."""
    path = tmp_path / "openapi.json"
    path.write_bytes(DOCUMENT.read_bytes())
    return path


@pytest.mark.timeout(1800)
def test_what_it_says_is_what_is_answered(server: TestServer, document: Path) -> None:
    """Requests made from the description get no 5xx and no answer that it does not describe."""
    done = schemathesis(server, document, 5, "--generation-deterministic")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    match = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert match is not None and match[1] == match[2] and int(match[1]) > 300


@pytest.mark.long
def test_what_it_says_is_what_is_answered_at_length(server: TestServer, document: Path) -> None:
    """The same with many random requests."""
    done = schemathesis(server, document, 100)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.timeout(900)
def test_a_description_that_is_wrong_is_found_out(
    server: TestServer, document: Path, description: dict[str, Any]
) -> None:
    """Without the 404 of a call, or with another type of an answer, the same check fails."""
    wrong = json.loads(json.dumps(description))
    wrong["paths"] = {path: wrong["paths"][path] for path in ("/v1/models/{name}", "/v1/scores")}
    del wrong["paths"]["/v1/models/{name}"]["get"]["responses"]["404"]
    wrong["components"]["schemas"]["ListScoresResponse"]["properties"]["scores"] = {"type": "string"}
    document.write_text(json.dumps(wrong))
    done = schemathesis(server, document, 3)
    assert done.returncode == 1
    assert "Undocumented status code" in done.stdout and "Response violates schema" in done.stdout
