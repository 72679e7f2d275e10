"""`Life`: one host from its opening to its end, on a loop of its own whose time is simulated.

Promises: when it is killed nothing that it had begun has any effect afterwards, as with `kill -9`: what was not committed
never was, and no request leaves.  What a process would take with it (guests, sockets, locks) is given back all the same.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, Future
from functools import lru_cache, partial
from typing import Any, TypeVar

from guesthouse.async_host import AsyncHost
from guesthouse.engine.unbundle import unbundle
from guesthouse.errors import HostError
from guesthouse.interfaces.invocation import Invocation
from guesthouse.net.client import OutboundClient
from guesthouse.testing.awakeables import Noted
from guesthouse.testing.clock import SimulatedClock
from guesthouse.testing.fakes import FakeHttp
from guesthouse.testing.inline import Gate, InlineDatabase, InlineWorkers
from guesthouse.testing.loop import SimulatedLoop

T = TypeVar("T")
HOUSEKEEPING = frozenset({"queue leases", "retention of invocations"})
"""Tasks that look after things now and then: time need not stop for them, who catch up at the next moment."""
MODULES = 32
"""Modules of which it is kept what was read from them."""
TURNS = 1_000
"""Turns of the loop in which what was cancelled has to end."""


class Crashed(HostError):
    """The simulated host died before it had answered."""

    def __init__(self) -> None:
        super().__init__("the simulated host has crashed")


class Stuck(HostError):
    """What is waited for needs somebody's act: no time brings it."""

    def __init__(self, text: str = "nothing is left that time could bring: what is waited for has to be done") -> None:
        super().__init__(text)


class World:
    """What outlives a host: its clock, the network, and what was published."""

    def __init__(self, clock: SimulatedClock, threads: Executor, http: FakeHttp | None = None) -> None:
        self.clock = clock
        self.threads = threads
        self.http = http or FakeHttp()
        self.published: list[tuple[str, str, str | bytes]] = []
        """Namespace, topic and message of everything that was published."""
        self.awakeables = Noted()


class Reached:
    """The network as somebody reaches it while that is `alive`."""

    def __init__(self, http: FakeHttp, alive: Callable[[], bool]) -> None:
        self.connect = http.connect
        self.open = partial(http.open, alive)


_unbundled = lru_cache(maxsize=MODULES)(unbundle)
"""What is read from a module is the same for each host."""


class _Client(OutboundClient):
    """Loads no certificates, which takes longer than everything else: there is nobody who could show one."""

    def _tls_context(self) -> ssl.SSLContext:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class LivingHost(AsyncHost):
    """An `AsyncHost` whose commits and whose long guests have no threads."""

    def __init__(self, life: Life, options: Mapping[str, Any]) -> None:
        self._database = partial(InlineDatabase, life.gate)
        self._outbound = partial(_Client, resolver=life.world.http)
        super().__init__(clock=life.world.clock, **options)
        self.dispatcher.workers = InlineWorkers()
        self.deployer.unbundle = _unbundled
        starts = self.topics.starts
        assert starts is not None, "a host that is made has set it"

        def published(namespace: str, topic: str, value: str | bytes, parent: Invocation | None) -> None:
            if life.gate.open:
                life.world.published.append((namespace, topic, value))
                starts(namespace, topic, value, parent)

        self.topics.starts = published

        self.life = life
        life.world.awakeables.watch(self)

    async def abandon(self) -> None:
        """Closes what the process holds, and does nothing else; may follow `close`."""
        await self.outbound.close()
        await self.aws.close()
        self.database.close()
        if self._directory is not None:
            self._directory.close()
        self._closing = self._closed = True


class Life:
    """To be lived by one thread; what others may call says so."""

    host: LivingHost

    def __init__(self, world: World, gate: Gate, options: Mapping[str, Any]) -> None:
        self.world = world
        self.gate = gate
        self.opened: Future[LivingHost] = Future()
        """The host, once it is open."""
        self._options = options
        self._door = threading.Lock()
        self._ended = self._over = False
        self._asked: set[Future[Any]] = set()
        self.loop = SimulatedLoop(world.clock, world.threads, HOUSEKEEPING, Reached(world.http, lambda: gate.open))
        self._died = self.loop.create_future()
        self._closing = self.loop.create_future()
        gate.died = lambda: self._soon(self._died)

    def live(self) -> None:
        """Lives it to its end."""
        try:
            self.loop.run_until_complete(self._live())
        except BaseException as error:
            self.gate.open = False
            if not self.opened.done():
                self.opened.set_exception(error)
            raise
        finally:
            with self._door:
                self._over = True
                self.loop.close()
            for future in self._asked:
                future.set_exception(Crashed())

    # -- for any thread

    def close(self) -> None:
        """Ends it as a server that is asked to stop ends."""
        self._soon(self._closing)

    def crash(self) -> None:
        """Ends it as `kill -9` does."""
        self.gate.die()

    def call(self, work: Callable[[LivingHost], Awaitable[T]], *, passes: bool = False) -> Future[T]:
        """Does something with the host, which is open, and lets it settle; `passes`: time passes until it is done."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()

        def begin() -> None:
            if not self._ended:
                self.loop.create_task(self._called(work, passes, future), name="test")

        with self._door:
            if self._over:
                future.set_exception(Crashed())
            else:
                self._asked.add(future)
                self.loop.call_soon_threadsafe(begin)
        return future

    def _soon(self, future: asyncio.Future[None]) -> None:
        def tell() -> None:
            if not future.done():
                future.set_result(None)

        with self._door:
            if not self._over:
                self.loop.call_soon_threadsafe(tell)

    # -- on its loop

    async def _called(self, work: Callable[[LivingHost], Awaitable[T]], passes: bool, future: Future[T]) -> None:
        try:
            try:
                result = await (self._passing(work(self.host)) if passes else work(self.host))
            finally:
                await self.loop.idle()  # so that what is seen next does not depend on who is faster, test or host
        except BaseException as error:
            self._asked.discard(future)
            crashed = not self.gate.open or isinstance(error, asyncio.CancelledError)
            future.set_exception(Crashed() if crashed else error)
        else:
            self._asked.discard(future)
            future.set_result(result)

    async def _passing(self, work: Awaitable[T]) -> T:
        """Lets time pass until something is done; raises `Stuck` where no time brings that."""
        task = asyncio.ensure_future(work)
        try:
            await self.loop.pass_until(math.inf, task)
            if not task.done():
                raise Stuck
            return task.result()
        finally:
            task.cancel()

    async def _live(self) -> None:
        self.loop.set_exception_handler(self._report)
        try:
            self.host = LivingHost(self, self._options)
        except HostError:
            if self.gate.open:
                raise
            self.opened.set_exception(Crashed())  # in a commit of its beginning
            return
        try:
            if await self._unless_it_dies(self.host.__aenter__()):
                self.opened.set_result(self.host)
                if await self._unless_it_dies(self._closing) and await self._unless_it_dies(
                    self._passing(self.host.close())
                ):
                    return
        finally:
            await self._take_away()
            await self.host.abandon()
        if not self.opened.done():
            self.opened.set_exception(Crashed())

    async def _unless_it_dies(self, work: Awaitable[object]) -> bool:
        """Waits for something; false where the host dies before that is done."""
        task = asyncio.ensure_future(work)
        await asyncio.wait((task, self._died), return_when=asyncio.FIRST_COMPLETED)
        if not self.gate.open or self._died.done():
            task.cancel()
            return False
        await task
        return True

    async def _take_away(self) -> None:
        """Ends everything that is left on the loop, as the end of a process does."""
        me = asyncio.current_task()
        self._ended = True
        for _ in range(TURNS):
            left = asyncio.all_tasks() - {me}
            if not left and not self.loop.outside:
                return
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
            if not left:
                await self.loop.idle()
        raise HostError(f"tasks would not end with their host: {sorted(map(str, left))}")

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self.gate.open:
            loop.default_exception_handler(context)
