"""The system's name servers, from resolv.conf(5). Owns the file's form; its other settings are not ours to follow."""

from __future__ import annotations

import ipaddress
from pathlib import Path

PATH = Path("/etc/resolv.conf")
DNS_PORT = 53
NAMESERVER_LIMIT = 3  # resolv.conf(5): MAXNS
NOWHERE_SAID: tuple[tuple[str, int], ...] = (("127.0.0.1", DNS_PORT),)  # resolv.conf(5): the local machine


def parse_nameservers(text: str) -> tuple[tuple[str, int], ...]:
    """Return the name servers in the order of the file; what is not an address is passed over, as libc does."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1]):
            found.append((words[1], DNS_PORT))
    return tuple(found[:NAMESERVER_LIMIT]) or NOWHERE_SAID


def read_nameservers(path: Path = PATH) -> tuple[tuple[str, int], ...]:
    """Return the system's name servers; a file that cannot be read is as good as an empty one."""
    try:
        return parse_nameservers(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return NOWHERE_SAID


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
