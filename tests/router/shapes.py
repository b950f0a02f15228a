"""Checks JSON documents against the schemas that the API's description gives them: the part of the language it uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

KINDS = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "null": type(None)}


def _is(value: Any, kind: str) -> bool:
    if kind == "number":
        return type(value) in (int, float)
    return type(value) is KINDS[kind]


def violations(value: Any, schema: dict[str, Any], where: str = "") -> Iterator[str]:
    """What of a document is not as its schema says."""
    assert schema.keys() <= {"type", "properties", "required", "additionalProperties", "items"}, schema
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{where}: {value!r} is not of {kinds}"
        return
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for key in schema.get("required", []):
            if key not in value:
                yield f"{where}: {key} is missing"
        for key, inner in value.items():
            if key in known:
                yield from violations(inner, known[key], f"{where}.{key}")
            elif others is False:
                yield f"{where}: {key} is not in the schema"
            elif isinstance(others, dict):
                yield from violations(inner, others, f"{where}.{key}")
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from violations(inner, schema.get("items", {}), f"{where}[{number}]")
