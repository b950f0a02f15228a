"""The packet filter, the accounts, the server's version, the command line: texts that are read or written."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from bench.sandbox.commands import ACTIONS, sandbox
from bench.sandbox.grants import GRANTEES, account_statements, recovery_statement
from bench.sandbox.packet_filter import REMOVE, Direction, cut_text
from bench.sandbox.servers import parse_version

PASSWORDS = {name: f"pass-{name}_1" for name in GRANTEES}


@pytest.mark.parametrize(
    ("direction", "chains"), [(Direction.IN, ["in"]), (Direction.OUT, ["out"]), (Direction.BOTH, ["in", "out"])]
)
def test_a_cut_drops_in_the_directions_asked_for(direction: Direction, chains: list[str]) -> None:
    text = cut_text(["10.213.0.11", "10.213.0.12"], direction)
    assert [line.split()[1] for line in text.splitlines() if line.startswith("  chain")] == chains
    assert ("ip saddr { 10.213.0.11, 10.213.0.12 } drop" in text) is ("in" in chains)
    assert ("ip daddr { 10.213.0.11, 10.213.0.12 } drop" in text) is ("out" in chains)


def test_a_cut_replaces_the_one_before() -> None:
    assert cut_text(["10.213.0.11"], Direction.IN).startswith(REMOVE)


def test_a_cut_from_nobody_is_an_error() -> None:
    with pytest.raises(ValueError):
        cut_text([], Direction.BOTH)


def test_the_probe_may_read_what_the_server_tells_of_itself_and_nothing_else() -> None:
    grants = [line for line in account_statements(PASSWORDS) if line.startswith("GRANT") and "'probe'" in line]
    assert grants == ["GRANT SELECT ON performance_schema.* TO 'probe'@'%'"]


def test_the_application_owns_its_database_only() -> None:
    grants = [line for line in account_statements(PASSWORDS) if line.startswith("GRANT") and "'app'" in line]
    assert grants == ["GRANT ALL PRIVILEGES ON `app`.* TO 'app'@'%'"]


def test_the_administrator_comes_in_by_the_socket_only_and_root_not_at_all() -> None:
    statements = account_statements(PASSWORDS)
    assert GRANTEES["admin"].host == "localhost"
    assert statements[-1] == "DROP USER 'root'@'localhost'"


@pytest.mark.parametrize("password", ["", "it's", "a\\b", "ümlaut", "a b"])
def test_a_password_that_would_need_quoting_is_refused(password: str) -> None:
    with pytest.raises(ValueError):
        account_statements({**PASSWORDS, "app": password})


def test_recovery_logs_in_with_the_replication_account() -> None:
    assert "SOURCE_USER='replication', SOURCE_PASSWORD='p'" in recovery_statement("p")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", (9, 7, 4)),
        ("mysqld  Ver 8.0.36-0ubuntu0.22.04.1 for Linux on x86_64 ((Ubuntu))", (8, 0, 36)),
        ("mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", None),
        ("ls (GNU coreutils) 9.1", None),
    ],
)
def test_the_servers_version_is_read(said: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(said) == version


def test_every_action_of_the_command_line_is_implemented() -> None:
    parser = argparse.ArgumentParser()
    sandbox(parser)
    choices = next(iter(parser._subparsers._group_actions)).choices  # type: ignore[union-attr]
    assert choices is not None
    assert set(choices) == set(ACTIONS)


def test_a_failure_of_the_machine_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    parser = argparse.ArgumentParser()
    run = sandbox(parser)
    (tmp_path / "file").touch()
    assert run(parser.parse_args(["status", "--dir", str(tmp_path / "file" / "s")])) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_is_cheap_to_import() -> None:
    script = "import sys, bench.sandbox.commands; print([m for m in ('pymysql', 'cryptography') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
