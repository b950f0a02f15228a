"""A local real cluster: up, what happens to its members, down. The way in for commands, the demo and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.sandbox.daemons import member_named
from bench.sandbox.errors import SandboxError
from bench.sandbox.grants import DATABASE, GRANTEES
from bench.sandbox.group import in_parallel
from bench.sandbox.layout import Layout, default_dir
from bench.sandbox.lifecycle import (
    FORM_TIMEOUT,
    Lifecycle,
    launch_missing,
    wait_forgotten,
    wait_ready,
    wait_settled,
)
from bench.sandbox.packet_filter import Direction, Side
from bench.sandbox.parts import daemons_of, group_of, network_of, server_of
from bench.sandbox.record import Member, Mode, ServerKind
from bench.sandbox.report import MemberStatus, Status
from bench.sandbox.statements import Result, StatementError

# Accounts that are made for others; `replication` is between the members.
PUBLIC_ACCOUNTS = ("app", "probe", "admin")
# Seconds, each several times what it takes on an idle machine.
ONLINE_TIMEOUT = 180.0  # a member that is told to stop while it leaves by itself hangs for a minute
SWITCH_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Account:
    """A login of the running sandbox."""

    user: str
    password: str
    password_file: Path
    database: str | None = None


class Sandbox:
    """One sandbox, in one directory. Methods block; they may be called from any thread.

    Args:
        directory: where it keeps everything; `default_dir()` if none is given.
        members: how many members a new one has.
        mode: of a new one.
        mysqld: the server program of a new one; else `servers.choose_server` finds or fetches one.
        progress: is told what takes time, in words for people.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        members: int | None = None,
        mode: Mode | None = None,
        mysqld: Path | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.layout = Layout((directory or default_dir()).expanduser().resolve())
        self._life = Lifecycle(self.layout, members, mode, mysqld, progress)

    # What it is.

    @property
    def dir(self) -> Path:
        return self.layout.dir

    @property
    def members(self) -> tuple[Member, ...]:
        return self._life.running().members

    @property
    def host_address(self) -> str:
        """The address of this machine as the members see it: where clients, routers and name servers stand."""
        return self._life.running().host_address

    @property
    def ca_file(self) -> Path:
        return self.layout.ca_file

    @property
    def root(self) -> Path | None:
        """The private root that members run in; nothing for a server program of this machine."""
        record = self._life.running()
        return Path(record.server_path) if record.server_kind is ServerKind.ROOT else None

    @property
    def accounts(self) -> Mapping[str, Account]:
        """The logins `app`, `probe` and `admin` (this one over the Unix sockets only)."""
        self._life.running()
        return {
            name: Account(
                GRANTEES[name].user,
                self.layout.password(name),
                self.layout.password_file(name),
                DATABASE if name == "app" else None,
            )
            for name in PUBLIC_ACCOUNTS
        }

    def member(self, name: str) -> Member:
        """Return one member."""
        return member_named(self._life.running(), name)

    def env(self) -> dict[str, Any]:
        """Return endpoints and accounts as plain values: the document of `fairlead sandbox env --json`."""
        record = self._life.running()
        accounts: dict[str, dict[str, Any]] = {}
        for name, account in self.accounts.items():
            accounts[name] = {
                "user": account.user,
                "password_file": str(account.password_file),
                "password": account.password,
            }
            if account.database:
                accounts[name]["database"] = account.database
        accounts["admin"]["sockets"] = {member.name: str(self.layout.socket(member.name)) for member in record.members}
        return {
            "dir": str(self.dir),
            "network": record.network.value,
            "mode": record.mode.value,
            "host_address": record.host_address,
            "ca_file": str(self.ca_file),
            "mysql_client": server_of(record).client(),
            "members": [
                {"name": member.name, "host": member.host, "port": member.port, "x_port": member.x_port}
                for member in record.members
            ],
            "accounts": accounts,
        }

    def status(self) -> Status:
        """Return every member's process, state, role and cut, as they are now."""
        record = self._life.running()
        daemons = daemons_of(self.layout, record)
        standings = group_of(self.layout, record).standings()
        rows = []
        for member in record.members:
            standing = standings.get(member.name)
            cut = self.layout.read_note(f"{member.name}.cut")
            rows.append(
                MemberStatus(
                    name=member.name,
                    host=member.host,
                    port=member.port,
                    x_port=member.x_port,
                    process="running" if daemons.process(member.name) else "stopped",
                    state=standing.state if standing else "",
                    role=standing.role if standing else "",
                    uuid=standing.uuid if standing else "",
                    cut=" ".join(cut[key] for key in ("from", "direction") if key in cut),
                )
            )
        return Status(record.mode.value, tuple(rows))

    # Its life.

    def up(self) -> bool:
        """Bring it up, with the data it had; say whether there was anything to do.

        When it fails or is interrupted, nothing of it stays but data that was there before.

        Raises:
            SandboxError: it cannot be had here or so; says why.
        """
        return self._life.up()

    def down(self, *, purge: bool = False) -> bool:
        """End it and leave this machine as it was; say whether there was anything to do.

        Args:
            purge: delete its directory too. The server program stays in the cache.
        """
        return self._life.down(purge=purge)

    # What happens to its members.

    def start(self, name: str) -> None:
        """Start a member's server and wait until it is ONLINE; a member without data begins anew."""
        record = self._life.running()
        member_named(record, name)
        daemons, group = daemons_of(self.layout, record), group_of(self.layout, record)
        wait_settled(daemons, group, name)
        wait_forgotten(daemons, group, name)
        joins_by_itself = False
        with self._life.held() as record:
            daemons = daemons_of(self.layout, record)
            if daemons.process(name) is None:
                # A new data directory does not know yet how to log in to the others.
                joins_by_itself = daemons.has_data(name)
                if not joins_by_itself:
                    daemons.create_data([name])
                daemons.launch(name, join=joins_by_itself)
        wait_ready(daemons, group, name)
        group.bring_online(name, ONLINE_TIMEOUT, joins_by_itself=joins_by_itself)

    def stop(self, name: str) -> None:
        """End a member's server in order and wait for that."""
        with self._life.held() as record:
            member_named(record, name)
            daemons = daemons_of(self.layout, record)
            process = daemons.ask_to_stop(name)
        if process:
            daemons.wait_stopped(name, process)

    def kill(self, name: str) -> None:
        """Kill a member's server (SIGKILL) and return at once."""
        with self._life.held() as record:
            member_named(record, name)
            daemons_of(self.layout, record).kill(name)

    def freeze(self, name: str) -> None:
        """Stop a member's server where it stands, as a paused machine does, until it is healed."""
        with self._life.held() as record:
            member_named(record, name)
            daemons_of(self.layout, record).freeze(name)

    def switch(self, name: str) -> None:
        """Make a member the primary in order, and return when it takes writes."""
        record = self._life.running()
        member_named(record, name)
        if record.mode is Mode.MULTI_PRIMARY:
            raise SandboxError("every member is a primary in multi-primary mode: there is nothing to switch")
        group = group_of(self.layout, record)
        group.switch(name, SWITCH_TIMEOUT)
        group.wait_writable(name, SWITCH_TIMEOUT)

    def cut(self, name: str, side: Side | str, direction: Direction | str = Direction.BOTH) -> None:
        """Drop a member's packets from or to its peers, its clients or both; replaces an earlier cut of it."""
        side, direction = Side(side), Direction(direction)
        with self._life.held() as record:
            member_named(record, name)
            old = self.layout.read_note(f"{name}.cut")
            # Before it is done, so that it is known whatever happens.
            self.layout.write_note(f"{name}.cut", {"from": side.value, "direction": direction.value})
            try:
                network_of(record).cut(record, name, side, direction)
            except SandboxError:
                self.layout.write_note(f"{name}.cut", old)
                raise

    def heal(self, name: str, *, wait: bool = True) -> None:
        """Let a member's packets pass again, and its server go on.

        Args:
            wait: return when it is ONLINE; it is made to join again where it has given up by itself.
        """
        with self._life.held() as record:
            member_named(record, name)
            network_of(record).heal(record, name)
            self.layout.write_note(f"{name}.cut", {})
            daemons_of(self.layout, record).thaw(name)
        if not wait or daemons_of(self.layout, record).process(name) is None:
            return
        group_of(self.layout, record).bring_online(name, ONLINE_TIMEOUT, joins_by_itself=False)

    def sql(self, name: str, statement: str) -> Result:
        """Run one statement on a member as its administrator.

        Raises:
            SandboxError: the member refuses it or does not answer.
        """
        record = self._life.running()
        member_named(record, name)
        try:
            return group_of(self.layout, record).run(name, [statement])
        except StatementError as exc:
            raise SandboxError(f"{name}: {exc}") from exc

    def restore(self, primary: str = "mysql-0") -> None:
        """Undo whatever was done to the members: all run, healed and ONLINE, with the old primary."""
        record = self._life.running()
        names = [member.name for member in record.members]
        daemons, group = daemons_of(self.layout, record), group_of(self.layout, record)
        # All of them: what a command that was killed has cut may be in no note.
        for name in names:
            self.heal(name, wait=False)
        in_parallel(lambda name: wait_settled(daemons, group, name), names)
        in_parallel(lambda name: wait_forgotten(daemons, group, name), names)
        with self._life.held() as record:
            daemons = daemons_of(self.layout, record)
            launch_missing(daemons, names)
        in_parallel(lambda name: wait_ready(daemons, group, name), names)
        group.form(names, FORM_TIMEOUT)
        if record.mode is not Mode.MULTI_PRIMARY:
            self.switch(primary)
