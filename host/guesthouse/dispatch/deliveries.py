"""`Deliveries`: callbacks on their way to other servers.

Promises: each is tried until its receiver has answered 2xx, has refused it for good, or all tries are used up; a process
that dies leaves none behind (a receiver may see one twice, with the same id); a receiver that is slow or gone holds up
nobody else's callbacks; nothing of an answer is read but its status.  Every address is judged again when the connection is
made (C7).  Knows nothing of what is in a callback.
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64decode, b64encode
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.callbacks import Callbacks, http_rules
from guesthouse.dispatch.verdict import backoff_ms, parse_retry_after
from guesthouse.errors import BadRequest, GuesthouseError
from guesthouse.net.client import OutboundClient, OutboundRequest, OutboundResponse
from guesthouse.net.failures import CircuitOpen, LimitReached, OutboundError
from guesthouse.queue.call import Callback, Output, Pairs
from guesthouse.queue.queue import Queue
from guesthouse.registry.policy import RetryPolicy
from guesthouse.registry.registry import Registry
from guesthouse.telemetry import Metrics, logger

BATCH: Final = 16
"""Callbacks that are taken from the queue together: each has a whole answer with it."""
LOOK_SECONDS: Final = 1.0
"""How often what is not due yet is looked at: clocks can be set."""
SETTLE_SECONDS: Final = 5.0
"""How long a callback rests that was sent, when the queue could not write that down: it would be sent at once again."""
ROOM_SECONDS: Final = 0.05
"""How often a callback looks for room among the outgoing requests of its function."""
LAST_SECONDS: Final = 2.0
"""How long the end of a host waits for answers of receivers: who has not answered by then is told again by the next one."""
RETRIED_STATUSES: Final = frozenset({408, 425, 429})
"""Statuses below 500 that say that a later try may do better."""
SECRET: Final = "whsec_"
"""How secrets of the Standard Webhooks begin."""

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class CallbackConfig:
    """How callbacks are delivered; a section of the configuration has the same words."""

    secret: str | None = None
    """Signs them, as Standard Webhooks has it: `whsec_` and 24 to 64 bytes in base64; `None`: they are not signed."""
    attempts: int = 8
    """Tries of one callback in all: the waits between them are ten minutes together on average, and twenty at most."""
    at_once: int = 64
    """Callbacks that are under way at the same time."""
    at_once_per_destination: int = 8
    """Of them to one server: what browsers allowed themselves was six."""
    timeout_ms: int = 10_000
    """How long a receiver may take to answer: it should take note, and work afterwards."""
    min_wait_ms: int = 10_000
    """The first wait is a random time up to this, each further one up to twice as much."""
    max_wait_ms: int = 3_600_000
    """The longest wait, whatever the receiver asks for."""

    def key(self) -> bytes | None:
        """The secret's bytes; raises `BadRequest` for one that is none."""
        if self.secret is None:
            return None
        with suppress(ValueError):
            key = b64decode(self.secret.removeprefix(SECRET), validate=True)
            if self.secret.startswith(SECRET) and 24 <= len(key) <= 64:
                return key
        raise BadRequest(f"callbacks.secret is {SECRET} and 24 to 64 bytes in base64")


@dataclass(frozen=True, slots=True)
class _End:
    """How one try ended."""

    outcome: Literal["delivered", "retried", "failed", "blocked"]
    """`retried`: another try may do better."""
    text: str
    wait_ms: int = 0
    """How long the receiver asks to be left alone."""
    asked: bool = True
    """False: it was not asked at all, for it had not answered others lately: so this was not the last try."""


class Deliveries:
    """Sends the callbacks of one queue; all methods belong to one loop."""

    def __init__(
        self,
        queue: Queue,
        callbacks: Callbacks,
        registry: Registry,
        outbound: OutboundClient,
        metrics: Metrics,
        config: CallbackConfig | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Raises `BadRequest` for a secret that is none."""
        self._queue = queue
        self._callbacks = callbacks
        self._registry = registry
        self._outbound = outbound
        self._metrics = metrics
        self._config = config = config or CallbackConfig()
        self._key = config.key()
        self._waits = RetryPolicy(
            attempts=config.attempts, min_wait_ms=config.min_wait_ms, max_wait_ms=config.max_wait_ms
        )
        self._clock = clock
        self._woken = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._destinations: Counter[str] = Counter()
        self._namespaces: Counter[str] = Counter()
        self._loop_task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def under_way(self) -> int:
        """Callbacks that are being sent."""
        return len(self._tasks)

    def start(self) -> None:
        """Begins with what is due; once."""
        self._loop_task = asyncio.get_running_loop().create_task(self._run(), name="callbacks")

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    async def close(self) -> None:
        """Begins nothing more and waits a little for what is under way; what is left then stays in the queue."""
        self._closing = True
        self.wake()
        if self._loop_task is not None:  # ends by itself: what it reads from the queue has a thread at work
            await asyncio.gather(self._loop_task, return_exceptions=True)
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- whose turn it is

    async def _run(self) -> None:
        while not self._closing:
            self._woken.clear()
            try:
                pause = await self._begin_due()
            except GuesthouseError as error:
                log.error("callbacks could not be taken from the queue", error=str(error))
                pause = SETTLE_SECONDS
            except Exception as error:  # a mistake of ours must not end all callbacks for good
                log.error("callbacks could not be begun", exc_info=error)
                pause = SETTLE_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _begin_due(self) -> float | None:
        """Begins what is due and has room; how many seconds until it is worth looking again, `None`: when woken."""
        while (room := self._config.at_once - len(self._tasks)) > 0:
            most = min(room, BATCH)
            busy = [to for to, count in self._destinations.items() if count >= self._config.at_once_per_destination]
            crowded = [namespace for namespace, count in self._namespaces.items() if count >= self._most_of_one]
            due = await self._queue.callbacks(most, list(self._tasks), busy, crowded)
            for callback, output in () if self._closing else due:
                if self._has_room(callback):
                    self._begin(callback, output)
            if len(due) < most or self._closing:
                return await self._until_next()
        return None

    async def _until_next(self) -> float | None:
        due_ms = await self._queue.next_callback_ms()
        if due_ms is None:
            return None
        left = (due_ms - self._clock.wall_ns() // 1_000_000) / 1_000
        return LOOK_SECONDS if self._tasks else min(max(left, 0.01), self._clock.rearm_seconds)

    @property
    def _most_of_one(self) -> int:
        """Half of all for one namespace: its slow receivers are not to hold up everybody else's callbacks (C9)."""
        return max(1, self._config.at_once // 2)

    def _has_room(self, callback: Callback) -> bool:
        return (
            self._destinations[callback.destination] < self._config.at_once_per_destination
            and self._namespaces[callback.namespace] < self._most_of_one
        )

    def _begin(self, callback: Callback, output: Output | None) -> None:
        task = asyncio.get_running_loop().create_task(
            self._deliver(callback, output), name=f"callback of {callback.id}"
        )
        self._tasks[callback.id] = task
        self._destinations[callback.destination] += 1
        self._namespaces[callback.namespace] += 1
        task.add_done_callback(lambda _: self._ended(callback))

    def _ended(self, callback: Callback) -> None:
        del self._tasks[callback.id]
        for counter, of in ((self._destinations, callback.destination), (self._namespaces, callback.namespace)):
            counter[of] -= 1
            if not counter[of]:
                del counter[of]
        self.wake()

    # -- one try

    async def _deliver(self, callback: Callback, output: Output | None) -> None:
        end = await self._try(callback, b"" if output is None else output.body)
        number = callback.attempts + 1
        if end.outcome == "retried" and end.asked and number >= self._config.attempts:
            end = _End("failed", f"{end.text}; it was tried {number} times")
        self._log(callback, end, number)
        try:
            if end.outcome == "retried":
                wait_ms = max(backoff_ms(number, self._waits, self._clock.random_bytes), end.wait_ms)
                now_ms = self._clock.wall_ns() // 1_000_000
                await self._queue.postpone(callback, now_ms + min(wait_ms, self._config.max_wait_ms))
            else:
                await self._queue.delivered(callback)
        except GuesthouseError as error:
            log.error("the end of a callback could not be written down", invocation_id=callback.id, error=str(error))
            await asyncio.sleep(SETTLE_SECONDS)
        self._metrics.callback(end.outcome)

    def _request(self, callback: Callback, body: bytes) -> OutboundRequest:
        deployment = self._registry.get(callback.namespace, callback.name)
        return OutboundRequest(
            "POST",
            callback.url,
            [*callback.headers, *self._signature(callback, body)],
            body,
            (callback.namespace, callback.name),
            self._config.timeout_ms,
            granted=None if deployment is None else http_rules(deployment),
            body_wanted=False,
        )

    async def _try(self, callback: Callback, body: bytes) -> _End:
        try:
            answer = await self._open(self._request(callback, body))
        except CircuitOpen as error:
            return _End("retried", str(error), asked=False)
        except OutboundError as error:
            return _End("blocked" if isinstance(error, BadRequest) else "retried", str(error))
        except Exception as error:  # a mistake of ours counts as a try: otherwise it would be made again at once
            log.error("a callback could not be sent", invocation_id=callback.id, exc_info=error)
            return _End("retried", "it could not be sent")
        if answer.rest is not None:
            answer.rest.close()
        return self._judge(answer)

    async def _open(self, request: OutboundRequest) -> OutboundResponse:
        """The answer; waits for a while where this host has no room for the request, which is not the receiver's fault."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._config.timeout_ms / 1_000
        while True:
            try:
                return await self._outbound.open(request)
            except LimitReached:
                if loop.time() >= until:
                    raise
            await asyncio.sleep(ROOM_SECONDS)

    def _judge(self, answer: OutboundResponse) -> _End:
        status, text = answer.status, f"it answered {answer.status}"
        if 200 <= status < 300:
            return _End("delivered", text)
        if status < 500 and status not in RETRIED_STATUSES:  # a redirect too: where it leads was never checked
            return _End("failed", text)
        asked = [value for name, value in answer.headers if name == "retry-after"]
        now_ms = self._clock.wall_ns() // 1_000_000
        return _End("retried", text, (parse_retry_after(asked[0], now_ms) or 0) if asked else 0)

    def _signature(self, callback: Callback, body: bytes) -> Pairs:
        """What the Standard Webhooks have beside the id, if there is a secret."""
        if self._key is None:
            return ()
        message = next((value for name, value in callback.headers if name == "Webhook-Id"), callback.id)
        seconds = self._clock.wall_ns() // 1_000_000_000
        signature = hmac.digest(self._key, f"{message}.{seconds}.".encode() + body, "sha256")
        return (
            ("Webhook-Timestamp", str(seconds)),
            ("Webhook-Signature", f"v1,{b64encode(signature).decode()}"),
        )

    def _log(self, callback: Callback, end: _End, number: int) -> None:
        level = {"delivered": "debug", "retried": "warn"}.get(end.outcome, "error")
        ended = "delivered" if end.outcome == "delivered" else "not delivered"
        text = f"callback to {callback.destination} {ended}, try {number}: {end.text}"
        self._callbacks.log(callback.namespace, callback.name, callback.id, level, text)
