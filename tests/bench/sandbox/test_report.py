from __future__ import annotations

import shlex
import subprocess

from bench.sandbox.report import MemberStatus, Status, shell_exports, status_table, table

STATUS = Status(
    "single-primary",
    (
        MemberStatus("mysql-0", "10.213.0.10", 3306, 33060, "running", "ERROR", "", "u0", "peers both"),
        MemberStatus("mysql-1", "10.213.0.11", 3306, 33060, "running", "ONLINE", "PRIMARY", "u1", ""),
        MemberStatus("mysql-2", "10.213.0.12", 3306, 33060, "stopped", "", "", "", ""),
    ),
)


def test_the_status_table_shows_each_member_and_marks_what_is_unknown() -> None:
    assert status_table(STATUS).splitlines() == [
        "name     address           process  state   role     uuid  cut",
        "mysql-0  10.213.0.10:3306  running  ERROR   -        u0    peers both",
        "mysql-1  10.213.0.11:3306  running  ONLINE  PRIMARY  u1    -",
        "mysql-2  10.213.0.12:3306  stopped  -       -        -     -",
    ]


def test_the_status_says_whether_all_is_well_and_who_is_the_primary() -> None:
    assert not STATUS.all_online
    assert STATUS.primary == "mysql-1"
    assert STATUS.member("mysql-2").process == "stopped"
    assert STATUS.document()["members"][1]["role"] == "PRIMARY"


def test_values_of_a_result_are_shown_as_text() -> None:
    assert table(("a", "b"), [(None, b"\xff!"), (1, "x")]).splitlines() == ["a     b", "NULL  \\xff!", "1     x"]


def test_shell_exports_survive_a_shell_and_hold_no_password() -> None:
    document = {
        "dir": "/tmp/a 'b",
        "network": "namespaces",
        "mode": "single-primary",
        "host_address": "10.213.0.1",
        "ca_file": "/tmp/a 'b/ca.pem",
        "mysql_client": ["chroot", "/r o", "mysql"],
        "members": [{"name": "mysql-0", "host": "10.213.0.10", "port": 3306, "x_port": 33060}],
        "accounts": {"app": {"user": "app", "password": "s3cret", "password_file": "/p", "database": "app"}},
    }
    text = shell_exports(document)
    assert "s3cret" not in text
    script = (
        text + 'printf "%s\\n" "$FAIRLEAD_SANDBOX_DIR" "$FAIRLEAD_SANDBOX_MEMBERS" "$FAIRLEAD_SANDBOX_MYSQL_CLIENT"'
    )
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[:2] == ["/tmp/a 'b", "mysql-0=10.213.0.10:3306/33060"]
    assert shlex.split(said[2]) == ["chroot", "/r o", "mysql"]
