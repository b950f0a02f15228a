"""Describes tables of operations: OpenAPI 3.1 for our own API, Swagger 2.0 for MySQL Router's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.api_operations import Operation, Optional, schema_of

PROBLEM = {"type": str, "title": str, "status": int, "detail": str}
PROBLEM_TYPE = "application/problem+json"
WORDS: Mapping[int, str] = {
    400: "The request is not well formed.",
    401: "A credential is missing or not known.",
    403: "Not allowed.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    415: "The body must be application/json.",
    503: "It cannot be told just now.",
}


def write_openapi(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    paths: dict[str, Any] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _openapi(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fairlead", "version": version, "description": "State and control of one router."},
        "security": [{"token": []}, {"user": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "user": {"type": "http", "scheme": "basic"},
            },
            "schemas": {"Problem": schema_of(PROBLEM)},
        },
    }


def _openapi(one: Operation) -> dict[str, Any]:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    content: dict[str, Any] = {"application/json": {"schema": schema_of(one.answer)}}
    if one.stream is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    statuses = sorted({401, 403, *one.problems, *([400] if one.query or one.body else []), *([415] * one.changes)})
    described: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.words,
        "responses": {
            "200": {"description": "What was asked for.", "content": content},
            **{str(code): {"description": WORDS[code], "content": {PROBLEM_TYPE: problem}} for code in statuses},
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in one.parameters
    ]
    for name, shape in one.query.items():
        parameters.append({"name": name, "in": "query", "required": False, "schema": schema_of(shape)})
    if parameters:
        described["parameters"] = parameters
    if one.changes:
        described["security"] = [{"token": []}, {"user": []}]
    if one.body is not None:
        described["requestBody"] = {
            "required": False,
            "content": {"application/json": {"schema": schema_of({k: Optional(v) for k, v in one.body.items()})}},
        }
    return described


def write_swagger(operations: Iterable[Operation], base: str, version: str) -> dict[str, Any]:
    """The Swagger 2.0 document of operations below one base path."""
    paths: dict[str, Any] = {}
    for one in operations:
        described: dict[str, Any] = {
            "operationId": one.name,
            "summary": one.words,
            "responses": {
                "200": {"description": "What was asked for.", "schema": schema_of(one.answer)},
                **{str(code): {"description": WORDS[code]} for code in one.problems},
            },
        }
        if one.parameters:
            described["parameters"] = [
                {"name": name, "in": "path", "required": True, "type": "string"} for name in one.parameters
            ]
        paths[one.path.removeprefix(base)] = {one.method.lower(): described}
    return {
        "swagger": "2.0",
        "info": {"title": "Fairlead, as MySQL Router has it", "version": version},
        "basePath": base,
        "produces": ["application/json"],
        "paths": paths,
    }
