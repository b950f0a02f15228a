"""The commands as a user runs them: in processes of their own, where they serve; in ours, where they only refuse."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from srv.commands import resolve, srv

DOMAIN = "demo.fairlead.test"
SERVE = ["serve", "--domain", DOMAIN, "--member", "m1=127.0.0.1:1/1", "--probe-user", "probe"]
LONG_DOMAIN = ".".join(["d" * 63] * 3 + ["d" * 42])  # itself a name of 234 characters, too long for those under it
PATIENCE = 20.0


def in_process(command: str, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    run = {"resolve": resolve, "srv": srv}[command](parser)
    return run(parser.parse_args(arguments))


def free_address() -> str:
    """An address that a server can have: free for TCP a moment ago, and so most likely for UDP too."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return "{}:{}".format(*sock.getsockname())


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "router.cli", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"FAIRLEAD_PROBE_PASSWORD": "secret", "PYTHONWARNINGS": "ignore"},
    )


async def finished(*arguments: str) -> tuple[int | None, str, str]:
    process = await started(*arguments)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_resolve_and_an_orderly_end(number: signal.Signals) -> None:
    address = free_address()
    process = await started("srv", *SERVE, "--member", "m2=127.0.0.1:2/2", "--listen", address)
    try:
        assert process.stderr is not None
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while not (lines and "listening" in lines[-1]):
                line = await process.stderr.readline()
                assert line, lines
                lines.append(line.decode())
        port = address.partition(":")[2]
        assert re.fullmatch(rf"\S+ INFO +listening address=127.0.0.1 port={port}\n", lines[-1])

        resolver = ("--resolver", address)
        status, out, err = await finished("resolve", DOMAIN, *resolver)
        assert (status, err) == (0, "")
        assert f"m2.{DOMAIN}:2  priority 0 weight 100  127.0.0.1" in out
        assert f"_mysqlx._tcp.primary.{DOMAIN}: servfail: cannot tell: the name server failed" in out
        status, out, _ = await finished("resolve", f"_nope._tcp.{DOMAIN}", *resolver, "--json")
        assert (status, '"outcome": "nxdomain"' in out) == (1, True)

        status, _, err = await finished("srv", *SERVE, "--listen", address)
        assert status == 1
        assert f"fairlead srv serve: cannot listen on 127.0.0.1 port {port}" in err
        assert "Traceback" not in err

        process.send_signal(number)
        _, rest = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0
        assert f"stopped signal={number.name}" in rest.decode()
        assert "Traceback" not in rest.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--member", "m1=127.0.0.1"], "two members are labelled 'm1'"),
        (["--member", "m2"], "wanted NAME=HOST"),
        (["--ttl", "0"], "--ttl: 0: must be greater than or equal to 1"),
        (["--interval", "0"], "--interval: 0.0: must be"),
        (["--listen", "localhost:53"], "wanted an IP address"),
        (["--listen", "127.0.0.1"], "the port is missing"),
        (["--listen", "[::1]:53", "--listen", "[::1]:53"], "given twice"),
        (["--probe-password-file", "/nonexistent"], "--probe-password-file /nonexistent: No such file"),
        (["--tls-ca", "/dev/null"], "--tls-ca /dev/null"),
        (["--domain", "a..b"], "empty label"),
        (["--domain", LONG_DOMAIN], "must be 3 shorter"),
        (["--listen", "0.0.0.0:53"], "--listen: 0.0.0.0:53: name the address that clients ask"),
        (["--listen", "[::]:53"], "--listen: [::]:53: name the address that clients ask"),
        (["--keep-roles", "-1"], "--keep-roles: -1.0: must be"),
        (["--keep-roles", "nan"], "--keep-roles: nan: must be"),
    ],
)
def test_serve_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLEAD_PROBE_PASSWORD", "secret")
    assert in_process("srv", [*SERVE, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fairlead srv serve: ")
    assert complaint in error


def test_serve_needs_a_password(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRLEAD_PROBE_PASSWORD", raising=False)
    assert in_process("srv", SERVE) == 2
    assert "set FAIRLEAD_PROBE_PASSWORD" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a b"], "'a b' is not a name"),
        ([LONG_DOMAIN], "longer than 253 characters"),
        (["d.test", "--resolver", "ns.example.com"], "wanted an IP address"),
        *((["d.test", "--timeout", seconds], f"--timeout {seconds}: wanted") for seconds in ("0", "-1", "nan", "inf")),
    ],
)
def test_resolve_says_what_is_wrong(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process("resolve", arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("fairlead resolve: ")
    assert complaint in error


def test_the_commands_are_cheap_to_import() -> None:
    heavy = (
        "import srv.commands, sys; print([name for name in ('asyncio', 'dns', 'uvloop', 'ssl') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
    assert Path(found.args[0]).exists()


CONFIG = """
[server]
listen = ["127.0.0.1:5300"]
transfer_to = ["192.0.2.0/24"]
notify = ["192.0.2.54"]
[updates.bind]
server = "192.0.2.55"
zone = "test"
key_name = "fairlead"
key_file = "/etc/key"
[etcd.main]
endpoints = ["http://192.0.2.3:2379"]
[clusters.orders]
source = "group"
domain = "orders.test"
members = ["m1=192.0.2.1"]
probe_user = "probe"
[clusters.parts]
source = "etcd"
domain = "parts.test"
[clusters.listed]
source = "file"
path = "/etc/listing.toml"
"""


def test_a_configuration_is_checked_and_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLEAD_PROBE_PASSWORD", "secret")
    file, listing = tmp_path / "fairlead.toml", tmp_path / "listing.toml"
    file.write_text(CONFIG.replace("/etc/listing.toml", str(listing)).replace("/etc/key", str(tmp_path / "key")))
    (tmp_path / "key").write_text("c2VjcmV0\n")
    listing.write_text('[clusters."tools.test".members.m1]\nhost = "192.0.2.1"\n')
    assert in_process("srv", ["serve", "--config", str(file), "--check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "The configuration is valid.",
        "cluster orders: orders.test, members m1 probed as probe",
        "cluster parts: parts.test, from keys below /fairlead in etcd at http://192.0.2.3:2379",
        f"cluster listed: as {listing} lists",
        "server: 127.0.0.1:5300",
        "transfers: to 192.0.2.0/24",
        "notifies: 192.0.2.54:53",
        "updates bind: test on 192.0.2.55:53",
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("members =", "member ="), "clusters.orders.member: no such option; did you mean members?"),
        (('"m1=192.0.2.1"]', '"m1=192.0.2.1"]\nprobe_tls_ca = "/none"'), "clusters.orders.probe_tls_ca /none: No such"),
        (('"m1=192.0.2.1"]', '"m1=192.0.2.1"]\nprobe_tls = "verify-ca"'), "clusters.orders.probe_tls verify-ca: needs"),
        (('9"]', '9"]\nuser = "u"\npassword_file = "/none"'), "etcd.main.password_file /none: No such file"),
        (('key_file = "/etc/key"', 'key_file = "/none"'), "updates.bind.key_file: secret file /none: No such file"),
        (('key_name = "fairlead"', 'key_algorithm = "md5"'), "updates.bind.key_algorithm: 'md5': must be one of"),
        (("", ""), "clusters.listed.path: /etc/listing.toml: No such file or directory"),
        (('["http:', '["https:'), "etcd.main.tls_ca: is missing"),
        (('["http://192.0.2.3:2379"]', '["https://x:1"]\ntls_ca = "/none"'), "etcd.main.tls_ca /none: No such file"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_named(
    change: tuple[str, str],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAIRLEAD_PROBE_PASSWORD", "secret")
    file = tmp_path / "fairlead.toml"
    (tmp_path / "key").write_text("c2VjcmV0\n")
    file.write_text(CONFIG.replace(*change).replace("/etc/key", str(tmp_path / "key")))
    assert in_process("srv", ["serve", "--config", str(file), "--check"]) == 2
    assert f"fairlead srv serve: {complaint}" in capsys.readouterr().err


def test_a_configuration_takes_no_other_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process("srv", ["serve", "--config", str(tmp_path), "--domain", "db.test"]) == 2
    assert "leave the other flags out" in capsys.readouterr().err


AGENT = ["agent", "--domain", DOMAIN, "--member", "m1=192.0.2.1", "--probe-user", "u", "--etcd", "http://127.0.0.1:1"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--member", "m1"], "'m1': wanted NAME=HOST"),
        (["--probe", "[::1"], "'[::1': an IPv6 address with a port is written"),
        (["--domain", "a..b"], "'a..b' is not a name: it has an empty label"),
        (["--probe-user", ""], "--probe-user: is missing"),
        (["--weight", "0"], "weight 0: wanted 1 to 65535"),
        (["--priority", "101"], "priority 101: wanted 0 to 100"),
        (["--interval", "0"], "--interval 0: wanted 0.01 to 60 seconds"),
        (["--etcd", "127.0.0.1:1"], "--etcd.1: '127.0.0.1:1': wanted http://HOST:PORT"),
        (["--etcd-prefix", "x"], "--etcd-prefix: 'x': wanted a path"),
        (["--etcd-user", "u"], "--etcd-password-file: user and password_file belong together"),
        (["--etcd-user", "u", "--etcd-password-file", "/none"], "--etcd-password-file /none: No such file"),
        (["--etcd-tls-ca", "/none"], "--etcd: with TLS files they must begin with https://"),
        (["--probe-password-file", "/none"], "--probe-password-file /none: No such file"),
        (["--tls-ca", "/none"], "--tls-ca /none: No such file"),
    ],
)
def test_agent_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLEAD_PROBE_PASSWORD", "secret")
    assert in_process("srv", [*AGENT, *arguments]) == 2
    assert f"fairlead srv agent: {complaint}" in capsys.readouterr().err
