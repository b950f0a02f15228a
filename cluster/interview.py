"""What a MySQL server is asked in one look, over whichever protocol.

Owns which question comes when. Must not know sessions: whoever has one sends the statements.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from cluster.observations import Report
from cluster.questions import (
    ASK_GROUP,
    ASK_SERVER,
    SELDOM,
    UNKNOWN_SYSTEM_VARIABLE,
    AnswerError,
    Load,
    better_question,
    read_load,
    read_report,
)
from xproto.errors import ServerError

LOAD_INTERVAL = 5.0  # seconds; weights follow load slowly, and the question is dear for a server with many sessions

Ask = Callable[[str], Awaitable[Sequence[Sequence[object]]]]
"""Sends one statement and returns its rows."""


class Interview:
    """Asks one server, look after look.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._question = ASK_GROUP
        self._load: Load | None = None
        self._load_due = True
        self._load_at = 0.0
        self._said: tuple[object, Load | None] = None, None
        self._report: Report | None = None

    @property
    def of_group(self) -> bool:
        """Whether the server is asked as a member of a group."""
        return self._question is ASK_GROUP

    def begin(self) -> None:
        """A session is new: the server may be another one, or have got the plugin."""
        self._question = ASK_GROUP
        self._load_due = True

    async def report(self, ask: Ask) -> Report:
        """Ask what there is to ask now.

        Raises:
            AnswerError: an answer has another shape than its question asks for.
            Exception: whatever `ask` raises, but for the one error that calls for another question.
        """
        try:
            report = await self._answer(ask)
        except ServerError as error:
            if error.code != UNKNOWN_SYSTEM_VARIABLE or self._question is ASK_SERVER:
                raise
            better: str | None = ASK_SERVER
        else:
            better = better_question(self._question, report)
        if better is None:
            return report
        self._question, self._load_due = better, True
        return await self._answer(ask)

    async def _answer(self, ask: Ask) -> Report:
        answer = _one_value(await ask(self._question))
        if self._load_due or self._clock() - self._load_at >= LOAD_INTERVAL:
            self._load_due, self._load_at = False, self._clock()
            self._load = read_load(_one_value(await ask(SELDOM[self._question])))
        # At rest a member says the same for hours: what has been read once need not be read again.
        said = answer, self._load
        if said != self._said or self._report is None:
            self._said, self._report = said, read_report(*said)
        return self._report


def _one_value(rows: Sequence[Sequence[object]]) -> object:
    try:
        return rows[0][0]
    except IndexError as exc:
        raise AnswerError("no answer to the probe's question") from exc
