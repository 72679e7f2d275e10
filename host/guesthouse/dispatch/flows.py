"""`Flows`: how many queued calls may start now, by function, namespace and host, and how it stands with each.

Puts the rules of `flow` together with what runs, with the pool, and with the deployments' policies.  Belongs to the loop's
thread.  Must not know where calls come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from guesthouse.clock import Clock
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.flow import FunctionFlow
from guesthouse.dispatch.queued_run import QueuedRun
from guesthouse.queue.call import QueuedCall
from guesthouse.queue.queue import FunctionKey, Waiting
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.policy import FlowPolicy
from guesthouse.registry.registry import Registry

MOST_AT_ONCE = 256
"""Queued calls that run at the same time, unless the configuration says otherwise; as for spawns."""
DELETED = FlowPolicy()
"""How calls of a function that is gone are taken: they only have to be buried."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """How it stands with one function's queued calls."""

    function: FunctionKey
    queued: int
    running: int
    suspended: int
    """Durable ones that wait for something, and that nobody runs."""
    oldest_seconds: float | None
    """How long the oldest call has waited that could run."""
    dead: int
    limit: int
    """How many may run at once now."""
    rate: int
    """Starts in a second that its deployment allows; 0: any number."""
    paused_seconds: float
    """How long it is left alone yet, because it asked for that."""


class Flows:
    """Those of one host."""

    crowded = False
    """Whether something could start but for the direct calls that run: nobody tells when one of them ends."""
    opens_ns: int | None = None
    """When something may start without the end of any call, on `Clock.monotonic_ns`; of those that `room` was asked for."""

    def __init__(self, inflight: int | None, dispatcher: Dispatcher, registry: Registry, clock: Clock) -> None:
        self.most = inflight or max(1, min(MOST_AT_ONCE, dispatcher.pool.slots // 2))
        """Calls that run at once; of one namespace at most three quarters, of one function half, so that others find room."""
        self.running = 0
        self._dispatcher = dispatcher
        self._registry = registry
        self._clock = clock
        self._share = max(1, self.most // 2)
        self._namespaces: Counter[str] = Counter()
        self._flows: dict[FunctionKey, FunctionFlow] = {}

    def deployment(self, function: FunctionKey) -> Deployment | None:
        """The current version of a function."""
        return self._registry.get(*function)

    def of(self, function: FunctionKey) -> FunctionFlow:
        """The flow of a function, with the policy of its current version."""
        deployment = self.deployment(function)
        policy = DELETED if deployment is None else deployment.manifest.flow
        flow = self._flows.get(function)
        if flow is None:
            flow = self._flows[function] = FunctionFlow(policy)
        flow.adopt(policy, self._clock.monotonic_ns())
        return flow

    # -- how many may start

    def free(self) -> int:
        """How many calls of any function may start now; forgets what was noted of when there is room."""
        pool = self._dispatcher.pool
        room = min(self.most - self.running, pool.slots - pool.in_use)
        self.crowded = room <= 0 and self.running < self.most
        self.opens_ns = None
        return room

    def room(self, function: FunctionKey) -> int:
        """How many calls of a function may start now; notes when there will be room where there is none."""
        now_ns, flow = self._clock.monotonic_ns(), self.of(function)
        room = flow.room(self._share, now_ns)
        if room <= 0:
            opens = flow.opens_ns(self._share, now_ns)
            if opens is not None and (self.opens_ns is None or opens < self.opens_ns):
                self.opens_ns = opens
            return 0
        deployment = self.deployment(function)
        prepared = None if deployment is None else self._dispatcher.loaded(deployment)
        if prepared is not None and prepared.inflight is not None and prepared.inflight.free < room:
            room = prepared.inflight.free
            self.crowded = self.crowded or room <= 0
        return room

    @property
    def full(self) -> bool:
        """Whether as many calls run as may."""
        return self.running >= self.most

    def share_left(self, namespace: str) -> int:
        """How many more calls of a namespace may run."""
        return max(1, self.most * 3 // 4) - self._namespaces[namespace]

    # -- what runs

    def started(self, call: QueuedCall) -> None:
        """A call runs, after `of` was asked for its function."""
        self.running += 1
        self._namespaces[call.namespace] += 1
        self._flows[call.namespace, call.name].started(call.key, self._clock.monotonic_ns())

    def ended(self, run: QueuedRun) -> None:
        """A call does not run any more; how it ended tells how many of its function may run at once."""
        call = run.lease.call
        self.running -= 1
        self._namespaces[call.namespace] -= 1
        if not self._namespaces[call.namespace]:
            del self._namespaces[call.namespace]
        flow = self._flows[call.namespace, call.name]
        flow.ended(call.key)
        if flow.policy.adaptive and run.outcome is not None:
            if run.overloaded:
                flow.limit.overloaded(self._share, self._clock.monotonic_ns(), run.pause_ms)
            else:
                flow.limit.succeeded(self._share)

    def tidy(self, wanted: Callable[[FunctionKey], bool]) -> None:
        """Forgets functions that are idle, but for those that are wanted."""
        now_ns = self._clock.monotonic_ns()
        for function in [found for found, flow in self._flows.items() if flow.idle(now_ns)]:
            if not wanted(function):
                del self._flows[function]

    def state(self, function: FunctionKey, waiting: Waiting) -> QueueState:
        """How it stands with a function."""
        flow, oldest_ms = self.of(function), waiting.oldest_ms
        paused_ns = flow.limit.paused_until_ns - self._clock.monotonic_ns()
        return QueueState(
            function,
            waiting.queued,
            waiting.running,
            waiting.suspended,
            None if oldest_ms is None else max(0.0, self._clock.wall_ns() / 1e9 - oldest_ms / 1e3),
            waiting.dead,
            flow.bound(self._share),
            flow.policy.rate,
            max(0, paused_ns) / 1e9,
        )
