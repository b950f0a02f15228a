"""DNS names as text. Owns their one spelling inside this package; must not know records or packets.

A name is written in lower case without the trailing dot; an octet other than a letter, digit, `-` or `_` is written
`\\DDD` (RFC 1035, 5.1), a dot inside a label too. So a dot always parts labels, and text compares as names do.
"""

from __future__ import annotations

import ipaddress
import string
from collections.abc import Iterable
from functools import lru_cache

ROOT = "."  # as an SRV target: "the service is decidedly not available" (RFC 2782)
LABEL_OCTETS = 63  # RFC 1035, 2.3.4
NAME_CHARACTERS = 253  # RFC 1035, 2.3.4: 255 octets on the wire, less the first length and the root

PLAIN = frozenset(string.ascii_letters + string.digits + "-_")
KNOWN = 4096
"""Texts of which it is remembered whether they are addresses: a router asks at each dial."""
_PLAIN_OCTETS = "".join(sorted(PLAIN)).encode()


def canonical(name: str) -> str:
    """Return the name in lower case, without its trailing dot.

    Raises:
        ValueError: the text cannot be a name that we would ask for or publish.
    """
    text = name.removesuffix(".").lower()
    if not text:
        raise ValueError(f"{name!r} is not a name: it is empty")
    if len(text) > NAME_CHARACTERS:
        raise ValueError(f"{name!r} is not a name: longer than {NAME_CHARACTERS} characters")
    for label in text.split("."):
        if not label:
            raise ValueError(f"{name!r} is not a name: it has an empty label")
        if len(label) > LABEL_OCTETS:
            raise ValueError(f"{name!r} is not a name: {label!r} is longer than {LABEL_OCTETS} characters")
        if not PLAIN.issuperset(label):
            raise ValueError(
                f"{name!r} is not a name: {label!r} has a character besides letters, digits, '-' and '_'"
                " (write other scripts in their xn-- form)"
            )
    return text


def is_host_label(label: str) -> bool:
    """Whether the text may be one label of a host name (RFC 1123, 2.1): letters, digits and inner hyphens."""
    return (
        0 < len(label) <= LABEL_OCTETS and label[0] != "-" != label[-1] and PLAIN.issuperset(label) and "_" not in label
    )


@lru_cache(KNOWN)
def is_address(text: str) -> bool:
    """Whether the text is an IP address, and no name; one of a single link (`fe80::1%eth0`) is not for others."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_within(name: str, origin: str) -> bool:
    """Whether the canonical name is the origin or lies under it."""
    return name == origin or name.endswith(f".{origin}")


def spell(labels: Iterable[bytes]) -> str:
    """Write labels from the wire as text, case kept; the root's empty label ends them and is left out."""
    return ".".join(_label(label) for label in labels if label) or ROOT


def _label(label: bytes) -> str:
    if not label.translate(None, _PLAIN_OCTETS):
        return label.decode("ascii")
    return "".join(map(_octet, label))


def _octet(octet: int) -> str:
    char = chr(octet)
    return char if char in PLAIN else f"\\{octet:03d}"
