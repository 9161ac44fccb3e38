"""Derive the OpenAPI 3.1 description of the HTTP surface from the descriptors.

Paths come from `google.api.http`, schemas from the messages, texts from the comments of the contract, statuses from what a
comment says that a call fails with. Only examples stand beside it, in `openapi_examples.yaml`. No maintained generator
exists as a package; this one knows what RTE's contract uses, and refuses what it does not know.

Run as `python -m rte_server.edge.openapi --in contract.pb --out envoy/openapi.json --page envoy/api.html`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from rte_server.edge.descriptors import http_pattern, http_rules
from rte_server.edge.openapi_comments import Comments, failures, is_required, plain, summary
from rte_server.edge.openapi_page import page
from rte_server.edge.openapi_schemas import ERROR_SCHEMAS, Schemas

PACKAGE = "rte.v1"
EXAMPLES = Path(__file__).with_name("openapi_examples.yaml")

Json = dict[str, Any]

_VARIABLE = re.compile(r"\{([a-z_]+)\}")

_GENERAL = {
    400: "The request cannot be understood: MALFORMED, UNKNOWN_FIELD, WRONG_TYPE, FIELD_MISSING, OUT_OF_RANGE.",
    404: "UNKNOWN_PATH: there is no such path, which an id with characters that need escaping can make.",
    405: "METHOD_NOT_ALLOWED: the path does not take the method.",
    413: "REQUEST_TOO_LARGE: the body is larger than `limits.message_bytes_max`.",
    415: "UNSUPPORTED_ENCODING: the body has an encoding that is not taken here.",
    429: "OVERLOADED or TOO_MANY_CALLS: nothing was taken; retry after the seconds of `retry-after`.",
    431: "REQUEST_TOO_LARGE: the headers, the path included, are larger than 32 KiB.",
    500: "INTERNAL: a fault of the server; the message names an incident of its log.",
    503: "SHUTTING_DOWN, JOURNAL_UNAVAILABLE or SERVER_UNAVAILABLE: retry.",
    504: "DEADLINE_EXCEEDED: the call took too long; a write may have been taken all the same.",
}
"""What any call may be answered with, by HTTP status."""


class OpenApiError(Exception):
    """The contract uses something that the generator does not know; the message names it."""


def derive_openapi(contract: FileDescriptorSet, examples: Mapping[str, Any], version: str) -> Json:
    """Return the description as JSON.

    Args:
        contract: The descriptor set with comments.
        examples: By method, such as `SessionService.GetSession`: `request` (path, query and body members together) and
            `answer`.
        version: Of the server.

    Raises:
        OpenApiError: The contract uses something unknown, or an example belongs to no method.
    """
    comments = Comments(contract)
    schemas = Schemas(contract, comments)
    paths: dict[str, Json] = {}
    known = set()
    tags = []
    for file in contract.file:
        if file.package != PACKAGE:
            continue
        for number, service in enumerate(file.service):
            of_service = comments.of(file.name, 6, number)
            tags.append({"name": service.name, "description": plain(of_service)})
            for place, method in enumerate(service.method):
                name = f"{service.name}.{method.name}"
                known.add(name)
                text = comments.of(file.name, 6, number, 2, place)
                for binding, rule in enumerate(http_rules(method)):
                    verb, template = http_pattern(rule)
                    operation = _operation(schemas, service.name, method, rule, text, examples.get(name, {}))
                    said = failures(of_service) | failures(text)
                    operation["responses"] = _responses(schemas, method, said, examples.get(name, {}))
                    operation["operationId"] = method.name if binding == 0 else f"{method.name}_{binding + 1}"
                    paths.setdefault(template, {})[verb.lower()] = operation
    if unknown := set(examples) - known:
        raise OpenApiError(f"there are examples of methods that do not exist: {', '.join(sorted(unknown))}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "RTE",
            "version": version,
            "summary": "Real-time session state over HTTP and JSON.",
            "description": _description(comments),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted((schemas.made | ERROR_SCHEMAS).items()))},
    }


def _description(comments: Comments) -> str:
    return (
        "The same calls as over gRPC, with the names of the contract. Whatever is refused is answered with a "
        "`Status`, whose `ErrorInfo` has a reason that a program can act on:\n\n"
        + plain(comments.of_name("ErrorReason"))
    )


def _operation(
    schemas: Schemas, service: str, method: MethodDescriptorProto, rule: HttpRule, text: str, example: Json
) -> Json:
    request = schemas.messages[method.input_type]
    _, template = http_pattern(rule)
    bound = _VARIABLE.findall(template)
    fields = {field.name: field for field in request.field}
    if missing := set(bound) - set(fields):
        raise OpenApiError(f"{method.name} binds what its request does not have: {', '.join(sorted(missing))}")
    operation: Json = {"tags": [service], "summary": summary(text), "description": plain(text)}
    given: Json = example.get("request", {})
    parameters = [_parameter(schemas, request, fields[name], "path", given) for name in bound]
    rest = [field for field in request.field if field.name not in bound]
    if rule.body == "*":
        operation["requestBody"] = _body(schemas, method, rest, given, bound)
    elif rule.body:
        raise OpenApiError(f"{method.name} has a part of its request as body; only `*` is known")
    else:
        # Other fields of the oneof that the path has chosen from cannot be given, too.
        chosen = {fields[name].oneof_index for name in bound if fields[name].HasField("oneof_index")}
        rest = [field for field in rest if not field.HasField("oneof_index") or field.oneof_index not in chosen]
        parameters += [_parameter(schemas, request, field, "query", given) for field in rest]
    if parameters:
        operation["parameters"] = parameters
    return operation


def _parameter(
    schemas: Schemas, request: DescriptorProto, field: FieldDescriptorProto, place: str, given: Json
) -> Json:
    text = schemas.comment(request, field)
    schema = schemas.of_field(field)
    if schema.get("type") == "object" or ("$ref" in schema and field.type == field.TYPE_MESSAGE):
        raise OpenApiError(f"{request.name}.{field.name} is an object, which has no form in a query")
    parameter: Json = {
        "name": field.name,
        "in": place,
        "required": place == "path" or is_required(text),
        "description": plain(text),
        "schema": schema | ({"minLength": 1} if place == "path" and schema.get("type") == "string" else {}),
    }
    if field.name in given:
        parameter["example"] = given[field.name]
    return parameter


def _body(
    schemas: Schemas,
    method: MethodDescriptorProto,
    fields: Sequence[FieldDescriptorProto],
    given: Json,
    bound: list[str],
) -> Json:
    request = schemas.messages[method.input_type]
    if bound:
        # The members in the path are not members of the body.
        schema: Json = schemas.object_of(request, [field.name for field in fields], strict=True)
    else:
        schema = schemas.reference(method.input_type, strict=True)
    content: Json = {"schema": schema}
    if given:
        content["example"] = {name: value for name, value in given.items() if name not in bound}
    return {
        "required": any(is_required(schemas.comment(request, field)) for field in fields),
        "content": {"application/json": content},
    }


def _responses(schemas: Schemas, method: MethodDescriptorProto, said: Mapping[int, str], example: Json) -> Json:
    answer = schemas.reference(method.output_type)
    if method.server_streaming:
        content: Json = {
            "text/event-stream": {
                "schema": {
                    "type": "string",
                    "description": f"Events whose data is a {method.output_type.rpartition('.')[2]}.",
                }
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "The same messages, one per line; ask with `accept`."}
            },
        }
    else:
        content = {"application/json": {"schema": answer}}
        if "answer" in example:
            content["application/json"]["example"] = example["answer"]
    responses: Json = {"200": {"description": plain(schemas.comment_of(method.output_type)), "content": content}}
    for status in sorted(_GENERAL.keys() | said.keys()):
        lines = [said[status]] if status in said else []
        lines += [_GENERAL[status]] if status in _GENERAL else []
        responses[str(status)] = {
            "description": "\n\n".join(lines),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Status"}}},
        }
    return responses


def operations(description: Mapping[str, Any]) -> Iterator[tuple[str, str, Json]]:
    """Yield the operations of a description: path, verb, operation."""
    for template, verbs in description["paths"].items():
        for verb, operation in verbs.items():
            yield template, verb, operation


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the description and its page and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rte_server.edge.openapi", description=main.__doc__)
    parser.add_argument("--in", dest="source", type=Path, required=True, help="descriptor set with source info")
    parser.add_argument("--out", type=Path, required=True, help="file to write, for example envoy/openapi.json")
    parser.add_argument("--page", type=Path, required=True, help="page to write, for example envoy/api.html")
    options = parser.parse_args(arguments)
    contract = FileDescriptorSet.FromString(options.source.read_bytes())
    examples = yaml.safe_load(EXAMPLES.read_text(encoding="utf-8"))
    try:
        description = derive_openapi(contract, examples, "v1")
    except (OpenApiError, KeyError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    options.out.write_text(json.dumps(description, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    options.page.write_text(page(description), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
