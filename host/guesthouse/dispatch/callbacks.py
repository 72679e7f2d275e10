"""`Callbacks`: where the result of a queued call may go, and what is sent there.

Promises (C7): a URL is accepted only where the function itself might send a request; one that names a function of this
host becomes a queued call, and never a request through a socket; a chain of them ends.  What is made here is stored with
the end of its call, so neither is lost alone.  Knows nothing of how it is delivered (see `deliveries`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.places import parse_place
from guesthouse.errors import BadRequest
from guesthouse.limits import KiB, MiB
from guesthouse.net.client import OutboundClient
from guesthouse.net.destination import Destination, parse_url
from guesthouse.net.headers import SET_BY_HOST, check_header
from guesthouse.net.policy import HostRule, parse_rules
from guesthouse.queue.call import Callback, Output, Pairs, QueuedCall, Record
from guesthouse.registry.deployment import CALLABLE, Deployment
from guesthouse.registry.disposable import PREFIX as DISPOSABLE
from guesthouse.registry.registry import Registry
from guesthouse.registry.tokens import PREFIX as KEPT
from guesthouse.telemetry import FunctionLogs, LogRecord, Metrics
from guesthouse.telemetry.records import escape

MOST_HEADERS: Final = 100
"""Of the function's own in a callback: what servers in use accept is little more, and the host's come on top."""
MOST_HEADER_BYTES: Final = 32 * KiB
MOST_PARAMETERS: Final = 1_000
"""Parameters in the query of a callback to one of our functions: as of any other call."""
TOKENS: Final = (KEPT, DISPOSABLE)
"""How tokens of this host begin."""
NEXT: Final = "x-callback-url"
"""Of an answer that is passed on to another function: where that one's answer goes."""

_OURS: Final = SET_BY_HOST | {
    "guesthouse-error",
    "user-agent",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-call-id",
    NEXT,
    "x-duration-seconds",
    "x-function-name",
    "x-function-status",
    "x-retry",
    "x-retry-max",
    "x-start-time",
}
"""Headers that a function cannot put into a callback: they are the host's word."""
_STATUSES: Final = {"ok": 200, "trapped": 502, "deadline": 504, "fuel": 504, "cancelled": 499}
"""What a result is called where the function gave no status: as the gateway answers it."""

Allows = Callable[[str, str], bool]
"""Whether somebody may call the function of this namespace and name."""


class _Target(NamedTuple):
    """One of our functions, as a URL calls it."""

    deployment: Deployment
    path: str | None
    query: Pairs


class Callbacks:
    """Those of one host; to be used on its loop."""

    def __init__(
        self,
        registry: Registry,
        outbound: OutboundClient,
        metrics: Metrics,
        logs: FunctionLogs,
        new_id: Callable[[], str],
        clock: Clock = SYSTEM_CLOCK,
        *,
        version: str = "0",
    ) -> None:
        self._registry = registry
        self._outbound = outbound
        self._metrics = metrics
        self._logs = logs
        self._new_id = new_id
        self._clock = clock
        self._agent = f"guesthouse/{version}"
        self._public: frozenset[tuple[str, int]] = frozenset()
        self.namespace = "default"
        """The one of functions whose URL names none."""
        self.most_body_bytes = MiB
        """Of a result that is passed on to another function: of any queued call."""

    def reached_at(self, urls: Iterable[str]) -> None:
        """Says under which URLs clients reach this host; raises `BadRequest` for one that is none."""
        found = [parse_url(url) for url in urls]
        self._public = frozenset((destination.host, destination.port) for destination in found)

    # -- when a call is accepted

    def check_callback(self, deployment: Deployment, url: str, allows: Allows | None = None) -> str:
        """The URL in its canonical form, if the result of a call of `deployment` may be sent there.

        `allows` says which functions the caller may call.  Raises `BadRequest` for a URL that is malformed, or outside of
        the host's policy or the deployment's grants, or one of this host's that names no function to be called.
        """
        destination = parse_url(url)
        if self._is_ours(destination):
            namespace, name, *_ = _place(destination, self.namespace)
            if allows is not None and not allows(namespace, name):
                raise BadRequest("the callback names a function that this token does not allow to invoke")
            self._target(destination)
        else:
            self._outbound.policy.check(destination.url, "POST", http_rules(deployment))
        return destination.url

    # -- when it has ended

    def callback_of(self, call: QueuedCall, record: Record, output: Output | None) -> Callback | QueuedCall | None:
        """What has to be stored with the end of a call for its result to reach whoever asked for it; `None` for nothing."""
        if call.callback is None:
            return None
        try:  # nothing of it may keep the call from ending
            destination = parse_url(call.callback)
            headers = self._headers(call, record, output)
            if not self._is_ours(destination):
                headers.append(("Webhook-Id", f"{call.id}-{record.ended_ms or 0}"))  # another one where it is redriven
                url = destination.url
                return Callback(id=call.id, namespace=call.namespace, name=call.name, url=url, headers=headers)
            chained = self._chained(call, destination, headers, output)
        except BadRequest as error:
            self._metrics.callback("refused")
            self.log(call.namespace, call.name, call.id, "error", f"the result was not passed on: {error}")
            return None
        self._metrics.callback("chained")
        return chained

    def log(self, namespace: str, name: str, id: str, level: str, text: str) -> None:
        """Writes into the log of a function, while there is one."""
        if self._registry.get(namespace, name) is not None:
            record = LogRecord(self._clock.wall_ns(), level, "system", escape(text))
            self._logs.append(f"{namespace}/{name}", id, record)

    # -- our own functions

    def _is_ours(self, destination: Destination) -> bool:
        return (destination.host, destination.port) in self._public

    def _target(self, destination: Destination) -> _Target:
        """The function that a URL of this host calls; raises `BadRequest`."""
        namespace, name, rest, _ = _place(destination, self.namespace)
        deployment = self._registry.get(namespace, name)
        if deployment is None or deployment.kind not in CALLABLE:
            raise BadRequest(f"there is no function {name[:64]!r} in {namespace[:64]!r} that could be called back")
        try:
            query = parse_qsl(
                destination.target.partition("?")[2], keep_blank_values=True, max_num_fields=MOST_PARAMETERS
            )
        except ValueError:
            raise BadRequest(f"the callback has over {MOST_PARAMETERS} query parameters") from None
        if any(value.startswith(TOKENS) for _, value in query):  # it would be written down, and shown to the function
            raise BadRequest("a callback to a function of this host needs no token in its URL")
        return _Target(deployment, rest, query)

    def _chained(self, call: QueuedCall, destination: Destination, headers: Pairs, output: Output | None) -> QueuedCall:
        target, path, query = self._target(destination)
        origin = self._registry.get(call.namespace, call.name)
        most_depth = (origin or target).manifest.limits.spawn_depth
        if call.depth >= most_depth:
            raise BadRequest(f"depth: functions were called back {most_depth} times in a row")
        body = b"" if output is None else output.body
        if len(body) > (most := min(self.most_body_bytes, target.manifest.limits.request_bytes)):
            raise BadRequest(f"the result is over {most} bytes, the most that {target.path} is called with")
        return QueuedCall(
            id=self._new_id(),
            namespace=target.namespace,
            name=target.name,
            path=path,
            query=query,
            headers=[(name.lower(), value) for name, value in headers],
            body=body,
            callback=self._next(call, origin, target, output),
            call_id=call.call_id or call.id,
            queued_ms=self._clock.wall_ns() // 1_000_000,
            parent=call.id,
            root=call.root or call.id,
            depth=call.depth + 1,
            durable=target.manifest.durable is not None,
        )

    def _next(
        self, call: QueuedCall, origin: Deployment | None, target: Deployment, output: Output | None
    ) -> str | None:
        """Where the function that is called back sends its own result: the one before has said so in its answer.

        It cannot reach by that what neither of the two could reach, nor functions of other namespaces.
        """
        urls = [value for name, value in (() if output is None else output.headers) if name.lower() == NEXT]
        if not urls or origin is None:
            return None
        try:
            self.check_callback(origin, urls[0], lambda namespace, _: namespace == call.namespace)
            return self.check_callback(target, urls[0])
        except BadRequest as error:
            self.log(call.namespace, call.name, call.id, "error", f"{NEXT} of the answer was left out: {error}")
            return None

    # -- what is sent

    def _headers(self, call: QueuedCall, record: Record, output: Output | None) -> list[tuple[str, str]]:
        """The function's own, as far as they may be sent, and ours."""
        return [
            *_kept(() if output is None else output.headers),
            ("User-Agent", self._agent),
            *self._retries(call, record),
            ("X-Function-Name", call.name if call.namespace == self.namespace else f"{call.name}.{call.namespace}"),
            ("X-Function-Status", str(self._status(record, output))),
            ("X-Duration-Seconds", f"{record.duration_ns / 1e9:.6f}"),
            ("X-Call-Id", call.call_id or call.id),
            ("X-Start-Time", _start(call)),
        ]

    def _retries(self, call: QueuedCall, record: Record) -> list[tuple[str, str]]:
        """How often it was tried again, and how often it would have been, if it was."""
        if record.attempts < 2:
            return []
        deployment, most = self._registry.get(call.namespace, call.name), call.attempts
        if most is None:
            most = record.attempts if deployment is None else deployment.manifest.retry.attempts
        return [("X-Retry", str(record.attempts - 1)), ("X-Retry-Max", str(max(most, record.attempts) - 1))]

    def _status(self, record: Record, output: Output | None) -> int:
        if output is not None and output.status:
            return output.status
        if record.started_ms is None:
            return 503
        if record.result in ("failed", "dropped"):  # a spawn function's own word, or an answer that cannot be passed on
            deployment = self._registry.get(record.namespace, record.name)
            return 500 if deployment is not None and deployment.kind == "spawn" else 502
        return _STATUSES.get(record.result, 503)


def http_rules(deployment: Deployment) -> tuple[HostRule, ...] | None:
    """Where the grants of a deployment let it send requests; `None`: wherever the host lets it."""
    granted = deployment.manifest.granted("http")
    return None if granted is None else parse_rules(granted)


def _place(destination: Destination, namespace: str) -> tuple[str, str, str | None, bytes]:
    place = parse_place(destination.target.partition("?")[0].encode(), namespace)
    if place is None:
        raise BadRequest("a callback to this host has to name a function: /function/NAME or /functions/NAMESPACE/NAME")
    return place


def _kept(headers: Pairs) -> list[tuple[str, str]]:
    """The headers of an answer that may go into a request, in order, until there are too many."""
    kept: list[tuple[str, str]] = []
    size = 0
    for name, value in headers:
        lower = name.lower()
        if lower in _OURS or lower.startswith("proxy-") or check_header(name, value) is not None:
            continue
        size += len(name) + len(value.encode())
        if len(kept) >= MOST_HEADERS or size > MOST_HEADER_BYTES:
            break
        kept.append((name, value))
    return kept


def _start(call: QueuedCall) -> str:
    """When the call was accepted, or began where its caller says so: nanoseconds since 1970-01-01 UTC."""
    said = [value for name, value in call.headers if name == "x-start-time" and value.isascii() and value.isdigit()]
    return said[0][:20] if said else str(call.queued_ms * 1_000_000)
