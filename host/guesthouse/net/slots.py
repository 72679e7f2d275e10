"""How many requests may be out at once: of one invocation, of one function to one server, of the function, of its
namespace and of the whole host.

Promises: a function whose upstream hangs leaves room for the others, and for its own requests to other servers, and a
namespace for other namespaces; waiting is first come, first served, and few wait for one server.  Must not know what the
slots are used for.
"""

from __future__ import annotations

import asyncio
import resource

from guesthouse.net.failures import LimitReached

FEWEST, MOST = 16, 4096
"""Bounds of what `default_connections` answers."""
RESERVED_FILES = 256
"""File descriptors that are not ours to use: listeners, databases, logs, threads of libraries."""

PER_SERVER = 128
"""Requests of one function to one server: what one that answers in 100 ms needs for 1,280 requests in a second."""

Owner = tuple[str, str]
"""Namespace and name of the function that a request is for."""
Place = tuple[str, ...]
"""An owner, and the server where it is known."""


class Allowance:
    """What one invocation may send: `requests` in all, `concurrency` of them at once."""

    __slots__ = ("_at_once", "left")

    def __init__(self, requests: int, concurrency: int) -> None:
        self.left = requests
        self._at_once = asyncio.Semaphore(concurrency)

    @property
    def free(self) -> bool:
        """True when `acquire` would not wait."""
        return not self._at_once.locked()

    def spend(self) -> None:
        """Counts one request; raises `LimitReached` when all are used up."""
        if self.left <= 0:
            raise LimitReached("limit exceeded: too many outgoing requests of this invocation")
        self.left -= 1

    async def acquire(self) -> None:
        """Waits until another request may go out."""
        await self._at_once.acquire()

    def release(self) -> None:
        """Lets the next one go out."""
        self._at_once.release()


class Turn:
    """A request's place among those that may be out at once: acquired, and given back once."""

    __slots__ = ("_allowance", "_held", "_place", "_slots")

    def __init__(self, slots: Slots, place: Place, allowance: Allowance | None) -> None:
        self._slots = slots
        self._place = place
        self._allowance = allowance
        self._held = False

    @property
    def free(self) -> bool:
        """True when `acquire` would not wait."""
        return self._slots.free(self._place) and (self._allowance is None or self._allowance.free)

    async def acquire(self) -> None:
        """Waits for it; whoever is cancelled meanwhile has none.  Raises `LimitReached` where too many wait."""
        if self._allowance is not None:
            await self._allowance.acquire()
        try:
            await self._slots.acquire(self._place)
        except BaseException:
            if self._allowance is not None:
                self._allowance.release()
            raise
        self._held = True

    def release(self) -> None:
        """Gives it back; may be called again."""
        if not self._held:
            return
        self._held = False
        self._slots.release(self._place)
        if self._allowance is not None:
            self._allowance.release()


class Slots:
    """Requests of everybody: `total` at once, half of them for one namespace, a quarter for one function.

    Of one function's to one server `per_server` are out, and as many wait.
    """

    def __init__(self, total: int, per_server: int = PER_SERVER) -> None:
        self.total = total
        self.per_server = per_server
        self._all = _Share(total)
        self._shares: dict[Place, _Share] = {}

    def free(self, place: Place) -> bool:
        """True when `acquire` would not wait."""
        shares = self._shares
        for key in _keys(place)[:-1]:
            if key in shares and shares[key].semaphore.locked():
                return False
        return not self._all.semaphore.locked()

    async def acquire(self, place: Place) -> None:
        """Waits for a slot; whoever is cancelled meanwhile has none.  Raises `LimitReached` where too many wait."""
        if len(place) > 2 and place in self._shares and self._shares[place].users >= 2 * self.per_server:
            raise LimitReached
        taken: list[Place] = []
        try:
            for key in _keys(place):
                share = self._share(key)
                share.users += 1
                taken.append(key)
                await share.semaphore.acquire()
        except BaseException:
            self._leave(taken.pop())  # this one was only waited for
            for key in taken:
                self._return(key)
            raise

    def release(self, place: Place) -> None:
        """Gives the slot back."""
        for key in reversed(_keys(place)):
            self._return(key)

    def _share(self, key: Place) -> _Share:
        if not key:
            return self._all
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = _Share(self._size(key))
        return share

    def _size(self, key: Place) -> int:
        return self.per_server if len(key) > 2 else max(1, self.total // (4 if len(key) == 2 else 2))

    def _return(self, key: Place) -> None:
        self._share(key).semaphore.release()
        self._leave(key)

    def _leave(self, key: Place) -> None:
        share = self._share(key)
        share.users -= 1
        if key and not share.users:
            del self._shares[key]


def _keys(place: Place) -> list[Place]:
    """The shares that a request takes part in, the narrowest first."""
    return [place[:length] for length in range(len(place), -1, -1)]


class _Share:
    __slots__ = ("semaphore", "users")

    def __init__(self, size: int) -> None:
        self.semaphore = asyncio.Semaphore(size)
        self.users = 0
        """Who holds or awaits a slot: with none left the share is forgotten."""


def default_connections() -> int:
    """Requests at once that this process's file descriptors are good for, idle connections and clients counted in."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 1 << 20 if soft == resource.RLIM_INFINITY else soft
    return max(FEWEST, min(MOST, (files - RESERVED_FILES) // 4))
