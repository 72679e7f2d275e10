"""`Callees`: calls that guests make of other functions of their namespace, as queued calls.

Promises: everything that can be wrong with a call was checked before any of those that are made together is queued; they are
queued in their order, some at a time, so that thousands keep nobody else from the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from guesthouse.clock import Clock
from guesthouse.dispatch.idempotency import idempotency_of
from guesthouse.dispatch.invocations import (
    CALL_ID,
    MOST_IDEMPOTENCY_KEY,
    MOST_KEY_BYTES,
    START_TIME,
    check_text,
)
from guesthouse.errors import BadRequest, BodyTooLarge, NotFound
from guesthouse.limits import LONGEST_MS
from guesthouse.queue.call import Idempotency, QueuedCall
from guesthouse.registry.deployment import CALLABLE, Deployment

if TYPE_CHECKING:
    from guesthouse.interfaces.durable import Request
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.queue.queue import FunctionKey
    from guesthouse.registry.registry import Registry

AT_ONCE: Final = 512
"""Calls that are queued in one transaction: some milliseconds of the writer's time."""
MOST_HEADERS: Final = 128
MOST_HEADER_BYTES: Final = 32 * 1024
"""Of all headers of one call, as of a request over HTTP."""
OURS: Final = frozenset({CALL_ID, START_TIME})
PRINCIPAL: Final = "guesthouse:durable"
"""Whose idempotency keys those of guests are: no token's."""
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")


class Callees:
    """Makes queued calls."""

    def __init__(
        self,
        registry: Registry,
        new_id: Callable[[], str],
        wake: Callable[[FunctionKey, int], None],
        clock: Clock,
        most_body_bytes: int,
    ) -> None:
        self._registry = registry
        self._new_id = new_id
        self._wake = wake
        self._clock = clock
        self._most_body_bytes = most_body_bytes

    def make(
        self, caller: Invocation, requests: Sequence[Request], numbers: Iterable[int], again: str = ""
    ) -> list[QueuedCall]:
        """The calls, each with the number of its promise (0: nobody waits).

        `again` names what makes them, where that may happen a second time: they are the same calls then.  Raises `NotFound`,
        `BadRequest` and `BodyTooLarge`.
        """
        depth = caller.depth + 1
        if depth > caller.limits.spawn_depth:
            raise BadRequest(f"depth: functions called functions {caller.limits.spawn_depth} times in a row")
        found: dict[str, Deployment] = {}
        for request in requests:
            if request.function not in found:
                found[request.function] = self._find(caller.deployment.namespace, request.function)
        made = zip(requests, numbers, strict=False)
        return [self._call(caller, found[request.function], request, number, again) for request, number in made]

    def queued(self, calls: Iterable[QueuedCall]) -> None:
        """They are on disk: whoever runs them may begin."""
        for function, due_ms in {((call.namespace, call.name), call.due_ms) for call in calls}:
            self._wake(function, due_ms)

    def _find(self, namespace: str, name: str) -> Deployment:
        deployment = self._registry.get(namespace, name)
        if deployment is None:
            raise NotFound(f"there is no function {name[:64]!r}")
        if deployment.kind not in CALLABLE:
            raise NotFound(f"{name} is a {deployment.kind} function: it cannot be called so")
        return deployment

    def _call(
        self, caller: Invocation, deployment: Deployment, request: Request, number: int, again: str
    ) -> QueuedCall:
        self._check(deployment, request)
        now_ns, new_id = self._clock.wall_ns(), self._new_id()
        now_ms = now_ns // 1_000_000
        durable = deployment.manifest.durable is not None
        return QueuedCall(
            id=new_id,
            namespace=deployment.namespace,
            name=deployment.name,
            headers=[*_headers(request.headers), (CALL_ID, new_id), (START_TIME, str(now_ns))],
            body=request.payload,
            key=request.key,
            queued_ms=now_ms,
            due_ms=now_ms + request.delay if request.delay else 0,
            parent=caller.id,
            root=caller.root,
            depth=caller.depth + 1,
            durable=durable,
            exclusive=durable and request.key is not None,
            promise=number,
            idempotency=_idempotency(deployment, request, again),
        )

    def _check(self, deployment: Deployment, request: Request) -> None:
        most = min(self._most_body_bytes, deployment.manifest.limits.request_bytes)
        if len(request.payload) > most:
            raise BodyTooLarge(f"the payload is over {most} bytes")
        if request.delay > LONGEST_MS:
            raise BadRequest(f"a call can be delayed by up to {LONGEST_MS} ms (a year)")
        if request.key is not None:
            check_text("a key", request.key, MOST_KEY_BYTES)
        if request.idempotency_key is not None:
            check_text("an idempotency key", request.idempotency_key, MOST_IDEMPOTENCY_KEY)


def _headers(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers as a function may see them, names in lower case; raises `BadRequest`."""
    size = sum(len(name) + len(value.encode()) for name, value in headers)
    if len(headers) > MOST_HEADERS or size > MOST_HEADER_BYTES:
        raise BadRequest(f"a call has at most {MOST_HEADERS} headers, of {MOST_HEADER_BYTES} bytes in all")
    for name, value in headers:
        if not _NAME.match(name) or not _VALUE.match(value):
            raise BadRequest(f"{name[:64]!r} is no header, or has a value that none can have")
    return [(name.lower(), value) for name, value in headers if name.lower() not in OURS]


def _idempotency(deployment: Deployment, request: Request, again: str) -> Idempotency | None:
    """What makes it the same call: the guest's own key, or that of what makes it."""
    key, principal, body = request.idempotency_key, PRINCIPAL, request.payload
    if key is None:
        if not again:
            return None
        key, principal, body = again, f"{PRINCIPAL} step", b""  # whatever it says the second time, it is the first one
    return idempotency_of(
        key,
        namespace=deployment.namespace,
        name=deployment.name,
        principal_id=principal,
        method="POST",
        path=None,
        query=(),
        body=body,
    )
