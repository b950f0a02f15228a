"""Group members on loopback that say what a test has them say."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cluster.members import Endpoint, Member
from cluster.questions import ASK_GROUP, ASK_LOAD, ASK_SERVER, ASK_SERVER_LOAD
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
        self.silent = False

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

    def is_plain_server(self, *, has_plugin: bool = False) -> None:
        """Answer as a server without Group Replication: without its plugin, or with it and without a group."""
        self.say([])
        said: dict[str, object] = {"uuid": f"u{self.number}", "version": "9.7.0", "read_only": 0, "offline_mode": 0}
        itself = [f"u{self.number}", f"mysql-{self.number}", 3306, "", "OFFLINE", "9.7.0"]
        answer = text_result(answer=json.dumps(said | {"group_name": None, "single_primary": 1, "rows": [itself]}))
        self.answers[ASK_GROUP] = answer if has_plugin else ServerError(1193, "HY000", "Unknown system variable")
        said |= {"rows": None, "gtid_mode": "ON", "executed": "", "channels": None}
        self.answers[ASK_SERVER] = text_result(answer=json.dumps(said))
        self.answers[ASK_SERVER_LOAD] = text_result(answer=json.dumps({"Threads_running": "2"}))

    async def answer(self, wire: Wire, message: ClientMessage) -> bool:
        if self.silent:
            return True
        match message:
            case StmtExecute("ping", _, "mysqlx"):
                self.pings += 1
                wire.send(StmtExecuteOk())
                return True
            case StmtExecute(statement, _, "sql") if statement in (ASK_GROUP, ASK_SERVER):
                self.looks += 1
        return await super().answer(wire, message)
