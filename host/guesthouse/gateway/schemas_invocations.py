"""What routes of invocations and queues send and get, as JSON Schemas for `/openapi.json`."""

from __future__ import annotations

from typing import Any, Final, get_args

from guesthouse.queue.call import Mode, State

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_TIME: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
_PAIRS: Final[Schema] = {
    "type": "array",
    "items": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2},
}
_FUNCTION: Final[dict[str, Schema]] = {"namespace": TEXT, "name": TEXT}


def _object(properties: dict[str, Schema], *optional: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(set(properties) - set(optional)),
        "additionalProperties": False,
    }


INVOCATION: Final[Schema] = _object(
    {
        "id": TEXT,
        **_FUNCTION,
        "mode": {"enum": list(get_args(Mode)), "description": "How it was started; async: through the queue"},
        "state": {"enum": list(get_args(State))},
        "version": {"type": ["integer", "null"], "description": "Of the function; null while it has not started"},
        "digest": _MAYBE_TEXT,
        "queued_at": _TIME,
        "due_at": {**_TIME, "description": "When it runs next, where it waits for a time"},
        "started_at": {**_TIME, "description": "Of its last attempt"},
        "answered_at": _TIME,
        "ended_at": _TIME,
        "attempts": COUNT,
        "result": {
            **TEXT,
            "description": "How it ended: ok, failed, dropped, trapped, deadline, fuel, cancelled, lost",
        },
        "reason": {**TEXT, "description": "Why it did not succeed"},
        "note": {**TEXT, "description": "What a spawn function said of its end"},
        "status": {"type": ["integer", "null"], "description": "HTTP status that the function answered"},
        "fuel": {"type": ["integer", "null"]},
        "peak_memory": {**COUNT, "description": "Bytes"},
        "duration_ms": {"type": "number", "description": "Until the answer, of the last attempt"},
        "detached_ms": {"type": "number", "description": "What it worked after its answer"},
        "host_calls": {"type": "object", "additionalProperties": COUNT, "description": "By their interfaces"},
        "parent": {**_MAYBE_TEXT, "description": "The invocation that it descends from"},
        "root": {**TEXT, "description": "The invocation that began the chain"},
        "depth": COUNT,
        "call_id": {**TEXT, "description": "What its caller knows it by"},
    }
)
REQUEST: Final[Schema] = _object(
    {
        "id": TEXT,
        "method": TEXT,
        "path": _MAYBE_TEXT,
        "query": _PAIRS,
        "headers": _PAIRS,
        "callback": _MAYBE_TEXT,
        "key": _MAYBE_TEXT,
        "body": TEXT,
        "body_base64": {**TEXT, "description": "Instead of body, where that is not UTF-8"},
    },
    "body",
    "body_base64",
)
QUEUE: Final[Schema] = _object(
    {
        **_FUNCTION,
        "queued": {**COUNT, "description": "Calls that wait"},
        "running": COUNT,
        "dead": {**COUNT, "description": "Dead letters"},
        "oldest_seconds": {
            "type": ["number", "null"],
            "description": "How long the oldest call that could run has waited",
        },
        "limit": {**COUNT, "description": "How many may run at once right now"},
        "rate": {**COUNT, "description": "How many may start in a second; 0: any number"},
        "paused_seconds": {"type": "number", "description": "How long it is left alone yet, because it asked for that"},
    }
)
QUERY: Final[dict[str, dict[str, Schema]]] = {
    "invocations": {
        "function": {"schema": TEXT, "description": "Only of this function: NAMESPACE/NAME"},
        "state": {"schema": {"enum": list(get_args(State))}, "description": "Only in this state"},
        "since": {"schema": TEXT, "description": "Only from this time on (RFC 3339), or from 90s, 15m, 2h, 1d ago"},
        "limit": {"schema": COUNT, "description": "How many at most"},
        "after": {"schema": TEXT, "description": "What the page before said as its next"},
    },
    "invocation-attach": {"timeout": {"schema": COUNT, "description": "How many seconds to wait at most"}},
}
HEADERS: Final[dict[str, str]] = {
    "X-Callback-Url": "Where the result is sent",
    "X-Call-Id": "What the call is to be known by",
    "Guesthouse-Delay": "How long it waits at least: seconds, or 90s, 15m, 2h, 1d",
    "Guesthouse-Key": "Calls with the same key share a bound on how many run at once",
    "Idempotency-Key": "A repeated request with the same key is the same call",
    "Prefer": "wait=SECONDS answers the result itself, if it is there by then",
}
"""Of the enqueue route."""
ACCEPTED: Final[dict[str, Schema]] = {
    "X-Call-Id": {"schema": TEXT, "required": True},
    "X-Start-Time": {"schema": {**TEXT, "pattern": "^[0-9]+$"}, "required": True},
    "Location": {"schema": {**TEXT, "pattern": "^/invocations/"}, "required": True},
}
"""Headers of its answer."""
STILL_RUNNING: Final[Schema] = {
    "description": "It has not ended yet, and Location is where to ask again; or what the function answers",
    "headers": {"Location": {"schema": TEXT}},
}
EXAMPLES: Final[dict[str, Schema]] = {
    "function": {
        "schema": TEXT,
        "description": "NAME or NAME.NAMESPACE; to cancel, the id of a call",
        "example": "echo",
    },
    "id": {"schema": TEXT, "description": "Id of an invocation", "example": "a1b2"},
}
"""What can stand in a path."""
