"""What the functions on addresses give, by Python's `urllib.parse`; and their declarations for the official evaluator."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from cel_expr_python import cel

from rte_server.engine.url_parts import PART_BYTES_MAX


def part_of(url: str, part: str, name: str = "") -> str | None:
    """Return a part of an address, or None for no value.

    Args:
        url: The address.
        part: `scheme`, `host`, `path`, `query` or `fragment`.
        name: QUERY: name of the parameter.
    """
    if any(char < " " for char in url):
        return None
    try:
        split = urlsplit(url)
        if "[" in split.netloc or "]" in split.netloc or not split.netloc.isascii() or "%" in (split.hostname or ""):
            return None
        if part == "query":
            found = parse_qs(split.query, max_num_fields=None).get(name, [""])[0]
        elif part == "host":
            found = split.hostname or ""
        elif part == "path":
            found = split.path or ("/" if split.hostname else "")
        else:
            found = getattr(split, part)
    except ValueError:
        return None
    return found if 0 < len(found.encode()) <= PART_BYTES_MAX else None


def url_declarations() -> list[Any]:
    """Return the functions with this meaning."""

    def declared(part: str, count: int) -> Any:
        overload = cel.Overload(
            f"url_{part}",
            return_type=cel.Type.DYN,
            parameters=[cel.Type.STRING] * count,
            impl=(lambda url, name: part_of(url, part, name)) if count == 2 else (lambda url: part_of(url, part)),
        )
        return cel.FunctionDecl(f"url.{part}", [overload])

    return [declared(part, 2 if part == "query" else 1) for part in ("scheme", "host", "path", "query", "fragment")]
