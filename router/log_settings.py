"""`[log]`: how the router tells what happens. Owns the options; must not know handlers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from router.log_lines import Format
from router.logs import REPEATS
from srv.documents import Table


class LogSettings(Table):
    """`[log]`: what is written to standard error."""

    format: Format = Format.TEXT
    """`text` for people, or `json`: one object a line."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least that is told. `--log-level` overrides it."""
    repeats: Annotated[int, Field(ge=0, le=1_000_000)] = REPEATS
    """Lines a second of one event, such as sessions that are cut; more are told in one line. 0: no limit."""
