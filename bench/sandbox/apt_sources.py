"""Which Debian mirror this machine is configured for: parses apt's two source formats and writes one for unstable.

Decides only; the files are read by `server_root`. No mirror is ever written in the code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A mirror is recognised by a suite of the main archive; security and third-party archives have other suites.
DEBIAN_SUITES = frozenset(
    {"oldstable", "stable", "testing", "unstable", "sid", "bullseye", "bookworm", "trixie", "forky", "duke"}
)
# What a source may say of trust is carried over; everything else belongs to the host's own suites.
TRUST_OPTIONS = ("signed-by", "trusted")
ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")


@dataclass(frozen=True, slots=True)
class Mirror:
    """One archive that has Debian's main component.

    Attributes:
        uri: as the host's apt has it.
        trust: options such as `signed-by`, as the host's apt has them; a value may span lines (an embedded key).
    """

    uri: str
    trust: tuple[tuple[str, str], ...]


def find_mirror(one_line: Iterable[str], deb822: Iterable[str]) -> Mirror | None:
    """Return the first Debian mirror, or nothing.

    Args:
        one_line: the texts of sources.list files.
        deb822: the texts of .sources files.
    """
    for text in deb822:
        for mirror in _deb822_mirrors(text):
            return mirror
    for text in one_line:
        for mirror in _one_line_mirrors(text):
            return mirror
    return None


def source_text(mirror: Mirror, suite: str) -> str:
    """Return a .sources file for a suite on that mirror."""
    lines = ["Types: deb", f"URIs: {mirror.uri}", f"Suites: {suite}", "Components: main"]
    lines += [f"{option.title()}:{' ' if value[:1] != chr(10) else ''}{value}" for option, value in mirror.trust]
    return "\n".join(lines) + "\n"


def _one_line_mirrors(text: str) -> Iterable[Mirror]:
    for line in text.splitlines():
        match = ONE_LINE.match(line.partition("#")[0].strip())
        if match is None or match["suite"] not in DEBIAN_SUITES or "main" not in match["components"].split():
            continue
        options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
        trust = tuple((name, options[name].replace(",", " ")) for name in TRUST_OPTIONS if name in options)
        yield Mirror(match["uri"], trust)


def _deb822_mirrors(text: str) -> Iterable[Mirror]:
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        types, suites, components = (fields.get(key, "").split() for key in ("types", "suites", "components"))
        uris = fields.get("uris", "").split()
        if "deb" not in types or "main" not in components or not uris or DEBIAN_SUITES.isdisjoint(suites):
            continue
        trust = tuple((name, fields[name]) for name in TRUST_OPTIONS if name in fields)
        yield Mirror(uris[0], trust)


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in " \t" and name:
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
