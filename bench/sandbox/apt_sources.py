"""Which Debian mirror this machine is configured for: parses apt's two source formats and writes one for unstable.

Decides only; the files are read by `server_root`. No mirror is ever written in the code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A mirror is recognised by a suite of the main archive; security archives have other suites.
CODENAMES = frozenset({"bullseye", "bookworm", "trixie", "forky", "duke", "sid"})
# Third parties use these too.
ALIASES = frozenset({"oldstable", "stable", "testing", "unstable"})
UPDATES = "-updates"
# Where Debian's installer and its images write.
OFFICIAL_FILES = ("sources.list", "debian.sources")
DEBIAN_KEYRING = "debian-archive-keyring"
# What a source may say of trust is carried over; everything else belongs to the host's own suites.
TRUST_OPTIONS = ("signed-by", "trusted")
MIRROR_LIST = "mirror+file:"
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


@dataclass(frozen=True, slots=True)
class _Found:
    """One source that may be Debian's, with the suites that it has of those that are."""

    mirror: Mirror
    suites: frozenset[str]


def find_mirror(files: Sequence[tuple[str, str]]) -> Mirror | None:
    """Return the mirror that is most surely Debian's, the first of equals; or nothing.

    What Debian's own keyring signs is before what stands in Debian's own files, and that before the rest; a codename
    is surer than a word such as `stable`.

    Args:
        files: names and texts of apt's source files; `.sources` are read as deb822, others line by line.
    """
    ranked = []
    for name, text in files:
        for found in _deb822_mirrors(text) if name.endswith(".sources") else _one_line_mirrors(text):
            signed = DEBIAN_KEYRING in dict(found.mirror.trust).get("signed-by", "")
            rank = (
                not signed,
                OFFICIAL_FILES.index(name) if name in OFFICIAL_FILES else len(OFFICIAL_FILES),
                found.suites <= ALIASES,
            )
            ranked.append((rank, found.mirror))
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def list_file(uri: str) -> str:
    """Return the path of the mirror list that a URI names (apt-transport-mirror(1)); empty for any other URI."""
    if not uri.startswith(MIRROR_LIST):
        return ""
    path = uri.removeprefix(MIRROR_LIST)
    return "/" + path.lstrip("/")


def first_uri(mirror_list: str) -> str:
    """Return the first URI of a mirror list, or nothing."""
    for line in mirror_list.splitlines():
        words = line.partition("#")[0].split()
        if words:
            return words[0]
    return ""


def source_text(mirror: Mirror, suite: str) -> str:
    """Return a .sources file for a suite on that mirror."""
    lines = ["Types: deb", f"URIs: {mirror.uri}", f"Suites: {suite}", "Components: main"]
    lines += [f"{option.title()}:{' ' if value[:1] != chr(10) else ''}{value}" for option, value in mirror.trust]
    return "\n".join(lines) + "\n"


def _debian_suites(suites: Iterable[str]) -> frozenset[str]:
    return frozenset(suite for suite in suites if suite.removesuffix(UPDATES) in CODENAMES | ALIASES)


def _one_line_mirrors(text: str) -> Iterable[_Found]:
    for line in text.splitlines():
        match = ONE_LINE.match(line.partition("#")[0].strip())
        if match is None or "main" not in match["components"].split():
            continue
        suites = _debian_suites([match["suite"]])
        if not suites:
            continue
        options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
        trust = tuple((name, options[name].replace(",", " ")) for name in TRUST_OPTIONS if name in options)
        yield _Found(Mirror(match["uri"], trust), suites)


def _deb822_mirrors(text: str) -> Iterable[_Found]:
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        types, named, components = (fields.get(key, "").split() for key in ("types", "suites", "components"))
        suites = _debian_suites(named)
        uris = fields.get("uris", "").split()
        if "deb" not in types or "main" not in components or not uris or not suites:
            continue
        trust = tuple((name, fields[name]) for name in TRUST_OPTIONS if name in fields)
        yield _Found(Mirror(uris[0], trust), suites)


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
