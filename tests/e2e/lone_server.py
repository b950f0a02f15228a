"""One real MySQL server by itself on the loopback, whose settings a test may spoil; it belongs to no group."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path

from bench.sandbox.certificates import ensure_authority, issue
from bench.sandbox.processes import Process, is_alive, send, spawn, wait_gone
from bench.sandbox.programs import SYSTEM_PATH, run_program
from bench.sandbox.servers import SERVER_ID, Server
from bench.sandbox.statements import Result, StatementError, run

HOST = "127.0.0.1"
NAME = "lone.fairlead.test"
PASSWORD = "probe-secret"
# Seconds. It starts within one.
START_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
ENVIRONMENT = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"}


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class LoneServer:
    """A server program and one data directory. Methods block.

    Args:
        program: what to run.
        directory: where it keeps everything; its path is short, since sockets are in it.
    """

    def __init__(self, program: Server, directory: Path) -> None:
        self.directory = directory
        self.ca_file, self.ca_key = directory / "ca.pem", directory / "ca-key.pem"
        self.port, self.x_port = free_port(), free_port()
        self._program = program
        self._home = program.home(directory)
        self._hosts = directory / "hosts"
        self._process: Process | None = None
        self.as_usual = False  # whether it runs with `start`'s own settings

    def create(self) -> None:
        """Make the data directory, the account `probe`, an authority and a certificate for `NAME` and `HOST`."""
        self._hosts.write_text(f"{HOST} localhost\n")
        os.chown(self.directory, SERVER_ID, SERVER_ID)
        ensure_authority(self.ca_file, self.ca_key)
        self.certify("cert", NAME, HOST)
        accounts = self.directory / "accounts.sql"
        grant = "GRANT SELECT ON performance_schema.* TO probe"
        accounts.write_text(f"CREATE USER probe IDENTIFIED BY '{PASSWORD}';\n{grant};\n")
        self._give(accounts)
        run_program(
            self._argv("--initialize-insecure", f"--init-file={self._home}/accounts.sql"), environment=ENVIRONMENT
        )

    def certify(self, name: str, *names: str) -> None:
        """Issue a certificate, as files `name.pem` and `name-key.pem`."""
        certificate, key = issue(self.ca_file, self.ca_key, names)
        for file, text in ((f"{name}.pem", certificate), (f"{name}-key.pem", key)):
            (self.directory / file).write_text(text)
            self._give(self.directory / file)

    def start(self, *options: str, certificate: str | None = "cert") -> None:
        """Start it and wait until its X port listens; `certificate` None has no TLS."""
        tls = []
        if certificate is not None:
            files = {"ca": "ca.pem", "cert": f"{certificate}.pem", "key": f"{certificate}-key.pem"}
            tls = [f"--ssl-{part}={self._home}/{file}" for part, file in files.items()]
        addresses = [
            f"--bind-address={HOST}",
            f"--port={self.port}",
            f"--mysqlx-bind-address={HOST}",
            f"--mysqlx-port={self.x_port}",
            f"--socket={self._home}/mysqld.sock",
            f"--mysqlx-socket={self._home}/mysqlx.sock",
            f"--pid-file={self._home}/mysqld.pid",
            f"--log-error={self._home}/error.log",
        ]
        thrift = [
            "--skip-log-bin",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=24M",
            "--performance-schema-users-size=16",
        ]
        # So that the probe's question is the one for members of groups, which needs the privilege.
        group = ["--plugin-load-add=group_replication.so", "--group-replication-start-on-boot=OFF"]
        argv = self._argv(*addresses, *thrift, *group, *tls, *options)
        for socket_name in ("mysqld.sock", "mysqlx.sock"):  # a killed server leaves its locks
            (self.directory / f"{socket_name}.lock").unlink(missing_ok=True)
        self._process = spawn(argv, ENVIRONMENT, self.directory / "out")
        self._wait_for_x()
        self.as_usual = certificate == "cert" and not options

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for that; may be called again."""
        process, self._process = self._process, None
        self.as_usual = False
        if process is None:
            return
        send(process, number)
        if not wait_gone(process, STOP_TIMEOUT):
            send(process, signal.SIGKILL)
            raise AssertionError(f"the server did not stop within {STOP_TIMEOUT:g} s")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, of which it ends sooner or later."""
        self.as_usual = False
        assert self._process is not None
        send(self._process, number)

    def sql(self, *statements: str) -> Result:
        """Run statements as its administrator; return the last one's result."""
        return run(self.directory / "mysqld.sock", "root", "", list(statements))

    def remove(self) -> None:
        """End it and delete its directory."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait_for_x(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.sql("SELECT 1")
                socket.create_connection((HOST, self.x_port), 1).close()
                return
            except (OSError, StatementError) as exc:
                if time.monotonic() > deadline or self._process is None or not is_alive(self._process):
                    log = (self.directory / "error.log").read_text()[-2000:]
                    raise AssertionError(f"the server does not listen: {exc}\n{log}") from exc
            time.sleep(0.02)

    def _argv(self, *options: str) -> list[str]:
        fixed = [
            "--no-defaults",
            f"--datadir={self._home}/data",
            "--secure-file-priv=NULL",
            "--auto-generate-certs=OFF",
        ]
        return self._program.launch(
            self.directory, self._hosts, [*fixed, "--caching-sha2-password-auto-generate-rsa-keys=OFF", *options]
        )

    @staticmethod
    def _give(path: Path) -> None:
        path.chmod(0o600)
        os.chown(path, SERVER_ID, SERVER_ID)
