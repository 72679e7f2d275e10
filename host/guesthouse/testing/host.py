"""`AsyncSimulatedHost`: a host for tests of guests, in this process, in simulated time.

    async with AsyncSimulatedHost() as host:
        await host.deploy("reminder", wasm, durable=True)
        host.http.on("POST", "https://mail.example.com/send").answer(202)
        assert (await host.run("reminder", {"in_days": 30})).ok     # takes milliseconds

It is the host itself, with its queue, journal and database.  Each verb returns when the host has nothing left to do for which
no time has to pass.  Time passes only while a test lets it (`advance`), or waits for an end (`run`, `run_to_end`, `invoke`,
`call`): everything that falls due on the way happens in its order.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from guesthouse.async_host import AsyncHost
from guesthouse.dispatch.invocations import HasEnded
from guesthouse.dispatch.outcome import Outcome
from guesthouse.interfaces.durable import NoSuchAwakeable
from guesthouse.queue.call import LIVE, Output, Record
from guesthouse.registry.deployment import Deployment
from guesthouse.testing.awakeables import Pending
from guesthouse.testing.fakes import FakeHttp
from guesthouse.testing.life import LivingHost, Stuck
from guesthouse.testing.messages import Body, answer
from guesthouse.testing.simulation import Simulation, UnexpectedRequests

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What an invocation came to."""

    record: Record
    output: Output | None
    """What the function answered, if it did."""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.record.state == "succeeded"

    @property
    def status(self) -> int:
        """HTTP status that the function answered; 0: none."""
        return self.record.status

    @property
    def body(self) -> bytes:
        """What it answered."""
        return b"" if self.output is None else self.output.body

    @property
    def text(self) -> str:
        """What it answered, as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """What it answered, which is JSON; raises `ValueError` where it is not."""
        return json.loads(self.body)


class AsyncSimulatedHost:
    """`async with AsyncSimulatedHost() as host: …`, on any event loop: the host has one of its own.

    Without `data_dir` it has a data directory of its own, which goes with it; one that is given is gone on with.  `start` is
    what time it is at first (2030-01-01 UTC), `seed` chooses what is random; `strict` has requests over HTTP that the test has
    no answer for fail it at its end.  `options` are those of `AsyncHost`; the cache persists if nothing else is said.  Code of
    the test that the host calls (its interfaces, fake answers) is called on the host's loop.
    """

    __test__ = False  # for pytest

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        start: datetime | None = None,
        seed: int = 0,
        strict: bool = True,
        simulation: Simulation | None = None,
        **options: Any,
    ) -> None:
        self.simulation = simulation or Simulation(data_dir, start=start, seed=seed, options=options)
        self._strict = strict
        self._asked = 0

    async def __aenter__(self) -> AsyncSimulatedHost:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if error is None:
            self.check()

    @property
    def http(self) -> FakeHttp:
        """What can be reached over HTTP."""
        return self.simulation.http

    @property
    def now(self) -> datetime:
        """What time it is, in UTC."""
        return self.simulation.clock.now

    @property
    def published(self) -> list[tuple[str, str, str | bytes]]:
        """Namespace, topic and message of everything that was published so far."""
        return list(self.simulation.world.published)

    def check(self) -> None:
        """Raises `UnexpectedRequests` where the test had no answer for something, and what its answers have raised."""
        if self.http.failures:
            raise self.http.failures[0]
        if self._strict and self.http.unexpected:
            raise UnexpectedRequests(f"the test has no answer for {', '.join(self.http.unexpected)}")

    async def close(self) -> None:
        """Stops the host; may be called again."""
        await self._blocking(self.simulation.close)

    # -- functions

    async def deploy(self, name: str, wasm: bytes, **options: Any) -> Deployment:
        """See `AsyncHost.deploy`."""
        return await self._nudged(lambda host: host.deploy(name, wasm, **options))

    async def delete(self, name: str, *, namespace: str = "default") -> bool:
        """See `AsyncHost.delete`."""
        return await self._nudged(lambda host: host.delete(name, namespace=namespace))

    async def use(self, work: Callable[[AsyncHost], Awaitable[T]], *, passes: bool = False) -> T:
        """Does anything with the host, on its loop; with `passes` time passes until it is done."""
        return await self._do(work, passes=passes)

    # -- calls

    async def invoke(self, name: str, body: Body = b"", **options: Any) -> Outcome:
        """See `AsyncHost.invoke`; time passes until it has ended.  Raises `Stuck` where no time brings its end."""
        return await self._do(lambda host: host.invoke(name, answer(body=body).body, **options), passes=True)

    async def call(self, name: str, function: str, *args: Any, **options: Any) -> Any:
        """See `AsyncHost.call`; as `invoke`."""
        return await self._do(lambda host: host.call(name, function, *args, **options), passes=True)

    async def spawn(self, name: str, payload: Body = b"", **options: Any) -> str:
        """See `AsyncHost.spawn`."""
        return await self._do(lambda host: host.spawn(name, answer(body=payload).body, **options))

    async def enqueue(self, name: str, body: Body = b"", **options: Any) -> str:
        """See `AsyncHost.enqueue`: begins a call, and lets it go as far as it goes while no time passes."""
        if self.simulation.reopens and not options.get("idempotency_key"):
            self._asked += 1  # so that it is begun once, also where it has to be asked for again
            options["idempotency_key"] = f"asked {self._asked}"
        return await self._do(lambda host: host.enqueue(name, answer(body=body).body, **options))

    async def run(self, name: str, body: Body = b"", **options: Any) -> Result:
        """Queues a call and waits for its end, as `enqueue` and `run_to_end`."""
        return await self.run_to_end(await self.enqueue(name, body, **options))

    async def run_to_end(self, id: str) -> Result:
        """Lets time pass until an invocation has ended.  Raises `Stuck` where no time brings that, `UnknownInvocation`."""

        async def ended(host: LivingHost) -> Result:
            record = await host.attach(id, math.inf)
            return Result(record, await host.output(id))

        try:
            return await self._do(ended, passes=True)
        except Stuck:
            raise Stuck(await self._why(id)) from None

    async def result(self, id: str) -> Result:
        """What an invocation has come to so far; no time passes."""
        return await self._do(lambda host: _result(host, id))

    async def invocation(self, id: str) -> Record:
        """See `AsyncHost.invocation`."""
        return await self._do(lambda host: host.invocation(id))

    async def invocations(self, function: str | None = None, **options: Any) -> Sequence[Record]:
        """See `AsyncHost.invocations`; the first page, newest first."""
        return (await self._do(lambda host: host.invocations(function, **options)))[0]

    async def cancel(self, id: str, **options: Any) -> None:
        """See `AsyncHost.cancel`."""
        await self._once(lambda host: host.cancel(id, **options), HasEnded)

    async def kill(self, id: str) -> None:
        """See `AsyncHost.kill`."""
        await self._once(lambda host: host.kill(id), HasEnded)

    async def redrive(self, id: str, **options: Any) -> None:
        """See `AsyncHost.redrive`."""
        await self._do(lambda host: host.redrive(id, **options))

    # -- awakeables

    async def awakeables(self) -> list[Pending]:
        """Those that somebody may still complete, oldest first."""
        return await self._do(lambda host: self.simulation.world.awakeables.pending(host))

    async def resolve(self, id: str, payload: Body = b"") -> None:
        """Completes an awakeable, by its id.  Raises `NoSuchAwakeable`."""
        await self._once(lambda host: host.resolve(id, answer(body=payload).body), NoSuchAwakeable)

    async def reject(self, id: str, reason: str) -> None:
        """Completes an awakeable as failed.  Raises `NoSuchAwakeable`."""
        await self._once(lambda host: host.reject(id, reason), NoSuchAwakeable)

    # -- time

    async def run_until_idle(self) -> None:
        """Waits until nothing more happens unless time passes, or somebody acts: after a test has done that elsewhere."""
        await self._do(lambda host: host.life.loop.idle())

    async def advance(self, amount: timedelta | None = None, **amounts: float) -> datetime:
        """Lets time pass: `advance(days=30)`; what time it is then.

        What falls due meanwhile happens at its time, and everything that follows from it before time goes on.
        """
        end = self.simulation.clock.after(amount or timedelta(**amounts))
        while self.simulation.clock.monotonic_ns() < end:
            await self._do(lambda host: host.life.loop.pass_until(end))
        return self.now

    # -- ends and beginnings

    async def crash(self, down: timedelta = timedelta()) -> None:
        """Kills the host, as `kill -9` does, and opens the next one on its data directory, after it was `down` so long."""
        await self._blocking(lambda: self.simulation.crash(down))

    async def restart(self, down: timedelta = timedelta()) -> None:
        """Stops the host as a server is stopped, and opens the next one, after it was `down` so long."""
        await self._blocking(lambda: self.simulation.restart(down))

    # -- how

    async def _do(self, work: Callable[[LivingHost], Awaitable[T]], *, passes: bool = False) -> T:
        return await self._blocking(lambda: self.simulation.submit(work, passes=passes).result())

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def _nudged(self, work: Callable[[LivingHost], Awaitable[T]]) -> T:
        async def and_look(host: LivingHost) -> T:
            done = await work(host)
            host.backlog.cron.nudge()  # nobody looks whether there are new schedules: that would be a moment each second
            return done

        return await self._do(and_look)

    async def _once(self, work: Callable[[LivingHost], Awaitable[None]], gone: type[Exception]) -> None:
        """Does what can be done once; where a crash has cut the answer off it may have been done."""
        crashes = self.simulation.crashes
        try:
            await self._do(work)
        except gone:
            if not self.simulation.reopens or self.simulation.crashes == crashes:
                raise

    async def _why(self, id: str) -> str:
        record = await self.invocation(id)
        text = f"the invocation {id} of {record.name} is {record.state}, and no time brings its end"
        waiting = [found.id for found in await self.awakeables() if found.invocation_id == id]
        return f"{text}: it waits for {', '.join(waiting)}" if waiting else text


async def _result(host: AsyncHost, id: str) -> Result:
    record = await host.invocation(id)
    return Result(record, None if record.state in LIVE else await host.output(id))
