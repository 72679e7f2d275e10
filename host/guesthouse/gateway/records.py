"""Records of invocations, queued requests and queues as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from guesthouse.dispatch.flows import QueueState
from guesthouse.queue.call import QueuedCall, Record

CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
HIDDEN = "(not shown)"


def describe_record(record: Record) -> dict[str, Any]:
    """What is known of an invocation."""
    return {
        "id": record.id,
        "namespace": record.namespace,
        "name": record.name,
        "mode": record.mode,
        "state": record.state,
        "version": record.version or None,
        "digest": f"sha256:{record.digest}" if record.digest else None,
        "queued_at": _time(record.queued_ms),
        "due_at": _time(record.due_ms or None),
        "started_at": _time(record.started_ms),
        "answered_at": _time(record.answered_ms),
        "ended_at": _time(record.ended_ms),
        "attempts": record.attempts,
        "result": record.result,
        "reason": "" if record.state == "suspended" else record.reason,
        "waits_for": record.reason or None if record.state == "suspended" else None,
        "note": record.note,
        "status": record.status or None,
        "fuel": record.fuel,
        "peak_memory": record.peak_memory,
        "duration_ms": record.duration_ns / 1e6,
        "detached_ms": record.detached_ns / 1e6,
        "host_calls": dict(record.host_calls),
        "journal_entries": record.journal_entries,
        "journal_bytes": record.journal_bytes,
        "parent": record.parent,
        "root": record.root or record.id,
        "depth": record.depth,
        "call_id": record.call_id or record.id,
    }


def describe_request(call: QueuedCall) -> dict[str, Any]:
    """What a queued call or a dead letter asks for; a body that is not UTF-8 comes as `body_base64`.

    Who may read requests need not be whose credentials are in them: those reach the function, and nobody else.
    """
    return {
        "id": call.id,
        "method": call.method,
        "path": call.path,
        "query": [list(pair) for pair in call.query],
        "headers": [[name, HIDDEN if name in CREDENTIALS else value] for name, value in call.headers],
        "callback": call.callback,
        "key": call.key,
        **_body(call.body),
    }


def describe_queue(state: QueueState) -> dict[str, Any]:
    """The queue of one function."""
    namespace, name = state.function
    return {
        "namespace": namespace,
        "name": name,
        "queued": state.queued,
        "running": state.running,
        "suspended": state.suspended,
        "dead": state.dead,
        "oldest_seconds": state.oldest_seconds,
        "limit": state.limit,
        "rate": state.rate,
        "paused_seconds": state.paused_seconds,
    }


def describe_page(found: list[Record], after: str | None) -> Mapping[str, Any]:
    """A page of records, and where the next one begins."""
    return {"invocations": [describe_record(record) for record in found], "next": after}


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
