"""Framing: bytes to frames and back. Knows lengths and types, nothing of what a payload means.

A frame is a little-endian uint32 (1 + the payload's size), a type byte and the payload.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xproto.errors import RemoteProtocolError

_HEADER = struct.Struct("<IB")
_LENGTH = struct.Struct("<I")
_LENGTH_SIZE = _LENGTH.size


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it is on the wire: its type number and its undecoded payload."""

    type: int
    payload: bytes


def encode_frame(frame_type: int, payload: bytes) -> bytes:
    """One frame as bytes."""
    return _HEADER.pack(len(payload) + 1, frame_type) + payload


class FrameDecoder:
    """Cuts a stream of bytes into frames, however the stream was cut before.

    Args:
        limit: the largest frame accepted, in bytes, type byte included and length not. May be changed between frames.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes held that no frame has been made of yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Call `next_frame` until it returns None before feeding more."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next complete frame, or None until more bytes are fed.

        Raises:
            RemoteProtocolError: a length of zero, or above the limit; raised as soon as the length is seen.
        """
        buffer = self._buffer
        if len(buffer) < _LENGTH_SIZE:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if length == 0:
            raise RemoteProtocolError("a frame of length 0: it must have a type at least")
        if length > self.limit:
            raise RemoteProtocolError(f"a frame of {length} bytes, above the limit of {self.limit}")
        end = _LENGTH_SIZE + length
        if len(buffer) < end:
            return None
        frame = Frame(buffer[_LENGTH_SIZE], bytes(buffer[_HEADER.size : end]))
        del buffer[:end]
        return frame
