"""Asks a running router over its HTTP listener. For the command line; must not know what documents mean."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

TIMEOUT = 5.0  # seconds; a router that needs longer for a document of its own state is in trouble


class NoRouterError(Exception):
    """No router answers at that address; the message says why."""


def fetch(admin: str, path: str) -> dict[str, Any]:
    """One JSON document.

    Args:
        admin: `ADDRESS:PORT` of the router's HTTP listener.
        path: such as `/api/v1/topology`.

    Raises:
        NoRouterError: nobody answers, or not with JSON.
    """
    opener = build_opener(ProxyHandler({}))  # a proxy that the environment names is not meant for this
    try:
        with opener.open(f"http://{admin}{path}", timeout=TIMEOUT) as reply:
            document = json.load(reply)
    except HTTPError as error:
        error.close()
        raise NoRouterError(f"it answers {path} with {error.code} {error.reason}: not a Fairlead router?") from error
    except (OSError, ValueError, HTTPException) as error:
        raise NoRouterError(str(error.reason if isinstance(error, URLError) else error)) from error
    if not isinstance(document, dict):
        raise NoRouterError(f"it answers {path} with something else than a JSON object: not a Fairlead router?")
    return document
