"""The errors of the router's own, byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.refusals import Refusal, encode
from router.words import Protocol
from xproto.codec import encode_error


@given(
    st.integers(min_value=0, max_value=(1 << 32) - 1),
    st.text(st.characters(max_codepoint=127), max_size=5),
    st.text(max_size=300),
)
def test_an_x_error_made_by_hand_is_what_protobuf_makes(code: int, state: str, message: str) -> None:
    assert encode(Refusal(code, state, message), Protocol.X) == encode_error(code, state, message)
