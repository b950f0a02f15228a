"""The beginning and the end of a sandbox: what is made, in which order, and how all of it is removed again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.sandbox.addresses import MOST_MEMBERS, hosts_text
from bench.sandbox.daemons import Daemons
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import NotUpError, SandboxError
from bench.sandbox.group import Group, in_parallel
from bench.sandbox.layout import Layout, locked
from bench.sandbox.networks import choose_network
from bench.sandbox.orphans import end_orphans
from bench.sandbox.parts import daemons_of, group_of, network_of, server_of
from bench.sandbox.processes import boot_id
from bench.sandbox.record import Mode, NetworkKind, Phase, Record, ServerKind
from bench.sandbox.servers import choose_server
from bench.sandbox.views import all_online, primary_of

DEFAULT_MEMBERS = 3
# Seconds. A server starts in 2 s, a group forms in 4 s; a busy machine may take several times that.
READY_TIMEOUT = 60.0
EXPEL_TIMEOUT = 20.0
FORM_TIMEOUT = 180.0
WRITABLE_TIMEOUT = 60.0


class Lifecycle:
    """Brings one sandbox up and down.

    Args:
        layout: its directory.
        members: how many members a new one has; nothing for the default.
        mode: of a new one; nothing for the default.
        mysqld: the server program to use; nothing for whichever is found.
        progress: is told what takes time.
    """

    def __init__(
        self,
        layout: Layout,
        members: int | None,
        mode: Mode | None,
        mysqld: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        if members is not None and not 1 <= members <= MOST_MEMBERS:
            raise SandboxError(f"a group has 1 to {MOST_MEMBERS} members, not {members}")
        self.layout = layout
        self._wanted_members = members
        self._wanted_mode = mode
        self._mysqld = mysqld
        self._progress = progress

    def up(self) -> bool:
        """Bring it up, with the data it had; say whether there was anything to do.

        When it fails or is interrupted, nothing of it stays but data that was there before.

        Raises:
            SandboxError: it cannot be had here or so; says why.
        """
        self.layout.check()
        found = self.layout.dir.exists()
        with locked(self.layout.lock_file):
            try:
                old = self.layout.load()
            except NotUpError:
                old = None
            if old is not None:
                self._refuse_other_shape(old)
                daemons = daemons_of(self.layout, old)
                if self._is_up(old) and any(daemons.process(member.name) for member in old.members):
                    return self._repair(old, daemons)
                if old.phase is not Phase.DOWN:
                    self._progress("it was not brought down in order: clearing up what is left of it")
                # Leftovers of one that was killed, or whose members were; data that no group ever used.
                _tear_down(daemons, orderly=False)
                if not old.formed:
                    self.layout.clear(member.name for member in old.members)
            try:
                self._start(old)
            finally:
                # What failed before anything was written down leaves no directory behind.
                if not self.layout.record_file.exists():
                    self.layout.purge((), keep_directory=found)
            return True

    def down(self, *, purge: bool = False) -> bool:
        """End it and leave this machine as it was; say whether there was anything to do.

        Args:
            purge: delete its directory too. The server program stays in the cache.
        """
        if not self.layout.record_file.exists():
            return end_orphans(self.layout.dir)
        with locked(self.layout.lock_file):
            try:
                record = self.layout.load()
            except NotUpError:
                # Another one has purged it meanwhile.
                self.layout.purge(())
                return False
            _tear_down(daemons_of(self.layout, record), orderly=not purge)
            if purge:
                self.layout.purge(member.name for member in record.members)
        return True

    def running(self) -> Record:
        """Return the record of the sandbox that is up.

        Raises:
            NotUpError: none is.
        """
        record = self.layout.load()
        if not self._is_up(record):
            directory = self.layout.dir
            raise NotUpError(f"no sandbox is up in {directory}: `fairlead sandbox up --dir {directory}` starts it")
        return record

    @contextmanager
    def held(self) -> Iterator[Record]:
        """Hold off every other change of the sandbox that is up, and yield its record.

        Raises:
            NotUpError: none is.
        """
        self.running()
        with locked(self.layout.lock_file):
            if not self.layout.record_file.exists():
                # It was purged meanwhile.
                self.layout.purge(())
            yield self.running()

    def _is_up(self, record: Record) -> bool:
        return record.phase is Phase.UP and network_of(record).exists(record)

    def _repair(self, record: Record, daemons: Daemons) -> bool:
        """Bring all members ONLINE but those that are cut; say whether there was anything to do."""
        names = [member.name for member in record.members if not self.layout.read_note(f"{member.name}.cut")]
        group = group_of(self.layout, record)
        if all_online(names, group.standings()):
            return False
        self._progress(f"not all of {', '.join(names)} are ONLINE")
        in_parallel(lambda name: wait_settled(daemons, group, name), names)
        launched = launch_missing(daemons, names)
        if launched:
            self._progress(f"starting {', '.join(launched)} again")
        in_parallel(lambda name: wait_ready(daemons, group, name), names)
        self._progress("forming the group again")
        group.form(names, FORM_TIMEOUT)
        return True

    def _refuse_other_shape(self, record: Record) -> None:
        found = (len(record.members), record.mode)
        wanted = (self._wanted_members or found[0], self._wanted_mode or found[1])
        if record.formed and wanted != found:
            raise SandboxError(
                f"the sandbox in {self.layout.dir} has {found[0]} members and is {found[1].value}: "
                f"`fairlead sandbox down --purge --dir {self.layout.dir}` first, or choose another --dir"
            )

    def _start(self, old: Record | None) -> None:
        keep = old if old is not None and old.formed else None
        if keep is not None and self._mysqld is None and Path(keep.server_path).exists():
            server = server_of(keep)
        else:
            server = choose_server(self._mysqld, self._progress)
        network = choose_network(server)
        if keep is not None and keep.network is not network.kind:
            raise SandboxError(
                f"the sandbox in {self.layout.dir} belongs to another user (its network: {keep.network.value}): "
                "become that user, or choose another --dir"
            )
        record = replace(
            keep or _new_record(self._wanted_mode or Mode.SINGLE_PRIMARY),
            phase=Phase.STARTING,
            boot_id=boot_id(),
            directory=str(self.layout.dir),
            server_kind=server.kind,
            server_path=str(server.path),
        )
        count = len(keep.members) if keep else self._wanted_members or DEFAULT_MEMBERS
        try:
            with network.choosing():
                record = network.plan(record, self.layout.dir, count)
                # Written down before it is made, so that `down` finds it whatever happens.
                self.layout.store(record)
                self.layout.create()
                network.create(record)
            self._form(record, Daemons(self.layout, record, server, network))
        except BaseException:
            self._progress("cleaning up")
            _tear_down(Daemons(self.layout, record, server, network), orderly=False)
            if keep is None:
                self.layout.clear(member.name for member in record.members)
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
        group = group_of(self.layout, record)
        in_parallel(lambda name: wait_ready(daemons, group, name), names)
        self._progress("forming the group")
        try:
            group.form(names, FORM_TIMEOUT)
        except SandboxError as exc:
            raise SandboxError(f"{exc}{''.join(map(daemons.log_tail, names))}") from exc
        self.layout.store(replace(record, phase=Phase.UP, formed=True))
        primary = primary_of(group.standings())
        if primary is not None:
            group.wait_writable(primary, WRITABLE_TIMEOUT)


def wait_settled(daemons: Daemons, group: Group, name: str) -> None:
    """Wait until a member answers or does not run: one that was killed a moment ago may still be ending.

    Raises:
        SandboxError: it runs and does not answer.
    """
    if not wait_until(lambda: daemons.process(name) is None or group.answers(name), READY_TIMEOUT):
        raise SandboxError(f"{name} runs and does not answer{daemons.log_tail(name)}")


def wait_forgotten(daemons: Daemons, group: Group, name: str) -> None:
    """Wait until the group has expelled the process that a member was before.

    It goes on after a while all the same: a group may be unable to expel, and the member tries again by itself.
    """
    uuid = daemons.server_uuid(name)
    if uuid is not None and daemons.process(name) is None:
        wait_until(lambda: group.forgets(uuid), EXPEL_TIMEOUT)


def launch_missing(daemons: Daemons, names: Sequence[str]) -> list[str]:
    """Start the servers that do not run, outside the group and with new data where they have none; return which."""
    missing = [name for name in names if daemons.process(name) is None]
    for name in missing:
        if not daemons.has_data(name):
            daemons.create_data([name])
        daemons.launch(name, join=False)
    return missing


def wait_ready(daemons: Daemons, group: Group, name: str) -> None:
    """Wait until a member that was started answers.

    Raises:
        SandboxError: it ended, or it takes too long; with the end of its log.
    """
    wait_until(lambda: group.answers(name) or daemons.process(name) is None, READY_TIMEOUT)
    if not group.answers(name):
        what = "did not answer" if daemons.process(name) else "ended"
        raise SandboxError(f"{name} {what} while it started{daemons.log_tail(name)}")


def _tear_down(daemons: Daemons, *, orderly: bool) -> None:
    names = [member.name for member in daemons.record.members]
    in_parallel(lambda name: daemons.end(name, orderly=orderly), names)
    # A tag that is not in the record any more may be another sandbox's by now.
    if daemons.record.tag:
        daemons.network.remove(daemons.record)
    for note in daemons.layout.run.glob("*"):
        note.unlink()
    daemons.layout.store(daemons.record.at_rest())


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
