"""`Invocations`: calls that are accepted for later, and what is known of all invocations: for the library and the gateway.

Promises: what `accept` returned survives a crash, and everything about it that can be wrong was checked before; nobody who
waits for an end polls.  Knows nothing of HTTP, nor of how a queue keeps what it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.cancelling import Cancelling, HasEnded, always
from guesthouse.dispatch.idempotency import idempotency_of
from guesthouse.dispatch.waiters import Waiters
from guesthouse.errors import BadRequest, BodyTooLarge, Draining, InputError, NotFound
from guesthouse.limits import LONGEST_MS, MiB
from guesthouse.queue.call import LIVE, Idempotency, Output, Pairs, QueuedCall, Record
from guesthouse.queue.queue import ALL, FunctionKey, Page, Queue, UnknownInvocation
from guesthouse.registry.deployment import CALLABLE, Deployment

if TYPE_CHECKING:
    from guesthouse.dispatch.callbacks import Allows
    from guesthouse.dispatch.dispatcher import Dispatcher
    from guesthouse.dispatch.flows import QueueState
    from guesthouse.dispatch.running import Running

__all__ = ["Accepted", "HasEnded", "Invocations", "NotDead", "Runner", "Wanted", "check_text"]

MOST_BODY_BYTES: Final = MiB
"""Of a queued call, where nothing else was set: it is written to disk, and read again."""
MOST_KEY_BYTES: Final = 256
MOST_IDEMPOTENCY_KEY: Final = 255
"""Characters of an Idempotency-Key: what the services that made the header known take."""
MOST_CALL_ID: Final = 128
CALL_ID: Final = "x-call-id"
START_TIME: Final = "x-start-time"
"""Headers with which a function is told what its caller knows the call by, and when it began, as OpenFaaS does."""


class NotDead(InputError):
    """An invocation that is no dead letter."""

    status = 409
    problem_type = "not-dead"
    title = "The invocation is no dead letter"


class Runner(Protocol):
    """Whoever runs queued calls: `consumer.Consumer`."""

    def wake(self, function: FunctionKey, due_ms: int = 0) -> None:
        """A call of this function was queued, for now or for later."""

    def cancel(self, id: str) -> bool:
        """Ends a call that it runs; false where it does not run it."""

    async def states(self) -> Sequence[QueueState]:
        """How it stands with every function for which something is queued, running or dead."""


class Wanted(NamedTuple):
    """A call as its caller wants it."""

    method: str = "POST"
    path: str | None = None
    query: Pairs = ()
    headers: Pairs = ()
    token_id: str | None = None
    body: bytes = b""
    callback: str | None = None
    """Where its result goes."""
    allows: Allows | None = None
    """Which functions its caller may call: a callback must name no other one; `None`: any."""
    call_id: str = ""
    """What its caller knows it by; empty: the id of the invocation."""
    start_ns: str = ""
    """When its caller began, in nanoseconds since 1970-01-01 UTC; empty: now."""
    key: str | None = None
    """What it shares a bound with other calls by."""
    delay_ms: int = 0
    """How long it waits at least."""
    attempts: int | None = None
    """Runs in all; `None`: what the deployment's policy says."""
    idempotency_key: str | None = None
    principal_id: str = ""
    """Whose idempotency key it is."""
    id: str = ""
    """Of the invocation; empty: it gets one."""
    parent: str | None = None
    root: str = ""
    """Id of the invocation that began the chain; empty: its own."""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A call that is on disk."""

    id: str
    """Id of the invocation."""
    call_id: str
    """What its caller knows it by."""
    start_ns: str
    """When it was accepted: nanoseconds since 1970-01-01 UTC."""
    replayed: bool
    """It is an earlier call with the same idempotency key."""


class Invocations:
    """Those of one host; to be used on its loop."""

    def __init__(
        self,
        queue: Queue,
        dispatcher: Dispatcher,
        runner: Runner,
        waiters: Waiters,
        *,
        check_callback: Callable[[Deployment, str, Allows | None], str],
        most_body_bytes: int = MOST_BODY_BYTES,
        unwritten: Callable[[str], Record | None] = lambda _: None,
        waits: Callable[[Record], Awaitable[bool]] = always,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._queue = queue
        self._dispatcher = dispatcher
        self._runner = runner
        self._waiters = waiters
        self._check_callback = check_callback
        self.most_body_bytes = most_body_bytes
        self._unwritten = unwritten
        self._clock = clock
        self.cancelling = Cancelling(queue, runner, waiters, clock, find=self.find, running=self._running, waits=waits)

    # -- calls for later

    async def accept(self, deployment: Deployment, wanted: Wanted) -> Accepted:
        """Takes a call; on return it survives a crash.

        Raises `NotFound` for a kind that cannot be queued, `BadRequest`, `BodyTooLarge`, `Draining`, and what
        `Queue.enqueue` raises.
        """
        call = self._make(deployment, wanted)
        kept = await self._queue.enqueue(call)
        start_ns = call.headers[-1][1]
        if kept != call.id:
            return Accepted(kept, call.call_id or kept, start_ns, True)
        self._runner.wake((call.namespace, call.name), call.due_ms)
        return Accepted(kept, call.call_id or kept, start_ns, False)

    def _make(self, deployment: Deployment, wanted: Wanted) -> QueuedCall:
        """The call; raises what is wrong with it."""
        self.check(deployment, len(wanted.body))
        callback, call_id, delay_ms = wanted.callback, wanted.call_id, wanted.delay_ms
        if not 0 <= delay_ms <= LONGEST_MS:
            raise BadRequest(f"a call can be delayed by up to {LONGEST_MS} ms (a year), not {delay_ms}")
        if callback is not None:
            try:
                callback = self._check_callback(deployment, callback, wanted.allows)
            except BadRequest as error:
                raise BadRequest(f"the callback cannot go there: {error}") from None
        if wanted.key is not None:
            check_text("a key", wanted.key, MOST_KEY_BYTES)
        if call_id:
            check_text("a call's own id", call_id, MOST_CALL_ID)
        now_ns, new_id = self._clock.wall_ns(), wanted.id or self._dispatcher.new_id()
        durable = deployment.manifest.durable is not None
        now_ms = now_ns // 1_000_000
        return QueuedCall(
            id=new_id,
            namespace=deployment.namespace,
            name=deployment.name,
            method=wanted.method,
            path=wanted.path,
            query=wanted.query,
            headers=[*wanted.headers, (CALL_ID, call_id or new_id), (START_TIME, wanted.start_ns or str(now_ns))],
            token_id=wanted.token_id,
            body=wanted.body,
            callback=callback,
            call_id=call_id,
            key=wanted.key,
            attempts=wanted.attempts,
            queued_ms=now_ms,
            due_ms=now_ms + delay_ms if delay_ms else 0,
            parent=wanted.parent,
            root=wanted.root,
            depth=wanted.depth,
            durable=durable,
            exclusive=durable and wanted.key is not None,
            idempotency=None if wanted.idempotency_key is None else _idempotency(deployment, wanted),
        )

    def check(self, deployment: Deployment, body_bytes: int) -> None:
        """Whether a call of this function with a body of this size can be queued.

        Raises `NotFound`, `BodyTooLarge` and `Draining`.
        """
        if deployment.kind not in CALLABLE:
            raise NotFound(f"this is a {deployment.kind} function: it cannot be queued")
        if body_bytes > (most := min(self.most_body_bytes, deployment.manifest.limits.request_bytes)):
            raise BodyTooLarge(f"the body is over {most} bytes")
        if self._dispatcher.draining:
            raise Draining

    # -- what is known of invocations

    async def find(self, id: str) -> Record:
        """What is known of an invocation.  Raises `UnknownInvocation`."""
        try:
            return await self._queue.find(id)
        except UnknownInvocation:
            running = self._running(id)
            record = self._unwritten(id) if running is None else self._live(running)
            if record is None:
                raise
            return record

    async def list(self, wanted: Page = ALL) -> tuple[Sequence[Record], str | None]:
        """Records, newest first, and where the next page begins.  Raises `BadRequest` for one that is no page."""
        return await self._queue.list(wanted)

    async def output(self, id: str) -> Output | None:
        """The answer of an invocation that has ended, if it was kept.  Raises `UnknownInvocation`."""
        return await self._queue.output(id)

    async def request(self, id: str) -> QueuedCall:
        """The request of a call that is queued, running or dead.  Raises `UnknownInvocation`."""
        return await self._queue.request(id)

    async def attach(self, id: str, timeout_s: float = 60.0) -> Record:
        """Waits for the end of an invocation, at most `timeout_s` seconds: what is known of it then.

        Its state is one of `LIVE` where the time was over, or the host stops.  Raises `UnknownInvocation`, and
        `AdmissionFull` where too many wait already.
        """
        with self._waiters.waiting(id) as end:
            try:
                record = await self.find(id)
            except UnknownInvocation:
                told = end.result() if end.done() else None
                if told is None:
                    raise
                return told  # one that ended just now, and nobody writes it down
            if record.state not in LIVE:
                return record
            await asyncio.wait((end,), timeout=max(0.0, timeout_s))
            told = end.result() if end.done() else None
            return await self._find_or(told or record)

    async def queues(self) -> Sequence[QueueState]:
        """How it stands with every function for which something is queued, running or dead."""
        return await self._runner.states()

    # -- changing their course

    async def cancel(self, id: str) -> None:
        """Ends an invocation that is queued, or tells one that runs to end: a durable one after all that it called.

        Raises `UnknownInvocation`, `HasEnded`, and `Unavailable` for one that is just beginning or ending.
        """
        await self.cancelling.cancel(id)

    async def kill(self, id: str) -> None:
        """Ends an invocation, and all that it called and waits for, without asking.  Raises as `cancel`."""
        await self.cancelling.kill(id)

    async def redrive(self, id: str) -> None:
        """Queues a dead letter once more, with all its attempts.  Raises `UnknownInvocation` and `NotDead`."""
        record = await self._dead(id)
        await self._queue.redrive(id)
        self._runner.wake((record.namespace, record.name))

    async def drop(self, id: str) -> None:
        """Forgets the request of a dead letter; its record stays.  Raises `UnknownInvocation` and `NotDead`."""
        await self._dead(id)
        await self._queue.drop(id)

    def wake(self, record: Record) -> None:
        """An invocation was queued once more."""
        self._runner.wake((record.namespace, record.name))

    def stop_waiting(self) -> None:
        """Lets go whoever waits for an end: the host stops."""
        self._waiters.stop()

    # -- underneath

    async def _dead(self, id: str) -> Record:
        record = await self.find(id)
        if record.state != "dead":
            raise NotDead(f"the invocation {id} is {record.state}: only a dead letter can be redriven or dropped")
        return record

    async def _find_or(self, record: Record) -> Record:
        """What is known now, or was, of an invocation whose end nobody writes down."""
        try:
            return await self.find(record.id)
        except UnknownInvocation:
            return record

    def _running(self, id: str) -> Running | None:
        """The invocation, where it runs and was not queued."""
        return next((running for running in self._dispatcher.waiting if running.id == id), None)

    def _live(self, running: Running) -> Record:
        deployment = running.deployment
        return Record(
            id=running.id,
            namespace=deployment.namespace,
            name=deployment.name,
            mode=running.mode,  # type: ignore[arg-type]  # the words are the same
            state="running",
            version=deployment.version,
            digest=deployment.digest,
            attempts=1,
            root=running.root,
            depth=running.depth,
        )


def check_text(what: str, text: str, most: int) -> str:
    """`text`, if it has 1 to `most` bytes and all of them can be printed; raises `BadRequest`."""
    if not text or len(text.encode("utf-8", "surrogatepass")) > most or not text.isprintable():
        raise BadRequest(f"{what} has 1 to {most} bytes of printable text")
    return text


def _idempotency(deployment: Deployment, wanted: Wanted) -> Idempotency:
    return idempotency_of(
        check_text("an Idempotency-Key", wanted.idempotency_key or "", MOST_IDEMPOTENCY_KEY),
        namespace=deployment.namespace,
        name=deployment.name,
        principal_id=wanted.principal_id,
        method=wanted.method,
        path=wanted.path,
        query=wanted.query,
        body=wanted.body,
        headers=wanted.headers,
    )
