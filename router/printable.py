"""Text of others as one line for a terminal or a log. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    """Without what would move a cursor, begin a line or turn the direction of reading: each such character is a `?`.

    Names come from DNS, reasons from servers, paths from anybody.
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
