"""TLS goes end to end through the router: names that are verified, accounts of certificates, and SNI, all as direct."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.demo.run import DOMAIN, RW_PORT, Stage
from bench.peers.connectors import ensure_python
from bench.sandbox.certificates import ensure_authority, issue
from bench.sandbox.errors import SandboxError
from bench.sandbox.sandbox import Sandbox
from tests.e2e.publishing import WITH_MOUNT
from tests.e2e.routing import routed
from tests.e2e.srv_clients import PROGRAMS

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]
PATIENCE = 30.0  # seconds
X_RW_PORT = 6448
PASSWORD = "certified-secret"
#: Accounts by what they REQUIRE.
REQUIRED = {
    "by_x509": "X509",
    "by_subject": "SUBJECT '/CN=orders'",
    "by_issuer": "ISSUER '/CN=Fairlead sandbox CA'",
    "by_none": "SSL",
}
#: Certificates of clients: the subject, and whether the authority is the servers'.
CERTIFICATES = {"orders": True, "stranger": True, "forged": False}
ASKING = "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1), @@server_uuid; SHOW SESSION STATUS LIKE 'Tls_sni_server_name'"


@dataclass(frozen=True, slots=True)
class Client:
    """The mysql client, and where it finds the names of members: at the members, or at the router."""

    stage: Stage
    etc: Path
    through_router: bool

    def connect(self, member: str, user: str, *options: str) -> str:
        """Log in to a member by its name; return what it printed, or the number of its error."""
        where = self.stage.sandbox.member(member)
        address, port = (self.stage.address, RW_PORT) if self.through_router else (where.host, where.port)
        (self.etc / "hosts").write_text(f"{address} {member}.{DOMAIN}\n", encoding="ascii")
        root = self.stage.sandbox.root
        assert root is not None
        words = [f"--host={member}.{DOMAIN}", f"--port={port}", f"--user={user}", "--connect-timeout=5"]
        asking = ["--batch", "--skip-column-names", f"--execute={ASKING}"]
        client = [*self.stage.sandbox.env()["mysql_client"], "--no-defaults", *words, *options, *asking]
        done = subprocess.run(
            [*WITH_MOUNT, str(self.etc), str(root / "etc"), *client],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, "MYSQL_PWD": PASSWORD},
        )
        return done.stdout if done.returncode == 0 else " ".join(done.stderr.split()[:2])


@pytest.fixture(scope="module")
def stage(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    sandbox.restore()
    for user, required in REQUIRED.items():
        sandbox.sql("mysql-0", f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}' REQUIRE {required}")
    try:
        with routed(sandbox, tmp_path_factory.mktemp("routed")) as one:
            yield one
    finally:
        sandbox.restore()
        for user in REQUIRED:
            sandbox.sql("mysql-0", f"DROP USER IF EXISTS {user}")


@pytest.fixture(scope="module")
def etc(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in the place of the client's /etc: the authority, the certificates, and names."""
    sandbox = stage.sandbox
    if sandbox.root is None:
        pytest.skip("the mysql client of the private root is needed")
    directory = tmp_path_factory.mktemp("etc")
    etc = directory / "etc"
    shutil.copytree(sandbox.root / "etc", etc, symlinks=True, ignore_dangling_symlinks=True)
    shutil.copyfile(sandbox.ca_file, etc / "ca.pem")
    forger = directory / "forger.pem", directory / "forger-key.pem"
    ensure_authority(*forger)
    for subject, genuine in CERTIFICATES.items():
        authority = (sandbox.ca_file, sandbox.layout.private / "ca-key.pem") if genuine else forger
        certificate, key = issue(*authority, ["orders" if subject == "forged" else subject])
        (etc / f"{subject}.pem").write_text(certificate, encoding="ascii")
        (etc / f"{subject}-key.pem").write_text(key, encoding="ascii")
    return etc


@pytest.fixture
def clients(stage: Stage, etc: Path) -> tuple[Client, Client]:
    return Client(stage, etc, through_router=False), Client(stage, etc, through_router=True)


def both(clients: tuple[Client, Client], member: str, user: str, *options: str) -> str:
    """What came of a login through the router, which must be what comes of one without."""
    direct, through = (one.connect(member, user, *options) for one in clients)
    assert through == direct
    return through


IDENTITY = ("--ssl-mode=VERIFY_IDENTITY", "--ssl-ca=/etc/ca.pem")


def shown(name: str) -> tuple[str, ...]:
    return (*IDENTITY, f"--ssl-cert=/etc/{name}.pem", f"--ssl-key=/etc/{name}-key.pem")


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_member_is_verified_by_its_own_name(clients: tuple[Client, Client], version: str) -> None:
    uuid = clients[0].stage.sandbox.status().member("mysql-0").uuid
    said = both(clients, "mysql-0", "by_none", *IDENTITY, f"--tls-version={version}")
    assert said.startswith(f"by_none\t{uuid}\n"), said


def test_another_members_name_is_not_believed(clients: tuple[Client, Client]) -> None:
    # The router leads to mysql-0, which has no certificate for that name; direct, it is mysql-1 itself.
    _, through = clients
    assert through.connect("mysql-1", "by_none", *IDENTITY) == "ERROR 2026"


def test_a_member_that_another_authority_has_certified_is_not_believed(clients: tuple[Client, Client]) -> None:
    believed = ("--ssl-mode=VERIFY_IDENTITY", "--ssl-ca=/etc/forged.pem")
    assert both(clients, "mysql-0", "by_none", *believed) == "ERROR 2026"


@pytest.mark.parametrize("user", ["by_x509", "by_subject", "by_issuer"])
def test_an_account_that_requires_a_certificate(clients: tuple[Client, Client], user: str) -> None:
    assert both(clients, "mysql-0", user, *shown("orders")).startswith(f"{user}\t")
    assert both(clients, "mysql-0", user, *IDENTITY) == "ERROR 1045"
    admitted = both(clients, "mysql-0", user, *shown("stranger")).startswith(f"{user}\t")
    assert admitted is (user != "by_subject")
    assert both(clients, "mysql-0", user, *shown("forged")).startswith("ERROR")


def test_a_plain_connection_is_refused_where_tls_is_required(clients: tuple[Client, Client]) -> None:
    assert both(clients, "mysql-0", "by_none", "--ssl-mode=DISABLED").startswith("ERROR")


@pytest.mark.parametrize("name", ["orders.tenant-7.example.test", ""])
def test_the_server_name_indication_arrives_as_it_was_sent(clients: tuple[Client, Client], name: str) -> None:
    options = (f"--tls-sni-servername={name}",) if name else ()
    said = both(clients, "mysql-0", "by_none", *IDENTITY, *options)
    assert said.splitlines()[1].split("\t") == ["Tls_sni_server_name", name]


def test_an_x_session_with_a_certificate(stage: Stage, etc: Path) -> None:
    try:
        python = ensure_python()
    except SandboxError as exc:
        pytest.skip(str(exc))
    member = stage.sandbox.member("mysql-0")
    access = {"APP_USER": "by_subject", "APP_PASSWORD": PASSWORD, "APP_CA": str(stage.sandbox.ca_file)}

    def who(address: tuple[str, int], certificate: str) -> tuple[int, str]:
        own = {"APP_CERT": str(etc / f"{certificate}.pem"), "APP_KEY": str(etc / f"{certificate}-key.pem")}
        done = subprocess.run(
            [str(python), str(PROGRAMS / "crud.py"), address[0], str(address[1]), "who"],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={**os.environ, **access, **own},
        )
        return done.returncode, done.stdout

    addresses = (member.host, member.x_port), (stage.address, X_RW_PORT)
    direct, through = (who(address, "orders") for address in addresses)
    assert through == direct
    assert direct[0] == 0
    name, version = json.loads(direct[1].splitlines()[0])[1]["rows"][0]
    assert (name, version[:4]) == ("by_subject@%", "TLSv")
    assert [who(address, "stranger") for address in addresses] == [(1, ""), (1, "")]
