"""The live page: its files and what goes with them over HTTP. Pure; must not know what serves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

HEADERS: Mapping[str, str] = {
    # Nothing from elsewhere, nothing written into the page, nobody's frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # an upgrade of the router is one of its page
}


@dataclass(frozen=True, slots=True)
class File:
    """What is sent for a path."""

    content_type: str
    body: bytes


def load() -> dict[str, File]:
    """The page's files, by the path they are asked for under."""
    kinds = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
    directory = files("router") / "page_files"
    found = {f"/{name}": File(kind, (directory / name).read_bytes()) for name, kind in kinds.items()}
    return {"/": found.pop("/index.html"), **found}
