"""`/openapi.json`: the table of routes as OpenAPI 3.1."""

from __future__ import annotations

import re
from typing import Any, Final

from guesthouse.gateway.manage import WASM_TYPE, DeployDocument
from guesthouse.gateway.problems import PROBLEM_TYPE
from guesthouse.gateway.routes import PUBLIC, ROUTES, Route

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_DEFINITIONS: Final = "#/components/schemas/Deploy/$defs/{model}"
_PROBLEM: Final = {"$ref": "#/components/responses/Problem"}


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
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": {"description": "What went wrong (RFC 9457)", "content": _content(PROBLEM_TYPE)}},
            "schemas": {"Deploy": DeployDocument.model_json_schema(ref_template=_DEFINITIONS)},
        },
    }


def _operation(route: Route, method: str) -> dict[str, Any]:
    answered = "default" if route.status == 0 else str(route.status)
    responses: dict[str, Any] = {answered: {"description": route.summary}}
    if route.answer:
        responses[answered]["content"] = _content(route.answer)
    operation: dict[str, Any] = {
        "operationId": f"{route.name}-{method}" if route.method == "*" else route.name,
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.path)
        ],
        "responses": {**responses, "4XX": _PROBLEM, "5XX": _PROBLEM},
        "security": [] if route.scope == PUBLIC else [{"token": []}, {}],
    }
    if route.name == "deploy":
        schema = {"$ref": "#/components/schemas/Deploy"}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}, **_content(WASM_TYPE)},
        }
    return operation


def _content(media_type: str) -> dict[str, Any]:
    return {media_type: {}}
