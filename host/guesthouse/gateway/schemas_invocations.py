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
        "mode": {
            "enum": list(get_args(Mode)),
            "description": "How it was started; async: through the queue; durable: the same, with a journal",
        },
        "state": {"enum": list(get_args(State))},
        "version": {"type": ["integer", "null"], "description": "Of the function; null while it has not started"},
        "digest": _MAYBE_TEXT,
        "queued_at": _TIME,
        "due_at": {**_TIME, "description": "When it runs next, where it waits for a time (among other things)"},
        "started_at": {**_TIME, "description": "Of its last attempt"},
        "answered_at": _TIME,
        "ended_at": _TIME,
        "attempts": COUNT,
        "result": {
            **TEXT,
            "description": "How it ended: ok, failed, dropped, trapped, deadline, fuel, cancelled, lost; and of durable ones"
            " that were put away: diverged, ambiguous, journal",
        },
        "reason": {**TEXT, "description": "Why it did not succeed"},
        "waits_for": {**_MAYBE_TEXT, "description": "What a suspended one waits for"},
        "note": {**TEXT, "description": "What a spawn function said of its end"},
        "status": {"type": ["integer", "null"], "description": "HTTP status that the function answered"},
        "fuel": {"type": ["integer", "null"]},
        "peak_memory": {**COUNT, "description": "Bytes"},
        "duration_ms": {"type": "number", "description": "Until the answer, of the last attempt"},
        "detached_ms": {"type": "number", "description": "What it worked after its answer"},
        "host_calls": {"type": "object", "additionalProperties": COUNT, "description": "By their interfaces"},
        "journal_entries": {**COUNT, "description": "Of a durable one, when its last run ended"},
        "journal_bytes": {**COUNT, "description": "Of those, before compression"},
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
        "suspended": {**COUNT, "description": "Durable calls that wait for something, and that nobody runs"},
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
JOURNAL: Final[Schema] = _object(
    {
        "id": TEXT,
        "kind": {"enum": ["durable", "flight"], "description": "A durable function's, or the flight recorder's"},
        "segments": {**COUNT, "description": "Parts in which it was written"},
        "bytes": {**COUNT, "description": "Of all of them, as they are stored"},
        "count": {**COUNT, "description": "Recorded calls"},
        "not_shown": {**COUNT, "description": "Of them, that are left out here"},
        "ended": {"type": "boolean", "description": "Whether it has come to its end"},
        "entries": {
            "type": "array",
            "items": _object(
                {
                    "number": COUNT,
                    "what": {
                        **TEXT,
                        "description": "call, intent (announced, and not answered yet), observed, step or trap",
                    },
                    "interface": TEXT,
                    "function": TEXT,
                    "bytes": {**COUNT, "description": "Before compression"},
                }
            ),
        },
    }
)
_TRUTH: Final[Schema] = {"enum": ["true", "false"]}
QUERY: Final[dict[str, dict[str, Schema]]] = {
    "invocation-export": {
        "module": {"schema": _TRUTH, "description": "Whether the module is in it; it is, by default"}
    },
    "invocation-redrive": {
        "from": {"schema": COUNT, "description": "Keep what is recorded before this call, and do the rest anew"},
        "version": {"schema": COUNT, "description": "Go on on this version of the function"},
        "fail": {
            "schema": _TRUTH,
            "description": "Whether the function is to see the request as failed that was perhaps sent",
        },
    },
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
    "awakeable": {
        "schema": TEXT,
        "description": "What the function gave away, and all that it takes",
        "example": "sign_1x",
    },
}
"""What can stand in a path."""
