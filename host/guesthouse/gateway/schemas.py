"""What clients send and get, as JSON Schemas for `/openapi.json`; tests hold real answers against them."""

from __future__ import annotations

from typing import Any, Final

from guesthouse.registry.deployment import MAX_NAME, RESERVED_NAMESPACES

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_NAME: Final[Schema] = {**TEXT, "pattern": "^[a-z0-9](-?[a-z0-9]){0,62}$", "maxLength": MAX_NAME}
_PAIRS: Final[Schema] = {"type": "array", "items": {**TEXT, "pattern": "^[^=]+="}}

PATH: Final[dict[str, Schema]] = {
    "namespace": {"schema": {**_NAME, "not": {"enum": sorted(RESERVED_NAMESPACES)}}, "example": "default"},
    "name": {"schema": _NAME, "example": "echo"},
    "rest": {"schema": TEXT, "description": "What the function is told as its path; may have slashes"},
}
"""What can stand in a path."""
QUERY: Final[dict[str, dict[str, Schema]]] = {
    "deploy": {
        "description": {"schema": TEXT, "description": "With a raw module, as are the following"},
        "environment": {"schema": _PAIRS, "description": "NAME=VALUE, once for each variable"},
        "limits": {"schema": _PAIRS, "description": "NAME=NUMBER, once for each limit that is not the default"},
        "grants": {"schema": TEXT, "description": "Names of the interfaces that it may use, with commas between"},
    },
    "logs": {
        "tail": {"schema": COUNT, "description": "How many of the newest records"},
        "follow": {"schema": {"enum": ["0", "1", "true"]}, "description": "1: also each new record, as it comes"},
    },
}
"""The parameters of routes by their names."""

PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "What went wrong (RFC 9457)",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {**TEXT, "pattern": "^urn:guesthouse:problem:[a-z-]+$"},
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": TEXT,
        "invocation_id": {**TEXT, "description": "Where a function has run"},
        "request_id": {**TEXT, "description": "Where none has"},
    },
    "additionalProperties": False,
}
FUNCTION: Final[Schema] = {
    "type": "object",
    "properties": {
        "namespace": _NAME,
        "name": _NAME,
        "version": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["web", "spawn", "library"]},
        "digest": {**TEXT, "pattern": "^sha256:[0-9a-f]{64}$"},
        "size": {**COUNT, "description": "Of the module, in bytes"},
        "created_at": {**TEXT, "format": "date-time"},
        "description": TEXT,
        "environment": {
            "type": "object",
            "additionalProperties": {"type": ["string", "null"]},
            "description": "Values are null for tokens that may not manage the function",
        },
        "limits": {"type": "object", "additionalProperties": COUNT, "description": "Those that are not the default"},
        "grants": {"type": ["array", "null"], "items": TEXT, "description": "null: whatever the host offers"},
        "imports": {"type": "array", "items": TEXT, "description": "Interfaces that it uses"},
    },
    "additionalProperties": False,
}
FUNCTION["required"] = sorted(FUNCTION["properties"])


def listed(name: str) -> Schema:
    """A document with all functions that were found, under `name`."""
    items = {"$ref": "#/components/schemas/Function"}
    return {"type": "object", "required": [name], "properties": {name: {"type": "array", "items": items}}}


ANSWERS: Final[dict[str, Schema]] = {
    "show": {"$ref": "#/components/schemas/Function"},
    "list": listed("functions"),
    "list-namespace": listed("functions"),
    "versions": listed("versions"),
    "openapi": {"type": "object"},
}
"""What routes answer that answer JSON."""
