"""The system's resolver configuration, resolv.conf(5). Owns the file's form and what it means; must not know questions.

The variables LOCALDOMAIN and RES_OPTIONS, and options that concern other things than SRV names, are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from srv.names import canonical

PATH = Path("/etc/resolv.conf")
DNS_PORT = 53
NAMESERVER_LIMIT = 3  # resolv.conf(5): MAXNS
SEARCH_LIMIT = 32  # suffixes; as many as Kubernetes allows, and each may cost a question
NOWHERE_SAID: tuple[tuple[str, int], ...] = (("127.0.0.1", DNS_PORT),)  # resolv.conf(5): the local machine
# resolv.conf(5): what each option is silently capped to. Seconds, rounds and dots.
OPTION_LIMITS = {"ndots": 15, "timeout": 30, "attempts": 5}


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What the file asks for. `timeout` (seconds a try) and `attempts` (rounds) are None where it says nothing."""

    nameservers: tuple[tuple[str, int], ...] = NOWHERE_SAID
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float | None = None
    attempts: int | None = None
    rotate: bool = False

    def candidates(self, name: str) -> tuple[str, ...]:
        """The whole names to ask for, in this order, until one is found.

        A name with a final dot stands for itself. One with at least `ndots` dots is asked for as it stands before the
        search list is tried, another one after that (resolv.conf(5), `search` and `ndots`).

        Raises:
            ValueError: the text cannot be a name.
        """
        bare = canonical(name)
        if name.endswith("."):
            return (bare,)
        searched = tuple(whole for suffix in self.search if (whole := _joined(bare, suffix)))
        ordered = (bare, *searched) if bare.count(".") >= self.ndots else (*searched, bare)
        return tuple(dict.fromkeys(ordered))


def parse_resolv_conf(text: str, hostname: str = "") -> ResolvConf:
    """Read the file's text; what cannot be understood is passed over, as libc does.

    Args:
        text: the file's content.
        hostname: this machine's; its domain is searched where the file names none.
    """
    nameservers: list[tuple[str, int]] = []
    search: Iterable[str] = hostname.partition(".")[2].split()
    options: dict[str, int] = {}
    rotate = False
    for line in text.splitlines():
        keyword, *words = line.split() or [""]
        match keyword:
            case "nameserver" if words and _is_address(words[0]):
                nameservers.append((words[0], DNS_PORT))
            case "domain" if words:
                search = words[:1]
            case "search":  # the last line of either counts
                search = words
            case "options":
                options |= _numbers(words)
                rotate = rotate or "rotate" in words
    return ResolvConf(
        nameservers=tuple(nameservers[:NAMESERVER_LIMIT]) or NOWHERE_SAID,
        search=tuple(suffix for word in search if (suffix := _suffix(word)))[:SEARCH_LIMIT],
        ndots=options.get("ndots", 1),
        timeout=options.get("timeout") or None,
        attempts=options.get("attempts") or None,
        rotate=rotate,
    )


def read_resolv_conf(path: Path | None = None) -> ResolvConf:
    """Return the system's configuration as it is now; a file that cannot be read is as good as an empty one."""
    try:
        text = (path or PATH).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return parse_resolv_conf(text, socket.gethostname())


def _numbers(words: Iterable[str]) -> Mapping[str, int]:
    found = {}
    for word in words:
        option, colon, number = word.partition(":")
        if colon and option in OPTION_LIMITS and number.isascii() and number.isdigit():
            found[option] = min(int(number), OPTION_LIMITS[option])
    return found


def _suffix(word: str) -> str:
    try:
        return canonical(word)
    except ValueError:
        return ""  # the root, which adds nothing to the name as it stands, or no name at all


def _joined(bare: str, suffix: str) -> str:
    try:
        return canonical(f"{bare}.{suffix}")
    except ValueError:
        return ""  # too long together: nobody can have such a name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
