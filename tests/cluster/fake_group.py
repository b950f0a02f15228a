"""Group members on loopback that say what a test has them say."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.members import Endpoint, Member
from cluster.probe import ASK_GROUP, ASK_SERVER
from tests.xproto.fake_member import FakeMember, Wire, result_messages
from xproto.errors import ServerError
from xproto.events import Result
from xproto.messages import ClientMessage, StmtExecute, StmtExecuteOk
from xproto.rows import Column, ColumnType

View = Sequence[tuple[str, str]]  # role and state of mysql-0, mysql-1, …
COLUMNS = (
    "uuid",
    "read_only",
    "offline_mode",
    "version",
    "group_name",
    "single_primary",
    "view_id",
    "queued",
    "MEMBER_ID",
    "MEMBER_HOST",
    "MEMBER_PORT",
    "MEMBER_ROLE",
    "MEMBER_STATE",
    "MEMBER_VERSION",
)


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
        own = (f"u{self.number}", "0" if writable else "1", "0", "9.7.0", "g", "1", f"v:{counter}", "0")
        rows = [
            (*own, f"u{n}", f"mysql-{n}", "3306", role, state, "9.7.0") for n, (role, state) in enumerate(view)
        ] or [(*own, None, None, None, None, None, None)]
        columns = tuple(Column(name, ColumnType.BYTES, collation=255) for name in COLUMNS)
        self.answers[ASK_GROUP] = Result(columns, tuple(rows))

    def is_plain_server(self) -> None:
        """Answer as a server without Group Replication."""
        self.say([])
        self.answers[ASK_SERVER] = self.answers[ASK_GROUP]
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


__all__ = ["FakeGroupMember", "result_messages"]
