"""The contract as a descriptor set: operations, message classes and comments.

Run as `python -m rte_soap.contract --in FILE --out bridges/rte_soap/contract.binpb`, it reduces what protoc wrote to
what the bridge needs; `make gen` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet, SourceCodeInfo
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "rte.v1"
"""What is offered: all services of this package."""

SERVICE_FAULT = "rte.soap.v1.ServiceFault"
CALL_OPTIONS = "rte.soap.v1.CallOptions"

_OWN_PACKAGE = "rte.soap.v1"
_STATUS_FILE = "google/rpc/status.proto"


@dataclass(frozen=True, slots=True)
class Operation:
    """A unary RPC.

    Attributes:
        name: Of the RPC, unique over all services.
        service: The name of its service without the package.
        path: Under which gRPC calls it, for example `/rte.v1.SessionService/GetSession`.
        request: The type of its request.
        response: The type of its answer.
        documentation: The comment above it.
    """

    name: str
    service: str
    path: str
    request: Descriptor
    response: Descriptor
    documentation: str


class ContractError(Exception):
    """The contract has something that cannot be offered over SOAP; the message names it."""


class Contract:
    """A package of the contract."""

    def __init__(self, descriptors: FileDescriptorSet, package: str = PACKAGE) -> None:
        """Load descriptors into a pool of their own.

        Args:
            descriptors: With all imports, each before the files that import it, and with comments.
            package: Whose services are offered.

        Raises:
            ContractError: Two RPCs have the same name.
        """
        self.package = package
        self._pool = descriptor_pool.DescriptorPool()
        self._comments: dict[str, str] = {}
        for file in descriptors.file:
            self._comments |= _comments(file)
            bare = FileDescriptorProto()
            bare.CopyFrom(file)
            bare.ClearField("source_code_info")
            self._pool.Add(bare)
        self._services = [
            f"{file.package}.{service.name}"
            for file in descriptors.file
            if file.package == package
            for service in file.service
        ]

    @classmethod
    def shipped(cls) -> Contract:
        """Return the contract that ships with the bridge."""
        return cls(FileDescriptorSet.FromString((Path(__file__).parent / "contract.binpb").read_bytes()))

    @cached_property
    def operations(self) -> Mapping[str, Operation]:
        """Return the unary RPCs of all services by name; streams cannot be called over SOAP.

        Raises:
            ContractError: Two RPCs have the same name.
        """
        found: dict[str, Operation] = {}
        for service_name in self._services:
            service = self._pool.FindServiceByName(service_name)
            for method in service.methods:
                if method.client_streaming or method.server_streaming:
                    continue
                if method.name in found:
                    raise ContractError(f"{found[method.name].service} and {service.name} both have {method.name}")
                found[method.name] = self._operation(method)
        return found

    def message(self, full_name: str) -> Descriptor:
        """Return the type of a message, for example `rte.v1.Session`."""
        return self._pool.FindMessageTypeByName(full_name)

    def comment(self, full_name: str) -> str:
        """Return the comment above something, for example `rte.v1.Session.visitor_id`; empty where there is none."""
        return self._comments.get(full_name, "")

    def _operation(self, method: MethodDescriptor) -> Operation:
        service = method.containing_service
        return Operation(
            method.name,
            service.name,
            f"/{service.full_name}/{method.name}",
            method.input_type,
            method.output_type,
            self.comment(f"{service.full_name}.{method.name}"),
        )


def new_message(descriptor: Descriptor) -> Any:
    """Return an empty message of a type."""
    made: Message = GetMessageClass(descriptor)()
    return made


def reduced(descriptors: FileDescriptorSet, package: str = PACKAGE) -> FileDescriptorSet:
    """Return the files that services of `package` and the bridge itself need, with comments but without their places.

    Raises:
        ContractError: A file that is needed is missing.
    """
    files = {file.name: file for file in descriptors.file}
    wanted: set[str] = set()
    waiting = [file.name for file in descriptors.file if file.package in (package, _OWN_PACKAGE)]
    while waiting:
        name = waiting.pop()
        if name not in files:
            raise ContractError(f"{name} is missing from the descriptor set")
        if name not in wanted:
            wanted.add(name)
            waiting += files[name].dependency
    kept = FileDescriptorSet()
    for file in descriptors.file:
        if file.name in wanted:
            _keep_comments(kept.file.add(), file)
    return kept


def _keep_comments(target: FileDescriptorProto, source: FileDescriptorProto) -> None:
    target.CopyFrom(source)
    target.ClearField("source_code_info")
    for location in source.source_code_info.location:
        if location.leading_comments:
            target.source_code_info.location.append(
                SourceCodeInfo.Location(path=location.path, leading_comments=location.leading_comments)
            )


# Numbers of fields in descriptor.proto, of which the path of a comment consists.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE = 2
_SERVICE_METHOD = 2


def _comments(file: FileDescriptorProto) -> dict[str, str]:
    """Return the comments of a file by the full name of what they stand above."""
    by_path = {
        tuple(location.path): _joined(location.leading_comments)
        for location in file.source_code_info.location
        if location.leading_comments
    }
    return {name: by_path[path] for path, name in _named_paths(file) if path in by_path}


_Path = tuple[int, ...]


def _named_paths(file: FileDescriptorProto) -> Iterator[tuple[_Path, str]]:
    for number, message in enumerate(file.message_type):
        yield from _message_paths(message, (_FILE_MESSAGE, number), file.package)
    for number, enum in enumerate(file.enum_type):
        yield from _enum_paths(enum, (_FILE_ENUM, number), file.package)
    for number, service in enumerate(file.service):
        path, name = (_FILE_SERVICE, number), f"{file.package}.{service.name}"
        yield path, name
        for place, method in enumerate(service.method):
            yield (*path, _SERVICE_METHOD, place), f"{name}.{method.name}"


def _message_paths(message: DescriptorProto, path: _Path, scope: str) -> Iterator[tuple[_Path, str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for number, field in enumerate(message.field):
        yield (*path, _MESSAGE_FIELD, number), f"{name}.{field.name}"
    for number, oneof in enumerate(message.oneof_decl):
        yield (*path, _MESSAGE_ONEOF, number), f"{name}.{oneof.name}"
    for number, nested in enumerate(message.nested_type):
        yield from _message_paths(nested, (*path, _MESSAGE_NESTED, number), name)
    for number, enum in enumerate(message.enum_type):
        yield from _enum_paths(enum, (*path, _MESSAGE_ENUM, number), name)


def _enum_paths(enum: Any, path: _Path, scope: str) -> Iterator[tuple[_Path, str]]:
    name = f"{scope}.{enum.name}"
    yield path, name
    for number, value in enumerate(enum.value):
        # Names of values are siblings of their enum in protobuf; here they stand below it, so that each is found.
        yield (*path, _ENUM_VALUE, number), f"{name}.{value.name}"


def _joined(comment: str) -> str:
    """Return a comment with the blank that follows `//` taken from each line."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.strip("\n").splitlines())


def main(arguments: Sequence[str] | None = None) -> int:
    """Reduce a descriptor set to what the bridge needs and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rte_soap.contract", description=main.__doc__)
    parser.add_argument("--in", type=Path, required=True, dest="source", help="written by protoc, with source info")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args(arguments)
    try:
        kept = reduced(FileDescriptorSet.FromString(options.source.read_bytes()))
    except ContractError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    options.out.write_bytes(kept.SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
