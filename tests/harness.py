"""What every hostile test asserts once its guest has done its worst: the host is as it was before.

`unharmed` measures before and after.  `often` multiplies what a test repeats where TEST_SOAK is set: the short
version runs with every change, the long one is for a night.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from guesthouse import AsyncHost, Host, Outcome
from guesthouse._native.handle import stores
from guesthouse.engine.engine import CONFIG
from guesthouse.engine.instance import Instance
from guesthouse.errors import GuesthouseError

SOAK = 100 if os.environ.get("TEST_SOAK") else 1
LATE = 1.0
"""Seconds by which a machine of two busy cores may miss a time; the target stands in the test's docstring."""
PATIENCE = 30
HEALTHY = 0.5
"""Seconds in which a healthy call is answered (the target is 50 ms)."""
MEMORY_MIB = 32
"""By how much the process may have grown (the target is 8 MiB; the allocator and the warm slots keep more)."""
OURS = ("asyncio_", "guest-worker-")
"""Names of threads that the host starts at their first use, a bounded number each."""

_libc = ctypes.CDLL(None)


def often(count: int) -> int:
    """How many times to do what is done `count` times in the short version."""
    return count * SOAK


def files() -> int:
    """Open file descriptors of this process, without those in which the library keeps the data of loaded modules."""
    folder = Path("/proc/self/fd")
    found = 0
    for link in folder.iterdir() if folder.exists() else ():
        with suppress(OSError):  # closed meanwhile, or the one that lists the folder
            found += "wasm-memory-image" not in str(link.readlink())
    return found


def resident() -> int:
    """Bytes of memory that this process occupies; 0 where nothing tells."""
    if not Path("/proc/self/statm").exists():
        return 0
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tidy() -> None:
    """Gives back what is free; takes a tenth of a second."""
    gc.collect()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def flush(host: Host) -> None:
    """Makes the library give freed memory back: it does so for a batch of slots at a time."""
    for _ in range(2 * CONFIG.decommit_batch):
        host.invoke("echo", b"")


def threads() -> set[threading.Thread]:
    """Threads that are none of the host's own."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith(OURS)}


def until(happened: Callable[[], bool], what: str) -> None:
    """Waits until something has happened that other threads do."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not happened():
        assert time.monotonic() < end, what
        pause.wait(0.002)


def healthy(host: Host) -> float:
    """Seconds that a healthy call takes: the fastest of three."""
    taken = []
    for _ in range(3):
        began = time.monotonic()
        outcome = host.invoke("echo", b"are you well?")
        taken.append(time.monotonic() - began)
        assert (outcome.result, outcome.body) == ("ok", b"are you well?")
    return min(taken)


@contextmanager
def unharmed(host: Host, memory_mib: int = MEMORY_MIB) -> Iterator[Host]:
    """Asserts that whatever happens inside leaves `host` (where `echo` is deployed) as it was."""
    healthy(host)
    memory, fds, others = resident(), files(), threads()
    yield host
    pool = host.inner.dispatcher.pool
    until(lambda: pool.in_use == 0, "guests are left in the pool")
    assert healthy(host) < HEALTHY
    made, deleted = stores()
    assert made == deleted
    flush(host)
    assert threads() <= others
    until(lambda: files() <= fds, "file descriptors are left open")
    if resident() - memory >= memory_mib << 20:
        tidy()
    grown = resident() - memory
    assert grown < memory_mib << 20, f"the process grew by {grown >> 20} MiB"


def run(host: Host, work: Callable[[AsyncHost], Awaitable[Any]]) -> Any:
    """Runs asynchronous work on the loop of a synchronous host."""

    async def on_loop() -> Any:
        async with asyncio.timeout(PATIENCE * SOAK):
            return await work(host.inner)

    return host._run(on_loop())


def failure(host: Host, name: str, function: str, *args: Any, interface: str = "") -> GuesthouseError:
    """The error that a call of a typed export ends with."""
    try:
        value = host.call(name, function, *args, interface=interface)
    except GuesthouseError as error:
        return error
    raise AssertionError(f"{function} answered {value!r:.100}")


def within(outcome: Outcome, seconds: float) -> bool:
    """Whether an invocation ended no later than on a busy machine it may."""
    return outcome.duration_ns < (seconds + LATE) * 1e9


@contextmanager
def slice_ends() -> Iterator[list[tuple[int, float]]]:
    """When each guest on a worker left it, with its last status: seconds on the monotonic clock.

    It is noted in the worker's own thread, for the loop may be busy.
    """
    ends: list[tuple[int, float]] = []
    original = Instance.slice_ended

    def noting(self: Instance, status: int) -> None:
        ends.append((status, time.monotonic()))
        original(self, status)

    Instance.slice_ended = noting  # type: ignore[method-assign]
    try:
        yield ends
    finally:
        Instance.slice_ended = original  # type: ignore[method-assign]
