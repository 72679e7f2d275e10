"""`/openapi.json`: the table of routes as OpenAPI 3.1."""

from __future__ import annotations

import re
from typing import Any, Final

from guesthouse.gateway import schemas_openfaas
from guesthouse.gateway.auth import OWN_HEADER, PARAMETER
from guesthouse.gateway.manage import WASM_TYPE, CurrentDocument, DeployDocument
from guesthouse.gateway.problems import PROBLEM_TYPE
from guesthouse.gateway.routes import OPEN, ROUTES, Route
from guesthouse.gateway.schemas import ANSWERS, FUNCTION, PATH, PROBLEM, QUERY, VERSION
from guesthouse.gateway.schemas_invocations import (
    ACCEPTED,
    HEADERS,
    INVOCATION,
    JOURNAL,
    QUEUE,
    REQUEST,
    STILL_RUNNING,
    TEXT,
    Schema,
)

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_DEFINITIONS: Final = "#/components/schemas/Deploy/$defs/{model}"
_PROBLEM: Final = {"$ref": "#/components/responses/Problem"}
_PROBLEM_CONTENT: Final = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_BODIES: Final[dict[str, Schema]] = {
    "deploy": {"application/json": {"schema": {"$ref": "#/components/schemas/Deploy"}}, WASM_TYPE: {"schema": {}}},
    "current": {"application/json": {"schema": {"$ref": "#/components/schemas/Current"}}},
    **schemas_openfaas.BODIES,
}
"""What requests carry, by the names of their routes."""
_ENQUEUE: Final = frozenset({"async-function", "async-function-rest"})
_SECURITY: Final = {
    "token": {"type": "http", "scheme": "bearer"},
    "password": {"type": "http", "scheme": "basic"},
    "header": {"type": "apiKey", "in": "header", "name": OWN_HEADER},
    "parameter": {"type": "apiKey", "in": "query", "name": PARAMETER},
}
"""Where a token may stand; one of them is enough, and a host without any token wants none."""


def describe(version: str) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        methods = METHODS if route.method == "*" else (route.method.lower(),)
        for method in methods:
            paths.setdefault(route.path, {})[method] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "guesthouse", "version": version, "summary": "Functions in WebAssembly, called over HTTP"},
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY,
            "responses": {"Problem": {"description": PROBLEM["description"], "content": _PROBLEM_CONTENT}},
            "schemas": {
                "Deploy": DeployDocument.model_json_schema(ref_template=_DEFINITIONS),
                "Current": CurrentDocument.model_json_schema(),
                "Function": FUNCTION,
                "Version": VERSION,
                "Invocation": INVOCATION,
                "Request": REQUEST,
                "Journal": JOURNAL,
                "Queue": QUEUE,
                **schemas_openfaas.COMPONENTS,
                "Problem": PROBLEM,
            },
        },
    }


def _operation(route: Route, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.name}-{method}" if route.method == "*" else route.name,
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": _responses(route),
        "security": [] if route.scope in OPEN else [*({name: []} for name in _SECURITY), {}],
    }
    if route.name in _BODIES:
        operation["requestBody"] = {"required": True, "content": _BODIES[route.name]}
    elif route.name == "cache-put":
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    elif route.name == "topic-publish":
        operation["requestBody"] = {"content": {"text/plain": {}, "application/octet-stream": {}}}
    elif route.name == "awakeable-reject":
        operation["requestBody"] = {"content": {"text/plain": {}}}
    elif route.name in _ENQUEUE or route.name == "awakeable-resolve":
        operation["requestBody"] = {"content": {"*/*": {}}}
    return operation


def _parameters(route: Route) -> list[Schema]:
    in_path = [
        {"name": name, "in": "path", "required": True, **PATH[name]} for name in re.findall(r"{(\w+)}", route.path)
    ]
    in_query = [{"name": name, "in": "query", **described} for name, described in QUERY.get(route.name, {}).items()]
    in_header = [
        {"name": name, "in": "header", "schema": TEXT, "description": text}
        for name, text in (HEADERS.items() if route.name in _ENQUEUE else ())
    ]
    return in_path + in_query + in_header


def _responses(route: Route) -> dict[str, Any]:
    if not route.status:  # a function's own errors are no problems of ours
        content = {route.answer: {}, **_PROBLEM_CONTENT}
        answers = {"default": {"description": "What the function answers, or a problem", "content": content}}
        return {**answers, "202": STILL_RUNNING} if route.name == "invocation-attach" else answers
    answer: dict[str, Any] = {"description": route.summary}
    if route.answer:
        answer["content"] = {route.answer: {"schema": ANSWERS[route.name]} if route.name in ANSWERS else {}}
    if route.name in _ENQUEUE:
        answer["headers"] = ACCEPTED
    return {str(route.status): answer, "4XX": _PROBLEM, "5XX": _PROBLEM}
