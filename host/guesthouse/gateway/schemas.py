"""What clients send and get, as JSON Schemas for `/openapi.json`; tests hold real answers against them."""

from __future__ import annotations

from typing import Final

from guesthouse.gateway import schemas_invocations, schemas_openfaas
from guesthouse.gateway.schemas_invocations import COUNT, TEXT, Schema
from guesthouse.registry.deployment import MAX_NAME, RESERVED_NAMESPACES
from guesthouse.registry.topics import MOST_TOPIC_BYTES

_NAME: Final[Schema] = {**TEXT, "pattern": "^[a-z0-9](-?[a-z0-9]){0,62}$", "maxLength": MAX_NAME}
_PAIRS: Final[Schema] = {"type": "array", "items": {**TEXT, "pattern": "^[^=]+="}}

PATH: Final[dict[str, Schema]] = {
    "namespace": {"schema": {**_NAME, "not": {"enum": sorted(RESERVED_NAMESPACES)}}, "example": "default"},
    "name": {"schema": _NAME, "example": "echo"},
    "topic": {"schema": {**TEXT, "minLength": 1, "maxLength": MOST_TOPIC_BYTES}, "example": "news"},
    "version": {"schema": {"type": "integer", "minimum": 1}, "example": 1},
    "rest": {"schema": TEXT, "description": "What the function is told as its path; may have slashes"},
    **schemas_invocations.EXAMPLES,
}
"""What can stand in a path."""
_KEY: Final[dict[str, Schema]] = {
    "key": {"schema": TEXT, "description": "The key, percent-encoded; it need not be text"},
    "key_base64": {"schema": TEXT, "description": "The key in base64, instead of key"},
}
QUERY: Final[dict[str, dict[str, Schema]]] = {
    **schemas_invocations.QUERY,
    **schemas_openfaas.QUERY,
    "cache-get": _KEY,
    "cache-put": {
        **_KEY,
        "ttl_seconds": {
            "schema": {"type": "integer", "minimum": 1},
            "description": "How long to keep it",
            "required": True,
        },
    },
    "cache-delete": _KEY,
    "deploy": {
        "description": {"schema": TEXT, "description": "With a raw module, as are the following"},
        "environment": {"schema": _PAIRS, "description": "NAME=VALUE, once for each variable"},
        "limits": {"schema": _PAIRS, "description": "NAME=NUMBER, once for each limit that is not the default"},
        "topics": {
            "schema": {"type": "array", "items": {**TEXT, "minLength": 1}},
            "description": "A topic whose messages start it, a spawn function; once for each",
        },
        "arguments": {
            "schema": {"type": "array", "items": TEXT},
            "description": "Of a command: its name, then its arguments; once for each, in order",
        },
        "secrets": {
            "schema": {"type": "array", "items": TEXT},
            "description": "A secret of the namespace that it finds as a file; once for each",
        },
        "durable": {
            "schema": {"enum": ["true", "false"]},
            "description": "true: its calls survive crashes; other terms than the usual ones go with a document",
        },
        "grants": {
            "schema": {"type": "array", "items": TEXT},
            "description": "Interfaces that it may use, with commas between, or one INTERFACE:PATTERN; may be repeated",
        },
    },
    "logs": {
        "tail": {"schema": COUNT, "description": "How many of the newest records"},
        "follow": {"schema": {"enum": ["0", "1", "true"]}, "description": "1: also each new record, as it comes"},
        "level": {"schema": {"enum": ["debug", "info", "warn", "error"]}, "description": "Only these and worse"},
        "since": {"schema": TEXT, "description": "Only from this time on (RFC 3339), or from 90s, 15m, 2h, 1d ago"},
        "invocation": {"schema": TEXT, "description": "Only of the invocation whose id is this, or ends like this"},
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
VERSION: Final[Schema] = {
    "type": "object",
    "properties": {
        "namespace": _NAME,
        "name": _NAME,
        "version": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["web", "spawn", "command", "library"]},
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
        "topics": {"type": "array", "items": TEXT, "description": "Topics whose messages start it"},
        "retry": {"type": "object", "description": "When a queued call is tried again"},
        "flow": {"type": "object", "description": "How much of it runs at once"},
        "schedules": {"type": "array", "items": {"type": "object"}, "description": "When it is called by itself"},
        "labels": {"type": "object", "additionalProperties": TEXT},
        "annotations": {"type": "object", "additionalProperties": TEXT},
        "arguments": {"type": "array", "items": TEXT, "description": "A command's name and its arguments"},
        "secrets": {"type": "array", "items": TEXT, "description": "Secrets that a command guest finds as files"},
        "durable": {"type": ["object", "null"], "description": "How its calls survive crashes; null: they do not"},
        "image": {**TEXT, "description": "What a client called the module when it deployed it by a name"},
        "imports": {"type": "array", "items": TEXT, "description": "Interfaces that it uses"},
    },
    "additionalProperties": False,
}
FUNCTION: Final[Schema] = {
    **VERSION,
    "properties": {
        **VERSION["properties"],
        "latest": {"type": "integer", "minimum": 1, "description": "The newest version"},
        "pinned": {"type": ["integer", "null"], "description": "The version that it is held at; null: the latest runs"},
    },
}
for _schema in (VERSION, FUNCTION):
    _schema["required"] = sorted(_schema["properties"])


def listed(name: str, schema: str) -> Schema:
    """A document with everything that was found, under `name`."""
    items = {"$ref": f"#/components/schemas/{schema}"}
    return {"type": "object", "required": [name], "properties": {name: {"type": "array", "items": items}}}


INVOCATIONS: Final[Schema] = listed("invocations", "Invocation")
INVOCATIONS["required"].append("next")
INVOCATIONS["properties"]["next"] = {"type": ["string", "null"], "description": "Where the next page begins"}
ANSWERS: Final[dict[str, Schema]] = {
    "show": {"$ref": "#/components/schemas/Function"},
    "current": {"$ref": "#/components/schemas/Function"},
    "list": listed("functions", "Function"),
    "list-namespace": listed("functions", "Function"),
    "version": {"$ref": "#/components/schemas/Version"},
    "versions": listed("versions", "Version"),
    "invocations": INVOCATIONS,
    "invocation": {"$ref": "#/components/schemas/Invocation"},
    "invocation-request": {"$ref": "#/components/schemas/Request"},
    "invocation-journal": {"$ref": "#/components/schemas/Journal"},
    "queues": listed("queues", "Queue"),
    "openapi": {"type": "object"},
    **schemas_openfaas.ANSWERS,
}
"""What routes answer that answer JSON."""
