"""`Cron`: deployments that name times are called then, through the queue.

Promises: each tick of a schedule is queued at most once, across restarts and whatever happens to the clock (F9), for its
time is its idempotency key; what was due while nobody could queue it is not made up for, but for the last tick of the last
minute; a tick that cannot be queued is tried again for that minute.  Which functions have schedules is read from the
registry, so it survives a restart.  Knows nothing of how calls run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.idempotency import digest
from guesthouse.errors import BadRequest, Draining, GuesthouseError
from guesthouse.queue.call import Idempotency, QueuedCall
from guesthouse.queue.queue import AnotherRequest, FunctionKey, Queue
from guesthouse.registry.deployment import CALLABLE, Deployment
from guesthouse.registry.policy import Schedule
from guesthouse.registry.registry import Registry
from guesthouse.telemetry import Metrics, logger

GRACE_SECONDS: Final = 60
"""How late a tick may be queued: a restart, a full queue or a busy loop takes seconds, and minutes later it means another one."""
LOOK_SECONDS: Final = 1.0
"""How often the clock and the registry are looked at: clocks can be set."""
MOST_CRON: Final = 256
"""Characters of an expression."""

log = logger(__name__)


class Key(NamedTuple):
    """A schedule of a function."""

    namespace: str
    name: str
    schedule: Schedule


@dataclass(slots=True)
class _State:
    """How far a schedule has come; times are whole seconds since 1970-01-01 UTC."""

    done: int
    """Ticks up to then are decided."""
    next: int | None
    """The first tick after that; `None`: there is none any more."""


class Cron:
    """The schedules of one host.  All methods belong to one event loop's thread."""

    def __init__(
        self,
        registry: Registry,
        queue: Queue,
        wake: Callable[[FunctionKey], None],
        new_id: Callable[[], str],
        metrics: Metrics,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`wake` is told of each function that something was queued for."""
        self._registry = registry
        self._queue = queue
        self._wake = wake
        self._new_id = new_id
        self._metrics = metrics
        self._clock = clock
        self._states: dict[Key, _State] = {}
        self._revision = -1
        self._looked = self._now()
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def schedules(self) -> int:
        """How many there are."""
        return len(self._states)

    def start(self) -> None:
        """Begins to look at the clock; once."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="cron")

    def nudge(self) -> None:
        """Looks again at once: at schedules that a deploy has changed."""
        self._nudged.set()

    async def close(self) -> None:
        """Queues nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def turn(self) -> float:
        """Queues what is due by now; how many seconds until the next turn."""
        if self._revision != self._registry.revision:
            self._read()
        now = self._now()
        back, self._looked = now < self._looked, now
        if back:  # what is queued already is found by its key, and what was passed over comes again at its time
            for key, state in self._states.items():
                state.done, state.next = now - 1, _first_after(key.schedule, now - 1)
        due = [(key, state) for key, state in self._states.items() if state.next is not None and state.next <= now]
        await asyncio.gather(*(self._due(key, state, now) for key, state in due))
        following = min((state.next for state in self._states.values() if state.next is not None), default=None)
        if following is None:
            return self._clock.rearm_seconds
        return min(max(following - self._clock.wall_ns() / 1e9, 0.01), self._clock.rearm_seconds)

    async def _run(self) -> None:
        while True:
            try:
                pause = await self.turn()
            except Exception as error:  # whatever it is, the other schedules go on
                log.error("schedules could not be looked at", exc_info=error)
                pause = LOOK_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._nudged.wait()
            self._nudged.clear()

    def _now(self) -> int:
        return self._clock.wall_ns() // 1_000_000_000

    def _read(self) -> None:
        """Looks up all schedules, after a deploy, a delete or a change of the current version."""
        starting = self._revision < 0
        self._revision = self._registry.revision  # before reading: what changes meanwhile is read the next time
        known, self._states = self._states, {}
        now = self._now()
        for deployment in self._registry.list():
            # A version that has just become current has no past; one that the last process left may have ticks to run.
            since = min(now, max(now - GRACE_SECONDS, deployment.created_ms // 1_000)) if starting else now
            for schedule in deployment.manifest.schedules:
                key = Key(deployment.namespace, deployment.name, schedule)
                self._states[key] = known.get(key) or _begin(key, since)

    async def _due(self, key: Key, state: _State, now: int) -> None:
        """Queues the last tick that is due, if it is not too old."""
        tick: int | None = None
        following: int | None = None
        for found in _ticks(key.schedule, max(state.done, now - GRACE_SECONDS)):
            if found > now:
                following = found
                break
            tick = found
        outcome = "missed" if tick is None else await self._enqueue(key, tick)
        self._metrics.tick(outcome)
        if outcome == "failed":
            state.next = now + 1  # with whatever is the last tick by then
        else:
            state.done, state.next = now, following

    async def _enqueue(self, key: Key, tick: int) -> str:
        deployment = self._registry.get(key.namespace, key.name)
        durable = deployment is not None and deployment.manifest.durable is not None
        call = call_of(key, tick, self._new_id(), self._clock.wall_ns() // 1_000_000, durable=durable)
        try:
            kept = await self._queue.enqueue(call)
        except AnotherRequest:  # the same times with another body have called it
            return "repeated"
        except Draining:
            return "failed"
        except GuesthouseError as error:
            path = f"{key.namespace}/{key.name}"
            log.warning("a schedule could not call its function", function=path, tick=_text(tick), error=str(error))
            return "failed"
        if kept != call.id:
            return "repeated"
        self._wake((key.namespace, key.name))
        return "queued"


def _begin(key: Key, since: int) -> _State:
    following = _first_after(key.schedule, since)
    if following is None:
        schedule = key.schedule
        path = f"{key.namespace}/{key.name}"
        log.warning("a schedule never runs here", function=path, cron=schedule.cron, timezone=schedule.timezone)
    return _State(since, following)


def call_of(key: Key, tick: int, call_id: str, now_ms: int, *, durable: bool = False) -> QueuedCall:
    """The call of a tick (seconds since 1970-01-01 UTC); the same one for everybody who makes it."""
    schedule = key.schedule
    body = schedule.body.encode()
    parts = ("cron", key.namespace, key.name, schedule.cron, schedule.timezone, str(tick))
    return QueuedCall(
        id=call_id,
        namespace=key.namespace,
        name=key.name,
        headers=[
            ("guesthouse-schedule", schedule.cron),
            ("guesthouse-tick", _text(tick)),
            ("x-call-id", call_id),
            ("x-start-time", str(now_ms * 1_000_000)),
        ],
        body=body,
        queued_ms=now_ms,
        durable=durable,
        idempotency=Idempotency(digest(part.encode() for part in parts), digest([body])),
    )


def check_schedules(deployment: Deployment, now_s: float) -> None:
    """Raises `BadRequest` for schedules that no time matches, or that are no schedules, or of what cannot be queued."""
    schedules = deployment.manifest.schedules
    if schedules and deployment.kind not in CALLABLE:
        raise BadRequest(f"schedules call web, spawn and command functions, and this is a {deployment.kind} function")
    if len({(schedule.cron, schedule.timezone) for schedule in schedules}) < len(schedules):
        raise BadRequest("two schedules have the same times: a tick calls a function once")
    for schedule in schedules:
        if len(schedule.cron) > MOST_CRON or not schedule.cron.isprintable():
            raise BadRequest(f"schedule.cron has up to {MOST_CRON} printable characters")
        try:
            found = next(_times(schedule, int(now_s)), None)
        except CronSimError as error:
            raise BadRequest(f"schedule.cron {schedule.cron!r}: {error}") from None
        if found is None:
            raise BadRequest(f"schedule.cron {schedule.cron!r}: no time matches it")


def _ticks(schedule: Schedule, after: int) -> Iterator[int]:
    """The ticks after a time; none for a schedule that this host cannot read (any more)."""
    with suppress(BadRequest, CronSimError, OverflowError):
        yield from _times(schedule, after)


def _first_after(schedule: Schedule, after: int) -> int | None:
    return next(_ticks(schedule, after), None)


def _times(schedule: Schedule, after: int) -> Iterator[int]:
    """The ticks after a time, in order, in seconds since 1970-01-01 UTC; raises `BadRequest` and `CronSimError`."""
    zone = _zone(schedule.timezone)
    try:
        times = CronSim(schedule.cron, datetime.fromtimestamp(after, zone))
    except (ValueError, AssertionError):  # digits without end, and the like
        raise CronSimError("this is no cron expression") from None
    last = after
    for time in times:
        tick = int(time.timestamp())
        if (
            tick > last
        ):  # where clocks are put back the library gives the same hour once more, where forward a time twice
            yield tick
            last = tick


def _zone(name: str) -> tzinfo:
    """A time zone; raises `BadRequest` for one that there is not."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadRequest(f"schedule.timezone: there is no time zone {name[:64]!r}") from None


def _text(tick: int) -> str:
    return f"{datetime.fromtimestamp(tick, UTC):%Y-%m-%dT%H:%M:%SZ}"
