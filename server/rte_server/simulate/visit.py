"""One visit: from the landing page to the purchase, or to wherever the visitor loses interest.

The probabilities are set so that the shares of visits with a product view, a basket, a checkout and a purchase are those
of an ordinary shop: about two thirds, an eighth, a sixteenth and a thirtieth. `tests/simulation` holds them to that.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from rte.wire_events import Value
from rte_server.simulate.catalogue import CURRENCY, SITE, Catalogue, Product
from rte_server.simulate.people import Device, Intent, Person, pick_origin


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the visitor does.

    Attributes:
        pause_s: Time since the step before, seconds, >= 0.
        name: Of the event.
        properties: Of the event.
        customer_id: The person, once logged in; else empty.
    """

    pause_s: float
    name: str
    properties: dict[str, Value]
    customer_id: str


_STEPS_MEAN = {Intent.GLANCE: 0.35, Intent.BROWSE: 3.2, Intent.COMPARE: 6.0, Intent.BUY: 4.5}
"""Pages that a visitor looks at after the landing page, on average."""

_ADD_SHARE = {Intent.GLANCE: 0.01, Intent.BROWSE: 0.025, Intent.COMPARE: 0.09, Intent.BUY: 0.42}
"""Share of the product pages on which the product is put into the basket."""

_CHECKOUT_SHARE = {Intent.GLANCE: 0.15, Intent.BROWSE: 0.25, Intent.COMPARE: 0.38, Intent.BUY: 0.75}
"""Share of the baskets with which the checkout is begun."""


@dataclass(slots=True)
class Visit:
    """A visit under way.

    Attributes:
        person: Who it is.
        device: With what.
        intent: What for.
        number: Distinguishes it from all other visits; part of the order's number.
        rng: Decides everything about it.
        catalogue: What there is to see.
    """

    person: Person
    device: Device
    intent: Intent
    number: int
    rng: random.Random
    catalogue: Catalogue
    basket: list[tuple[Product, int]] = field(default_factory=list)
    customer_id: str = ""
    _page: str = ""
    _waiting_s: float = 0.0

    def steps(self) -> Iterator[Step]:
        """Yield what the visitor does, in order."""
        yield from self._land()
        while self.rng.random() < self._stays():
            yield from self._next_page()
            if self.basket and self.rng.random() < 0.3:
                break
        if self.basket and self.rng.random() < _CHECKOUT_SHARE[self.intent]:
            yield from self._check_out()

    def _stays(self) -> float:
        mean = _STEPS_MEAN[self.intent]
        return mean / (1.0 + mean)

    def _step(self, name: str, **properties: Value) -> Step:
        pause_s, self._waiting_s = self._waiting_s, self.rng.uniform(0.005, 0.3)
        return Step(pause_s, name, properties, self.customer_id)

    def _think(self, mean_s: float) -> None:
        """Let time pass before the next step: mostly short, now and then long."""
        self._waiting_s += min(900.0, self.rng.lognormvariate(0.2, 0.9) * mean_s)

    def _view_page(self, path: str, title: str, referrer: str | None = None) -> Step:
        came_from = self._page if referrer is None else referrer
        self._page = f"{SITE}{path}"
        address: dict[str, Value] = {"page_location": self._page, "page_title": title, "page_referrer": came_from}
        return self._step("page_view", **address, **self.device.properties)

    def _land(self) -> Iterator[Step]:
        origin = pick_origin(self.person, self.rng)
        query = origin.query(self.number)
        category = self._category()
        where = self.rng.random()
        if where < 0.45:
            yield self._view_page(f"/{query}", "Home", origin.referrer)
        elif where < 0.75:
            yield self._view_page(f"/c/{category}{query}", category.title(), origin.referrer)
            yield self._step("view_item_list", item_list_id=category, item_category=category)
        else:
            product = self.catalogue.pick(category, self.rng)
            yield from self._view_product(product, origin.referrer, query)
        if self.person.registered and self.rng.random() < 0.15:
            self._think(8)
            yield from self._log_in()

    def _next_page(self) -> Iterator[Step]:
        category = self._category()
        what = self.rng.random()
        if what < 0.13:
            yield from self._search(category)
        elif what < 0.38:
            self._think(14)
            yield self._view_page(f"/c/{category}", category.title())
            yield self._step("view_item_list", item_list_id=category, item_category=category)
        elif what < 0.42 and self.basket:
            yield from self._look_into_basket()
        elif what < 0.435:
            self._think(10)
            yield self._step("exception", description="image did not load", fatal=False)
            if self.rng.random() < 0.4:
                yield from self._click_in_rage()
        else:
            self._think(18)
            yield from self._view_product(self.catalogue.pick(category, self.rng))

    def _category(self) -> str:
        return self.rng.choices(self.person.favourites, (6, 3, 1))[0]

    def _search(self, category: str) -> Iterator[Step]:
        term = self.catalogue.search_term(category, self.rng)
        self._think(12)
        yield self._view_page(f"/search?q={term.replace(' ', '+')}", f"Search: {term}")
        yield self._step("search", search_term=term, result_count=self.rng.choice((0, 3, 8, 12, 24, 40)))

    def _view_product(self, product: Product, referrer: str | None = None, query: str = "") -> Iterator[Step]:
        yield self._view_page(f"/p/{product.item_id}{query}", product.name, referrer)
        yield self._step("view_item", currency=CURRENCY, **product.properties())
        if self.rng.random() < 0.3:
            self._think(12)
            seen_msec = round(self._waiting_s * 1000)
            yield self._step("scroll", percent_scrolled=90, page_location=self._page, engagement_time_msec=seen_msec)
        if self.rng.random() < 0.02:
            self._think(6)
            yield self._step("add_to_wishlist", currency=CURRENCY, **product.properties())
        if self.rng.random() < _ADD_SHARE[self.intent]:
            quantity = self.rng.choices((1, 2, 3), (85, 11, 4))[0]
            self._think(16)
            self.basket.append((product, quantity))
            value = round(product.price * quantity, 2)
            yield self._step("add_to_cart", currency=CURRENCY, value=value, **product.properties(quantity))

    def _look_into_basket(self) -> Iterator[Step]:
        self._think(9)
        yield self._view_page("/basket", "Basket")
        yield self._step("view_cart", currency=CURRENCY, value=self._value())
        if self.rng.random() < 0.2:
            product, quantity = self.basket.pop(self.rng.randrange(len(self.basket)))
            self._think(7)
            value = round(product.price * quantity, 2)
            yield self._step("remove_from_cart", currency=CURRENCY, value=value, **product.properties(quantity))

    def _click_in_rage(self) -> Iterator[Step]:
        """Click on what does not react: steps follow one another within 0.3 s."""
        self._think(2)
        for _ in range(3):
            yield self._step("click", target="#image")

    def _log_in(self) -> Iterator[Step]:
        self.customer_id = self.person.customer_id
        yield self._step("login", method="password")

    def _check_out(self) -> Iterator[Step]:
        yield from self._look_into_basket()
        if not self.basket:
            return
        if not self.customer_id and self.person.registered:
            self._think(10)
            yield from self._log_in()
        elif not self.customer_id and self.rng.random() < 0.35:
            self._think(35)
            self.person.registered = True
            self.customer_id = self.person.customer_id
            yield self._step("sign_up", method="password")
        self._think(8)
        yield self._view_page("/checkout", "Checkout")
        yield self._step("begin_checkout", currency=CURRENCY, value=self._value(), items=self._items())
        for name, mean_s, leaves in (("add_shipping_info", 30, 0.18), ("add_payment_info", 35, 0.14)):
            if self.rng.random() < leaves:
                return
            self._think(mean_s)
            yield self._step(name, currency=CURRENCY, value=self._value())
        if self.rng.random() < 0.05:
            self._think(6)
            yield self._step("exception", description="payment declined", fatal=True)
            if self.rng.random() < 0.5:
                return
        self._think(12)
        yield self._purchase()
        yield self._view_page("/thanks", "Thank you")

    def _purchase(self) -> Step:
        quantity = sum(each for _, each in self.basket)
        value, items = self._value(), self._items()
        self.basket.clear()
        order = f"o-{self.number:07d}"
        return self._step(
            "purchase", transaction_id=order, currency=CURRENCY, value=value, quantity=quantity, items=items
        )

    def _value(self) -> float:
        return round(sum(product.price * quantity for product, quantity in self.basket), 2)

    def _items(self) -> list[Value]:
        return [product.properties(quantity) for product, quantity in self.basket]
