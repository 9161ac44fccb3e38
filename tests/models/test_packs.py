"""The models that ship: documented, bounded in memory, and right by their own tests."""

from __future__ import annotations

import pytest

from rte_server.engine.kinds import cell_words
from rte_server.models import load_models, load_pack, pack_names
from rte_server.models.trials import run_file

SESSION_BYTES_MAX = 1331
"""What the attributes of `base` and `retail` may take per session: 1.3 KiB."""


def test_base_and_retail_ship() -> None:
    """Both packs are there, and `retail` brings `base`."""
    assert pack_names() == ("base", "retail")
    assert [model.name for model in load_models(["retail"])] == ["base", "retail"]
    assert load_pack("retail").uses == ("base",)


def test_every_attribute_says_what_it_is() -> None:
    """Each attribute has one sentence of description; times and amounts have a unit."""
    for model in load_models(pack_names()):
        assert model.description.endswith(".")
        for spec in model.attributes:
            assert spec.description.endswith("."), spec.name
            if any(word in spec.name for word in ("value", "price", "revenue")):
                assert spec.unit == "currency", spec.name
            if spec.name.startswith(("time_to", "duration", "seconds")):
                assert spec.unit == "s", spec.name


def test_the_packs_stay_within_their_memory() -> None:
    """`base` and `retail` together take at most 1.3 KiB per session."""
    words = sum(
        cell_words(spec.kind, spec.keep, spec.params)
        for model in load_models(pack_names())
        for spec in model.attributes
    )
    assert 8 * words <= SESSION_BYTES_MAX


@pytest.mark.parametrize("name", pack_names())
def test_the_packs_pass_their_own_tests(name: str) -> None:
    """Every trial of a pack passes, in order, reversed, and with each event twice."""
    count, failures = run_file(name)
    assert count >= 7
    assert not failures, "\n".join(str(failure) for failure in failures)
