"""The members' directories and server processes: prepares, starts, stops, kills them. Knows no SQL."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.sandbox.certificates import ensure_authority, issue
from bench.sandbox.errors import SandboxError
from bench.sandbox.grants import GRANTEES, account_statements
from bench.sandbox.layout import Layout, write_atomically
from bench.sandbox.networks import Network
from bench.sandbox.option_file import initialise_text, member_text
from bench.sandbox.processes import Process, boot_id, find_marked, is_alive, send, spawn, wait_gone
from bench.sandbox.programs import SYSTEM_PATH, need_program, run_program
from bench.sandbox.record import Member, Record
from bench.sandbox.servers import SERVER_ID, Server

# The domain that demonstrations publish their SRV records under; certificates are valid for names in it.
DOMAIN = "demo.fairlead.test"
# In the environment of every process of a member, so that one is found even when nobody wrote down its pid. Its value
# begins with the group's name, which is random: a container's sandbox may be in a directory of the same name.
MARK = "FAIRLEAD_SANDBOX_MEMBER"
# Seconds.
STOP_TIMEOUT = 30.0
KILL_TIMEOUT = 10.0
# Leaving a group takes 6 s; one that is cut off or has lost its peers may not find an end.
END_TIMEOUT = 15.0
LOG_LINES = 8


@dataclass(frozen=True, slots=True)
class Daemons:
    """The servers of one sandbox."""

    layout: Layout
    record: Record
    server: Server
    network: Network

    def prepare(self) -> None:
        """Write what the members need besides data: authority, certificates, option files, hosts."""
        key_file = self.layout.private / "ca-key.pem"
        ensure_authority(self.layout.ca_file, key_file)
        for member in self.record.members:
            directory = self.layout.member(member.name)
            tls, scratch = directory / "tls", directory / "scratch"
            directory.mkdir(exist_ok=True)
            # The server may make entries here and touch none but its own: the sticky bit.
            _own(directory, 0o1770 if os.geteuid() == 0 else 0o700)
            # From a time when the directory was the server's there may be a link to elsewhere.
            if tls.is_symlink():
                tls.unlink()
            tls.mkdir(exist_ok=True)
            _own(tls, 0o755)
            scratch.mkdir(mode=0o700, exist_ok=True)
            _give_to_server(scratch)
            names = [member.name, f"{member.name}.{DOMAIN}", "localhost", member.host, "127.0.0.1"]
            certificate, key = issue(self.layout.ca_file, key_file, list(dict.fromkeys(names)))
            write_atomically(tls / "cert.pem", certificate, 0o644)
            write_atomically(tls / "key.pem", key, 0o600)
            _give_to_server(tls / "key.pem")
            write_atomically(tls / "ca.pem", self.layout.ca_file.read_text(), 0o644)
            text = member_text(self.record, member, self.server.home(directory))
            write_atomically(directory / "my.cnf", text, 0o644)

    def has_data(self, name: str) -> bool:
        """Whether the member has a data directory; a half-made one has another name."""
        return (self.layout.member(name) / "data").is_dir()

    def server_uuid(self, name: str) -> str | None:
        """The UUID in a member's data directory; its server draws one when it starts for the first time."""
        try:
            text = (self.layout.member(name) / "data" / "auto.cnf").read_text()
        except FileNotFoundError:
            return None
        return next((line.partition("=")[2] for line in text.splitlines() if line.startswith("server-uuid=")), None)

    def create_data(self, names: Sequence[str]) -> None:
        """Make new data directories with the accounts in them: the first is initialised, the others are copies of it.

        Raises:
            SandboxError: the server program cannot make one.
        """
        first = self.layout.member(names[0])
        home = self.server.home(first)
        shutil.rmtree(first / "data.partial", ignore_errors=True)
        passwords = {account: self.layout.password(account) for account in GRANTEES}
        accounts = first / "accounts.sql"
        try:
            write_atomically(accounts, ";\n".join([*account_statements(passwords), ""]), 0o600)
            write_atomically(first / "initialise.cnf", initialise_text(home), 0o644)
            _give_to_server(accounts)
            options = [f"--defaults-file={home}/initialise.cnf", f"--init-file={home}/accounts.sql"]
            argv = self.server.launch(first, self.layout.hosts_file, [*options, "--initialize-insecure"])
            run_program(argv, environment=self._environment(names[0]))
        except SandboxError as exc:
            raise SandboxError(f"cannot initialise {names[0]}: {exc}{self.log_tail(names[0])}") from exc
        finally:
            accounts.unlink(missing_ok=True)
            (first / "initialise.cnf").unlink(missing_ok=True)
        # The server draws its UUID when it finds none.
        (first / "data.partial" / "auto.cnf").unlink()
        copy = [need_program("cp", "coreutils"), "--archive", "--reflink=auto", "--sparse=auto"]
        for name in names[1:]:
            target = self.layout.member(name)
            shutil.rmtree(target / "data.partial", ignore_errors=True)
            run_program([*copy, str(first / "data.partial"), str(target / "data.partial")])
            (target / "data.partial").rename(target / "data")
        (first / "data.partial").rename(first / "data")

    def launch(self, name: str, *, join: bool) -> None:
        """Start a member's server.

        Args:
            join: it joins the group by itself once it is up.
        """
        directory = self.layout.member(name)
        # A killed server leaves these, and its number in them may be another's by now, or a zombie's.
        for socket in ("mysqld.sock", "mysqlx.sock"):
            for path in (directory / socket, directory / f"{socket}.lock"):
                path.unlink(missing_ok=True)
        arguments = [f"--defaults-file={self.server.home(directory)}/my.cnf"]
        if not join:
            arguments.append("--loose-group-replication-start-on-boot=OFF")  # loose: not all have the plugin
        launch = self.server.launch(directory, self.layout.hosts_file, arguments)
        log = self.layout.run / f"{name}.out"
        error_log = self.layout.error_log(name)
        log_from = error_log.stat().st_size if error_log.exists() else 0
        process = spawn([*self.network.enter(self.record, name), *launch], self._environment(name), log)
        note = {"pid": str(process.pid), "start_time": str(process.start_time), "log_from": str(log_from)}
        self.layout.write_note(f"{name}.process", note)

    def process(self, name: str) -> Process | None:
        """Return the member's server process if it runs."""
        note = self.layout.read_note(f"{name}.process")
        if not note or self.record.boot_id != boot_id():
            return None
        process = Process(int(note["pid"]), int(note["start_time"]))
        return process if is_alive(process) else None

    def ask_to_stop(self, name: str) -> Process | None:
        """Tell a member's server to end in order; return its process if it runs."""
        self.thaw(name)
        process = self.process(name)
        return process if process and send(process, signal.SIGTERM) else None

    def wait_stopped(self, name: str, process: Process) -> None:
        """Wait until a server that was told to has ended.

        Raises:
            SandboxError: it does not end.
        """
        if not wait_gone(process, STOP_TIMEOUT):
            raise SandboxError(f"{name} did not stop within {STOP_TIMEOUT:.0f} s: `fairlead sandbox kill {name}`")

    def freeze(self, name: str) -> None:
        """Stop a member's server where it stands (SIGSTOP), as a paused machine does."""
        process = self.process(name)
        if process:
            send(process, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a member's server go on; one that was not frozen takes no notice."""
        process = self.process(name)
        if process:
            send(process, signal.SIGCONT)

    def kill(self, name: str) -> None:
        """Kill a member's server; returns at once."""
        process = self.process(name)
        if process:
            send(process, signal.SIGKILL)

    def end(self, name: str, *, orderly: bool) -> None:
        """End every process of a member, by force where it must be.

        Raises:
            SandboxError: one outlives even that.
        """
        self.thaw(name)
        process = self.process(name)
        if process and orderly and send(process, signal.SIGTERM):
            wait_gone(process, END_TIMEOUT)
        # Without a directory in the record nothing was started from here.
        remaining = find_marked(MARK, self.mark(name)) if self.record.directory else []
        if process and process not in remaining:
            remaining.append(process)
        for left in remaining:
            send(left, signal.SIGKILL)
        for left in remaining:
            if not wait_gone(left, KILL_TIMEOUT):
                raise SandboxError(f"process {left.pid} of {name} does not end")
        self.layout.write_note(f"{name}.process", {})

    def log_tail(self, name: str) -> str:
        """Return the end of the member's error log since its last start, on lines of their own.

        Errors are preferred to all else.
        """
        log_from = int(self.layout.read_note(f"{name}.process").get("log_from", "0"))
        lines: list[str] = []
        for path, begin in ((self.layout.run / f"{name}.out", 0), (self.layout.error_log(name), log_from)):
            if path.exists():
                lines += path.read_bytes()[begin:].decode(errors="backslashreplace").splitlines()
        chosen = [line for line in lines if "[ERROR]" in line] or lines
        return "".join(f"\n  {name}: {line}" for line in chosen[-LOG_LINES:])

    def mark(self, name: str) -> str:
        """Return the value of MARK that a member's processes have."""
        return f"{self.record.group_name}:{self.record.directory}/{name}"

    def _environment(self, name: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
        return {
            **kept,
            "PATH": SYSTEM_PATH,
            "LC_ALL": "C.UTF-8",
            "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES": "8388608",
            MARK: self.mark(name),
        }


def member_named(record: Record, name: str) -> Member:
    """Return the member of that name.

    Raises:
        SandboxError: there is none.
    """
    try:
        return record.member(name)
    except KeyError:
        known = ", ".join(member.name for member in record.members)
        raise SandboxError(f"there is no member {name!r}: they are {known}") from None


def _give_to_server(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, SERVER_ID, SERVER_ID, follow_symlinks=False)


def _own(directory: Path, mode: int) -> None:
    """Keep a directory, with the server's group."""
    if os.geteuid() == 0:
        os.chown(directory, 0, SERVER_ID, follow_symlinks=False)
    directory.chmod(mode)
