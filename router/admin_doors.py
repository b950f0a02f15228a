"""Lets callers in: reads credential files, and finds out whose credential a request has.

Owns the credentials in force and their renewal, and how many passwords are tried at once. The rules are
`admin_access`'s. Must not know HTTP libraries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from router.admin_access import (
    Basic,
    Bearer,
    CredentialError,
    Credentials,
    Remembered,
    Rules,
    is_user,
    name_of_token,
    present,
    read_tokens,
    read_users,
)
from router.admin_settings import AdminSettings
from router.admin_tls import make_context
from router.settings import SettingsError

log = logging.getLogger("fairlead.admin")

TRIES_WAITING = 32
"""Passwords that may wait to be tried, one at a time: each costs a core 50 ms, and guessing must not starve workers."""

T = TypeVar("T")


def read_credentials(admin: AdminSettings) -> Credentials:
    """What the files say now.

    Raises:
        SettingsError: one cannot be used.
    """
    return Credentials(
        users=_read("users_file", admin.users_file, read_users) if admin.users_file else {},
        tokens=_read("tokens_file", admin.tokens_file, read_tokens) if admin.tokens_file else {},
    )


def _read(option: str, path: Path, parse: Callable[[str], T]) -> T:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"admin.{option} {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"admin.{option} {path}: is not UTF-8") from exc
    except CredentialError as exc:
        raise SettingsError(f"admin.{option} {path}: {exc}") from exc


def check_files(admin: AdminSettings) -> None:
    """Find out whether the files that the settings name can be used.

    Raises:
        SettingsError: one cannot.
    """
    if admin.enabled:
        read_credentials(admin)
        if admin.certificate is not None:
            make_context(admin)


class CrowdedError(Exception):
    """Too many passwords wait to be tried."""


class Tries:
    """Tries passwords one at a time, whoever asks, and whether or not he still waits: no hash can be stopped.

    One for a process: credentials are renewed, and what was begun with the old ones goes on.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")
        self._waiting = 0

    async def is_user(self, credentials: Credentials, presented: Basic) -> bool:
        """Whether user and password belong together.

        Raises:
            CrowdedError: too many wait already.
        """
        if self._waiting >= TRIES_WAITING:
            raise CrowdedError
        tried = self._thread.submit(is_user, credentials, presented)
        self._waiting += 1
        answer = asyncio.wrap_future(tried)
        answer.add_done_callback(self._done)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            tried.cancel()  # where it has not begun
            raise

    def _done(self, _: object) -> None:
        self._waiting -= 1

    def close(self) -> None:
        """Begin none any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Doors:
    """Knows callers.

    Args:
        admin: the settings.
        credentials: what their files say.
        tries: passwords.
    """

    def __init__(self, admin: AdminSettings, credentials: Credentials, tries: Tries) -> None:
        self._credentials = credentials
        self._remembered = Remembered()
        self._tries = tries
        self.rules = Rules(admin.local, admin.anonymous_read, bool(credentials))

    async def caller_of(self, authorization: str) -> tuple[str | None, bool]:
        """Whose credential that header has, if anybody's, and whether it is a token.

        Raises:
            CrowdedError: too many passwords wait to be tried.
        """
        match present(authorization):
            case Bearer(token):
                return name_of_token(self._credentials, token), True
            case Basic() as presented:
                return (presented.user if await self._is_user(presented) else None), False
        return None, False

    async def _is_user(self, presented: Basic) -> bool:
        if not self._credentials.users:
            return False
        if self._remembered.knows(presented):
            return True
        right = await self._tries.is_user(self._credentials, presented)
        if right:
            self._remembered.add(presented)
        return right
