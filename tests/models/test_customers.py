"""Models that read customers: what names become, and what is refused."""

from __future__ import annotations

import pytest

from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.reasons import EngineError
from rte_server.models import ModelError, compile_models
from rte_server.models.cel import compile_filter
from rte_server.models.trials import read_trials, run_trial

SHOP = """
model: shop
version: 1
attributes: {views: {count: view_item}}
derived: {rich: customer.lifetime_value > 100}
scores:
  affinity: {linear: {weights: {customer.lifetime_value: 0.5, customer.vip: 4, views: 1}}, link: identity}
triggers: {vip: {when: customer.vip == true}}
"""
OTHER = "model: other\nversion: 1\nderived: {poor: customer.lifetime_value < 10, named: customer.Segment}\n"


def customers(sources: dict[str, str]) -> dict[str, str]:
    """Return the attributes of customers that models bring, and which model does."""
    specs: list[AttributeSpec] = [spec for model in compile_models(sources) for spec in model.attributes]
    return {spec.name: spec.model for spec in specs if spec.kind == Kind.CUSTOMER}


def test_the_first_model_that_reads_one_brings_it() -> None:
    """Names in rules, scores and triggers become attributes, each once, whichever models run."""
    assert customers({"shop": SHOP}) == {"customer.lifetime_value": "shop", "customer.vip": "shop"}
    both = customers({"shop": SHOP, "other": OTHER})
    assert both.keys() == {"customer.lifetime_value", "customer.vip", "customer.Segment"}
    assert customers({"other": OTHER}) == {"customer.lifetime_value": "other", "customer.Segment": "other"}


def test_a_version_alongside_has_its_own() -> None:
    """Another version of the model beside it brings what it reads under its own name."""
    found = customers({"shop": SHOP, "shop_v2": SHOP.replace("version: 1", "version: 2")})
    assert found["shop_v2.customer.vip"] == "shop_v2"


def test_a_sequence_of_that_name_is_meant_itself() -> None:
    """A model with a sequence `customer` reads that one's parts, as it always did."""
    source = "model: a\nsequences: {customer: {steps: [view, buy]}}\nderived: {far: customer.stage > 1}\n"
    assert customers({"a": source}) == {}


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ("customer > 1", "no attribute `customer`"),
        ("customer.address.city == 'Rome'", "no attribute `customer.address.city`"),
        ("customer['first name'] == 'Ann'", "cannot be indexed"),
    ],
)
def test_what_cannot_be_read_is_refused(derived: str, message: str) -> None:
    """Only single attributes by plain names can be read."""
    with pytest.raises(ModelError, match=message):
        compile_models({"a": f'model: a\nderived: {{x: "{derived}"}}\n'})


def test_an_event_has_no_customer_attributes() -> None:
    """Conditions on events cannot read them: they say so."""
    with pytest.raises(ModelError, match=r"no `customer\.vip` on an event"):
        compile_models({"a": "model: a\nattributes: {n: {count: view, where: customer.vip}}\n"})


def test_filters_read_what_models_read() -> None:
    """A filter can name an attribute of customers that a model reads; of others it says what to do."""
    (model,) = compile_models({"shop": SHOP})
    assert compile_filter("customer.lifetime_value > 5", model.attributes)
    with pytest.raises(EngineError, match="what no model reads of a customer"):
        compile_filter("customer.other > 5", model.attributes)


TRIALS = """
tests:
  - name: A rich customer is rich
    given:
      - {event: view_item}
      - {customer: {lifetime_value: 250, vip: true}}
    then: {rich: true, affinity: 130, vip: true, customer.lifetime_value: 250}
  - name: Nothing is known of a stranger
    given:
      - {customer: {lifetime_value: 250}, id: c-1}
      - {event: view_item, customer: c-2}
    then: {rich: null, affinity: 1, vip: false}
"""


def test_trials_say_what_a_customer_has() -> None:
    """`customer` among the given says what the data mart has; a name that no model reads is refused."""
    models = compile_models({"shop": SHOP})
    assert [failure for trial in read_trials(TRIALS, "t.yaml") for failure in run_trial(models, trial)] == []
    (wrong, _) = read_trials(TRIALS.replace("affinity: 130", "affinity: 131"), "t.yaml")
    assert {failure.attribute for failure in run_trial(models, wrong)} == {"affinity"}
    with pytest.raises(ModelError, match="no single value"):
        read_trials(TRIALS.replace("vip: true}}", "vip: [1]}}"), "t.yaml")
    with pytest.raises(ModelError, match="needs an event"):
        read_trials("tests: [{name: x, given: [{customer: {a: 1}}], then: {}}]", "t.yaml")
