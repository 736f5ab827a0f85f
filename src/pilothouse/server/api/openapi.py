"""The OpenAPI 3.1 document, made from the table of routes and the types themselves; nothing in it is written twice."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

import pilothouse
from pilothouse.errors import (
    ConflictError,
    InvalidRequestError,
    PilothouseError,
    StoreFullError,
    StoreUnavailableError,
    TooLargeError,
    UnauthorizedError,
)
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Problem
from pilothouse.model.base import Object
from pilothouse.server.api.problems import MEDIA_TYPE
from pilothouse.server.api.route import BYTES, EVENT_STREAM, Route

EVERY_ROUTE = (InvalidRequestError, StoreUnavailableError)
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request repeated with the same key within an hour changes nothing and gets the same answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
}
REQUEST_ID = {
    "X-Request-Id": {"description": "The request's id, also in the server's log", "schema": {"type": "string"}}
}

Json = dict[str, Any]


def document(routes: Sequence[Route]) -> Json:
    """Return the document; types are components, and each is in it once."""
    kinds = [kind for route in routes for kind in (route.body, route.answer) if kind not in {None, Object}]
    queries = [route.query for route in routes]
    schemas, components = msgspec.json.schema_components(
        [Problem, *kinds, *queries], ref_template="#/components/schemas/{name}"
    )
    count = len(kinds)
    by_kind = dict(zip(map(_key, kinds), schemas[1 : count + 1], strict=True))
    query_schemas = dict(zip(map(_key, queries), schemas[count + 1 :], strict=True))
    paths: Json = {}
    for route in routes:
        parameters = [*_path_parameters(route.path), *_query_parameters(query_schemas[_key(route.query)], components)]
        if route.repeatable:
            parameters.append(IDEMPOTENCY_KEY)
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, parameters, by_kind, schemas[0])
    for query in {route.query.__name__ for route in routes}:
        components.pop(query, None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pilothouse", "version": pilothouse.__version__, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "On TCP; on the Unix socket the kernel says who calls",
                }
            },
        },
        "security": [{"token": []}, {}],
    }


def _key(kind: Any) -> str:  # noqa: ANN401 - types of every form
    return repr(kind)


def _operation(route: Route, parameters: list[Json], by_kind: dict[str, Json], problem: Json) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.name.partition(".")[0]],
        "x-permission": route.permission.value,
        "parameters": parameters,
        "responses": {str(route.status): _success(route, by_kind), **_problems(route, problem)},
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_kind[_key(route.body)]}},
        }
    if route.permission is Permission.PUBLIC:
        operation["security"] = []
    return operation


def _success(route: Route, by_kind: dict[str, Json]) -> Json:
    schema = {"type": "object"} if route.answer in {None, Object} else by_kind[_key(route.answer)]
    if not route.streams:
        return {
            "description": route.summary,
            "headers": REQUEST_ID,
            "content": {"application/json": {"schema": schema}},
        }
    return {
        "description": route.summary,
        "headers": REQUEST_ID,
        "content": {route.streams: {"schema": _streamed(route.streams, schema)}},
    }


def _streamed(media_type: str, item: Json) -> Json:
    """Return the schema of a streamed answer whose items are JSON texts of *item*."""
    if media_type == BYTES:
        return {"type": "string", "format": "binary"}
    if media_type == EVENT_STREAM:
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": item}
        text = {"type": "string"}
        return {"type": "object", "properties": {"event": text, "id": text, "data": data}, "required": ["data"]}
    name = item.get("$ref", "").rpartition("/")[2]
    return {"type": "string", "description": f"a JSON text per line, each a {name}"}


def _problems(route: Route, problem: Json) -> Json:
    found: dict[int, set[str]] = {}
    kinds: list[type[PilothouseError]] = [*EVERY_ROUTE, *route.errors]
    if route.permission is not Permission.PUBLIC:
        kinds.append(UnauthorizedError)
    if route.changes:
        kinds += [TooLargeError, ConflictError, StoreFullError]
        found[408] = {"No byte of the body came in time"}
    if route.body is not None:
        found[415] = {"The body is not said to be JSON"}
    found[414] = {"The path is too long"}
    found[500] = {"A bug in Pilothouse"}
    for kind in kinds:
        found.setdefault(kind.status, set()).add(f"{kind.code}: {kind.title}")
    return {
        str(status): {
            "description": "; ".join(sorted(reasons)),
            "headers": REQUEST_ID,
            "content": {MEDIA_TYPE: {"schema": problem}},
        }
        for status, reasons in sorted(found.items())
    }


def _path_parameters(path: str) -> list[Json]:
    # A segment is never empty and never "." or "..": those are other paths.
    schema = {"type": "string", "minLength": 1, "maxLength": 300, "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema} for name in re.findall(r"\{([a-z]+)\}", path)
    ]


def _query_parameters(schema: Json, components: Json) -> list[Json]:
    whole = components[schema["$ref"].rpartition("/")[2]]
    required = set(whole.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": about.get("description", ""),
            "schema": _sent(about),
        }
        for name, about in whole["properties"].items()
    ]


def _sent(about: Json) -> Json:
    """Return a parameter's schema without null: a parameter that is not there is left out."""
    schema = {k: v for k, v in about.items() if k != "description" and not (k == "default" and v is None)}
    if "anyOf" in schema:
        forms = [form for form in schema.pop("anyOf") if form != {"type": "null"}]
        schema = {**schema, **forms[0]} if len(forms) == 1 else {**schema, "anyOf": forms}
    return schema
