"""Receipts of erasures as messages of the contract."""

from __future__ import annotations

from rte.v1 import customer_pb2
from rte_server.engine.reasons import EngineError
from rte_server.service.erasure.receipt import ErasureReceipt
from rte_server.service.tokens import parse_position, position_text

_COUNTS = ("session_count", "visitor_count", "event_count", "write_count", "row_count")
_TEXTS = ("erasure_id", "person_digest", "seal")


def receipt_message(receipt: ErasureReceipt) -> customer_pb2.ErasureReceipt:
    """Return a receipt as a message."""
    message = customer_pb2.ErasureReceipt(
        first_position=position_text(receipt.first_position),
        last_position=position_text(receipt.last_position),
        **{name: getattr(receipt, name) for name in (*_COUNTS, *_TEXTS)},
    )
    message.erase_time.FromMilliseconds(receipt.time_ms)
    return message


def receipt_of_message(message: customer_pb2.ErasureReceipt) -> ErasureReceipt | None:
    """Return what `receipt_message` was made of, or None if it cannot have been that."""
    try:
        first, last = parse_position(message.first_position), parse_position(message.last_position)
    except EngineError:
        return None
    members = {name: getattr(message, name) for name in (*_COUNTS, *_TEXTS)}
    return ErasureReceipt(
        time_ms=message.erase_time.ToMilliseconds(), first_position=first, last_position=last, **members
    )
