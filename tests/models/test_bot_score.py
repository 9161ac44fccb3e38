"""The bot score against real labels: a recorded day of edits of Wikipedia, of which programs made more than a third."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace

from rte.v1.session_pb2 import Session
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.settings import EngineSettings
from rte_server.models import load_models
from tests.engine.pair import messages, new_engine
from tests.engine.recorded import read_rows, requests, shared_file
from tests.engine.strategies import START_MS
from tests.engine.test_recorded import ROOMY

DATA = "wiki_edits_dev.csv.gz"
AREA_MIN = 0.81
"""The area under the curve that the score had when it was made, 0.82, less what a sketch may change."""


def robots() -> dict[str, bool]:
    """Return whether each visitor is a program, as the recording says."""
    with gzip.open(shared_file(DATA), "rt", encoding="utf-8", newline="") as lines:
        return {row["visitor_id"]: row["is_robot"] == "1" for row in csv.DictReader(lines)}


def area_under_curve(scores: list[float], labels: list[bool]) -> float:
    """Return the probability that a positive has a greater score than a negative; ties count one half."""
    ranked = sorted(zip(scores, labels, strict=True))
    ranks, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        ranks += sum(label for _, label in ranked[at:end]) * (at + 1 + end) / 2
        at = end
    positive = sum(labels)
    return (ranks - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


def test_the_bot_score_tells_programs_from_people() -> None:
    """Visit by visit, with each edit as a page that is seen, the hand-made score ranks programs above people."""
    is_robot = robots()
    engine = new_engine(load_models(["bot_score"]), EngineSettings(max_length_ms=0), ROOMY)
    rows = [
        replace(row, name="page_view", properties={"page_location": str(row.properties["item_id"])})
        for row in read_rows(DATA)
        if row.visitor_id
    ]
    for request in requests(rows):
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS, request))
    sessions = [Session.FromString(message) for message in messages(engine)]
    assert len(sessions) > 9_000
    scores = [session.attributes.fields["bot_score"].number_value for session in sessions]
    labels = [is_robot[session.visitor_id] for session in sessions]
    area = area_under_curve(scores, labels)
    print(f"area under the curve of the bot score, {len(sessions)} visits, {sum(labels)} of programs: {area:.4f}")
    assert area >= AREA_MIN
