"""What an operation of the HTTP API is: its path, its words, its shapes and who answers it.

One table of these registers the handlers and writes the descriptions (OpenAPI, Swagger), so that none can be out of
date. Owns the language of shapes too. Pure; must not know HTTP libraries or what operations do.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = Any
"""What a JSON value looks like: `str`, `int`, `float`, `bool`; a list of one shape; a mapping of keys to shapes;
`Maybe` one that may be null; `By` one for any key; `Optional` one whose key may be missing; `Anything`."""

SIMPLE: Mapping[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Maybe:
    """That shape, or null."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Optional:
    """That shape, where the key is there."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class By:
    """An object whose keys are data, with that shape for each value."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Open:
    """An object with these keys, and others."""

    shape: Mapping[str, Shape]


class Anything:
    """Any value."""


def schema_of(shape: Shape) -> dict[str, Any]:
    """The JSON schema of a shape, in the part of the language that OpenAPI 3.1 has."""
    match shape:
        case type() if shape in SIMPLE:
            return {"type": SIMPLE[shape]}
        case type():
            return {}
        case Maybe(inner):
            schema = schema_of(inner)
            return {**schema, "type": [schema["type"], "null"]}
        case Optional(inner):
            return schema_of(inner)
        case By(inner):
            return {"type": "object", "additionalProperties": schema_of(inner)}
        case Open(inner):
            return {**schema_of(inner), "additionalProperties": True}
        case [inner]:
            return {"type": "array", "items": schema_of(inner)}
    required = [key for key, inner in shape.items() if not isinstance(inner, Optional)]
    return {
        "type": "object",
        "properties": {key: schema_of(inner) for key, inner in shape.items()},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """What a handler gets: the parts of the path and the query by name, the body's document, who asks."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    caller: str = ""
    last_event: str = ""  # the Last-Event-ID header


class ProblemError(Exception):
    """The operation cannot be done; becomes a problem document (RFC 9457).

    Args:
        status: of HTTP.
        detail: what is wrong and what would be right, for people.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


Handler = Callable[[Asked], Awaitable[Any]]
Stream = Callable[[Asked], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One path and method.

    name: unique, for clients made from the description. query and body: shapes by key. answer: the document's shape.
    stream: answers those who accept `text/event-stream`.
    """

    method: str
    path: str
    name: str
    words: str
    handler: Handler
    answer: Shape
    query: Mapping[str, Shape] = field(default_factory=dict)
    body: Mapping[str, Shape] | None = None
    problems: Sequence[int] = ()
    stream: Stream | None = None

    @property
    def changes(self) -> bool:
        """Whether it changes anything, and so needs a credential."""
        return self.method != "GET"

    @property
    def parameters(self) -> list[str]:
        """The parts of the path that are data."""
        return re.findall(r"{(\w+)}", self.path)


def read_query(given: Mapping[str, str], known: Mapping[str, Shape]) -> dict[str, Any]:
    """The query's values as the operation has them.

    Raises:
        ProblemError: one is unknown, or of another kind.
    """
    values: dict[str, Any] = {}
    for key, text in given.items():
        shape = known.get(key)
        if shape is None:
            names = ", ".join(sorted(known)) or "none"
            raise ProblemError(400, f"the query parameter {key[:50]!r} is not known here; known are: {names}")
        inner = shape.shape if isinstance(shape, Optional) else shape
        if inner is int and not re.fullmatch(r"[0-9]{1,18}", text):
            raise ProblemError(400, f"the query parameter {key} must be a whole number, and {text[:50]!r} is none")
        values[key] = inner(text)
    return values


def read_body(given: Any, known: Mapping[str, Shape]) -> dict[str, Any]:
    """The body's values; all are optional.

    Raises:
        ProblemError: it is no object, or a value is unknown or of another kind.
    """
    if not isinstance(given, dict):
        raise ProblemError(400, "the body must be a JSON object")
    for key, value in given.items():
        shape = known.get(key)
        if shape is None:
            names = ", ".join(sorted(known)) or "none"
            raise ProblemError(400, f"{key[:50]!r} is not known in the body; known are: {names}")
        inner = shape.shape if isinstance(shape, Optional) else shape
        if type(value) is int and inner is float:
            continue
        if type(value) is not inner:
            raise ProblemError(400, f"{key} in the body must be of type {SIMPLE[inner]}")
    return given
