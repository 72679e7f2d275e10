"""`SimulatedLoop`: an event loop whose time is that of a `SimulatedClock`.

Promises: time stands still while anything can happen without it: a callback that is ready, or work outside (a thread, a
process, the network) that the loop was told of.  Only when nothing can, and only while somebody lets it, it goes on to the
next moment for which something waits, however far away that is.  Nothing sleeps.  Must not know what a host is.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
import socket
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, Final, Protocol

from guesthouse.testing.clock import SimulatedClock

TOLERANCE_NS: Final = 1_000
"""Moments so little apart are one: seconds are floats."""
BRIEF_SECONDS: Final = 1.0
"""Of the machine's time: more than linking a function takes."""
REAL: Final[ContextVar[bool]] = ContextVar("real", default=False)
"""Whether connections of a task are real, also where there is a simulated network."""


@contextmanager
def working_outside() -> Iterator[None]:
    """The running loop's time stands still in it, and connections are real: for what waits for the real world."""
    loop = asyncio.get_running_loop()
    simulated = loop if isinstance(loop, SimulatedLoop) else None
    if simulated is not None:
        simulated.outside += 1
    token = REAL.set(True)
    try:
        yield
    finally:
        REAL.reset(token)
        if simulated is not None:
            simulated.outside -= 1


class Network(Protocol):
    """Where connections lead."""

    async def connect(self, address: Any) -> None:
        """Returns when a connection is there; raises `OSError` where there is none."""

    def open(self, protocol: asyncio.Protocol, address: Any, tls_name: str | None) -> asyncio.Transport:
        """The transport of a connection to there; `tls_name`: whose certificate it would have, `None` without TLS."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs on `clock`; timers of the tasks named in `housekeeping` are late rather than a moment of their own."""

    def __init__(
        self,
        clock: SimulatedClock,
        threads: Executor,
        housekeeping: Collection[str] = (),
        network: Network | None = None,
    ) -> None:
        """`threads` do what would block the loop; without a `network` connections are real."""
        self.clock = clock
        self._threads = threads
        self.outside = 0
        """Pieces of work under way whose end comes from elsewhere."""
        self.jumps = 0
        """How often time went on."""
        self._housekeeping = housekeeping
        self._network = network
        self._peers: dict[socket.socket, Any] = {}
        self._numbers = count()
        self._due = _Timers()
        self._allowed: list[float] = []
        """Moments until which time may pass, one for each who waits for it to."""
        self._waiters: list[asyncio.Future[None]] = []
        super().__init__(_Selector(self._rest))

    def time(self) -> float:
        """Seconds on the simulated monotonic clock."""
        return self.clock.monotonic_ns() / 1e9

    def call_at(  # type: ignore[override]  # the stubs tie the arguments to the callback
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As of any loop, and noted as a moment to go on to."""
        handle = super().call_at(when, callback, *args, context=context)
        if when < math.inf:
            task = asyncio.current_task(self) if self.is_running() else None
            if task is None or task.get_name() not in self._housekeeping:
                self._due.add(when, next(self._numbers), handle)
        return handle

    def run_in_executor(  # type: ignore[override]  # the stubs tie the arguments to the callback
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As of any loop; time stands still until it is done, also where nobody waits for it any more.

        The loop waits, too, for what takes less than `BRIEF_SECONDS`: what comes next is then the same in each run.
        """
        work: Future[Any] = (executor or self._threads).submit(func, *args)
        wait((work,), BRIEF_SECONDS)
        future: asyncio.Future[Any] = asyncio.wrap_future(work, loop=self)
        self.outside += 1
        work.add_done_callback(lambda _: self.call_soon_threadsafe(self._came_back))  # after whoever waits was told
        return future

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """As of any loop, to the simulated network where there is one."""
        if self._network is None or REAL.get():
            await super().sock_connect(sock, address)
        else:
            await self._network.connect(address)
            self._peers[sock] = address

    async def create_connection(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        """As of any loop, over a socket that `sock_connect` has connected."""
        sock = options.get("sock")
        if self._network is None or sock not in self._peers:
            return await super().create_connection(protocol_factory, *args, **options)
        address = self._peers.pop(sock)
        sock.close()
        protocol = protocol_factory()
        return self._network.open(protocol, address, options.get("server_hostname")), protocol

    async def idle(self) -> None:
        """Waits until nothing more happens unless time passes or somebody acts."""
        await self._idle()

    async def pass_until(self, monotonic_ns: float, over: asyncio.Future[Any] | None = None) -> None:
        """Lets time pass until then, and everything that falls due happen at its time, with all that follows from it.

        With `over` it ends with that, or where nothing is left before then that time could bring.
        """
        self._allowed.append(monotonic_ns)
        try:
            await self._idle(over)
        finally:
            self._allowed.remove(monotonic_ns)
        if over is None:
            self.clock.move_to(int(monotonic_ns))

    def next_ns(self) -> float:
        """The next moment for which something waits, on the monotonic clock; infinite: there is none."""
        when = self._due.first(self.time())
        if when == math.inf:
            return when
        moment = math.ceil(when * 1e9)
        while moment / 1e9 <= when:  # seconds are floats, and a loop begins with what is past
            moment += 1
        return moment

    def close(self) -> None:
        """As of any loop."""
        self._due.clear()
        super().close()

    def _came_back(self) -> None:
        self.outside -= 1

    async def _idle(self, over: asyncio.Future[Any] | None = None) -> None:
        """Returns when nothing happens any more within the time that is allowed, or `over` is done."""
        future: asyncio.Future[None] = self.create_future()
        self._waiters.append(future)
        if over is not None:
            over.add_done_callback(lambda _: _tell(future))
        try:
            await future
        finally:
            if future in self._waiters:
                self._waiters.remove(future)

    def _rest(self) -> bool:
        """Nothing is ready: whether there is something now."""
        if self.outside or not self._waiters:
            return False
        when = self.next_ns()
        if when < math.inf and when <= max(self._allowed, default=-math.inf) + TOLERANCE_NS:
            self.jumps += 1
            self.clock.move_to(int(when))
            return True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _tell(waiter)
        return True


def _tell(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _Timers:
    """When timers are due that were not cancelled."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, asyncio.TimerHandle]] = []

    def add(self, when: float, number: int, handle: asyncio.TimerHandle) -> None:
        heapq.heappush(self._heap, (when, number, handle))

    def first(self, now: float) -> float:
        """The first one's time after `now`, in seconds; infinite: there is none."""
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][2].cancelled()):  # one whose time has come has run
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def clear(self) -> None:
        self._heap.clear()


class _Selector(selectors.DefaultSelector):
    """Asks `rest` before it waits for anything."""

    def __init__(self, rest: Callable[[], bool]) -> None:
        super().__init__()
        self._rest = rest

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and (timeout is None or timeout > 0) and not self._rest():
            found = super().select(None)
        return found
