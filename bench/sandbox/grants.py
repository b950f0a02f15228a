"""The sandbox's accounts and what each may do: SQL text only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DATABASE = "app"


@dataclass(frozen=True, slots=True)
class Grantee:
    """An account as the server knows it.

    Attributes:
        host: from where it may log in. `localhost` is the Unix socket, since names are not resolved.
        grants: what stands between GRANT and TO.
    """

    user: str
    host: str
    grants: tuple[str, ...]


GRANTEES: Mapping[str, Grantee] = {
    "app": Grantee("app", "%", (f"ALL PRIVILEGES ON `{DATABASE}`.*",)),
    # Server variables and status need no privilege.
    "probe": Grantee("probe", "%", ("SELECT ON performance_schema.*",)),
    "admin": Grantee("admin", "localhost", ("ALL PRIVILEGES ON *.*", "GRANT OPTION ON *.*")),
    # Recovery from a binary log, a connection kept in offline mode, clone, and the MYSQL communication stack.
    "replication": Grantee(
        "replication",
        "%",
        ("REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.*",),
    ),
}


def account_statements(passwords: Mapping[str, str]) -> list[str]:
    """Return the statements that make every account on a new, empty server, and leave no other way in.

    Args:
        passwords: by account; letters, digits, `-` and `_` only.

    Raises:
        ValueError: a password has other characters.
    """
    statements = [f"CREATE DATABASE `{DATABASE}`"]
    for account, grantee in GRANTEES.items():
        password = passwords[account]
        if not password.replace("-", "").replace("_", "").isalnum() or not password.isascii():
            raise ValueError(f"the password of {account} has characters that need quoting")
        who = f"'{grantee.user}'@'{grantee.host}'"
        statements.append(f"CREATE USER {who} IDENTIFIED BY '{password}'")
        statements += [f"GRANT {grant} TO {who}" for grant in grantee.grants]
    statements.append("DROP USER 'root'@'localhost'")
    return statements


def recovery_statement(password: str) -> str:
    """Return the statement that tells a member how to log in to the one it recovers from."""
    user = GRANTEES["replication"].user
    return (
        f"CHANGE REPLICATION SOURCE TO SOURCE_USER='{user}', SOURCE_PASSWORD='{password}' "
        "FOR CHANNEL 'group_replication_recovery'"
    )
