"""Where a sandbox keeps what: one directory, and the files in it. Knows paths and plain files, not MySQL."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.sandbox.errors import NotUpError, SandboxError
from bench.sandbox.processes import boot_id
from bench.sandbox.record import Phase, Record, decode, encode

# A Unix socket address holds 108 bytes with its final zero (unix(7)).
SOCKET_PATH_LIMIT = 107
LONGEST_SOCKET = "mysql-8/mysqlx.sock.lock"
OWN_ENTRIES = ("ca.pem", "hosts", "private", "run", "sandbox.json")
# What `write_atomically` leaves when it is killed.
PARTIAL = re.compile(r"\.(?:ca\.pem|hosts|sandbox\.json)\.[0-9]+\.[0-9a-f]{8}")


def default_dir() -> Path:
    """Return the sandbox directory of a user who names none."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "fairlead" / "sandbox"


def cache_dir() -> Path:
    """Return the directory that all sandboxes of a user share; it outlives them."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "fairlead"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one sandbox."""

    dir: Path

    @property
    def record_file(self) -> Path:
        return self.dir / "sandbox.json"

    @property
    def lock_file(self) -> Path:
        return self.dir / "lock"

    @property
    def ca_file(self) -> Path:
        return self.dir / "ca.pem"

    @property
    def hosts_file(self) -> Path:
        return self.dir / "hosts"

    @property
    def private(self) -> Path:
        """Keys and passwords: readable by the owner only."""
        return self.dir / "private"

    @property
    def run(self) -> Path:
        """What is true only while the sandbox is up."""
        return self.dir / "run"

    def member(self, name: str) -> Path:
        """The directory that a member sees, and all of what it may write."""
        return self.dir / name

    def socket(self, name: str) -> Path:
        return self.member(name) / "mysqld.sock"

    def error_log(self, name: str) -> Path:
        return self.member(name) / "error.log"

    def password_file(self, account: str) -> Path:
        return self.private / f"{account}.password"

    def check(self) -> None:
        """Refuse a directory that cannot hold a sandbox.

        Raises:
            SandboxError: the path is too long for a Unix socket, or the directory is another user's or holds something
                else.
        """
        longest = len(os.fsencode(self.dir / LONGEST_SOCKET))
        if longest > SOCKET_PATH_LIMIT:
            raise SandboxError(
                f"the directory {self.dir} is {longest - SOCKET_PATH_LIMIT} bytes too long for the sockets in it "
                f"(a Unix socket path may have {SOCKET_PATH_LIMIT} bytes): choose a shorter --dir"
            )
        if self.dir.exists() and not self.dir.is_dir():
            raise SandboxError(f"{self.dir} is not a directory: choose another --dir")
        if self.dir.is_dir():
            _refuse_another_owner(self.dir, self.dir.stat())
        if self.dir.is_dir() and not self.record_file.exists():
            foreign = sorted(entry.name for entry in self.dir.iterdir() if not _is_remnant(entry.name))
            if foreign:
                raise SandboxError(
                    f"{self.dir} holds other files ({foreign[0]}, …) and no sandbox: choose an empty --dir"
                )

    def create(self) -> None:
        """Make the directories that are there in any case."""
        self.dir.mkdir(parents=True, exist_ok=True)
        self.private.mkdir(mode=0o700, exist_ok=True)
        self.run.mkdir(exist_ok=True)

    def load(self) -> Record:
        """Return the record; it is at rest after a reboot, and in a copy of the directory.

        Raises:
            NotUpError: there is none.
            SandboxError: it cannot be read, or is another user's.
        """
        try:
            with self.record_file.open() as file:
                _refuse_another_owner(self.dir, self.dir.stat())
                _refuse_another_owner(self.record_file, os.fstat(file.fileno()))
                record = decode(file.read())
        except FileNotFoundError:
            raise NotUpError(f"no sandbox in {self.dir}: `fairlead sandbox up --dir {self.dir}` makes one") from None
        except ValueError as exc:
            raise SandboxError(f"{self.record_file} cannot be read ({exc}): remove the directory by hand") from exc
        if record.phase is not Phase.DOWN and (record.boot_id != boot_id() or self._is_copy(record)):
            return record.at_rest()
        return record

    def store(self, record: Record) -> None:
        """Replace the record, whole or not at all."""
        write_atomically(self.record_file, encode(record), 0o644)

    def password(self, account: str) -> str:
        """Return an account's password, drawing it on first use."""
        path = self.password_file(account)
        if not path.exists():
            # token_urlsafe has only letters, digits, - and _: safe between quotes of any kind.
            write_atomically(path, secrets.token_urlsafe(18), 0o600)
        return path.read_text()

    def read_note(self, name: str) -> dict[str, str]:
        """Return a small note of the running sandbox; an absent one is empty."""
        try:
            note = json.loads((self.run / f"{name}.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(key): str(value) for key, value in note.items()}

    def write_note(self, name: str, note: dict[str, str]) -> None:
        """Keep a small note; an empty one is removed."""
        path = self.run / f"{name}.json"
        if note:
            write_atomically(path, json.dumps(note) + "\n", 0o644)
        else:
            path.unlink(missing_ok=True)

    def clear(self, member_names: Iterable[str]) -> None:
        """Delete what the sandbox made, but for the lock."""
        partial = [path.name for path in self.dir.glob(".*") if PARTIAL.fullmatch(path.name)]
        for name in (*member_names, *OWN_ENTRIES, *partial):
            path = self.dir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def purge(self, member_names: Iterable[str], *, keep_directory: bool = False) -> None:
        """Delete what the sandbox made, and the directory when nothing else is in it."""
        self.clear(member_names)
        self.lock_file.unlink(missing_ok=True)
        if not keep_directory and self.dir.is_dir() and not any(self.dir.iterdir()):
            self.dir.rmdir()

    def _is_copy(self, record: Record) -> bool:
        """Whether what the record speaks of is another directory's, and not this one's before it was moved."""
        return record.directory not in ("", str(self.dir)) and Layout(Path(record.directory)).record_file.exists()


def _refuse_another_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise SandboxError(
            f"{path} belongs to user {status.st_uid}, and you are user {os.geteuid()}: become that user, "
            "or choose another --dir"
        )


def _is_remnant(name: str) -> bool:
    return name == "lock" or PARTIAL.fullmatch(name) is not None


def write_atomically(path: Path, text: str, mode: int) -> None:
    """Write a file so that a reader sees the old text or the new one, and never with wider access than `mode`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process, however that ends."""
    descriptor = -1
    while descriptor < 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Who held it before may have removed it: then the lock is on a file that nobody else will find.
            stale = not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat())
        except BaseException:
            os.close(descriptor)
            raise
        if stale:
            os.close(descriptor)
            descriptor = -1
    try:
        yield
    finally:
        os.close(descriptor)
