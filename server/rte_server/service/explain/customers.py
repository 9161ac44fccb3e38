"""Where the value of a customer's attribute comes from: the entry of the journal that brought it into the session."""

from __future__ import annotations

import json

from rte.v1.session_explanation_pb2 import CustomerEvidence
from rte.v1.session_pb2 import Session
from rte_server.engine.customer_cells import OF_AT, STAMP_AT, position_of
from rte_server.engine.entries import EntryType
from rte_server.engine.program import AttributeSpec, customer_attribute
from rte_server.engine.row_copy import RowCopy
from rte_server.engine.table import CUSTOMER
from rte_server.service.explain.journal_search import JournalSearch
from rte_server.service.tokens import position_text


def customer_evidence(
    copied: RowCopy, spec: AttributeSpec, session: Session, search: JournalSearch
) -> CustomerEvidence:
    """Return where the value of a customer's attribute comes from.

    Args:
        copied: The session's row.
        spec: The attribute, of kind CUSTOMER.
        session: The session as it is shown.
        search: Looks into the journal.
    """
    found = CustomerEvidence(customer_id=session.customer_id)
    at = copied.program.words_of(copied.program.number_of(spec.name))[0]
    stamp, of = int(copied.cells[at + STAMP_AT]), int(copied.cells[at + OF_AT])
    if not session.customer_id:
        found.reason = "no event of the session names a customer"
        return found
    if stamp == 0 or of != int(copied.cells[CUSTOMER]):
        found.reason = "the data mart has not said anything of the customer since it is the session's"
        return found
    position = position_of(stamp)
    found.position = position_text(position)
    entry = search.entry(position)
    if entry is None or entry.type != EntryType.CUSTOMER:
        found.reason = "the entry that brought it has been trimmed or erased"
        return found
    found.received_time.FromMilliseconds(entry.received_ms)
    said = json.loads(entry.body)["customers"].get(session.customer_id, {}).get(customer_attribute(spec))
    if said is None:
        found.reason = "the data mart had no such attribute of the customer, or it was NULL"
        return found
    found.source, found.column = said.get("source", ""), said.get("column", "")
    if "as_of_ms" in said:
        found.as_of_time.FromMilliseconds(said["as_of_ms"])
    found.reason = said.get("refused", "")
    return found


def customer_summary(evidence: CustomerEvidence) -> str:
    """Return in a sentence where the value comes from."""
    if not evidence.source:
        return evidence.reason
    place = f"`{evidence.source}`" + (f", column `{evidence.column}`" if evidence.column else "")
    origin = f"the data mart's {place} says so of customer `{evidence.customer_id}`"
    return f"{evidence.reason} ({place})" if evidence.reason else origin
