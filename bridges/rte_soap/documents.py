"""Bytes of a request -> XML tree, with every limit.

What is not plain XML is refused: document types (and with them entities and external references), processing
instructions, encodings beyond a handful. libxml2 adds its own limits (256 levels, 10 MB per text); texts of its errors
may repeat the request and are not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lxml import etree

from rte_bridge.bodies import too_large
from rte_bridge.problems import Problem, Reason

ENCODINGS = frozenset(("utf-8", "utf-16", "utf-16le", "utf-16be", "us-ascii", "ascii", "iso-8859-1", "windows-1252"))
"""Those that requests may have; answers are UTF-8."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may have."""

    body_bytes_max: int = 4 * 1024 * 1024
    """Bytes of a body, before and after decompression."""

    tags_max: int = 200_000
    """Tags in a body, counted as `<`: what costs time and memory is their number. An element has two."""


def parse(body: bytes, charset: str, limits: Limits) -> etree._Element:
    """Return the root of a document.

    Args:
        body: At most `limits.body_bytes_max` bytes.
        charset: From the content type; empty: the document says it itself.
        limits: What it may have.

    Raises:
        Problem: MALFORMED, UNSUPPORTED_ENCODING or REQUEST_TOO_LARGE.
    """
    if len(body) > limits.body_bytes_max:
        raise too_large(limits.body_bytes_max)
    if body.count(b"<") > limits.tags_max:
        message = f"the body has more than {limits.tags_max} tags; send smaller batches"
        raise Problem(Reason.REQUEST_TOO_LARGE, message, limit=str(limits.tags_max))
    if charset:
        _check_encoding(charset)
    # One parser per request: a parser keeps names of all documents that it has seen.
    parser = etree.XMLParser(
        encoding=charset or None,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=False,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError):
        raise Problem(Reason.MALFORMED, "the body is no well-formed XML document, or exceeds a limit of XML") from None
    information: Any = root.getroottree().docinfo
    if information.doctype or information.internalDTD is not None:
        raise Problem(Reason.MALFORMED, "a document type declaration is not allowed")
    if root.getprevious() is not None or root.getnext() is not None:
        raise Problem(Reason.MALFORMED, "processing instructions are not allowed")
    if information.encoding:
        _check_encoding(information.encoding)
    return root


def _check_encoding(name: str) -> None:
    if name.lower() not in ENCODINGS:
        message = "the body must be UTF-8, UTF-16, US-ASCII, ISO-8859-1 or Windows-1252"
        raise Problem(Reason.UNSUPPORTED_ENCODING, message, field="charset", value=name, limit="UTF-8")
