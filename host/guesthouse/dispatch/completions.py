"""What whoever waits for a called function is told of its end: an answer of 2xx is its value, everything else a failure.

Pure: what is known of an invocation and its answer in, a completion out.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from guesthouse.interfaces.durable.values import (
    CANCELLED,
    FAILED,
    METADATA_PREFIX,
    Failure,
    bounded,
    completion_of_failure,
)
from guesthouse.queue.call import Completion, Output, Record

ERROR: Final = "guesthouse-error"
"""The header by which an answer says how it is meant."""
TERMINAL: Final = "guesthouse-error: terminal: "
"""How a spawn function's note says that its failure is final."""


def completion_of(record: Record, output: Output | None) -> Completion:
    """What the end of an invocation comes to for whoever called it."""
    if record.state == "cancelled":
        return completion_of_failure(Failure(CANCELLED, record.reason or "it was cancelled"))
    if output is not None:
        if 200 <= output.status < 300 and record.state == "succeeded":
            return Completion("ok", output.body)
        return completion_of_failure(_of_answer(output))
    if record.state == "succeeded" and not record.status:
        return Completion("ok", record.note.encode("utf-8", "replace"))
    message = record.note.removeprefix(TERMINAL) or record.reason or f"it ended as {record.state}"
    return completion_of_failure(Failure(FAILED, message, record.status))


def outcome_of(record: Record) -> str:
    """The outcome alone: all that is needed to know whether somebody has waited for long enough."""
    if record.state == "cancelled":
        return "cancelled"
    return "ok" if record.state == "succeeded" and (not record.status or 200 <= record.status < 300) else "failed"


def _of_answer(output: Output) -> Failure:
    """The failure that an answer tells: its text, or what the crate for guests writes; and its headers of that kind."""
    metadata = [
        (name.lower().removeprefix(METADATA_PREFIX), value)
        for name, value in output.headers
        if name.lower().startswith(METADATA_PREFIX)
    ]
    told = _written(output)
    if told is not None:
        return Failure(FAILED, told[0], output.status, [*told[1], *metadata])
    message = bounded(output.body[: 1 << 16].decode("utf-8", "replace")) or f"the function answered {output.status}"
    return Failure(FAILED, message, output.status, metadata)


def _written(output: Output) -> tuple[str, list[tuple[str, str]]] | None:
    """Message and metadata of a failure that is written as JSON."""
    names = {name.lower(): value for name, value in output.headers}
    if ERROR not in names or not names.get("content-type", "").startswith("application/json"):
        return None
    try:
        found: Any = orjson.loads(output.body)
        pairs = [(name, value) for name, value in found["metadata"]]
        message = found["message"]
    except (ValueError, TypeError, KeyError):
        return None
    if not all(isinstance(text, str) for text in (message, *(text for pair in pairs for text in pair))):
        return None
    return message, pairs
