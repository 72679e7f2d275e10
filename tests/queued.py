"""Queued calls as their callers see them, on a server of `served`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway_server import Answer
from served import Origin, Served

WAIT = 30
"""Seconds that a test lets a call take: only a broken one takes so long."""


def enqueue(server: Served, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> str:
    """Queues a call; the id of its invocation."""
    answer = server.request("POST", f"/async-function/{path}", body, headers)
    assert (answer.status, answer.body) == (202, b""), answer.body
    return answer.headers["x-invocation-id"]


def attached(server: Served, call: str) -> Answer:
    """What a call answers, once it has."""
    return server.request("GET", f"/invocations/{call}/attach?timeout={WAIT}")


def record(server: Served, call: str) -> dict[str, Any]:
    """What is known of an invocation."""
    answer = server.request("GET", f"/invocations/{call}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def order(origin: Origin, path: str) -> bytes:
    """What the guest `fetch` is asked, to get a page of the origin."""
    return json.dumps({"verb": "GET", "url": origin.url(path)}).encode()


def hold(server: Served, origin: Origin, headers: Mapping[str, str] | None = None) -> str:
    """Queues a call that runs until `origin.release` is set, and waits until it does; the id of its invocation."""
    call = enqueue(server, "fetch", order(origin, "/held"), headers)
    origin.holds()
    return call
