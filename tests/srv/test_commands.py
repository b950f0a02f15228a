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
        (["--ttl", "0"], "TTL 0"),
        (["--interval", "0"], "--interval 0.0"),
        (["--listen", "localhost:53"], "wanted an IP address"),
        (["--listen", "127.0.0.1"], "the port is missing"),
        (["--listen", "[::1]:53", "--listen", "[::1]:53"], "given twice"),
        (["--probe-password-file", "/nonexistent"], "--probe-password-file /nonexistent: No such file"),
        (["--tls-ca", "/dev/null"], "--tls-ca /dev/null"),
        (["--domain", "a..b"], "empty label"),
        (["--domain", LONG_DOMAIN], "must be 3 shorter"),
        (["--listen", "0.0.0.0:53"], "--listen 0.0.0.0:53: name the address that clients ask"),
        (["--listen", "[::]:53"], "--listen [::]:53: name the address that clients ask"),
        (["--keep-roles", "-1"], "--keep-roles -1: wanted"),
        (["--keep-roles", "nan"], "--keep-roles nan: wanted"),
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
