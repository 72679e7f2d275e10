"""`FlightRecorder`: journals of calls that are not durable, in memory as long as they run, and on disk where that is wanted.

Promises: a call never waits for it and never fails for it; what there is no room for is left out, and counted.  To be used on
the loop, but for `begin` and `ended`, which any thread may call.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from guesthouse.dispatch.asked import Asked, write_asked
from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.verdicts import reason_of
from guesthouse.durable.journal import Journal
from guesthouse.durable.records import Header
from guesthouse.errors import GuesthouseError
from guesthouse.limits import MiB
from guesthouse.queue.call import Record
from guesthouse.queue.queue import Queue, UnknownInvocation
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from guesthouse.clock import Clock
    from guesthouse.dispatch.recorded import Recorded
    from guesthouse.queue.config import InvocationsConfig

MOST_WAITING: Final = 1_000
"""Recordings that are not on disk yet."""
MOST_BYTES: Final = 64 * MiB
"""Of those."""
TRIES: Final = 100
PAUSE_SECONDS: Final = 0.05
"""A recording is stored with the record of its call, which whoever ran that call writes: that is waited for."""
LAST_SECONDS: Final = 5.0
"""How long the end of a host waits for what is not stored yet."""
FAILED: Final = 500
"""From this status on an answer has failed."""

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a journal of a recorder asks of a policy."""

    journal_bytes: int
    ambiguous: Mapping[str, str] = field(default_factory=dict)


class Recording(NamedTuple):
    """What there is to store of one call."""

    asked: Asked
    journal: Journal
    end: tuple[str, int, bytes, str]
    """Word, status, body and reason of its outcome."""
    tries: int = 0

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return self.journal.size + len(self.asked.call.body) + len(self.end[2])

    def sealed(self) -> list[bytes]:
        """As it is stored."""
        result, status, body, reason = self.end
        digest = b"" if reason else hashlib.sha256(body).digest()
        return [write_asked(self.asked), self.journal.finish(result, status, digest, reason)]


class FlightRecorder:
    """That of one host."""

    def __init__(self, queue: Queue, config: InvocationsConfig, clock: Clock, version: str) -> None:
        self._queue = queue
        self._version = version
        self.clock = clock
        self.policy = config.flight
        self.most_bytes = config.flight_bytes
        self._share = {"off": 0.0, "sampled": config.flight_sample}.get(config.flight, 1.0)
        self._bounds = Bounds(config.flight_bytes)
        self._random = random.Random(clock.random_bytes(16))
        self._attempts: OrderedDict[str, Recording] = OrderedDict()
        self._waiting: OrderedDict[str, Recording] = OrderedDict()
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Whether any call is recorded."""
        return self.policy != "off"

    def start(self) -> None:
        """Begins to store; on the loop."""
        if self.on:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._write(), name="flight recorder")

    def begin(self, running: Recorded) -> Journal | None:
        """The journal of a call that begins; `None`: it is not recorded."""
        if self._share < 1.0 and self._random.random() >= self._share:
            return None
        deployment = running.deployment
        header = Header(running.id, deployment.version, deployment.digest, self._version)
        return Journal(None, header=header, policy=self._bounds)

    def wants(self, outcome: Outcome) -> bool:
        """Whether a call that was recorded and ended so is kept."""
        return self.policy != "failed" or outcome.error is not None or outcome.status >= FAILED

    def ended(self, running: Recorded, outcome: Outcome, asked: Asked | None) -> None:
        """A call has ended that was recorded, and is to be kept; `asked` is `None` where that was not kept."""
        journal = running.journal
        if self._loop is None or journal is None:
            return
        if asked is None or journal.full:
            self._counts["too-long"] += 1
            return
        error = outcome.error
        body = b"" if error is not None else outcome.body
        end = (outcome.result, outcome.status, body, "" if error is None else reason_of(error))
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._take, running.mode, Recording(asked, journal, end))

    def settled(self, record: Record) -> None:
        """A queued call has ended for good, and that is on disk: its last attempt is what is kept."""
        recording = self._attempts.pop(record.id, None)
        if recording is not None:
            self._bytes -= recording.size
            self._add(recording)

    async def close(self) -> None:
        """Stores what waits, and stops."""
        if self._task is not None:
            await asyncio.sleep(0)  # what was handed over from threads comes first
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._idle.wait()
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._loop = self._task = None

    def collect(self) -> Iterator[Metric]:
        """What was counted, for `Metrics.also`."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            "guesthouse_flight", "Recordings of calls, by what became of them", labels=("result",)
        )
        for word, count in list(self._counts.items()):
            family.add_metric((word,), count)
        yield family

    # -- on the loop

    def _take(self, mode: str, recording: Recording) -> None:
        if mode != "async":
            self._add(recording)
            return
        self._forget(self._attempts, recording.asked.call.id)
        if self._has_room(self._attempts, recording):
            self._attempts[recording.asked.call.id] = recording
            self._bytes += recording.size

    def _add(self, recording: Recording) -> None:
        if self._has_room(self._waiting, recording):
            self._waiting[recording.asked.call.id] = recording
            self._bytes += recording.size
            self._idle.clear()
            self._more.set()

    def _has_room(self, place: OrderedDict[str, Recording], recording: Recording) -> bool:
        """Whether one more can wait; attempts of calls that are tried again go first, the oldest first."""
        while self._attempts and (len(place) >= MOST_WAITING or self._bytes + recording.size > MOST_BYTES):
            self._forget(self._attempts, next(iter(self._attempts)))
            self._counts["dropped"] += 1
        if len(place) >= MOST_WAITING or self._bytes + recording.size > MOST_BYTES:
            self._counts["dropped"] += 1
            return False
        return True

    def _forget(self, place: OrderedDict[str, Recording], id: str) -> None:
        recording = place.pop(id, None)
        if recording is not None:
            self._bytes -= recording.size

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._more.wait()
            self._more.clear()
            for owner, recording in list(self._waiting.items()):
                again = not await self._store(owner, recording)
                self._forget(self._waiting, owner)
                if again:
                    self._waiting[owner] = recording._replace(tries=recording.tries + 1)
                    self._bytes += recording.size
            if not self._waiting:
                self._idle.set()
            else:
                loop.call_later(PAUSE_SECONDS, self._more.set)

    async def _store(self, id: str, recording: Recording) -> bool:
        """Whether it is over with this one."""
        try:
            await self._queue.record_journal(id, await asyncio.to_thread(recording.sealed))
        except UnknownInvocation:
            if recording.tries < TRIES:
                return False
            self._counts["dropped"] += 1
        except GuesthouseError as error:
            self._counts["dropped"] += 1
            log.warning("a recording was not stored", invocation_id=id, error=str(error))
        else:
            self._counts["stored"] += 1
        return True
