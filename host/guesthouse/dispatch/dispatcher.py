"""`Dispatcher`: every way of calling a function goes through here, to one pool of instances.

Promises: no more guests alive than slots; a call that is refused leaves nothing behind; after `drain` nothing runs.
Must not know how requests come in.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.command import RunningCommand
from guesthouse.dispatch.detached import Detached
from guesthouse.dispatch.durable_call import DurableCall
from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.prepared import Prepared
from guesthouse.dispatch.recorder import record_of
from guesthouse.dispatch.running import QUEUED, Running
from guesthouse.dispatch.spawner import SpawnQueue, complete_spawn
from guesthouse.dispatch.waiters import Waiters
from guesthouse.engine.pool import InstancePool
from guesthouse.engine.worker import Workers
from guesthouse.errors import BadRequest, BodyTooLarge, Draining
from guesthouse.interfaces.bytes import Buffer
from guesthouse.interfaces.invocation import ResponseSink, WebRequest
from guesthouse.queue.call import Lease, Record
from guesthouse.queue.spawns import Spawns
from guesthouse.registry.deployment import ANSWERING, Deployment
from guesthouse.registry.registry import Registry
from guesthouse.telemetry import FunctionLog, FunctionLogs, Metrics, logger

if TYPE_CHECKING:
    from guesthouse.dispatch.flight import FlightRecorder
    from guesthouse.dispatch.invocations import Invocations
    from guesthouse.dispatch.journaled import Journaled
    from guesthouse.queue.queue import FunctionKey

Body = bytes | AsyncIterator[bytes]
DRAIN_STEP_S = 0.01
IDS_AT_ONCE = 256
"""Invocation ids that are made together: half a microsecond each, if one was made between two guests."""
LAST_SECONDS = 2.0
"""How long a drain waits for what it has cancelled: a guest that computes ends with its slice."""

log = logger(__name__)


class Loading:
    """A call of a deployment that has to be linked first, which takes milliseconds, or seconds where it is compiled anew."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        deployment: Deployment,
        begin: Callable[..., Outcome | Running | Loading | DurableCall],
    ) -> None:
        self._dispatcher = dispatcher
        self._deployment = deployment
        self._begin = begin

    async def wait(self, sink: ResponseSink | None = None) -> Outcome:
        """Links the deployment in a thread, and then makes the call."""
        started = self._begin(prepared=await self._dispatcher.load(self._deployment))
        return started if isinstance(started, Outcome) else await started.wait(sink)


class Dispatcher:
    """Runs invocations.  `prepare` links a deployment that is not linked yet; it may block for milliseconds."""

    def __init__(
        self,
        registry: Registry,
        prepare: Callable[[Deployment], Prepared],
        pool: InstancePool,
        metrics: Metrics,
        logs: FunctionLogs,
        spawns: Spawns,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._registry = registry
        self._prepare = prepare
        self._prepared: dict[int, Prepared] = {}
        self._logs = logs
        self.metrics = metrics
        self.clock = clock
        self.pool = pool
        self.workers = Workers()
        self.draining = False
        self.waiting: set[Running] = set()
        """Invocations that did not end in their first slice, and those that work on after their answer."""
        self.detached: set[Detached] = set()
        """The work of those."""
        self.patience: float | None = None
        """Seconds that those may take from now on, besides their deadline; `None` until a drain has waited enough."""
        self.waiters = Waiters()
        """Who waits for the end of which invocation."""
        self.calls: Invocations | None = None
        """Who takes calls for the queue, as all those of durable functions are; set by whoever makes both."""
        self.lingering: dict[Journaled, None] = {}
        """Durable runs that wait for something and have kept their memory so far, those that wait for longest first."""
        self.is_short: Callable[[FunctionKey], bool] = lambda function: False
        """Whether others need the places of those of this function."""
        self.unsettled: Callable[[], int] = lambda: 0
        """How many queued calls have yet to be settled before a drain is over."""
        self.record: Callable[[Running, Outcome], None] | None = None
        """Who writes direct invocations down that failed; `None`: nobody does."""
        self.flight: FlightRecorder | None = None
        """Who records the calls of those that are not durable; `None`: nobody does."""
        self.runs: type[Running] = Running
        self.runs_command: type[RunningCommand] = RunningCommand
        """What a call of a function and that of a command becomes, unless it is durable."""
        self.records_all = False
        """Whether it is told of those that did not fail, too."""
        self._id_prefix = clock.random_bytes(4).hex()
        self._numbers = count(1)
        self._ids: deque[str] = deque()
        self._more_ids = threading.Lock()
        self.spawner = SpawnQueue(self, registry, spawns, metrics, clock)

    # -- calling

    async def web(
        self, deployment: Deployment, request: WebRequest, body: Body, sink: ResponseSink | None = None
    ) -> Outcome:
        """Calls a web function, or runs a command, and waits for its outcome.

        Raises `AdmissionFull`, `Draining`, `BodyTooLarge`, or `BadRequest` where it is neither; what the guest does wrong
        is in the outcome.
        """
        started = self.web_now(deployment, request, body, sink)
        return started if isinstance(started, Outcome) else await started.wait()

    def web_now(
        self,
        deployment: Deployment,
        request: WebRequest,
        body: Body,
        sink: ResponseSink | None = None,
        *,
        on_loop: bool = True,
        prepared: Prepared | None = None,
        invocation_id: str = "",
    ) -> Outcome | Running | Loading | DurableCall:
        """`web` as far as it goes without waiting: the outcome, or what `wait` carries on, which may be given the sink, too.

        `invocation_id` is one of `new_id`; empty: it gets one.
        """
        prepared = prepared or self._prepared.get(id(deployment))
        if prepared is None:  # `partial`: a closure would make each use of these names slower, in every call
            if deployment.manifest.durable is not None:
                return self._durable_call(deployment, request, body, invocation_id)
            begin = partial(self.web_now, deployment, request, body, sink, invocation_id=invocation_id)
            return Loading(self, deployment, begin)
        entry = prepared.web
        if entry is None:
            if deployment.manifest.durable is not None:
                return self._durable_call(deployment, request, body, invocation_id)
            return self._command_now(prepared, request, body, sink, on_loop, invocation_id)
        limits = prepared.limits
        if isinstance(body, bytes):
            if len(body) > limits.request_bytes:
                raise BodyTooLarge(f"the body is over {limits.request_bytes} bytes")
            args: tuple[Any, ...] = (("buffer", Buffer(body)),) if entry.takes_buffer else (body,)
        elif entry.takes_buffer:
            args = (("buffer", Buffer(source=body, limit=limits.request_bytes, uploaded=True)),)
        else:
            raise BadRequest(f"{deployment.path} is built on the older interface: collect its body first")
        if self.draining:
            raise Draining
        running = self.runs(self, prepared, entry, "web", invocation_id or self.new_id(), request, sink)
        return running.start(args, on_loop) or running

    def _durable_call(self, deployment: Deployment, request: WebRequest, body: Body, invocation_id: str) -> DurableCall:
        """A call that is made through the queue when it is waited for."""
        if deployment.kind not in ANSWERING:
            raise BadRequest(f"{deployment.path} is a {deployment.kind} function: it cannot be called over HTTP")
        if self.draining:
            raise Draining
        assert self.calls is not None, "it was set before the first call"
        return DurableCall(self.calls, deployment, request, body, invocation_id)

    def _command_now(
        self,
        prepared: Prepared,
        request: WebRequest,
        body: Body,
        sink: ResponseSink | None,
        on_loop: bool,
        invocation_id: str,
    ) -> Outcome | Running:
        """As `web_now`, for a command: it is begun once all of its standard input is there."""
        deployment, entry, most = prepared.deployment, prepared.command, prepared.limits.request_bytes
        if entry is None:
            raise BadRequest(f"{deployment.path} is a {deployment.kind} function: it cannot be called over HTTP")
        if not isinstance(body, bytes):
            raise BadRequest(f"{deployment.path} is a command: collect its body first")
        if len(body) > most:
            raise BodyTooLarge(f"the body is over {most} bytes")
        if self.draining:
            raise Draining
        running = self.runs_command(self, prepared, entry, "web", invocation_id or self.new_id(), request, sink, body)
        return running.start((), on_loop) or running

    def call_now(
        self,
        deployment: Deployment,
        interface: str,
        function: str,
        args: tuple[Any, ...],
        *,
        on_loop: bool = True,
        prepared: Prepared | None = None,
    ) -> Outcome | Running | Loading:
        """Calls any typed export; `Outcome.value` is its result.  Raises `BadRequest`, `TypeError` and `ValueError`."""
        prepared = prepared or self._prepared.get(id(deployment))
        if prepared is None:
            return Loading(self, deployment, partial(self.call_now, deployment, interface, function, args))
        entry = prepared.function(interface, function)
        entry.check_handles(args)
        if self.draining:
            raise Draining
        running = self.runs(self, prepared, entry, "call", self.new_id())
        return running.start(args, on_loop) or running

    def queued_now(self, prepared: Prepared, lease: Lease, sink: ResponseSink) -> tuple[Running, Outcome | None]:
        """Runs a call from the queue as far as it goes without waiting: a web function, a spawn function or a command.

        Raises `AdmissionFull`, `BodyTooLarge`, or `BadRequest` where it is none of them.
        """
        entry, limits, call = prepared.queued, prepared.limits, lease.call
        if entry is None:
            raise BadRequest(
                f"{prepared.deployment.path} is a {prepared.deployment.kind} function: it cannot be queued"
            )
        if len(call.body) > limits.request_bytes:
            raise BodyTooLarge(f"the body is over {limits.request_bytes} bytes")
        request = WebRequest(call.method, call.path, call.query, call.headers, call.token_id)
        args: tuple[Any, ...] = (("buffer", Buffer(call.body)),) if entry.takes_buffer else (call.body,)
        if prepared.deployment.kind == "command":
            running: Running = self.runs_command(self, prepared, entry, "async", call.id, request, sink, call.body)
            args = ()
        elif prepared.deployment.kind == "web":
            running = self.runs(self, prepared, entry, "async", call.id, request, sink)
        else:
            running = self.runs(self, prepared, entry, "async", call.id)
        running.lease, running.root, running.depth = lease, call.root or call.id, call.depth
        self.spawner.descendant_began(running)
        return running, running.start(args)

    async def run_spawned(
        self, deployment: Deployment, payload: bytes, invocation_id: str, root: str, depth: int
    ) -> tuple[Outcome, Record]:
        """Runs a spawn function to its end; how it went, and what there is to write down of it."""
        prepared = await self.load(deployment)
        entry = prepared.spawn
        assert entry is not None, "the spawner checked that it is a spawn function"
        args = (("buffer", Buffer(payload)),) if entry.takes_buffer else (payload,)
        if self.draining:
            raise Draining
        running = self.runs(self, prepared, entry, "spawn", invocation_id)
        running.root, running.depth = root, depth
        outcome = running.start(args) or await running.wait()
        if outcome.detached is not None:  # it keeps its place and its row until then
            await outcome.detached.end()
        return outcome, record_of(running, outcome, self.clock.wall_ns())

    def new_id(self) -> str:
        """A new invocation id: unique, in the order of their making within one process.

        From one nobody can tell another: many may call a function, and each may see what became of a call by its id.
        """
        try:
            return self._ids.popleft()
        except IndexError:
            with self._more_ids:
                if not self._ids:
                    secret, prefix = self.clock.random_bytes(6 * IDS_AT_ONCE).hex(), self._id_prefix
                    numbers = enumerate(islice(self._numbers, IDS_AT_ONCE))
                    self._ids.extend(
                        [f"{prefix}{number:010x}{secret[at * 12 : at * 12 + 12]}" for at, number in numbers]
                    )
            return self.new_id()

    # -- deployments

    def loaded(self, deployment: Deployment) -> Prepared | None:
        """The deployment, if it is linked."""
        return self._prepared.get(id(deployment))

    async def load(self, deployment: Deployment) -> Prepared:
        """The deployment, linked; the first call of one links it in a thread."""
        prepared = self._prepared.get(id(deployment))
        if prepared is None:
            prepared = await asyncio.to_thread(self._prepare, deployment)
            self._prepared[id(deployment)] = prepared
            if self._registry.get(deployment.namespace, deployment.name) is not deployment:
                self.forget(deployment)  # it was replaced meanwhile: who still calls it brings it along
        return prepared

    def adopt(self, prepared: Prepared) -> None:
        """Takes a deployment that was linked at deploy, and forgets those it replaces; running calls keep theirs."""
        path = prepared.deployment.path
        for older in list(self._prepared.values()):  # several, where deploys of one function overlap
            if older.deployment.path == path:
                self.forget(older.deployment)
        self._prepared[id(prepared.deployment)] = prepared

    def forget(self, deployment: Deployment) -> None:
        """Drops what was kept for a deployment that is not current any more."""
        self._prepared.pop(id(deployment), None)

    def takes_stream(self, deployment: Deployment) -> bool:
        """Whether a function can be given its body while it arrives: neither those of the older interface nor commands."""
        prepared = self._prepared.get(id(deployment))
        return prepared is not None and prepared.web is not None and prepared.web.takes_buffer

    def running(self) -> list[str]:
        """Functions of the invocations that did not end in their first slice, once for each; from any thread."""
        return [running.deployment.path for running in tuple(self.waiting)]

    # -- the end

    async def drain(self, timeout_s: float) -> None:
        """Takes no new work, waits for what runs, and cancels what is left after `timeout_s` seconds."""
        self.draining = True
        for running in tuple(self.waiting):
            running.leave()
        await self._idle(timeout_s)
        await self.spawner.cancel_all()
        self.patience = 0.0
        for running in tuple(self.waiting):
            running.give_up()
        await self._idle(LAST_SECONDS)

    def _busy(self) -> bool:
        return bool(self.pool.in_use or self.waiting or self.spawner.in_flight or self.unsettled())

    async def _idle(self, timeout_s: float) -> None:
        """Waits until nothing runs any more, at most `timeout_s` seconds."""
        deadline = self.clock.monotonic_ns() + int(timeout_s * 1e9)
        while self._busy() and self.clock.monotonic_ns() < deadline:
            await asyncio.sleep(DRAIN_STEP_S)

    def close(self) -> None:
        """Stops the workers; call after `drain`."""
        self.workers.close()

    # -- what a running invocation asks for

    def log_of(self, deployment: Deployment) -> FunctionLog:
        """Where the log records of a deployment's function go."""
        return self._logs.of(deployment.path)

    def is_followed(self, deployment: Deployment) -> bool:
        """Whether somebody reads the log of a deployment's function as it grows."""
        return self._logs.followers > 0 and self._logs.followed(deployment.path) > 0

    def ended(self, running: Running, outcome: Outcome) -> None:
        """Told of an invocation that ended, before its outcome is counted, if it was spawned or may have spawned others."""
        if running.is_spawn:
            complete_spawn(outcome, running)
        if running.mode != "spawn" and running.detached is None:
            self.spawner.root_ended(running.id)

    def tell(self, running: Running, outcome: Outcome) -> None:
        """Tells those who wait for the end of a direct invocation; of a queued one they are told once that is on disk."""
        if running.id in self.waiters and running.mode not in QUEUED:
            self.waiters.ended(record_of(running, outcome, self.clock.wall_ns()))

    def detached_ended(self, running: Running, outcome: Outcome) -> None:
        """Told of an invocation whose detached work has ended, too."""
        if running.mode != "spawn":
            self.spawner.root_ended(running.id)
        self.tell(running, outcome)
        detached = outcome.detached
        well = outcome.error is None and outcome.status < 500 and (detached is None or detached.result == "ok")
        if self.record is not None and (self.records_all or not well):
            self.record(running, outcome)
