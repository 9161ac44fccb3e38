"""The guide to the packs says what the model files say."""

from __future__ import annotations

from tests.house.packs_guide import GUIDE, guide


def test_the_guide_to_the_packs_is_what_the_models_say() -> None:
    """Inputs, rules, thresholds, attributes and bytes in the guide are those of the model files."""
    assert GUIDE.read_text("utf-8") == guide(), "renew it: python -m tests.house.packs_guide"
