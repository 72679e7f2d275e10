"""Names to addresses: a `Resolver`, the system's by default, and `Lookups`, which bounds what slow name servers cost.

Promises: nothing is remembered after a lookup has ended; requests that wait for the same name at the same time share
one lookup; one function cannot take all lookups, even if it gives up waiting.  Must not know what is allowed.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from guesthouse.net.addresses import Address, parse_address
from guesthouse.net.failures import ConnectionFailed, LimitReached

MAX_LOOKUPS = 32
"""Lookups at once: each is a thread that a name server without an answer holds for many seconds."""
MAX_LOOKUPS_OF_ONE = 8
"""Lookups at once that one function may have begun, those included that nobody waits for any more."""


class Resolver(Protocol):
    """Where addresses of names come from."""

    async def resolve(self, host: str) -> Sequence[str]:
        """Every address of `host` as text, best first; raises `OSError` where there is none."""


class SystemResolver:
    """The system's `getaddrinfo`, on threads of its own so that slow names hold up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="resolve")

    async def resolve(self, host: str) -> Sequence[str]:
        """Every address of `host`, in the order of RFC 6724."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _getaddrinfo, host)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    def close(self) -> None:
        """Lets the threads end; does not wait for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Lookups:
    """Lookups in progress: shared by name, counted by who began them."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._running: dict[str, asyncio.Task[list[Address]]] = {}
        self._counts: Counter[str] = Counter()

    async def addresses(self, host: str, owner: str) -> list[Address]:
        """All addresses of `host`; raises `ConnectionFailed` for none, `LimitReached` if `owner` began too many."""
        task = self._running.get(host)
        if task is None:
            if self._counts[owner] >= MAX_LOOKUPS_OF_ONE:
                raise LimitReached
            task = asyncio.get_running_loop().create_task(self._resolve(host))
            self._running[host] = task
            self._counts[owner] += 1
            task.add_done_callback(lambda done: self._ended(host, owner, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends every lookup in progress."""
        for task in (tasks := list(self._running.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resolve(self, host: str) -> list[Address]:
        try:
            answers = await self._resolver.resolve(host)
        except (OSError, UnicodeError):
            answers = ()
        addresses = [parse_address(text) for text in answers]
        if not addresses or None in addresses:
            raise ConnectionFailed("the host has no address")
        return [address for address in addresses if address is not None]

    def _ended(self, host: str, owner: str, task: asyncio.Task[list[Address]]) -> None:
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any more
        del self._running[host]
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]


def _getaddrinfo(host: str) -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    return list(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
