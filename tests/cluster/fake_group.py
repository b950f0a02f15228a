"""Group members on loopback that say what a test has them say."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cluster.members import Endpoint, Member
from cluster.questions import ASK_GROUP, ASK_LOAD, ASK_SERVER
from tests.xproto.fake_member import FakeMember, Wire, text_result
from xproto.errors import ServerError
from xproto.messages import ClientMessage, StmtExecute, StmtExecuteOk

View = Sequence[tuple[str, str]]  # role and state of mysql-0, mysql-1, …


class FakeGroupMember(FakeMember):
    """One member; `say` changes what it answers from then on."""

    def __init__(self, number: int) -> None:
        super().__init__(cached=True)
        self.number = number
        self.looks = 0
        self.pings = 0

    @property
    def member(self) -> Member:
        """As a topology knows it."""
        return Member(f"mysql-{self.number}", Endpoint("127.0.0.1", 3306), Endpoint(self.host, self.port))

    def say(self, view: View, *, writable: bool = False, counter: int = 1) -> None:
        """Answer probes with this view; an empty one is a server with Group Replication stopped."""
        said = {
            "uuid": f"u{self.number}",
            "version": "9.7.0",
            "read_only": int(not writable),
            "offline_mode": 0,
            "group_name": "g",
            "single_primary": 1,
            "rows": [[f"u{n}", f"mysql-{n}", 3306, *row, "9.7.0"] for n, row in enumerate(view)] or None,
            "stats": [f"v:{counter}", 0],
            "lag": None,
        }
        self.answers[ASK_GROUP] = text_result(answer=json.dumps(said))
        self.answers[ASK_LOAD] = text_result(answer="2")

    def is_plain_server(self) -> None:
        """Answer as a server without Group Replication."""
        self.say([])
        said = {"uuid": f"u{self.number}", "version": "9.7.0", "read_only": 0, "offline_mode": 0}
        self.answers[ASK_SERVER] = text_result(answer=json.dumps(said))
        self.answers[ASK_GROUP] = ServerError(1193, "HY000", "Unknown system variable")

    async def answer(self, wire: Wire, message: ClientMessage) -> bool:
        match message:
            case StmtExecute("ping", _, "mysqlx"):
                self.pings += 1
                wire.send(StmtExecuteOk())
                return True
            case StmtExecute(statement, _, "sql") if statement in (ASK_GROUP, ASK_SERVER):
                self.looks += 1
        return await super().answer(wire, message)
