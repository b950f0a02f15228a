"""Packets that nobody would send, and a clock for how long to make them up.

`FAIRLEAD_FUZZ_SECONDS` is for how long each target is fuzzed; without it a second, so that every run does a little.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable, Sequence

import dns.edns
import dns.message
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FAIRLEAD_FUZZ_SECONDS", "1"))
PACKET_OCTETS = 65_535
SLOWEST = 1.0  # second of a core's time for one packet; the worst known takes a tenth
TRICKY = (b"\xc0\x0c", b"\xc0\x00", b"\xff\xff", b"\x00\x00", b"\x3f", b"\x40", b"\x00\x29", b"\x00\xfa", b"\x00\x06")

labels = st.one_of(st.binary(min_size=1, max_size=63), st.sampled_from([b"_mysql", b"_tcp", b"demo", b"fairlead"]))
names = st.lists(labels, max_size=6).map(lambda some: b"".join(bytes([len(one)]) + one for one in some) + b"\0")
pointers = st.integers(0, 0x3FFF).map(lambda at: struct.pack("!H", 0xC000 | at))
owners = st.one_of(names, pointers, st.binary(max_size=20))
numbers = st.one_of(st.sampled_from([0, 1, 6, 33, 41, 250, 251, 252, 255]), st.integers(0, 0xFFFF))
questions = st.builds(lambda name, *rest: name + struct.pack("!HH", *rest), owners, numbers, numbers)
records = st.builds(
    lambda name, kind, rdclass, ttl, data, lie: (
        name + struct.pack("!HHIH", kind, rdclass, ttl, (len(data) + lie) & 0xFFFF) + data
    ),
    owners,
    numbers,
    numbers,
    st.integers(0, 2**32 - 1),
    st.binary(max_size=80),
    st.sampled_from([0, 0, 0, 0, 1, -1, 0x8000]),
)
counts = st.one_of(st.integers(0, 3), st.integers(0, 0xFFFF))
packets = st.one_of(
    st.binary(max_size=700),
    st.builds(
        lambda identity, flags, some, asked, rest: (
            struct.pack("!HHHHHH", identity, flags, *some) + b"".join(asked) + b"".join(rest)
        ),
        st.integers(0, 0xFFFF),
        st.one_of(st.sampled_from([0, 0x100, 0x8000, 0x8400]), st.integers(0, 0xFFFF)),
        st.tuples(counts, counts, counts, counts),
        st.lists(questions, max_size=3),
        st.lists(records, max_size=5),
    ),
)
"""Arbitrary octets, and messages whose parts may lie about one another."""


def queries(names_asked: Sequence[str]) -> list[bytes]:
    """Honest ones to begin with."""
    made = [
        dns.message.make_query(name, kind, use_edns=edns)
        for name in names_asked
        for kind in ("SRV", "A", "SOA", "ANY", "AXFR", "IXFR", "TXT")
        for edns in (False, 0)
    ]
    made[1].use_edns(0, options=[dns.edns.GenericOption(10, b"12345678"), dns.edns.GenericOption(65001, b"")])
    return [message.to_wire() for message in made]


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A packet that was honest until something happened to it."""
    wire = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(wire) + 1)
        match rng.randrange(6):
            case 0:
                wire[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del wire[at : at + rng.randint(1, 12)]
            case 2:
                wire[at:at] = rng.randbytes(rng.randint(1, 12))
            case 3:
                wire[at : at + 2] = rng.choice(TRICKY)
            case 4:
                other = rng.choice(seeds)
                wire[at:] = other[rng.randrange(len(other)) :]
            case 5:
                wire += wire[at:] * rng.randint(1, 40)
    return bytes(wire[:PACKET_OCTETS])


def fuzz(target: Callable[[bytes], object], seeds: Sequence[bytes], seconds: float = SECONDS) -> int:
    """Give a target mutated packets for so long, and return how many; its complaint names the seed that repeats it."""
    ended = time.monotonic() + seconds
    number = 0
    start = random.SystemRandom().randrange(2**48)
    while time.monotonic() < ended:
        seed = start + number
        wire = mutated(random.Random(seed), seeds)
        began = time.thread_time()
        try:
            target(wire)
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {wire.hex()}") from exc
        took = time.thread_time() - began
        assert took < SLOWEST, f"seed {seed} took {took:.2f} s: {wire.hex()}"
        number += 1
    return number
