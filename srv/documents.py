"""TOML documents checked against models. Owns the words of each error; must not know what a document is about."""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from cluster.members import Endpoint, parse_endpoint
from srv.names import canonical

Location = tuple[int | str, ...]

ERRORS_LIMIT = 10  # told of one document; finding the line of each takes as long as reading it some ten times


class DocumentError(Exception):
    """The document cannot be used. Each line names a key, its value and what would be right."""


class WrongError(ValueError):
    """Found by a check that sees more than one value: whose it is, from there on, is not pydantic's to know."""

    def __init__(self, location: str | Location, message: str) -> None:
        super().__init__(message)
        self.location: Location = (location,) if isinstance(location, str) else location


class Table(BaseModel):
    """A table that has the keys it is declared with and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


Model = TypeVar("Model", bound=Table)


def address(default_port: int | None, example: str = "192.0.2.53:53") -> BeforeValidator:
    """Reads `ADDRESS:PORT`, an IP address; `example` is one for errors."""

    def read(value: object) -> object:
        if isinstance(value, Endpoint):
            return value
        if not isinstance(value, str):
            raise ValueError(f'wanted a text like "{example}"')
        endpoint = parse_endpoint(value, default_port or 0)
        if endpoint.port == 0:
            raise ValueError(f'the port is missing; write ADDRESS:PORT, like "{example}"')
        try:
            host = ipaddress.ip_address(endpoint.host)
        except ValueError:
            raise ValueError(f"wanted an IP address, and {endpoint.host!r} is none; write one, like ::1") from None
        return Endpoint(str(host), endpoint.port)  # one spelling, by which addresses are compared

    return BeforeValidator(read)


def _read_domain(value: object) -> object:
    return canonical(value) if isinstance(value, str) else value


Domain = Annotated[str, BeforeValidator(_read_domain)]
"""A cluster's domain, in its canonical spelling."""


def parse(model: type[Model], document: Mapping[str, Any]) -> Model:
    """Check a document.

    Raises:
        DocumentError: one line for each thing that is wrong.
    """
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        raise DocumentError("\n".join(_bounded(_telling(exc), lambda error: in_words(error, model)))) from exc


def parse_text(model: type[Model], text: str) -> Model:
    """Check a document's text; errors name the line too.

    Raises:
        DocumentError: one line for each thing that is wrong.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise DocumentError(f"not valid TOML: {exc}") from exc
    try:
        return model.model_validate(document)
    except ValidationError as exc:

        def tell(error: Any) -> str:
            return f"line {line_of(text, _place(error, model)[0])}: {in_words(error, model)}"

        raise DocumentError("\n".join(_bounded(_telling(exc), tell))) from exc


def _bounded(errors: Sequence[Any], tell: Callable[[Any], str]) -> list[str]:
    """The first errors in words, and how many more there are."""
    lines = [tell(error) for error in errors[:ERRORS_LIMIT]]
    more = len(errors) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def _telling(exc: ValidationError) -> list[Any]:
    """The errors without those that only follow from others inside the same value."""
    errors = exc.errors()
    within = {error["loc"][:length] for error in errors for length in range(len(error["loc"]))}
    return [error for error in errors if error["type"] != "too_short" or error["loc"] not in within]


def line_of(text: str, location: Location) -> int:
    """The line on which a document first has the key, or the nearest table around it that is there.

    Found by halving: what the first lines alone parse to has the key, or has not.
    """
    lines = text.splitlines(keepends=True)
    wanted = _depth(tomllib.loads(text), location)
    numbers = range(1, len(lines) + 1)
    return bisect_left(numbers, True, key=lambda number: _depth(_beginning(lines, number), location) >= wanted) + 1


def _beginning(lines: Sequence[str], number: int) -> Mapping[str, Any]:
    """What the first so many lines parse to, with as many more as a value goes over."""
    while True:
        try:
            return tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            number += 1


def _depth(document: Any, location: Location) -> int:
    """How many parts of the location are there."""
    for depth, part in enumerate(location):
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(location)


_REMEDY = {
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text in quotes",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "mapping_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "too_short": "needs at least one entry",
    "string_too_short": "must not be empty",
}


def in_words(error: Any, model: type[BaseModel]) -> str:
    """One of pydantic's errors for an operator: the key, the bad value, what would be right."""
    kind, context = error["type"], error.get("ctx", {})
    location, table = _place(error, model)
    key = ".".join(map(str, location))
    match kind:
        case "extra_forbidden":
            known = sorted(table.model_fields) if table else []
            near = difflib.get_close_matches(str(location[-1]), known, n=1)
            return f"{key}: no such option; " + (
                f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            )
        case "value_error":
            wrong = context["error"]
            told = isinstance(wrong, WrongError) or repr(error["input"]) in str(wrong)
            return f"{key}: {wrong}" if told else f"{key}: {error['input']!r}: {wrong}"
        case "missing":
            return f"{key}: is missing, and has no default"
        case "union_tag_not_found":
            return f"{key}.{context['discriminator'].strip(chr(39))}: is missing, and has no default"
        case "union_tag_invalid":
            which = context["discriminator"].strip("'")
            return f"{key}.{which}: {context['tag']!r}: must be one of {context['expected_tags']}"
        case "enum" | "literal_error":
            return f"{key}: {error['input']!r}: must be one of {context['expected']}"
        case _:
            return f"{key}: {error['input']!r}: {_REMEDY.get(kind) or error['msg'].replace('Input should', 'must')}"


def _place(error: Any, model: type[BaseModel]) -> tuple[Location, type[BaseModel] | None]:
    """The key as it is written, and the table that it stands in: of a choice of tables, pydantic names which."""
    parts: list[int | str] = []
    table: type[BaseModel] | None = model
    kind: Any = model
    for part in error["loc"]:
        while get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if get_origin(kind) in (Union, UnionType):
            chosen = [one for one in get_args(kind) if isinstance(one, type) and part in _tags(one)]
            kind = next(iter(chosen), None)
            if chosen:
                continue
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            table, field = kind, kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:  # a mapping's value, or a list's
            kind = next((one for one in reversed(get_args(kind)) if one is not Ellipsis), None)
        parts.append(part)
    wrong = error.get("ctx", {}).get("error")
    return (*parts, *(wrong.location if isinstance(wrong, WrongError) else ())), table


def _tags(kind: type) -> set[object]:
    """The values that say that a table is this one."""
    fields = kind.model_fields.values() if issubclass(kind, BaseModel) else ()
    return {
        value for field in fields if get_origin(field.annotation) is Literal for value in get_args(field.annotation)
    }
