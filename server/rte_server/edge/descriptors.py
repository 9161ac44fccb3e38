"""Derive the descriptor set that Envoy loads from the public one.

Envoy's transcoder drops unknown members of a JSON body and answers 200, and has no option against it. So for every RPC
whose whole body is the request (`body: "*"`) Envoy sees another request message: the fields that stand in the path,
and `google.protobuf.Struct json = 15`, which is the body. Any JSON object then arrives whole, as the wire bytes of a
Struct, and the server names the member that it does not know.

Envoy also lets a query parameter override the value in the path (`/v1/sessions/a?session_id=b` reads b). So every field
that stands in a path is renamed for Envoy, `session_id` to `path_session_id`, which makes `?session_id=` an unknown
parameter; the new names are in Envoy's `ignored_query_parameters`. Numbers stay, so the wire bytes are the public ones.
Answers are the public messages.

Run as `python -m rte_server.edge.descriptors --proto proto --include proto/third_party --out envoy/rte.pb`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.resources
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

JSON_FIELD_NAME = "json"
JSON_FIELD_NUMBER = 15
"""The public requests reserve this number for the JSON form."""

STRUCT_FILE = "google/protobuf/struct.proto"
STRUCT_TYPE = ".google.protobuf.Struct"

PATH_PREFIX = "path_"
"""Stands before the names of fields that a path binds."""

_HTTP: Any = annotations_pb2.http  # An extension; the stubs give it the type of a field.

_PATH_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)(?:=[^}]*)?\}")


class DescriptorError(Exception):
    """The contract uses something that the derivation does not know; the message names it."""


def derive_edge_set(public: FileDescriptorSet) -> FileDescriptorSet:
    """Return the descriptor set for Envoy.

    Args:
        public: The public descriptor set with all imports, in the order in which files import each other.

    Raises:
        DescriptorError: A request with a path or a whole body is shared by two RPCs, lives in another file than its
            service, binds a path to a nested field, or uses field 15 for something else.
    """
    edge = FileDescriptorSet()
    edge.CopyFrom(public)
    changed: set[str] = set()
    for file in edge.file:
        file.ClearField("source_code_info")
        changed |= _change_requests(file)
    _check_sharing(edge, changed)
    # Files that did not import it may do so now, and stand before it. It imports nothing itself.
    files = sorted(edge.file, key=lambda file: file.name != STRUCT_FILE)
    return FileDescriptorSet(file=files)


def path_parameters(edge: FileDescriptorSet) -> list[str]:
    """Return the names that Envoy must ignore as query parameters, sorted, for example `path_session_id`."""
    templates = [
        http_pattern(rule)[1]
        for file in edge.file
        for service in file.service
        for method in service.method
        for rule in http_rules(method)
    ]
    return sorted({name for template in templates for name in _PATH_VARIABLE.findall(template)})


def serialize(descriptors: FileDescriptorSet) -> bytes:
    """Return the bytes of a descriptor set; the same set always gives the same bytes."""
    return descriptors.SerializeToString(deterministic=True)


def compile_public_set(proto: Path, includes: Sequence[Path]) -> FileDescriptorSet:
    """Compile all files under `proto` with protoc.

    Args:
        proto: The root of the contract's import paths.
        includes: Roots of the files that it imports, in order of search.

    Raises:
        DescriptorError: protoc refuses the files; its own messages stand on stderr.
    """
    # A development dependency: the running server only reads the committed result.
    protoc = importlib.import_module("grpc_tools.protoc")
    files = sorted(str(path) for path in proto.glob("rte/**/*.proto"))
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    roots = [f"-I{root}" for root in (proto, *includes, well_known)]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "public.pb"
        code = protoc.main(["protoc", *roots, "--include_imports", f"--descriptor_set_out={target}", *files])
        if code != 0:
            raise DescriptorError(f"protoc refused the files under {proto} (exit code {code})")
        return FileDescriptorSet.FromString(target.read_bytes())


def http_rules(method: MethodDescriptorProto) -> list[HttpRule]:
    """Return the HTTP rules of a method, the additional bindings included; none if it has no HTTP form."""
    if not method.options.HasExtension(_HTTP):
        return []
    rule: HttpRule = method.options.Extensions[_HTTP]
    return [rule, *rule.additional_bindings]


def http_pattern(rule: HttpRule) -> tuple[str, str]:
    """Return the HTTP verb and the path template of a rule, for example `("GET", "/v1/sessions/{session_id}")`."""
    kind = rule.WhichOneof("pattern")
    if kind is None or kind == "custom":
        raise DescriptorError(f"the HTTP rule {rule} has no standard verb")
    return kind.upper(), getattr(rule, kind)


def _change_requests(file: FileDescriptorProto) -> set[str]:
    messages = {f".{file.package}.{message.name}": message for message in file.message_type}
    changed = set()
    for method in (method for service in file.service for method in service.method):
        rules = http_rules(method)
        bound = {name for rule in rules for name in _PATH_VARIABLE.findall(http_pattern(rule)[1])}
        whole_body = any(rule.body == "*" for rule in rules)
        if not bound and not whole_body:
            continue
        if method.input_type not in messages:
            raise DescriptorError(f"the request of {method.name} must stand in the file of its service, {file.name}")
        message = messages[method.input_type]
        if whole_body:
            _replace_body(message, method, bound)
            if STRUCT_FILE not in file.dependency:
                file.dependency.append(STRUCT_FILE)
        _rename_bound(message, method, bound)
        changed.add(method.input_type)
    return changed


def _replace_body(message: DescriptorProto, method: MethodDescriptorProto, bound: set[str]) -> None:
    """Leave the fields in the path and the JSON form in `message`, and make the latter the body of `method`."""
    if any(field.number == JSON_FIELD_NUMBER for field in message.field):
        raise DescriptorError(f"{message.name} uses field {JSON_FIELD_NUMBER}, which is kept for the JSON form")
    kept = [field for field in message.field if field.name in bound]
    for field in kept:
        # A field in the path is always set, so a oneof or an explicit presence around it says nothing here.
        field.ClearField("oneof_index")
        field.ClearField("proto3_optional")
    form = FieldDescriptorProto(
        name=JSON_FIELD_NAME,
        json_name=JSON_FIELD_NAME,
        number=JSON_FIELD_NUMBER,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=STRUCT_TYPE,
    )
    fields = [*kept, form]
    for part in ("field", "oneof_decl", "reserved_range", "reserved_name"):
        message.ClearField(part)
    message.field.extend(fields)
    for rule in _own_rules(method):
        if rule.body != "*":
            raise DescriptorError(f"all HTTP rules of {method.name} must have the whole body")
        rule.body = JSON_FIELD_NAME


def _rename_bound(message: DescriptorProto, method: MethodDescriptorProto, bound: set[str]) -> None:
    renamed = {field.name: f"{PATH_PREFIX}{field.name}" for field in message.field if field.name in bound}
    if len(renamed) != len(bound):
        raise DescriptorError(f"a path of {method.name} binds a nested or unknown field: {sorted(bound)}")
    for field in message.field:
        if field.name in renamed:
            field.name = field.json_name = renamed[field.name]
    for rule in _own_rules(method):
        kind = rule.WhichOneof("pattern")
        for old, new in renamed.items():
            template = re.sub(rf"\{{{old}(?=[=}}])", f"{{{new}", getattr(rule, kind))
            setattr(rule, kind, template)


def _own_rules(method: MethodDescriptorProto) -> Iterator[HttpRule]:
    """Yield the HTTP rules of a method, to be changed in place."""
    rule: HttpRule = method.options.Extensions[_HTTP]
    yield rule
    yield from rule.additional_bindings


def _check_sharing(edge: FileDescriptorSet, changed: set[str]) -> None:
    users: dict[str, list[str]] = {}
    for file in edge.file:
        for service in file.service:
            for method in service.method:
                users.setdefault(method.input_type, []).append(f"{service.name}.{method.name}")
    for name in sorted(changed):
        if len(users[name]) != 1:
            raise DescriptorError(f"{name} must be the request of one RPC, it is that of {users[name]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the descriptor set for Envoy and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rte_server.edge.descriptors", description=main.__doc__)
    parser.add_argument("--proto", type=Path, required=True, help="root of the contract, for example proto")
    parser.add_argument("--include", type=Path, action="append", default=[], help="root of imported files; repeatable")
    parser.add_argument("--out", type=Path, required=True, help="file to write, for example envoy/rte.pb")
    options = parser.parse_args(arguments)
    try:
        edge = derive_edge_set(compile_public_set(options.proto, options.include))
    except DescriptorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    options.out.write_bytes(serialize(edge))
    return 0


if __name__ == "__main__":
    sys.exit(main())
