"""The reference page of the HTTP surface: one HTML file without scripts, styles or pictures from anywhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --soft: color-mix(in srgb, currentColor 6%, transparent) }
* { box-sizing: border-box } html { scroll-padding-top: 1rem }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; display: grid; grid-template-columns: 17rem minmax(0, 54rem); gap: 2.5rem; justify-content: center; padding: 0 1.25rem }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.5rem 0; font-size: .875rem } nav ul { list-style: none; margin: 0 0 1rem; padding: 0 } nav a { display: block; padding: .15rem 0; text-decoration: none; color: inherit; overflow-wrap: anywhere } nav a:hover { text-decoration: underline } nav b { font-size: .8rem; opacity: .7 }
main { padding: 1.5rem 0 6rem } h1 { line-height: 1.2 } h2 { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line) } h3 { margin: 2.5rem 0 .25rem }
code, pre { font: .875em/1.5 ui-monospace, monospace } code { overflow-wrap: anywhere } pre { background: var(--soft); padding: .75rem 1rem; overflow: auto; border-radius: 6px }
.call { background: var(--soft); border-radius: 6px; padding: .4rem .75rem; font: .9rem ui-monospace, monospace; overflow-wrap: anywhere } .call b { margin-right: .6rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .5rem 0 1rem } th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line) } td:first-child { white-space: nowrap } td:nth-child(2) { min-width: 11rem } td p { margin: 0 0 .3rem } .need { font-size: .75rem; opacity: .75 }
summary { cursor: pointer; margin: .4rem 0 } a { color: light-dark(#0b57d0, #8ab4f8) }
@media (max-width: 60rem) { body { display: block } nav { position: static; height: auto } td:first-child { white-space: normal } }
"""


def page(description: Json) -> str:
    """Return the page of an OpenAPI description."""
    groups = {tag["name"]: tag for tag in description["tags"]}
    calls: dict[str, list[tuple[str, str, Json]]] = {name: [] for name in groups}
    for template, verbs in description["paths"].items():
        for verb, operation in verbs.items():
            calls[operation["tags"][0]].append((template, verb, operation))
    schemas = description["components"]["schemas"]
    links = "".join(
        f"<b>{escape(name)}</b><ul>{''.join(_link(each[2]) for each in found)}</ul>" for name, found in calls.items()
    )
    names = "".join(f'<li><a href="#schema-{escape(name)}">{escape(name)}</a></li>' for name in schemas)
    sections = "".join(
        f"<h2>{escape(name)}</h2>{_prose(groups[name]['description'])}{''.join(_operation(*each) for each in found)}"
        for name, found in calls.items()
    )
    objects = "".join(_schema(name, schema) for name, schema in schemas.items())
    information = description["info"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(information['title'])}: HTTP reference</title><style>{_STYLE}</style></head><body>\n"
        f"<nav>{links}<b>Objects</b><ul>{names}</ul></nav>\n"
        f"<main><h1>{escape(information['title'])} over HTTP</h1><p>{escape(information['summary'])} "
        'For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{_prose(information['description'])}{sections}<h2>Objects</h2>{objects}</main></body></html>\n"
    )


def _link(operation: Json) -> str:
    name = escape(operation["operationId"])
    return f'<li><a href="#{name}">{escape(operation["summary"])}</a></li>'


def _operation(template: str, verb: str, operation: Json) -> str:
    name = escape(operation["operationId"])
    parts = [
        f'<section><h3 id="{name}">{escape(operation["summary"])}</h3>',
        f'<p class="call"><b>{escape(verb.upper())}</b>{escape(template)}</p>',
        _prose(operation["description"]),
    ]
    if parameters := operation.get("parameters"):
        rows = [
            (each["name"], each["in"], each["required"], each["schema"], each["description"]) for each in parameters
        ]
        parts.append(_table(rows))
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        parts.append(f"<p>Body: {_kind(content['schema'])}</p>")
        parts.append(_members(content["schema"]) if "$ref" not in content["schema"] else "")
        parts.append(_example("Example", content.get("example")))
    answers = []
    for status, response in operation["responses"].items():
        kinds = ", ".join(_kind(content["schema"]) for content in response["content"].values())
        answers.append(f"<tr><td>{escape(status)}</td><td>{_prose(response['description'])}</td><td>{kinds}</td></tr>")
    parts.append(f"<details><summary>Answers</summary><table>{''.join(answers)}</table></details>")
    answer = operation["responses"]["200"]["content"].get("application/json", {})
    parts.append(_example("Example of an answer", answer.get("example")))
    return "".join(parts) + "</section>"


def _schema(name: str, schema: Json) -> str:
    return (
        f'<section><h3 id="schema-{escape(name)}">{escape(name)}</h3>{_prose(schema.get("description", ""))}'
        f"{_members(schema)}{_example('Example', schema.get('example'))}</section>"
    )


def _members(schema: Json) -> str:
    required = schema.get("required", ())
    return _table(
        [
            (name, "", name in required, member, member.get("description", ""))
            for name, member in schema.get("properties", {}).items()
        ]
    )


def _table(rows: list[tuple[str, str, bool, Json, str]]) -> str:
    lines = []
    for name, place, required, schema, text in rows:
        notes = " ".join(part for part in (place, "required" if required else "") if part)
        first = f'<code>{escape(name)}</code><br><span class="need">{escape(notes)}</span>'
        lines.append(f"<tr><td>{first}</td><td>{_kind(schema)}</td><td>{_prose(text)}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def _kind(schema: Json) -> str:
    """Return the type of a value in a few words, with a link to its object."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "anyOf" in schema:
        return _kind(schema["anyOf"][0])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_kind(schema['additionalProperties'])}"
    return escape(schema.get("format", kind))


def _example(title: str, value: object) -> str:
    if value is None:
        return ""
    text = escape(json.dumps(value, ensure_ascii=False, indent=2))
    return f"<details><summary>{escape(title)}</summary><pre>{text}</pre></details>"


def _prose(text: str) -> str:
    """Return Markdown as far as comments use it: paragraphs, indented blocks and `code`."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\n+", text.strip("\n")):
        if paragraph.startswith("    "):
            parts.append(f"<pre>{escape(re.sub(r'(?m)^    ', '', paragraph))}</pre>")
        elif paragraph.strip():
            parts.append("<p>" + re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(paragraph)) + "</p>")
    return "".join(parts)
