"""Positions and tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.tokens import TokenSeal, parse_position, position_text

SEAL = TokenSeal(b"s" * 32)
REQUEST = ("basket_value > 50.0", "session.start_time desc")
CONTENT = st.lists(
    st.none() | st.integers(-(2**63), 2**63) | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)


def open_page(token: str, request: tuple[str, ...] = REQUEST, kind: str = "page") -> object:
    """Open a page token."""
    return SEAL.open(kind, request, token, reason=Reason.INVALID_PAGE_TOKEN, field="page_token")


@given(CONTENT)
def test_a_token_gives_back_its_content(content: list[str | int | float | None]) -> None:
    """What is sealed comes back unchanged."""
    assert open_page(SEAL.seal("page", REQUEST, content)) == content


@given(st.text(max_size=40))
def test_any_other_text_is_refused(text: str) -> None:
    """A text that is no token is refused with its reason and never breaks the server."""
    with pytest.raises(EngineError) as refused:
        open_page(text)
    assert refused.value.reason is Reason.INVALID_PAGE_TOKEN


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    """A token in which one character was changed is refused."""
    token = SEAL.seal("page", REQUEST, [3.5, "0" * 32])
    place = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda char: char != token[place]))
    with pytest.raises(EngineError):
        open_page(token[:place] + other + token[place + 1 :])


def test_a_token_belongs_to_its_request_and_kind() -> None:
    """A token does not open for another filter, another split of the same text, or another kind."""
    token = SEAL.seal("page", REQUEST, [1])
    for request, kind in ((("x", REQUEST[1]), "page"), (("".join(REQUEST),), "page"), (REQUEST, "resume")):
        with pytest.raises(EngineError):
            open_page(token, request, kind)


@given(st.integers(0, 10**18 - 1))
def test_a_position_comes_back_from_its_text(position: int) -> None:
    """Every position is read back from its text."""
    assert parse_position(position_text(position)) == position


@pytest.mark.parametrize("text", ["", "0", "1-5", "0-", "0-05", "0--1", "0-1 ", "0-1.0-2", "0-" + "9" * 40, "0-٣"])
def test_a_damaged_position_is_refused(text: str) -> None:
    """A text that this server never gave as a position is refused with INVALID_POSITION."""
    with pytest.raises(EngineError) as refused:
        parse_position(text)
    assert refused.value.reason is Reason.INVALID_POSITION
