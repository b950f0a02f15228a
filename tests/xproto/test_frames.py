"""Framing, fed whole, byte by byte, and with a tail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xproto.errors import RemoteProtocolError
from xproto.frames import Frame, FrameDecoder, encode_frame

FRAMES = [Frame(0, b""), Frame(11, b"\x08\x05"), Frame(13, bytes(300)), Frame(255, b"x")]
STREAM = b"".join(encode_frame(frame.type, frame.payload) for frame in FRAMES)


def taken(decoder: FrameDecoder) -> list[Frame]:
    frames = []
    while frame := decoder.next_frame():
        frames.append(frame)
    return frames


def test_a_frame_is_length_type_payload() -> None:
    assert encode_frame(12, b"ab") == b"\x03\x00\x00\x00\x0cab"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, len(STREAM)])
def test_frames_come_out_however_the_stream_is_cut(size: int) -> None:
    decoder = FrameDecoder(1024)
    frames = []
    for start in range(0, len(STREAM), size):
        decoder.feed(STREAM[start : start + size])
        frames += taken(decoder)
    assert frames == FRAMES
    assert decoder.pending == 0


def test_a_tail_waits_for_its_rest() -> None:
    decoder = FrameDecoder(1024)
    decoder.feed(STREAM + b"\x05\x00")
    assert taken(decoder) == FRAMES
    assert decoder.pending == 2
    decoder.feed(b"\x00\x00\x01abc")
    assert decoder.next_frame() is None
    decoder.feed(b"d")
    assert taken(decoder) == [Frame(1, b"abcd")]


def test_a_frame_without_a_type_is_refused() -> None:
    decoder = FrameDecoder(1024)
    decoder.feed(bytes(4))
    with pytest.raises(RemoteProtocolError, match="length 0"):
        decoder.next_frame()


def test_a_frame_at_the_limit_passes_and_one_above_is_refused_before_it_is_there() -> None:
    decoder = FrameDecoder(8)
    decoder.feed(encode_frame(1, bytes(7)))
    assert decoder.next_frame() == Frame(1, bytes(7))
    decoder.feed(b"\x09\x00\x00\x00")
    with pytest.raises(RemoteProtocolError, match="9 bytes, above the limit of 8"):
        decoder.next_frame()


def test_the_limit_can_change_between_frames() -> None:
    decoder = FrameDecoder(2)
    decoder.feed(encode_frame(1, b"a") + encode_frame(2, bytes(100)))
    assert decoder.next_frame() == Frame(1, b"a")
    decoder.limit = 200
    assert decoder.next_frame() == Frame(2, bytes(100))


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_arbitrary_bytes_are_frames_or_a_remote_error(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(64)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            for frame in taken(decoder):
                assert len(frame.payload) < 64
            assert decoder.pending < 64 + 4
    except RemoteProtocolError:
        pass
