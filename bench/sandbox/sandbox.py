"""A local real cluster: up, what happens to its members, down. The way in for commands, the demo and tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.sandbox.addresses import MOST_MEMBERS, hosts_text
from bench.sandbox.daemons import Daemons, member_named
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import NotUpError, SandboxError
from bench.sandbox.grants import DATABASE, GRANTEES
from bench.sandbox.group import LOST_AFTER, Group, in_parallel
from bench.sandbox.layout import Layout, default_dir, locked
from bench.sandbox.networks import KINDS as NETWORKS
from bench.sandbox.networks import Network, choose_network
from bench.sandbox.packet_filter import Direction, Side
from bench.sandbox.record import Member, Mode, NetworkKind, Phase, Record, ServerKind
from bench.sandbox.report import MemberStatus, Status
from bench.sandbox.servers import KINDS as SERVERS
from bench.sandbox.servers import Server, choose_server
from bench.sandbox.statements import Result, StatementError
from bench.sandbox.views import IN_GROUP, primary_of

DEFAULT_MEMBERS = 3
# Accounts that are made for others; `replication` is between the members.
PUBLIC_ACCOUNTS = ("app", "probe", "admin")
# Seconds. A server starts in 2 s, a group forms in 6 s; a busy machine may take several times that.
READY_TIMEOUT = 60.0
FORM_TIMEOUT = 90.0
ONLINE_TIMEOUT = 60.0
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
        if members is not None and not 1 <= members <= MOST_MEMBERS:
            raise SandboxError(f"a group has 1 to {MOST_MEMBERS} members, not {members}")
        self.layout = Layout((directory or default_dir()).expanduser().resolve())
        self._wanted_members = members
        self._wanted_mode = mode
        self._mysqld = mysqld
        self._progress = progress

    # What it is.

    @property
    def dir(self) -> Path:
        return self.layout.dir

    @property
    def members(self) -> tuple[Member, ...]:
        return self._running().members

    @property
    def host_address(self) -> str:
        """The address of this machine as the members see it: where clients, routers and name servers stand."""
        return self._running().host_address

    @property
    def ca_file(self) -> Path:
        return self.layout.ca_file

    @property
    def root(self) -> Path | None:
        """The private root that members run in; nothing for a server program of this machine."""
        record = self._running()
        return Path(record.server_path) if record.server_kind is ServerKind.ROOT else None

    @property
    def accounts(self) -> Mapping[str, Account]:
        """The logins `app`, `probe` and `admin` (this one over the Unix sockets only)."""
        self._running()
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
        return member_named(self._running(), name)

    def env(self) -> dict[str, Any]:
        """Return endpoints and accounts as plain values: the document of `fairlead sandbox env --json`."""
        record = self._running()
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
            "mysql_client": _server(record).client(),
            "members": [
                {"name": member.name, "host": member.host, "port": member.port, "x_port": member.x_port}
                for member in record.members
            ],
            "accounts": accounts,
        }

    def status(self) -> Status:
        """Return every member's process, state, role and cut, as they are now."""
        record = self._running()
        daemons = _daemons(self.layout, record)
        standings = self._group(record).standings()
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
        self.layout.check()
        with locked(self.layout.lock_file):
            try:
                old = self.layout.load()
            except NotUpError:
                old = None
            if old is not None:
                self._refuse_other_shape(old)
                daemons = _daemons(self.layout, old)
                if self._is_up(old) and any(daemons.process(member.name) for member in old.members):
                    return False
                # Leftovers of one that was killed, or whose members were.
                self._tear_down(old, orderly=False)
            self._start(old)
            return True

    def down(self, *, purge: bool = False) -> bool:
        """End it and leave this machine as it was; say whether there was anything to do.

        Args:
            purge: delete its directory too. The server program stays in the cache.
        """
        if not self.layout.record_file.exists():
            return False
        with locked(self.layout.lock_file):
            try:
                record = self.layout.load()
            except NotUpError:
                return False
            self._tear_down(record, orderly=not purge)
            if purge:
                self.layout.purge(tuple(member.name for member in record.members))
        return True

    # What happens to its members.

    def start(self, name: str) -> None:
        """Start a member's server and wait until it is ONLINE; a member without data begins anew."""
        record = self._running()
        member_named(record, name)
        daemons, group = _daemons(self.layout, record), self._group(record)
        # One that was killed a moment ago may still be ending.
        if not wait_until(lambda: daemons.process(name) is None or group.answers(name), READY_TIMEOUT):
            raise SandboxError(f"{name} runs and does not answer{daemons.log_tail(name)}")
        if daemons.process(name) is None:
            fresh = not daemons.has_data(name)
            if fresh:
                daemons.create_data([name])
            daemons.launch(name, join=not fresh)
            self._wait_ready(daemons, group, name)
        group.bring_online(name, ONLINE_TIMEOUT)

    def stop(self, name: str) -> None:
        """End a member's server in order and wait for that."""
        record = self._running()
        member_named(record, name)
        _daemons(self.layout, record).stop(name)

    def kill(self, name: str) -> None:
        """Kill a member's server (SIGKILL) and return at once."""
        record = self._running()
        member_named(record, name)
        _daemons(self.layout, record).kill(name)

    def switch(self, name: str) -> None:
        """Make a member the primary in order, and return when it takes writes."""
        record = self._running()
        member_named(record, name)
        if record.mode is not Mode.SINGLE_PRIMARY:
            raise SandboxError("every member is a primary in multi-primary mode: there is nothing to switch")
        group = self._group(record)
        group.switch(name, SWITCH_TIMEOUT)
        if not group.wait_writable(name, SWITCH_TIMEOUT):
            raise SandboxError(f"{name} is the primary and does not take writes after {SWITCH_TIMEOUT:.0f} s")

    def cut(self, name: str, side: Side | str, direction: Direction | str = Direction.BOTH) -> None:
        """Drop a member's packets from or to its peers, its clients or both; replaces an earlier cut of it."""
        record = self._running()
        member_named(record, name)
        side, direction = Side(side), Direction(direction)
        _network(record).cut(record, name, side, direction)
        self.layout.write_note(f"{name}.cut", {"from": side.value, "direction": direction.value})

    def heal(self, name: str, *, wait: bool = True) -> None:
        """Let a member's packets pass again.

        Args:
            wait: return when it is ONLINE; it is made to join again where it has given up by itself.
        """
        record = self._running()
        member_named(record, name)
        _network(record).heal(record, name)
        self.layout.write_note(f"{name}.cut", {})
        if not wait or _daemons(self.layout, record).process(name) is None:
            return
        group = self._group(record)
        view = group.views().get(name)
        # It may be ONLINE in its own eyes for as long as it has not heard from the others.
        unaware = view is not None and view.own is not None and view.own.state in IN_GROUP
        group.bring_online(name, ONLINE_TIMEOUT, LOST_AFTER if unaware else 0)

    def sql(self, name: str, statement: str) -> Result:
        """Run one statement on a member as its administrator.

        Raises:
            SandboxError: the member refuses it or does not answer.
        """
        record = self._running()
        member_named(record, name)
        try:
            return self._group(record).run(name, [statement])
        except StatementError as exc:
            raise SandboxError(f"{name}: {exc}") from exc

    def restore(self, primary: str = "mysql-0") -> None:
        """Undo whatever was done to the members: all run, healed and ONLINE, with the old primary."""
        record = self._running()
        names = [member.name for member in record.members]
        daemons, group = _daemons(self.layout, record), self._group(record)
        for name in names:
            if self.layout.read_note(f"{name}.cut"):
                self.heal(name, wait=False)
            process = daemons.process(name)
            if process is None:
                fresh = not daemons.has_data(name)
                if fresh:
                    daemons.create_data([name])
                daemons.launch(name, join=False)
        in_parallel(lambda name: self._wait_ready(daemons, group, name), names)
        group.form(names, FORM_TIMEOUT)
        if record.mode is Mode.SINGLE_PRIMARY:
            self.switch(primary)

    # Inside.

    def _running(self) -> Record:
        record = self.layout.load()
        if not self._is_up(record):
            raise NotUpError(f"no sandbox is up in {self.dir}: `fairlead sandbox up --dir {self.dir}` starts it")
        return record

    def _is_up(self, record: Record) -> bool:
        return record.phase is Phase.UP and record.boot_id == _boot_id() and _network(record).exists(record)

    def _refuse_other_shape(self, record: Record) -> None:
        found = (len(record.members), record.mode)
        wanted = (self._wanted_members or found[0], self._wanted_mode or found[1])
        if record.formed and wanted != found:
            raise SandboxError(
                f"the sandbox in {self.dir} has {found[0]} members and is {found[1].value}: "
                f"`fairlead sandbox down --purge --dir {self.dir}` first, or choose another --dir"
            )

    def _start(self, old: Record | None) -> None:
        keep = old if old is not None and old.formed else None
        if keep is not None and self._mysqld is None and Path(keep.server_path).exists():
            server = _server(keep)
        else:
            server = choose_server(self._mysqld, self._progress)
        network = choose_network(server)
        if keep is not None and keep.network is not network.kind:
            raise SandboxError(f"the sandbox in {self.dir} was made by another user (network: {keep.network.value})")
        record = replace(
            keep or _new_record(self._wanted_mode or Mode.SINGLE_PRIMARY),
            phase=Phase.STARTING,
            boot_id=_boot_id(),
            server_kind=server.kind,
            server_path=str(server.path),
        )
        count = len(keep.members) if keep else self._wanted_members or DEFAULT_MEMBERS
        try:
            with network.choosing():
                record = network.plan(record, self.dir, count)
                # Written down before it is made, so that `down` finds it whatever happens.
                self.layout.create()
                self.layout.store(record)
                network.create(record)
            self._form(record, Daemons(self.layout, record, server, network))
        except BaseException:
            self._progress("cleaning up")
            self._tear_down(record, orderly=False)
            if keep is None:
                self.layout.purge(tuple(f"mysql-{index}" for index in range(count)))
            raise

    def _form(self, record: Record, daemons: Daemons) -> None:
        names = [member.name for member in record.members]
        self.layout.hosts_file.write_text(hosts_text(record.members))
        daemons.prepare()
        if not record.formed:
            self._progress(f"initialising {len(names)} members")
            daemons.create_data(names)
        self._progress(f"starting {', '.join(names)}")
        for name in names:
            daemons.launch(name, join=False)
        group = self._group(record)
        in_parallel(lambda name: self._wait_ready(daemons, group, name), names)
        self._progress("forming the group")
        try:
            group.form(names, FORM_TIMEOUT)
        except SandboxError as exc:
            raise SandboxError(f"{exc}{''.join(map(daemons.log_tail, names))}") from exc
        self.layout.store(replace(record, phase=Phase.UP, formed=True))
        primary = primary_of(group.standings())
        if primary is not None:
            group.wait_writable(primary, ONLINE_TIMEOUT)

    def _wait_ready(self, daemons: Daemons, group: Group, name: str) -> None:
        wait_until(lambda: group.answers(name) or daemons.process(name) is None, READY_TIMEOUT)
        if not group.answers(name):
            what = "did not answer" if daemons.process(name) else "ended"
            raise SandboxError(f"{name} {what} while it started{daemons.log_tail(name)}")

    def _tear_down(self, record: Record, *, orderly: bool) -> None:
        daemons = _daemons(self.layout, record)
        in_parallel(lambda name: daemons.end(name, orderly=orderly), [member.name for member in record.members])
        _network(record).remove(record)
        for note in self.layout.run.glob("*"):
            note.unlink()
        self.layout.store(replace(record, phase=Phase.DOWN))

    def _group(self, record: Record) -> Group:
        return Group(self.layout, [member.name for member in record.members])


def _new_record(mode: Mode) -> Record:
    return Record(
        phase=Phase.STARTING,
        tag="",
        network=NetworkKind.LOOPBACK,
        mode=mode,
        subnet="",
        host_address="",
        server_kind=ServerKind.GIVEN,
        server_path="",
        group_name=str(uuid.uuid4()),
        formed=False,
        boot_id="",
        members=(),
    )


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _server(record: Record) -> Server:
    return SERVERS[record.server_kind](Path(record.server_path))


def _network(record: Record) -> Network:
    return NETWORKS[record.network](_server(record))


def _daemons(layout: Layout, record: Record) -> Daemons:
    return Daemons(layout, record, _server(record), _network(record))
