"""What the tests of host interfaces stand on: a simulated clock, an invocation, and sinks that remember."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from guesthouse.interfaces.base import HostCall, Interface
from guesthouse.interfaces.invocation import Invocation, WebRequest
from guesthouse.limits import Limits
from guesthouse.registry.deployment import Deployment, Manifest


class SimulatedClock:
    """Time that only passes when told, or when someone sleeps; randomness that counts."""

    rearm_seconds = 1.0
    ahead_ns = 0

    def __init__(self, monotonic_ns: int = 5_000_000_000_123, wall_ns: int = 1_700_000_000_123_456_789) -> None:
        self.monotonic = monotonic_ns
        self.wall = wall_ns
        self.naps: list[float] = []
        self.randoms = 0

    def monotonic_ns(self) -> int:
        return self.monotonic

    def wall_ns(self) -> int:
        return self.wall

    def random_bytes(self, count: int) -> bytes:
        self.randoms += 1
        return bytes((self.randoms + index) % 256 for index in range(count))

    def pass_ns(self, duration: int) -> None:
        self.monotonic += duration
        self.wall += duration

    def pass_ms(self, duration: float) -> None:
        self.pass_ns(int(duration * 1_000_000))

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.pass_ns(round(seconds * 1e9))


class FakeLog:
    """A `LogSink` that keeps everything."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, str]] = []

    def write(self, level: str, text: str, source: str) -> None:
        self.records.append((level, text, source))

    @property
    def texts(self) -> list[str]:
        return [text for _, text, _ in self.records]


class FakeSink:
    """A `ResponseSink` that keeps everything."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, list[tuple[str, str]]]] = []
        self.body = b""

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        assert not self.heads
        self.heads.append((status, list(headers)))

    async def send(self, data: bytes) -> None:
        assert self.heads
        self.body += data


def deployment(name: str = "greet", namespace: str = "default", **fields: Any) -> Deployment:
    fields.setdefault("manifest", Manifest())
    return Deployment(namespace, name, 1, "00", "web", 0, 0, **fields)


def invocation(
    *,
    request: WebRequest | None = None,
    response: FakeSink | None = None,
    limits: Limits | None = None,
    deadline_ns: int = 1 << 62,
    of: Deployment | None = None,
) -> Invocation:
    run = Invocation("inv-1", of or deployment(), "web", limits or Limits(), deadline_ns, FakeLog(), request=request)
    run.response = response
    return run


def close(run: Invocation) -> None:
    """Ends an invocation as the dispatcher does."""
    while run.closers:
        run.closers.pop()()


def calls(interface: Interface) -> dict[tuple[str, str], HostCall]:
    found = {(call.interface, call.function): call for call in interface.host_calls()}
    assert len(found) == len(list(interface.host_calls()))
    return found


def now(value: Any) -> Any:
    """What a host function answers, awaited where it has to be."""
    return asyncio.run(_wait(value)) if inspect.isawaitable(value) else value


async def _wait(value: Awaitable[Any]) -> Any:
    return await value


class chunks:  # reads like the generator that it is, but outlives the loop of one `now`
    """A source that yields the parts, and raises those that are exceptions."""

    def __init__(self, *parts: bytes | BaseException) -> None:
        self._parts = iter(parts)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for part in self._parts:
            if isinstance(part, BaseException):
                raise part
            return part
        raise StopAsyncIteration
