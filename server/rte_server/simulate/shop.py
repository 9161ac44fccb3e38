"""The shop: visits that begin at random, run side by side, and become one stream of events by time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from rte.wire_events import Value, event
from rte_server.replay.csv_rows import Recorded
from rte_server.simulate.catalogue import Catalogue
from rte_server.simulate.people import Device, Person, make_person
from rte_server.simulate.visit import Step, Visit

EVENTS_PER_VISIT = 8.0
"""Mean number of events of a visit; the tests measure it. It turns a rate of events into one of visits."""

RETURNING_SHARE = 0.35
"""Share of visits by people who were here before, as long as new ones are left."""

AWAY_S_MIN = 2_400.0
"""People come back after more than this time, so that it is a new visit, as long as somebody else can come instead."""

_CHOICES_MAX = 20


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """What the shop is like.

    Attributes:
        seed: The same seed gives the same people and visits.
        visitors: People who may come, >= 1.
        rate: Events per second on average, > 0.
        start_ms: Time of the first arrivals, milliseconds since 1970.
        duration_ms: How long the shop is open, milliseconds; 0: forever. Visits under way then just end.
    """

    seed: int = 1
    visitors: int = 20_000
    rate: float = 20.0
    start_ms: int = 0
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class ShopEvent:
    """An event as the shop's site would send it.

    Attributes:
        event_id: Unique, also between shops that were opened at different times.
        time_ms: When it happens, milliseconds since 1970.
        session_id: The site's own number of the visit.
        device: Sends it.
        step: What happens.
    """

    event_id: str
    time_ms: int
    session_id: str
    device: Device
    step: Step

    def body(self) -> bytes:
        """Return the wire bytes of the `Event`."""
        return event(
            event_id=self.event_id,
            name=self.step.name,
            time_ms=self.time_ms,
            visitor_id=self.device.visitor_id,
            customer_id=self.step.customer_id,
            client_session_id=self.session_id,
            channel=self.device.channel,
            properties=self.step.properties,
        )

    def json(self) -> dict[str, Value]:
        """Return the event in the JSON form of the contract, `event_time` as milliseconds since 1970."""
        found: dict[str, Value] = {
            "event_id": self.event_id,
            "name": self.step.name,
            "event_time": self.time_ms,
            "visitor_id": self.device.visitor_id,
            "customer_id": self.step.customer_id,
            "client_session_id": self.session_id,
            "channel": self.device.channel,
        }
        return {**{name: value for name, value in found.items() if value != ""}, "properties": self.step.properties}


@dataclass(slots=True)
class _Running:
    """A visit under way, and the step that comes next."""

    visit: Visit
    session_id: str
    steps: Iterator[Step]
    step: Step
    event_count: int = 0


@dataclass(slots=True)
class Shop:
    """The shop; iterate over `events` once."""

    settings: ShopSettings
    _people: list[Person] = field(default_factory=list)
    _running: list[tuple[float, int, _Running]] = field(default_factory=list)
    _visit_count: int = 0

    def events(self) -> Iterator[ShopEvent]:
        """Yield the events by time, from `start_ms` on, without an end if the duration is 0."""
        settings = self.settings
        rng = random.Random(f"shop:{settings.seed}")
        catalogue = Catalogue(settings.seed)
        arrivals_per_s = settings.rate / EVENTS_PER_VISIT
        arrival_s = rng.expovariate(arrivals_per_s)
        end_s = settings.duration_ms / 1000 if settings.duration_ms else float("inf")
        while True:
            next_s = self._running[0][0] if self._running else float("inf")
            if min(arrival_s, next_s) >= end_s:
                return
            if arrival_s <= next_s:
                self._arrive(arrival_s, rng, catalogue)
                arrival_s += rng.expovariate(arrivals_per_s)
            else:
                yield self._advance()

    def recorded(self) -> Iterator[Recorded]:
        """Yield the events as a replay would: time, wire bytes, and the place `shop`, number."""
        for number, each in enumerate(self.events(), start=1):
            yield each.time_ms, each.body(), "shop", number

    def _arrive(self, now_s: float, rng: random.Random, catalogue: Catalogue) -> None:
        person = self._pick_person(now_s, rng, catalogue)
        if person is None:
            return  # Everybody is here already.
        self._visit_count += 1
        number = self._visit_count
        own = random.Random(f"visit:{self.settings.seed}:{number}")
        # The second device is used less often.
        device = person.devices[0] if own.random() < 0.7 else person.devices[-1]
        visit = Visit(person, device, person.intent(own), number, own, catalogue)
        person.away_since_s = float("inf")
        person.visit_count += 1
        steps = visit.steps()
        session_id = f"s-{self.settings.start_ms:x}-{number}"
        running = _Running(visit, session_id, steps, next(steps))
        heapq.heappush(self._running, (now_s, number, running))

    def _pick_person(self, now_s: float, rng: random.Random, catalogue: Catalogue) -> Person | None:
        """Return who comes next, or None if everybody is here already."""
        people = self._people
        more = len(people) < self.settings.visitors
        if people and (not more or rng.random() < RETURNING_SHARE):
            absent = None
            for _ in range(_CHOICES_MAX):
                person = people[rng.randrange(len(people))]
                if person.away_since_s <= now_s - AWAY_S_MIN:
                    return person
                if person.away_since_s <= now_s:
                    absent = person
            if not more:
                return absent
        people.append(make_person(self.settings.seed, len(people), catalogue.categories))
        return people[-1]

    def _advance(self) -> ShopEvent:
        """Return the event that is due next, and put the visit's next step in its place."""
        now_s, number, running = self._running[0]
        step = running.step
        running.event_count += 1
        event_id = f"{running.session_id}-{running.event_count}"
        time_ms = self.settings.start_ms + int(now_s * 1000)
        following = next(running.steps, None)
        if following is None:
            running.visit.person.away_since_s = now_s
            heapq.heappop(self._running)
        else:
            running.step = following
            heapq.heapreplace(self._running, (now_s + following.pause_s, number, running))
        return ShopEvent(event_id, time_ms, running.session_id, running.visit.device, step)
