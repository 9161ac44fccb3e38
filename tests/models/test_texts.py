"""Texts that expressions make, through the whole engine: what is kept stays whole, also when strings are swept."""

from __future__ import annotations

import json
import random

import numpy as np

from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.session_copy import evaluate_on_copy
from rte_server.engine.table import Capacity
from rte_server.models import compile_model, compile_models, configuration_of
from rte_server.models.cel import compile_row_expression
from rte_server.models.trials import read_trials, run_trial
from rte_server.models.types import row_inputs
from tests.models.url_oracle import part_of
from tests.service.live_engine import batch

SECRET = np.arange(7, 11, dtype=np.uint64)
START_MS = 1_790_000_000_000
MODEL = """
model: sources
attributes:
  source:    {last: "url.query(event.page_location, 'utm_source')", on: page_view}
  sources:   {recent: "url.query(event.page_location, 'utm_source').lowerAscii()", keep: 3}
  host:      {first: url.host(event.page_referrer)}
  pages:     {distinct: url.path(event.page_location), keep: 64}
  brands:   {set: event.brand, keep: 8}
  product:   {last: "event.brand + '/' + event.model"}
  paid:      {count: "*", where: "url.query(event.page_location, 'gclid') != null"}
  searches:  {count: "*", where: "url.host(event.page_referrer).startsWith('www.google.')"}
derived:
  channel: >-
    paid > 0 ? 'paid' : host == null ? 'direct' : host in ['www.google.ro', 'bing.com'] ? 'organic' : 'referral'
  label: "channel.upperAscii() + ': ' + (source == null ? 'none' : source)"
  was_upper: source.lowerAscii() in sources && !(source in sources)
  likes_acme: "'Acme' in brands && !('acme' in brands)"
  came_by_cafe: "'café x' in sources"
  at_least_two: math.greatest(pages, 2)
"""
TESTS = """
tests:
  - name: Parts of addresses make attributes
    given:
      - event: page_view
        properties:
          page_location: "https://shop.example/a?utm_source=Caf%C3%A9+X&gclid=1"
          page_referrer: "https://WWW.google.ro:443/?q=x"
          brand: Acme
          model: "7"
      - {event: page_view, at: 1s, properties: {page_location: "/a#x", brand: Acme}}
      - {event: page_view, at: 2s, properties: {page_location: "https://[broken/a?utm_source=no", page_referrer: 5}}
    then:
      {source: Café X, sources: [café x], host: www.google.ro, pages: 1, product: Acme/7, paid: 1, searches: 1,
       channel: paid, label: "PAID: Café X", at_least_two: 2,
       was_upper: true, came_by_cafe: true, likes_acme: true}
  - name: Nothing is known of nothing
    given: [{event: page_view}]
    then: {source: null, sources: null, host: null, pages: 0, product: null, paid: 0, channel: direct, label: "DIRECT: none", came_by_cafe: false,
           was_upper: null}
"""


def test_made_texts_are_values_like_any_other() -> None:
    """Parts of addresses, joined texts and other letters can be kept, counted, compared and derived from."""
    model = compile_model(MODEL, "sources.yaml", {})
    assert [failure for trial in read_trials(TESTS, "t.yaml") for failure in run_trial([model], trial)] == []


def test_made_texts_survive_sweeps_of_the_strings() -> None:
    """While many more texts pass by than the pool has room for, what sessions keep is still what was made last."""
    model = compile_model(MODEL, "sources.yaml", {})
    engine = Engine(SECRET, compile_models, Capacity(sessions_max=64, strings_max=1024, string_bytes_max=32_768))
    body = json.dumps({"settings": {}} | configuration_of([model]))
    engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, body.encode()))
    chance = random.Random(2)
    expected: dict[str, tuple[str | None, str]] = {}
    for number in range(3000):
        visitor = f"v{chance.randrange(20)}"
        url = f"https://s.example/p{number}?utm_source=from+{number}%21&x={number}"
        properties = {"page_location": url, "brand": f"Brand {number}", "model": f"M{number}"}
        event = {"visitor_id": visitor, "name": "page_view", "event_id": str(number), "properties": properties}
        engine.apply(number + 2, Entry(EntryType.EVENTS, START_MS + number, batch([event]).SerializeToString()))
        expected[visitor] = part_of(url, "query", "utm_source"), f"Brand {number}/M{number}"
    assert engine.stats()["string_sweeps"] > 3 and engine.stats()["strings_lost"] == 0
    for visitor, (source, product) in expected.items():
        session = Session.FromString(engine.encode([engine.find_visitor(visitor)])[0])
        assert (session.attributes["source"], session.attributes["product"]) == (source, product)
        assert session.attributes["label"] == f"DIRECT: {source}"


def test_a_copy_of_a_session_adds_nothing_to_the_strings_that_it_shares() -> None:
    """Further expressions on a copied session run beside the writer: what they make is not put into its pool."""
    model = compile_model(MODEL, "sources.yaml", {})
    engine = Engine(SECRET, compile_models, Capacity(sessions_max=64, strings_max=1024, string_bytes_max=32_768))
    body = json.dumps({"settings": {}} | configuration_of([model]))
    engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, body.encode()))
    properties = {"page_location": "https://s.example/a?utm_source=Mail"}
    event = {"visitor_id": "v", "name": "page_view", "properties": properties}
    engine.apply(2, Entry(EntryType.EVENTS, START_MS, batch([event]).SerializeToString()))
    copied = engine.copied(engine.find_visitor, "v")
    assert copied is not None
    pool = (copied.pool.slots, copied.pool.arena, copied.pool.counts)
    before = [array.tobytes() for array in pool]
    code = compile_row_expression("label + ' and more'", row_inputs(model.attributes)).code
    shown = evaluate_on_copy(SECRET, copied, {"$more": code}, (), START_MS)
    assert [array.tobytes() for array in pool] == before
    assert Session.FromString(shown.after).attributes["label"] == "DIRECT: Mail"
