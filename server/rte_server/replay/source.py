"""Recorded files: opened, unpacked, told apart, read to their end."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rte_server.replay.problems import ReplayError

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER_BYTES = 1 << 18


class Source:
    """One file, or the standard input as `-`."""

    def __init__(self, name: str) -> None:
        """Open the file.

        Raises:
            ReplayError: It cannot be opened.
        """
        self.name = name
        try:
            raw = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise ReplayError(f"{name} cannot be opened: {error.strerror}.") from None
        self.size_bytes = Path(name).stat().st_size if name != "-" and Path(name).is_file() else 0
        self._raw: BinaryIO = raw
        peeked = raw.peek(2) if isinstance(raw, io.BufferedReader) else b""
        opened: BinaryIO = raw
        if peeked.startswith(_GZIP_MAGIC):
            # BufferedReader: GzipFile's own readline is many times slower.
            opened = io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER_BYTES)
        self._opened = opened
        self._text = io.TextIOWrapper(opened, "utf-8-sig", newline="")
        self.line = 0

    def position_bytes(self) -> int:
        """Return how much of the file, as it is stored, was read."""
        try:
            return self._raw.tell()
        except (OSError, ValueError):
            return 0

    def format(self) -> str:
        """Return `ndjson` if the first character is that of a JSON object, else `csv`."""
        try:
            first = self._opened.peek(64) if isinstance(self._opened, io.BufferedReader) else b""
        except (OSError, EOFError, zlib.error):
            return "csv"
        return "ndjson" if first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else "csv"

    def lines(self) -> Iterator[str]:
        """Yield the lines with their ends.

        Raises:
            ReplayError: The file is damaged, cannot be read, or is not UTF-8.
        """
        try:
            for line in self._text:
                self.line += 1
                yield line
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ReplayError(f"{self.name} is damaged: the compressed data ends after line {self.line}.") from None
        except UnicodeDecodeError:
            raise ReplayError(f"{self.name} is not UTF-8 after line {self.line}; convert it, with iconv.") from None
        except OSError as error:
            raise ReplayError(f"{self.name} cannot be read after line {self.line}: {error.strerror}.") from None

    def close(self) -> None:
        """Close the file; the standard input stays open."""
        if self.name != "-":
            self._text.close()
            self._raw.close()  # GzipFile leaves it open.
