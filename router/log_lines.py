"""What one line of the log looks like, as text for people or as JSON for machines. Pure; knows no handler."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from router.printable import printable


class Format(Enum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


# What an event is about, where its words name it: "session %d: …, client %s". With "=" any word is a name.
FIELDS = frozenset({"client", "cluster", "member", "peer", "route", "session", "worker", "zone"})
_PLACE = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?([a-zA-Z%])")
_NAMED = re.compile(r"(?:^|[\s,(])([a-z_]+)([ =])$")
_OWN = frozenset({"time", "level", "logger", "event", "message", "exception", "repeated"})
TEMPLATES = 512  # events whose fields are remembered; there are about a hundred


class _Lines(logging.Formatter):
    """Has the time as all lines do."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self.converter = time.gmtime


class TextLines(_Lines):
    """Time, level, message. Whatever an event's values are, it is one line: nobody else can write into the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 the name is logging's
        """Write what is not a trace."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 the name is logging's
        """Write a trace: indented, so that no line of it looks like an event."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


class JsonLines(_Lines):
    """One JSON object a line, an exception's trace included.

    `event` is the message before its values are put in, the same for each of a kind. What the event's own words name is
    a field too, so that `session` and `client` can be searched for.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        document: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "event": getattr(record, "event", str(record.msg)),
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        if (repeated := getattr(record, "repeated", None)) is not None:
            document["repeated"] = repeated
        elif isinstance(record.args, tuple):
            document.update(fields_of(str(record.msg), record.args))
        # ASCII, so that no character ends a line or is half of one, for whatever reads it.
        return json.dumps(document, separators=(",", ":"))


FORMATTERS: Mapping[Format, type[logging.Formatter]] = {Format.TEXT: TextLines, Format.JSON: JsonLines}


def fields_of(template: str, values: Sequence[object]) -> dict[str, object]:
    """The values whose names stand before them in an event's words."""
    names = _names(template)
    if len(names) != len(values):
        return {}
    return {
        name: value if isinstance(value, int | float) else str(value)
        for name, value in zip(names, values, strict=True)
        if name
    }


@lru_cache(TEMPLATES)
def _names(template: str) -> tuple[str, ...]:
    found = []
    for place in _PLACE.finditer(template):
        if place.group(1) == "%":
            continue
        named = _NAMED.search(template[: place.start()])
        wanted = named is not None and (named.group(2) == "=" or named.group(1) in FIELDS)
        found.append(named.group(1) if named is not None and wanted and named.group(1) not in _OWN else "")
    return tuple(found)
