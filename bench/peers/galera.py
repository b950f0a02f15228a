"""A Galera cluster of MariaDB servers on this machine, and what can be done to its nodes. For tests and comparisons.

Each node has a network namespace of its own, made as the sandbox's are, and a mount namespace in which the peers' root
has the node's directory as `/srv`. All of a node's processes, those of a state transfer included, carry a mark in
their environment: what ends a node ends all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.peers.root import PEERS
from bench.sandbox.addresses import hosts_text
from bench.sandbox.certificates import ensure_authority, issue
from bench.sandbox.deadlines import wait_until
from bench.sandbox.errors import SandboxError
from bench.sandbox.networks import NamespaceNetwork
from bench.sandbox.packet_filter import Direction, Side
from bench.sandbox.processes import Process, boot_id, find_marked, is_alive, send, spawn, wait_gone
from bench.sandbox.programs import SYSTEM_PATH, need_program, run_program
from bench.sandbox.record import Member, Mode, NetworkKind, Phase, Record, ServerKind
from bench.sandbox.servers import SERVER_ID, choose_server
from bench.sandbox.statements import StatementError, run

MARK = "FAIRLEAD_GALERA_NODE"
DOMAIN = "galera.fairlead.test"  # the nodes' certificates are made out to their names in it
DATABASE = "app"
#: Accounts over the network, which need no secret here: nobody else reaches the namespaces.
APP = ("app", "app-password")
PROBE = ("probe", "probe-password")
_ADMIN = ("admin", "admin-password")
# Seconds, each several times what it takes on an idle machine.
FORM_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
KILL_TIMEOUT = 10.0
GIVE_UP_TIMEOUT = 10.0
STATEMENT_TIMEOUT = 10.0
RESTORE_PATIENCE = 20.0  # for nodes that lost each other to find each other again
LOG_LINES = 12

# $0 is the node's directory, $1 the root. Other namespaces' names are let go of, or this node would keep them alive;
# the mounts end with the process.
_ENTER = (
    'umount --lazy /run/netns/* 2>/dev/null; root="$1"; '
    'mount --rbind /proc "$root/proc" && mount --bind "$0/tmp" "$root/tmp" && mount --bind "$0" "$root/srv" '
    '&& mount --bind "$0/hosts" "$root/etc/hosts" '
    '&& shift 1 && exec "$@"'
)
_ACCOUNTS = f"""
FLUSH PRIVILEGES;
CREATE DATABASE {DATABASE};
CREATE USER {APP[0]}@'%' IDENTIFIED BY '{APP[1]}';
GRANT ALL ON {DATABASE}.* TO {APP[0]}@'%';
CREATE USER {PROBE[0]}@'%' IDENTIFIED BY '{PROBE[1]}';
CREATE USER {_ADMIN[0]}@localhost IDENTIFIED BY '{_ADMIN[1]}';
GRANT ALL ON *.* TO {_ADMIN[0]}@localhost;
"""
# In a node's `grastate.dat` while it runs, and after a crash.
_UNCLEAN = "seqno:   -1"
_SMALL = ("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M")
# Galera's own defaults take 5 to 15 s to give up a node that is silent; tests have no such patience.
_PROVIDER_OPTIONS = {
    "gcache.size": "16M",
    "evs.keepalive_period": "PT0.25S",
    "evs.inactive_check_period": "PT0.25S",
    "evs.suspect_timeout": "PT1.5S",
    "evs.inactive_timeout": "PT3S",
    "evs.install_timeout": "PT3S",
    "gmcast.peer_timeout": "PT1.5S",
}


class Galera:
    """One cluster, in one directory, for the length of a `with` block. Methods block.

    Args:
        directory: where it keeps everything; a short path, since sockets are in it. It must not exist.
        nodes: how many form the cluster.
        spares: how many more there is a place for, for `start` to add.
    """

    def __init__(self, directory: Path, *, nodes: int = 3, spares: int = 1) -> None:
        self.dir = directory.resolve()
        self._root = PEERS.ensure()
        self._network = NamespaceNetwork(choose_server(None, lambda text: None))
        self._state = str(uuid.uuid4())
        self._initial = nodes
        self._record = _record(self._state, self.dir)
        self._count = nodes + spares
        self._servers: dict[str, Process] = {}

    @property
    def members(self) -> tuple[Member, ...]:
        """Every node, spares last. Nobody listens on their X ports."""
        return self._record.members

    @property
    def ca_file(self) -> Path:
        """The authority of the nodes' certificates."""
        return self.dir / "ca.pem"

    @property
    def host_address(self) -> str:
        """The address of this machine as the nodes see it."""
        return self._record.host_address

    def member(self, name: str) -> Member:
        """The node of that name."""
        return self._record.member(name)

    def __enter__(self) -> Self:
        self.dir.mkdir(parents=True)
        try:
            with self._network.choosing():
                planned = self._network.plan(self._record, self.dir, self._count)
                named = [replace(one, name=f"galera-{one.index}") for one in planned.members]
                self._record = replace(planned, members=tuple(named))
                self._network.create(self._record)
            self._form()
        except BaseException:
            self._strike()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._strike()

    # What happens to its nodes.

    def start(self, name: str, *, wait: bool = True) -> None:
        """Start a node that is not running: it joins the others, or begins a cluster where there are none.

        Args:
            wait: return when it is Synced.
        """
        alone = not any(self.running(other.name) for other in self._record.peers(name))
        self._launch(name, bootstrap=alone)
        if wait:
            self.wait_synced(name)

    def recover(self, names: Sequence[str]) -> None:
        """Start nodes that all crashed and let them find what they were by themselves; return when all are Synced."""
        for name in names:
            self._launch(name, bootstrap=False)
        for name in names:
            self.wait_synced(name)

    def stop(self, name: str) -> None:
        """End a node in order."""
        server = self._servers.get(name)
        if server is not None:
            send(server, signal.SIGTERM)
        if not wait_until(lambda: not self.running(name), STOP_TIMEOUT):
            raise SandboxError(f"{name} does not end{self.log_tail(name)}")

    def kill(self, *names: str) -> None:
        """Kill nodes (SIGKILL), all at once, and return when they are gone."""
        killed = [process for name in names for process in self._processes(name)]
        for process in killed:
            send(process, signal.SIGKILL)
        for process in killed:
            if not wait_gone(process, KILL_TIMEOUT):
                raise SandboxError(f"process {process.pid} does not end")

    def freeze(self, name: str) -> None:
        """Stop a node's processes in their tracks: its sockets stay, nobody answers."""
        for process in self._processes(name):
            send(process, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a frozen node go on."""
        for process in self._processes(name):
            send(process, signal.SIGCONT)

    def wipe(self, name: str) -> None:
        """Delete the data of a node that does not run: when it starts it is sent everything by another."""
        shutil.rmtree(self._dir(name) / "data")
        self._own_directory(self._dir(name) / "data")

    def cut(self, name: str, side: Side | str = Side.PEERS, direction: Direction | str = Direction.BOTH) -> None:
        """Drop a node's packets from or to its peers, its clients or both."""
        self._network.cut(self._record, name, Side(side), Direction(direction))

    def heal(self, name: str) -> None:
        """Let all of a node's packets pass again."""
        self._network.heal(self._record, name)

    def restore(self) -> None:
        """Undo whatever was done: the nodes that form the cluster run, healed and Synced, and no spare does."""
        formed = [member.name for member in self.members[: self._initial]]
        for member in self.members:
            self.thaw(member.name)
            self.heal(member.name)
            if not self.running(member.name):
                self.kill(member.name)  # what a state transfer may have left
        for member in self.members[self._initial :]:
            self.kill(member.name)
            self.wipe(member.name)
        for name in formed:
            if self.running(name):
                with suppress(StatementError):
                    self.sql(name, "SET GLOBAL wsrep_desync = OFF", "SET GLOBAL read_only = OFF")
                with suppress(StatementError):
                    self.sql(name, "SET GLOBAL wsrep_reject_queries = NONE")
                with suppress(StatementError):
                    self.sql(name, "SET GLOBAL wsrep_dirty_reads = OFF")
            else:
                self._launch(name, bootstrap=False)
        if not wait_until(lambda: all(self.is_synced(name) for name in formed), RESTORE_PATIENCE):
            self._begin_anew(formed)

    # How its nodes are.

    def running(self, name: str) -> bool:
        """Whether a node's server has a process."""
        server = self._servers.get(name)
        return server is not None and is_alive(server)

    def sql(self, name: str, *statements: str, timeout: float = STATEMENT_TIMEOUT) -> tuple[tuple[object, ...], ...]:
        """Run statements in one session of a node's administrator; return the last one's rows.

        Raises:
            StatementError: the node refuses one, or does not answer.
        """
        return run(self._dir(name) / "mariadb.sock", *_ADMIN, list(statements), timeout).rows

    def status(self, name: str) -> dict[str, str]:
        """A node's `wsrep_%` status; empty while it does not answer."""
        try:
            return {str(row[0]): str(row[1]) for row in self.sql(name, "SHOW GLOBAL STATUS LIKE 'wsrep%'")}
        except StatementError:
            return {}

    def is_synced(self, name: str) -> bool:
        """Whether a node is Synced in the primary component."""
        status = self.status(name)
        return (status.get("wsrep_local_state"), status.get("wsrep_cluster_status")) == ("4", "Primary")

    def wait_synced(self, name: str, timeout: float = FORM_TIMEOUT) -> None:
        """Wait until a node is Synced in the primary component.

        Raises:
            SandboxError: it is not in time, or it ended; with the end of its log.
        """
        wait_until(lambda: self.is_synced(name) or not self.running(name), timeout)
        if not self.is_synced(name):
            raise SandboxError(f"{name} does not come to be Synced{self.log_tail(name)}")

    def log_tail(self, name: str) -> str:
        """The end of a node's log, on lines of their own."""
        path = self._dir(name) / "error.log"
        lines = path.read_text(errors="backslashreplace").splitlines() if path.exists() else []
        return "".join(f"\n  {name}: {line}" for line in lines[-LOG_LINES:])

    # How it comes and goes.

    def _form(self) -> None:
        names = [member.name for member in self.members]
        key_file = self.dir / "ca-key.pem"
        ensure_authority(self.ca_file, key_file)
        for name in names:
            self._own_directory(self._dir(name))
            self._own_directory(self._dir(name) / "tmp")
            certificate, key = issue(self.ca_file, key_file, [f"{name}.{DOMAIN}", self.member(name).host])
            for file, text in (("cert.pem", certificate), ("key.pem", key), ("ca.pem", self.ca_file.read_text())):
                (self._dir(name) / file).write_text(text)
            (self._dir(name) / "bin").mkdir()
            (self._dir(name) / "bin" / "awk").symlink_to("/usr/bin/gawk")
            # A client with a name is what the server keeps count of, for `max_connect_errors`.
            (self._dir(name) / "hosts").write_text(f"{hosts_text(self.members)}{self.host_address} host\n")
            (self._dir(name) / "my.cnf").write_text(self._option_file(name))
        formed = names[: self._initial]
        self._own_directory(self._dir(formed[0]) / "data")
        accounts = self._dir(formed[0]) / "accounts.sql"
        accounts.write_text(_ACCOUNTS)
        install = ["/usr/bin/mariadb-install-db", "--no-defaults", "--basedir=/usr", "--datadir=/srv/data", "--force"]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--extra-file=/srv/accounts.sql"]
        run_program([*self._enter(formed[0]), *install, *options, *_SMALL])
        for name in names[1:]:
            self._own_directory(self._dir(name) / "data")
        self.start(formed[0])
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.start, formed[1:]))

    def _begin_anew(self, names: list[str]) -> None:
        """Have the first node's data be the cluster's, whatever the others know."""
        self.kill(*names)
        for name in names[1:]:
            self.wipe(name)
        for name in names:
            self.start(name)

    def _launch(self, name: str, *, bootstrap: bool) -> None:
        # A node that is back before the others have given up its former self can cost them their majority.
        wait_until(lambda: self._given_up(name), GIVE_UP_TIMEOUT)
        directory = self._dir(name)
        (directory / "mariadb.sock").unlink(missing_ok=True)
        state = directory / "data" / "grastate.dat"
        arguments = ["/usr/sbin/mariadbd", "--defaults-file=/srv/my.cnf"]
        if bootstrap:
            # After a crash no node is sure to be the one that knows most; here it is the caller's word.
            if state.exists():
                state.write_text(state.read_text().replace("safe_to_bootstrap: 0", "safe_to_bootstrap: 1"))
            arguments.append("--wsrep-new-cluster")
        if state.exists() and _UNCLEAN in state.read_text():
            arguments.append(f"--wsrep-start-position={self._recovered_position(name)}")
        argv = [*self._network.enter(self._record, name), *self._enter(name), *arguments]
        self._servers[name] = spawn(argv, self._environment(name), directory / "error.log")

    def _given_up(self, name: str) -> bool:
        """Whether no other node lists this one."""
        address = f"{self.member(name).host}:{self.member(name).port}"
        others = [peer.name for peer in self._record.peers(name) if self.running(peer.name)]
        return not any(address in self.status(other).get("wsrep_incoming_addresses", "").split(",") for other in others)

    def _recovered_position(self, name: str) -> str:
        """Where a node stood when it crashed, as the server's own start script finds it out.

        Without it a cluster all of whose nodes crashed comes back with an identity of zeros, and takes nobody in.
        """
        recovery = ["/usr/sbin/mariadbd", "--defaults-file=/srv/my.cnf", "--wsrep-recover", "--disable-log-error"]
        said = run_program(
            ["sh", "-c", 'exec "$@" 2>&1', "sh", *self._enter(name), *recovery], environment=self._environment(name)
        )
        match = re.search(r"WSREP: Recovered position:\s*(\S+)", said)
        if match is None:
            raise SandboxError(f"{name} does not say where it stood: {said[-500:]}")
        return match[1]

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": f"{SYSTEM_PATH}:/srv/bin",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": "/srv/tmp",
            MARK: self._mark(name),
        }

    def _strike(self) -> None:
        self.kill(*[member.name for member in self.members])
        if self._record.tag:
            self._network.remove(self._record)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _enter(self, name: str) -> list[str]:
        unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
        become = [need_program("chroot", "coreutils"), f"--userspec={SERVER_ID}:{SERVER_ID}", "--groups="]
        return [*unshare, "sh", "-c", _ENTER, str(self._dir(name)), str(self._root), *become, str(self._root)]

    def _option_file(self, name: str) -> str:
        me = self.member(name)
        everyone = ",".join(member.host for member in self.members)
        options = ";".join(f"{key}={value}" for key, value in _PROVIDER_OPTIONS.items())
        lines = [
            "datadir=/srv/data",
            "tmpdir=/srv/tmp",
            "socket=/srv/mariadb.sock",
            "pid-file=/srv/mariadb.pid",
            f"bind-address={me.host}",
            f"port={me.port}",
            "ssl-ca=/srv/ca.pem",
            "ssl-cert=/srv/cert.pem",
            "ssl-key=/srv/key.pem",
            "performance_schema=OFF",
            *(option.removeprefix("--") for option in _SMALL),
            "key_buffer_size=1M",
            "innodb_flush_log_at_trx_commit=2",
            "binlog_format=ROW",
            "innodb_autoinc_lock_mode=2",
            "wsrep_on=ON",
            "wsrep_provider=/usr/lib/galera/libgalera_smm.so",
            f'wsrep_provider_options="{options}"',
            f"wsrep_cluster_name=fairlead-{self._record.tag}",
            f"wsrep_cluster_address=gcomm://{everyone}",
            f"wsrep_node_address={me.host}",
            f"wsrep_node_name={name}",
            "wsrep_sst_method=rsync",
        ]
        return "[mariadbd]\n" + "\n".join(lines) + "\n"

    def _processes(self, name: str) -> list[Process]:
        """A node's processes, its server first: while a process becomes another program its marks cannot be read."""
        server = self._servers.get(name)
        marked = find_marked(MARK, self._mark(name))
        return [server, *(one for one in marked if one != server)] if server and is_alive(server) else marked

    def _mark(self, name: str) -> str:
        return f"{self._state}/{name}"

    def _dir(self, name: str) -> Path:
        return self.dir / name

    def _own_directory(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        os.chown(path, SERVER_ID, SERVER_ID)


def _record(state: str, directory: Path) -> Record:
    return Record(
        phase=Phase.UP,
        tag="",
        network=NetworkKind.NAMESPACES,
        mode=Mode.MULTI_PRIMARY,
        subnet="",
        host_address="",
        server_kind=ServerKind.ROOT,
        server_path="",
        group_name=state,
        formed=True,
        boot_id=boot_id(),
        members=(),
        directory=str(directory),
    )
