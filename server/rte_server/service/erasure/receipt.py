"""The receipt of an erasure: it proves, to whoever asks the server later, what was erased, and holds no trace of the person."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What an erasure did.

    Attributes:
        erasure_id: Its id.
        time_ms: When it was complete, by the server's time, milliseconds since 1970.
        first_position: Entries from there,
        last_position: up to here hold nothing of the person; there or before the person's sessions left.
        session_count: Sessions that left.
        visitor_count: Visitors that were forgotten.
        event_count: Events that were cut out of the journal.
        write_count: Entries that wrote to the person's sessions, and were emptied.
        row_count: Rows that were deleted in RTE's own tables in the data mart.
        person_digest: Keyed hash of the person's id.
        seal: Keyed hash of all of that.
    """

    erasure_id: str
    time_ms: int
    first_position: int
    last_position: int
    session_count: int
    visitor_count: int
    event_count: int
    write_count: int
    row_count: int
    person_digest: str
    seal: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def of_dict(cls, found: dict[str, Any]) -> Self:
        """Return what `as_dict` was made of."""
        return cls(**{each.name: found[each.name] for each in fields(cls)})


class ReceiptSeal:
    """Makes and checks receipts, with a key that follows from the deployment secret."""

    def __init__(self, secret: bytes) -> None:
        """Make it of the deployment secret, 32 bytes."""
        self._key = hashlib.blake2b(key=secret, digest_size=32, person=b"rte.v1.erasure").digest()

    def person_digest(self, kind: str, person_id: str) -> str:
        """Return what stands for a person in a receipt: a keyed hash of `customer` or `visitor` and the id."""
        return self._digest(f"{kind}\0{person_id}")

    def sealed(self, receipt: ErasureReceipt) -> ErasureReceipt:
        """Return a receipt with its seal."""
        return ErasureReceipt(**{**receipt.as_dict(), "seal": self._seal_of(receipt)})

    def is_genuine(self, receipt: ErasureReceipt) -> bool:
        """Return whether a receipt is one of this deployment, and nothing in it was changed."""
        return hmac.compare_digest(receipt.seal.encode(), self._seal_of(receipt).encode())

    def _seal_of(self, receipt: ErasureReceipt) -> str:
        members = {name: value for name, value in receipt.as_dict().items() if name != "seal"}
        return self._digest("receipt\0" + json.dumps(members, sort_keys=True))

    def _digest(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=DIGEST_BYTES).hexdigest()
