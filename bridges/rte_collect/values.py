"""Ids, times and texts as they come in JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from rte_bridge.problems import Problem, Reason

_decode = msgspec.json.decode


def object_of(document: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Problem: MALFORMED, WRONG_TYPE.
    """
    found = json_of(document)
    if not isinstance(found, dict):
        raise Problem(Reason.WRONG_TYPE, "expected a JSON object", value=type(found).__name__)
    return found


def json_of(document: bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        Problem: MALFORMED; TOO_DEEP: it is nested too deeply to be read at all.
    """
    try:
        return _decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(Reason.MALFORMED, f"the JSON text is malformed: {error}") from None
    except RecursionError:
        raise Problem(Reason.TOO_DEEP, "the JSON text is nested too deeply") from None


def mapping_of(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that must be an object; an empty one where it is absent or null.

    Raises:
        Problem: WRONG_TYPE.
    """
    found = members.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Problem(Reason.WRONG_TYPE, f"{name} must be an object", field=name, value=str(found))
    return found


def id_of(members: Mapping[str, Any], *names: str) -> str:
    """Return the first member that holds an id; empty if none does. A number is taken as its digits.

    Raises:
        Problem: WRONG_TYPE: it is neither a string nor a whole number.
    """
    for name in names:
        found = members.get(name)
        if found is None or found == "":
            continue
        if isinstance(found, str):
            return found
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        raise Problem(Reason.WRONG_TYPE, f"{name} must be a string", field=name, value=str(found))
    return ""


def text_of(members: Mapping[str, Any], name: str) -> str:
    """Return a member that must be a string; empty where it is absent or null.

    Raises:
        Problem: WRONG_TYPE.
    """
    found = members.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise Problem(Reason.WRONG_TYPE, f"{name} must be a string", field=name, value=str(found))
    return found


def time_ms_of(members: Mapping[str, Any], *names: str) -> int | None:
    """Return the first member that holds a time in the form of ISO 8601, milliseconds since 1970; None if none does.

    A time without a zone is taken as UTC.

    Raises:
        Problem: WRONG_TYPE.
    """
    for name in names:
        found = members.get(name)
        if found is None or found == "":
            continue
        try:
            moment = datetime.fromisoformat(found)
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        except (TypeError, ValueError, OverflowError):
            message = f"{name} must be a time such as 2026-11-23T10:00:00.000Z"
            raise Problem(Reason.WRONG_TYPE, message, field=name, value=str(found)) from None
    return None


def base64_of(text: str, name: str) -> bytes:
    """Return what a base64 text holds, of the usual or the URL alphabet, padded or not.

    Raises:
        Problem: MALFORMED.
    """
    given = text.translate(_USUAL_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(given + "=" * (-len(given) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Problem(Reason.MALFORMED, f"{name} is no base64", field=name, value=text) from None


_USUAL_ALPHABET = str.maketrans("-_", "+/")
