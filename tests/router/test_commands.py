"""The command line: what it says to people who got it wrong, and never a stack trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cli import main


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRLEAD_PROBE_PASSWORD", raising=False)


@pytest.mark.parametrize(
    ("arguments", "toml", "words"),
    [
        ([], None, "no cluster: name a configuration with --config"),
        (["--srv", "a..b"], None, "clusters.main.srv: 'a..b' is not a domain name"),
        (["--srv", "a.b", "--bind", "localhost"], None, "--bind localhost: must be an IP address"),
        (
            ["--srv", "a.b", "--resolver", "ns"],
            None,
            "clusters.main.resolvers.0: wanted an IP address, and 'ns' is none",
        ),
        (
            ["--srv", "a.b", "--probe-user", "p"],
            None,
            "no password: name a file with clusters.main.probe_password_file",
        ),
        (
            ["--srv", "a.b", "--probe-tls", "on"],
            None,
            "clusters.main.probe_tls: 'on': must be one of 'disabled', 'pref",
        ),
        (["--srv", "a.b", "--probe-tls", "verify-ca"], None, "name its file with clusters.main.probe_tls_ca"),
        (["--srv", "a.b", "--probe-tls-ca", "/absent"], None, "clusters.main.probe_tls_ca /absent: No such file"),
        (
            ["--srv", "a.b"],
            '[clusters.one]\nprobe_tls = "required"\nprobe_tls_key = "/k"',
            "clusters.one.probe_tls_key /k: the certificate is missing; name its file with clusters.one.probe_tls_cert",
        ),
        (["--srv", "a.b", "--admin", "x"], None, "admin.listen: wanted an IP address, and 'x' is none"),
        (["--srv", "a.b"], "clusters = 3", "clusters: 3: must be a table"),
        (["--srv", "a.b"], "[clusters]\nmain = 3", "clusters.main: 3: must be a table"),
        (["--admin", "127.0.0.1:1"], 'admin = "x"\n[clusters.main]\nsrv = "a.b"', "admin: 'x': must be a table"),
        (["--srv", "a.b", "--bind", "127.0.0.1"], "[routes]", "--bind is for the four usual routes"),
        (["--srv", "x.y"], '[clusters.a]\nsrv = "a.b"\n[clusters.b]\nsrv = "b.b"', "flags for a cluster cannot say"),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(
    arguments: list[str], toml: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if toml is not None:
        file = tmp_path / "fairlead.toml"
        file.write_text(toml)
        arguments = ["--config", str(file), *arguments]
    assert main(["router", "--check", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fairlead router: ")
    assert words in error
    assert error.count("\n") == 1


def test_a_password_file_must_hold_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    flags = ["--srv", "a.b", "--probe-user", "p", "--probe-password-file"]
    assert main(["router", "--check", *flags, str(empty)]) == 2
    assert "its first line must be the password" in capsys.readouterr().err
    assert main(["router", "--check", *flags, str(tmp_path / "missing")]) == 2
    assert "No such file" in capsys.readouterr().err
    empty.write_text("secret\n")
    assert main(["router", "--check", *flags, str(empty)]) == 0
    assert "secret" not in "".join(capsys.readouterr())


def test_status_without_a_router(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--admin", "127.0.0.1:1"]) == 1
    assert "no router answers at 127.0.0.1:1: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("127.0.0.1:1", 1, "refused"),
        ("127.0.0.1:", 2, "a port number belongs after the colon"),
        ("127.0.0.1:x", 2, "must be a number from 1 to 65535"),
        ("a..b", 1, "not the name of a host"),
        ("[::1", 2, "is written [ADDRESS]:PORT"),
    ],
)
def test_probe_says_what_is_wrong(address: str, status: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", address]) == status
    assert words in "".join(capsys.readouterr())


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    for command in ("demo", "probe", "resolve", "router", "sandbox", "srv", "status"):
        assert f"\n    {command} " in listed


@pytest.mark.parametrize("url", ["http://192.0.2.1:8443", "HTTP://192.0.2.1:8443", "192.0.2.1:8443"])
def test_no_credential_crosses_the_network_in_clear(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAIRLEAD_ADMIN_TOKEN", "0123456789abcdef")
    assert main(["status", "--admin", url]) == 2
    assert "a credential would cross the network in clear" in capsys.readouterr().err
