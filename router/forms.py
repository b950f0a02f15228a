"""Frozen dataclasses as JSON documents, and back.

Owns the shapes that processes of one router pass each other, which may be of two versions: what a reader does not know
is ignored, what is missing takes its default. Pure; must not know what any of it means.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Read = Callable[[Any], Any]


class FormError(ValueError):
    """A document that does not stand for what is asked; the message says where."""


def write(value: Any) -> Any:
    """A value as what `json` can write: dataclasses by field, enumerations by value, sets and tuples as lists.

    Fields named in `NOT_CARRIED` stay here.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key.value if isinstance(key, Enum) else key): write(one) for key, one in value.items()}
    if isinstance(value, (tuple, list, frozenset)):
        return [write(one) for one in value]
    if is_dataclass(value):
        return {name: write(getattr(value, name)) for name, _, _ in _readers(cast(Any, type(value)))}
    return str(value)  # addresses, networks, paths


def read(kind: type[T], document: Any) -> T:
    """The value of that type that a document stands for.

    Raises:
        FormError: it stands for none.
    """
    try:
        made: T = _reader(cast(Any, kind))(document)
    except (TypeError, ValueError, AttributeError) as exc:
        raise exc if isinstance(exc, FormError) else FormError(f"{kind.__name__}: {exc}") from exc
    return made


NOT_CARRIED = frozenset({"surplus", "unlisted"})
"""Fields of a topology that only the judging of the next look, or people, read."""


@cache
def _readers(kind: type[Any]) -> tuple[tuple[str, Read, Field[Any]], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (one.name, _reader(hints[one.name]), one) for one in fields(kind) if one.init and one.name not in NOT_CARRIED
    )


@cache
def _reader(kind: Any) -> Read:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        [inner] = [one for one in arguments if one is not types.NoneType]
        of_inner = _reader(inner)
        return lambda document: None if document is None else of_inner(document)
    if origin in (tuple, frozenset):
        return _sequence(origin, arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        of_key, of_value = map(_reader, arguments)
        return lambda document: {of_key(key): of_value(one) for key, one in document.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        return lambda document: _fill(kind, document)
    if kind is float:
        return float
    if kind is int:
        return int
    if kind is Any:
        return lambda document: document
    if isinstance(kind, type) and issubclass(kind, bool | str):
        return lambda document: _just(kind, document)
    if not callable(kind):
        raise FormError(f"no document can stand for {kind}")
    made: Read = kind  # enumerations, addresses, networks, paths: made of their one value
    return made


def _sequence(origin: Any, arguments: tuple[Any, ...]) -> Read:
    if origin is tuple and arguments[-1] is not Ellipsis:
        each = [_reader(one) for one in arguments]
        return lambda document: tuple(of(one) for of, one in zip(each, document, strict=True))
    of_item = _reader(arguments[0])
    return lambda document: origin(of_item(one) for one in document)


def _just(kind: type[Any], document: Any) -> Any:
    if type(document) is not kind:
        raise FormError(f"{document!r} is not a {kind.__name__}")
    return document


def _fill(kind: type[Any], document: Any) -> Any:
    if not isinstance(document, Mapping):
        raise FormError(f"{kind.__name__}: {document!r} is not an object")
    values = {}
    for name, of, one in _readers(cast(Any, kind)):
        if name in document:
            values[name] = of(document[name])
        elif one.default is MISSING and one.default_factory is MISSING:
            raise FormError(f"{kind.__name__}.{name} is missing")
    return kind(**values)
