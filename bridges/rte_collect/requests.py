"""What came over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from rte_bridge.problems import Problem, Reason
from rte_collect.values import base64_of

_FIELDS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its body decompressed.

    Attributes:
        path: Of the address, as it came, so that a part may hold %2F.
        query_text: Of the address, as it came.
        headers: By lower-case name.
        body: Its bytes.
    """

    path: str
    query_text: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """The parameters; the last one where a name comes more than once.

        Raises:
            Problem: MALFORMED: there are too many.
        """
        try:
            return dict(
                parse_qsl(self.query_text, keep_blank_values=True, errors="replace", max_num_fields=_FIELDS_MAX)
            )
        except ValueError:
            message = f"the query has more than {_FIELDS_MAX} parameters"
            raise Problem(Reason.MALFORMED, message, limit=str(_FIELDS_MAX)) from None

    @property
    def basic_user(self) -> str:
        """The user name of Basic authorization, or the token of Bearer; empty if there is none.

        Raises:
            Problem: MALFORMED.
        """
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return value.strip()
        if scheme.lower() != "basic":
            return ""
        try:
            return base64_of(value.strip(), "authorization").decode().partition(":")[0]
        except UnicodeDecodeError:
            raise Problem(Reason.MALFORMED, "authorization is no UTF-8", field="authorization") from None
