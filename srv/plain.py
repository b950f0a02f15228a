"""Ordinary queries read by hand: one question and perhaps EDNS, which is what everybody asks with.

Owns what counts as ordinary. Must not know sockets, nor what the right answer is. A library takes four times as long
as all the rest of an answer does; whatever is out of the ordinary is left to it (`wire.read_query`).
"""

from __future__ import annotations

import struct

from srv.names import spell
from srv.replies import DNSSEC_OK, OPT_KIND
from srv.wire import HEADER, QUERY_OCTETS, RD, Query, Question, name_end

_NOT_ORDINARY = 0x8000 | 0x7800  # QR and opcode: all 0
_QUESTION_END = struct.Struct("!HH")
_OPT = struct.Struct("!BHHBBHH")  # with the root as its name
_OPTION = struct.Struct("!HH")


def read_plain(wire: bytes) -> Query | None:
    """Read an ordinary query; None for anything else, which may be a query none the less.

    What is in EDNS options is not looked at, beyond that they are as long as they say.
    """
    try:
        identity, flags, questions, answers, authorities, additionals = HEADER.unpack_from(wire)
        if flags & _NOT_ORDINARY or questions != 1 or answers or authorities or additionals > 1:
            return None
        at = name_end(wire)
        if at is None or len(wire) > QUERY_OCTETS:
            return None
        kind, rdclass = _QUESTION_END.unpack_from(wire, at)
        end = at + _QUESTION_END.size
        question = Question(_name(wire), kind, rdclass)
        if not additionals:
            return Query(identity, question, bool(flags & RD)) if end == len(wire) else None
        root, opt_kind, payload, _, version, opt_flags, size = _OPT.unpack_from(wire, end)
    except struct.error:
        return None
    options = end + _OPT.size
    if root or opt_kind != OPT_KIND or options + size != len(wire) or not _are_options(wire, options):
        return None
    return Query(identity, question, bool(flags & RD), payload, version, bool(opt_flags & DNSSEC_OK))


def _name(wire: bytes) -> str:
    """The question's name, which `name_end` has found to be whole."""
    labels = []
    at = HEADER.size
    while length := wire[at]:
        labels.append(wire[at + 1 : at + 1 + length])
        at += 1 + length
    return spell(labels)


def _are_options(wire: bytes, at: int) -> bool:
    """Whether the rest of the packet is EDNS options of any kind."""
    while at + _OPTION.size <= len(wire):
        at += _OPTION.size + int.from_bytes(wire[at + 2 : at + 4], "big")
    return at == len(wire)
