"""RTE for programs that use it: `Client`, and the generated stubs of the contract in `rte.v1`."""

from __future__ import annotations

from rte.backlog import NotDelivered, QueueFull, TrackSettings, TrackStats
from rte.client import Client
from rte.connection import Tls
from rte.errors import RteError
from rte.events import Event
from rte.results import Change, Customer, Ingested, Score, Session, Verdict

__all__ = [
    "Change",
    "Client",
    "Customer",
    "Event",
    "Ingested",
    "NotDelivered",
    "QueueFull",
    "RteError",
    "Score",
    "Session",
    "Tls",
    "TrackSettings",
    "TrackStats",
    "Verdict",
]
