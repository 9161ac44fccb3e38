"""What the comments of the contract say to those who call over HTTP."""

from __future__ import annotations

import re

from google.protobuf.descriptor_pb2 import FileDescriptorSet

_FAILURE = re.compile(r"\b([A-Z_]{5,}) (?:\(([^()]*)\)|(if [^.(]*[^.( ]))")
_REQUIRED = re.compile(r"\bRequired\b")
_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""How Envoy's transcoder tells a status code over HTTP. Source: google/rpc/code.proto."""


class Comments:
    """The leading comments of a descriptor set, by file and path."""

    def __init__(self, contract: FileDescriptorSet) -> None:
        self._texts = {
            (file.name, tuple(location.path)): location.leading_comments
            for file in contract.file
            for location in file.source_code_info.location
            if location.leading_comments
        }
        self._enums = {
            enum.name: (file.name, (5, number)) for file in contract.file for number, enum in enumerate(file.enum_type)
        }

    def of(self, file: str, *path: int) -> str:
        """Return the comment of what stands at a path of a file; empty where there is none.

        Args:
            file: Its name.
            path: As in `SourceCodeInfo.Location.path`.
        """
        return self._texts.get((file, path), "")

    def of_name(self, enum: str) -> str:
        """Return the comment of an enum of the first level."""
        file, path = self._enums[enum]
        return self.of(file, *path)


def plain(text: str) -> str:
    """Return a comment as Markdown: lines of a paragraph joined, indented examples as they are."""
    lines = [line.removeprefix(" ") for line in text.rstrip().split("\n")]
    parts: list[str] = []
    for line in lines:
        begins = not parts or not line.strip() or not parts[-1].strip()
        if begins or line.startswith("    ") or parts[-1].startswith("    "):
            parts.append(line)
        else:
            parts[-1] += f" {line}"
    return "\n".join(parts).strip()


def summary(text: str) -> str:
    """Return the first sentence of a comment, without its full stop; as a title has it, without marks of code."""
    return re.split(r"(?<=[a-z0-9)`])[.:](?:\s|$)", plain(text), maxsplit=1)[0].replace("`", "")


def failures(text: str) -> dict[int, str]:
    """Return what a call says that it fails with, by HTTP status.

    `NOT_FOUND (SESSION_NOT_FOUND)` gives 404 with the reason, `UNIMPLEMENTED if it is off` gives 501 with the condition.
    """
    found: dict[int, list[str]] = {}
    for code, reasons, condition in _FAILURE.findall(plain(text)):
        if code in _STATUSES:
            found.setdefault(_STATUSES[code], []).append(reasons or f"{code} {condition}")
    return {status: "; ".join(reasons) + "." for status, reasons in found.items()}


def is_required(text: str) -> bool:
    """Whether the comment of a field says that it must be given."""
    return _REQUIRED.search(text) is not None
