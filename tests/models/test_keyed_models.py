"""Sets, baskets, sums that reset, and sequences, from the model file to what a session shows."""

from __future__ import annotations

import pytest

from rte_server.engine.program import Kind, ModelSpec
from rte_server.models import ModelError, compile_model
from rte_server.models.cel import compile_filter
from rte_server.models.trials import read_trials, run_trial

MODEL = """
model: shop
attributes:
  tags: {set: event.tag, on: view_item, keep: 4}
  basket:
    basket: event.item_id
    add: add_to_cart
    remove: remove_from_cart
    set: update_cart
    clear: [purchase, empty_cart]
    quantity: event.quantity
    price: event.price
    unit: currency
  spent_since: {sum: event.price * event.quantity, on: add_to_cart, resets_on: purchase, unit: currency}
  interest: {top: event.category, on: [view_item, add_to_cart], weight: "event.w", keep: 2, of: 8}
  fading: {top: event.category, on: view_item, half_life: 10m}
  items_bought: {sum: item.price * item.quantity, on: purchase, each: event.items, where: item.price > 0.0}
  units: {count: purchase, each: event.items}
  labels: {set: item, on: view_item, each: event.labels}
  bought:
    basket: item.item_id
    add: purchase
    quantity: item.quantity
    price: item["price"]
    each: event.items
sequences:
  checkout:
    steps: [view_item, {event: add_to_cart, where: event.quantity > 0.0}, begin_checkout, {event: [purchase, order]}]
    within: 30m
    not: [empty_cart]
    optional: [begin_checkout]
derived:
  basket_open: basket.value > 0.0 && checkout.stage < 4
  hurried: checkout.time_left_s != null && checkout.time_left_s < 60.0
scores:
  p: {linear: {weights: {checkout.stage: 0.5, basket.items: 0.25}}, link: identity}
"""

TESTS = """
tests:
  - name: A basket holds what was added, less what was removed, at the latest price
    given:
      - {event: view_item, at: 0s, properties: {tag: red}}
      - {event: add_to_cart, at: 1s, properties: {item_id: a, quantity: 2, price: 5}}
      - {event: add_to_cart, at: 2s, properties: {item_id: b, price: 1}}
      - {event: remove_from_cart, at: 3s, properties: {item_id: a, quantity: 1, price: 6}}
    then:
      tags: [red]
      basket: [{item: a, quantity: 1, price: 6}, {item: b, quantity: 1, price: 1}]
      basket.value: 7
      basket.quantity: 2
      basket.items: 2
      spent_since: 10
      basket_open: true
      checkout.stage: 2
      checkout.step_times: [1704067200000, 1704067201000, null, null]
      checkout.time_left_s: 1797
      p: 1.5
  - name: A purchase empties the basket and completes the checkout, an optional step is not waited for
    given:
      - {event: view_item, at: 0s}
      - {event: add_to_cart, at: 1s, properties: {item_id: a, quantity: 2, price: 5}}
      - {event: order, at: 2s}
      - {event: update_cart, at: 3s, properties: {item_id: c, quantity: 3}}
      - {event: purchase, at: 4s}
      - {event: update_cart, at: 5s, properties: {item_id: c, quantity: 4}}
    then:
      basket: [{item: c, quantity: 4}]
      basket.value: 0
      spent_since: 0
      checkout.stage: 4
      checkout.completed: true
      checkout.time_left_s: null
  - name: The heaviest values come first, and weights fade
    given:
      - {event: view_item, at: 0s, properties: {category: a}}
      - {event: view_item, at: 0s, properties: {category: b, w: 3}}
      - {event: add_to_cart, at: 0s, properties: {category: b}}
      - {event: view_item, at: 0s, properties: {category: c, w: 2}}
      - {event: view_item, at: 0s, properties: {category: d, w: -1}}
    when: {passes: 20m}
    then:
      interest: [{value: b, weight: 4}, {value: c, weight: 2}]
      interest.first: b
      interest.share: {near: 0.571, within: 0.001}
      fading.weight: {near: 0.25, within: 0.0001}
      fading.share: {near: 0.25, within: 0.0001}
  - name: Elements of lists count one by one
    given:
      - event: purchase
        properties:
          currency: EUR
          items: [{item_id: a, price: 2, quantity: 3}, {item_id: b, price: 0, quantity: 9}, {item_id: a, price: 4, quantity: 1}, none]
      - {event: purchase, properties: {items: {item_id: x, price: 1}}}
      - {event: view_item, properties: {labels: [red, red, {colour: blue}]}}
    then:
      items_bought: 10
      units: 4
      labels: [red]
      bought.quantity: 13
      bought.items: 2
      bought.value: 16
  - name: The stage falls when the time is up, and the furthest stage stays
    given:
      - {event: view_item, at: 0s}
      - {event: add_to_cart, at: 1s, properties: {item_id: a, quantity: 2, price: 5}}
    when: {passes: 29m}
    then: {checkout.stage: 2, hurried: true, checkout.time_left_s: 59}
  - name: Time runs out
    given:
      - {event: view_item, at: 0s}
      - {event: add_to_cart, at: 1s, properties: {item_id: a, quantity: 2, price: 5}}
    when: {passes: 30m}
    then: {checkout.stage: 0, checkout.furthest: 2, checkout.step_times: null, basket_open: true, checkout.completed: false}
  - name: Emptying the cart ends the run
    given:
      - {event: view_item, at: 0s}
      - {event: add_to_cart, at: 1s, properties: {item_id: a, quantity: 2, price: 5}}
      - {event: empty_cart, at: 2s}
      - {event: begin_checkout, at: 3s}
    then: {checkout.stage: 0, checkout.furthest: 2, basket: null, spent_since: 10}
"""


def _model(source: str = MODEL) -> ModelSpec:
    return compile_model(source, "shop.yaml", {})


@pytest.mark.parametrize("trial", read_trials(TESTS, "shop_tests.yaml"), ids=lambda trial: trial.name)
def test_what_a_session_shows(trial: object) -> None:
    """Each case holds in any order of arrival."""
    assert [str(failure) for failure in run_trial([_model()], trial)] == []  # type: ignore[arg-type]


def test_parts_take_no_memory_and_can_be_filtered_by() -> None:
    """A part refers to the attribute that has the cell; filters read it by its dotted name."""
    model = _model()
    specs = {spec.name: spec for spec in model.attributes}
    assert specs["basket.value"].owner == "basket"
    assert specs["checkout.furthest"].owner == "checkout.stage"
    assert (specs["checkout.stage"].kind, specs["checkout.stage"].owner) == (Kind.SEQUENCE, "")
    assert specs["checkout.step_times"].value_type == "list"
    assert compile_filter("basket.value > 10 && checkout.stage == 2", model.attributes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("attributes: {b: {basket: event.item_id}}", "has no `add`"),
        ("attributes: {b: {basket: event.item_id, add: a, clear: a}}", "`a` stands both in `add` and in `clear`"),
        ('attributes: {b: {basket: event.item_id, add: "*"}}', "cannot be every event"),
        ("attributes: {b: {basket: event.item_id, add: a, qantity: event.n}}", "did you mean `quantity`?"),
        ("attributes: {b: {basket: event.item_id, add: a, price: event.p > 1.0}}", "`price` must be a number"),
        ("attributes: {s: {sum: event.p, resets: purchase}}", "did you mean `resets_on`?"),
        ("attributes: {s: {mean: event.p, resets_on: purchase}}", "no member `resets_on`"),
        ("attributes: {s: {set: event.p, keep: 1000}}", "1 to 256"),
        ("attributes: {s: {sum: item.p, on: a}}", "add `each: event.items` to the attribute"),
        ("attributes: {s: {sum: event.p, where: has(item.p)}}", "add `each: event.items` to the attribute"),
        ("attributes: {s: {sum: item.p, each: items}}", "no `items` on an event"),
        ("attributes: {s: {sum: item.p, each: [event.items, item]}}", "write for example `each: [event.items, event]`"),
        ("attributes: {s: {sum: item.p, each: event.a + event.b}}", "`each` must be a property of the event"),
        ("attributes: {s: {sum: item.a.b, each: event.items}}", "reaches into a member of the element"),
        ("attributes: {s: {last: ua.browser(item.a), each: event.items}}", "does not look at elements of lists"),
        ("derived: {d: item.price > 1.0}", "make it an attribute with `each: event.items` first"),
        ("attributes: {s: {top: event.p, keep: 5, of: 3}}", "`of` must be a whole number from 5 to 64"),
        ("attributes: {s: {top: event.p, weight: event.w > 1.0}}", "`weight` must be a number"),
        ("sequences: {c: {steps: [a]}}", "2 to 12 `steps`"),
        ("sequences: {c: {within: 5m}}", "2 to 12 `steps`"),
        ("sequences: {c: {steps: [a, b], witin: 5m}}", "did you mean `within`?"),
        ("sequences: {c: {steps: [a, b], optional: [b]}}", "the first and the last step cannot be optional"),
        ("sequences: {c: {steps: [a, begin, b], optional: [begn]}}", "did you mean `begin`?"),
        ("sequences: {c: {steps: [a, {where: event.x > 1.0}]}}", "has no `event`"),
        ("sequences: {c: {steps: [a, {event: b, were: event.x > 1.0}]}}", "did you mean `where`?"),
        ("sequences: {c: {steps: [a, {event: b, where: event.x + 1.0}]}}", "`where`"),
        ("sequences: {c: {steps: [a, b]}}\nattributes: {c: {count: a}}", "`c` stands twice"),
        ("sequences: {c: {steps: [a, b]}}\nderived: {d: c > 1}", "known are `c.completed`, `c.furthest`, `c.stage`"),
        ("sequences: {c: {steps: [a, b]}}\nderived: {d: c.step_times == 1}", "is a list"),
    ],
)
def test_what_is_wrong_is_said(line: str, message: str) -> None:
    """A wrong basket or sequence is refused with what to write."""
    with pytest.raises(ModelError) as caught:
        _model(f"model: shop\n{line}\n")
    assert message in str(caught.value)


def test_a_part_of_another_model_needs_its_use() -> None:
    """Parts are attributes of the model that has them: others name it in `uses`, and cannot take its names."""
    known = {"shop": _model()}
    with pytest.raises(ModelError, match="add `shop` to `uses`"):
        compile_model("model: b\nderived: {d: basket.value > 1.0}", "b.yaml", known)
    with pytest.raises(ModelError, match="has an attribute `checkout` already"):
        compile_model("model: b\nsequences: {checkout: {steps: [a, b]}}", "b.yaml", known)
    assert compile_model("model: b\nuses: [shop]\nderived: {d: basket.value > 1.0}", "b.yaml", known).attributes
