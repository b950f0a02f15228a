"""One real MariaDB server by itself on the loopback: it reads PROXY headers, which MySQL does not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from bench.sandbox.processes import Process, is_alive, send, spawn, wait_gone
from bench.sandbox.programs import SYSTEM_PATH, need_program, run_program
from bench.sandbox.servers import SERVER_ID
from bench.sandbox.statements import Result, StatementError, run
from tests.e2e.lone_server import HOST, free_port

ACCOUNTS = """
CREATE USER app@'%' IDENTIFIED BY 'app-secret';
CREATE USER near@'127.0.0.42' IDENTIFIED BY 'near-secret';
"""
SMALL = ("--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M")
# $0 is the server's directory, $1 the root; the mounts end with the process.
ENTER = (
    'root="$1"; mount --rbind /proc "$root/proc" && mount --bind "$0/tmp" "$root/tmp" '
    '&& mount --bind "$0" "$root/srv" && shift && exec "$@"'
)
ENVIRONMENT = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "TMPDIR": "/srv/tmp"}
PATIENCE = 60.0  # seconds; it starts within two


class MariaDb:
    """A server and its data directory. Methods block.

    Args:
        root: the peers' root.
        directory: where it keeps everything; its path is short, since a socket is in it.
    """

    def __init__(self, root: Path, directory: Path) -> None:
        self.port = free_port()
        self._root = root
        self._dir = directory
        self._process: Process | None = None

    def start(self, *options: str) -> None:
        """Make its data and start it with more options; wait until it answers."""
        for path in (self._dir, self._dir / "tmp", self._dir / "data"):
            path.mkdir(exist_ok=True)
            os.chown(path, SERVER_ID, SERVER_ID)
        accounts = self._dir / "accounts.sql"
        accounts.write_text(f"FLUSH PRIVILEGES;\n{ACCOUNTS}")
        install = ["/usr/bin/mariadb-install-db", "--no-defaults", "--basedir=/usr", "--datadir=/srv/data", "--force"]
        more = ["--auth-root-authentication-method=normal", "--skip-test-db", "--extra-file=/srv/accounts.sql"]
        run_program([*self._enter(), *install, *more, *SMALL], environment=ENVIRONMENT)
        server = [
            *("/usr/sbin/mariadbd", "--no-defaults", "--datadir=/srv/data", "--socket=/srv/mariadb.sock"),
            *("--pid-file=/srv/mariadb.pid", f"--bind-address={HOST}", f"--port={self.port}", "--skip-name-resolve"),
            *("--performance-schema=OFF", "--max-connections=1000", *SMALL, *options),
        ]
        self._process = spawn([*self._enter(), *server], ENVIRONMENT, self._dir / "error.log")
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.sql("SELECT 1")
                return
            except StatementError as exc:
                if time.monotonic() > deadline or not is_alive(self._process):
                    raise AssertionError(f"{exc}\n{(self._dir / 'error.log').read_text()[-2000:]}") from exc
            time.sleep(0.05)

    def sql(self, *statements: str) -> Result:
        """Run statements as its administrator; return the last one's result."""
        return run(self._dir / "mariadb.sock", "root", "", list(statements))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        send(self._process, number)

    def stop(self) -> None:
        """Kill it and wait for that."""
        if self._process is not None:
            send(self._process, signal.SIGKILL)
            assert wait_gone(self._process, PATIENCE)

    def _enter(self) -> list[str]:
        unshare = [need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "--"]
        become = [need_program("chroot", "coreutils"), f"--userspec={SERVER_ID}:{SERVER_ID}", "--groups="]
        return [*unshare, "sh", "-c", ENTER, str(self._dir), str(self._root), *become, str(self._root)]
