"""`SimulatedHost`: `AsyncSimulatedHost` for plain programs, and tests that are none of asyncio's.

with SimulatedHost() as host:
    host.deploy("reminder", wasm, durable=True)
    host.http.on("POST", "https://mail.example.com/send").answer(202)
    assert host.run("reminder", {"in_days": 30}).ok     # takes milliseconds
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from guesthouse.async_host import AsyncHost
from guesthouse.dispatch.outcome import Outcome
from guesthouse.queue.call import Record
from guesthouse.registry.deployment import Deployment
from guesthouse.testing.awakeables import Pending
from guesthouse.testing.fakes import FakeHttp
from guesthouse.testing.host import AsyncSimulatedHost, Result
from guesthouse.testing.messages import Body
from guesthouse.testing.simulation import Simulation

T = TypeVar("T")


class _Blocking(AsyncSimulatedHost):
    """Its coroutines block, and are never suspended."""

    async def _blocking(self, work: Callable[[], T]) -> T:
        return work()


class SimulatedHost:
    """`AsyncSimulatedHost` for plain programs: the same verbs without `await`."""

    __test__ = False  # for pytest

    def __init__(self, data_dir: Path | str | None = None, **options: Any) -> None:
        self._inner = _Blocking(data_dir, **options)

    def __enter__(self) -> SimulatedHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _now(self._inner.__aexit__(kind, error, trace))

    @property
    def simulation(self) -> Simulation:
        """What the host lives in."""
        return self._inner.simulation

    @property
    def http(self) -> FakeHttp:
        """See `AsyncSimulatedHost.http`."""
        return self._inner.http

    @property
    def now(self) -> datetime:
        """See `AsyncSimulatedHost.now`."""
        return self._inner.now

    @property
    def published(self) -> list[tuple[str, str, str | bytes]]:
        """See `AsyncSimulatedHost.published`."""
        return self._inner.published

    def close(self) -> None:
        """See `AsyncSimulatedHost.close`."""
        _now(self._inner.close())

    def deploy(self, name: str, wasm: bytes, **options: Any) -> Deployment:
        """See `AsyncHost.deploy`."""
        return _now(self._inner.deploy(name, wasm, **options))

    def delete(self, name: str, *, namespace: str = "default") -> bool:
        """See `AsyncHost.delete`."""
        return _now(self._inner.delete(name, namespace=namespace))

    def use(self, work: Callable[[AsyncHost], Awaitable[T]], *, passes: bool = False) -> T:
        """See `AsyncSimulatedHost.use`."""
        return _now(self._inner.use(work, passes=passes))

    def invoke(self, name: str, body: Body = b"", **options: Any) -> Outcome:
        """See `AsyncSimulatedHost.invoke`."""
        return _now(self._inner.invoke(name, body, **options))

    def call(self, name: str, function: str, *args: Any, **options: Any) -> Any:
        """See `AsyncSimulatedHost.call`."""
        return _now(self._inner.call(name, function, *args, **options))

    def spawn(self, name: str, payload: Body = b"", **options: Any) -> str:
        """See `AsyncHost.spawn`."""
        return _now(self._inner.spawn(name, payload, **options))

    def enqueue(self, name: str, body: Body = b"", **options: Any) -> str:
        """See `AsyncSimulatedHost.enqueue`."""
        return _now(self._inner.enqueue(name, body, **options))

    def run(self, name: str, body: Body = b"", **options: Any) -> Result:
        """See `AsyncSimulatedHost.run`."""
        return _now(self._inner.run(name, body, **options))

    def run_to_end(self, id: str) -> Result:
        """See `AsyncSimulatedHost.run_to_end`."""
        return _now(self._inner.run_to_end(id))

    def result(self, id: str) -> Result:
        """See `AsyncSimulatedHost.result`."""
        return _now(self._inner.result(id))

    def invocation(self, id: str) -> Record:
        """See `AsyncHost.invocation`."""
        return _now(self._inner.invocation(id))

    def invocations(self, function: str | None = None, **options: Any) -> Sequence[Record]:
        """See `AsyncSimulatedHost.invocations`."""
        return _now(self._inner.invocations(function, **options))

    def cancel(self, id: str, **options: Any) -> None:
        """See `AsyncHost.cancel`."""
        _now(self._inner.cancel(id, **options))

    def kill(self, id: str) -> None:
        """See `AsyncHost.kill`."""
        _now(self._inner.kill(id))

    def redrive(self, id: str, **options: Any) -> None:
        """See `AsyncHost.redrive`."""
        _now(self._inner.redrive(id, **options))

    def awakeables(self) -> list[Pending]:
        """See `AsyncSimulatedHost.awakeables`."""
        return _now(self._inner.awakeables())

    def resolve(self, id: str, payload: Body = b"") -> None:
        """See `AsyncSimulatedHost.resolve`."""
        _now(self._inner.resolve(id, payload))

    def reject(self, id: str, reason: str) -> None:
        """See `AsyncSimulatedHost.reject`."""
        _now(self._inner.reject(id, reason))

    def run_until_idle(self) -> None:
        """See `AsyncSimulatedHost.run_until_idle`."""
        _now(self._inner.run_until_idle())

    def advance(self, amount: timedelta | None = None, **amounts: float) -> datetime:
        """See `AsyncSimulatedHost.advance`."""
        return _now(self._inner.advance(amount, **amounts))

    def crash(self, down: timedelta = timedelta()) -> None:
        """See `AsyncSimulatedHost.crash`."""
        _now(self._inner.crash(down))

    def restart(self, down: timedelta = timedelta()) -> None:
        """See `AsyncSimulatedHost.restart`."""
        _now(self._inner.restart(down))


def _now(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that is never suspended."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it was suspended")
