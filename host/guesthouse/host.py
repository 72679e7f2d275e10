"""`Host`: the library's front door for plain synchronous programs.

    from guesthouse import Host

    with Host() as host:
        host.deploy("greet", Path("greet.wasm").read_bytes())
        print(host.invoke("greet", b'{"name": "Ada"}').text)

Without a data directory everything is kept in memory; with one, functions survive the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from guesthouse.async_host import DRAIN_SECONDS, AsyncHost, closed
from guesthouse.dispatch.collector import Collector
from guesthouse.dispatch.deployer import Inspection
from guesthouse.dispatch.outcome import Outcome
from guesthouse.errors import Cancelled, HostError
from guesthouse.host_calls import Calls
from guesthouse.interfaces.invocation import WebRequest, new_request
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.registry import FunctionState

T = TypeVar("T")


class Host(Calls):
    """`AsyncHost` for plain programs: the same verbs without `await`, from any thread.

    A call runs in the calling thread as long as the guest only computes; what waits is carried on by one background loop.
    """

    inner: AsyncHost

    def __init__(self, data_dir: Path | str | None = None, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="guesthouse-loop", daemon=True)
        self._thread.start()
        self._ident = self._thread.ident
        self._submitting = threading.Lock()
        self._stopped = False
        try:
            self.inner = self._run(self._open(data_dir, options))
        except BaseException:
            self._stop()
            raise

    @staticmethod
    async def _open(data_dir: Path | str | None, options: dict[str, Any]) -> AsyncHost:
        return await AsyncHost(data_dir, **options).__aenter__()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def deploy(self, name: str, wasm: bytes, **options: Any) -> Deployment:
        """See `AsyncHost.deploy`."""
        return self._run(self.inner.deploy(name, wasm, **options))

    def delete(self, name: str, *, namespace: str = "default") -> bool:
        """See `AsyncHost.delete`."""
        return self._run(self.inner.delete(name, namespace=namespace))

    def versions(self, name: str, *, namespace: str = "default") -> tuple[Deployment, ...]:
        """See `AsyncHost.versions`."""
        return self.inner.versions(name, namespace=namespace)

    def state(self, name: str, *, namespace: str = "default") -> FunctionState:
        """See `AsyncHost.state`."""
        return self.inner.state(name, namespace=namespace)

    def pin(self, name: str, version: int, *, namespace: str = "default") -> FunctionState:
        """See `AsyncHost.pin`."""
        return self._run(self.inner.pin(name, version, namespace=namespace))

    def unpin(self, name: str, *, namespace: str = "default") -> FunctionState:
        """See `AsyncHost.unpin`."""
        return self._run(self.inner.unpin(name, namespace=namespace))

    def rollback(self, name: str, *, namespace: str = "default") -> FunctionState:
        """See `AsyncHost.rollback`."""
        return self._run(self.inner.rollback(name, namespace=namespace))

    def invoke(
        self,
        name: str,
        body: bytes = b"",
        *,
        namespace: str = "default",
        method: str = "POST",
        path: str | None = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> Outcome:
        """See `AsyncHost.invoke`."""
        if threading.get_ident() == self._ident:
            raise own_thread()
        inner = self.inner
        request = new_request(WebRequest, (method, path, query, headers, None))
        started = inner.dispatcher.web_now(inner.deployment(name, namespace), request, body, None, on_loop=False)
        if isinstance(started, Outcome):
            return started
        sink = Collector()
        return sink.complete(self._run(started.wait(sink)))

    def call(self, name: str, function: str, *args: Any, interface: str = "", namespace: str = "default") -> Any:
        """See `AsyncHost.call`."""
        self._check_thread()
        inner = self.inner
        started = inner.dispatcher.call_now(inner.deployment(name, namespace), interface, function, args, on_loop=False)
        outcome = started if isinstance(started, Outcome) else self._run(started.wait())
        return outcome.unwrap().value

    def spawn(self, name: str, payload: bytes = b"", *, namespace: str = "default") -> str:
        """See `AsyncHost.spawn`."""
        return self._run(self.inner.spawn(name, payload, namespace=namespace))

    def inspect(self, wasm: bytes) -> Inspection:
        """See `AsyncHost.inspect`."""
        return self.inner.inspect(wasm)

    def close(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """See `AsyncHost.close`; calls of other threads that do not end meanwhile raise `Cancelled` there."""
        if not self._stopped:
            self._run(self.inner.close(drain_seconds))
            self._stop()

    def _check_thread(self) -> None:
        if threading.get_ident() == self._ident:
            raise own_thread()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` on the loop and waits for it."""
        try:
            self._check_thread()
            with self._submitting:
                if self._stopped:
                    raise closed()
                future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except HostError:
            work.close()
            raise
        try:
            return future.result()
        except CancelledError:
            raise Cancelled from None
        except BaseException:  # somebody's Ctrl-C; or its own error, and then there is nothing left to cancel
            future.cancel()
            raise

    def _serve(self) -> None:
        """The loop's thread: runs until `_stop`, and leaves nobody waiting."""
        self._loop.run_forever()
        self._loop.run_until_complete(_finish())
        self._loop.close()

    def _stop(self) -> None:
        with self._submitting:
            if self._stopped:
                return
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def own_thread() -> HostError:
    return HostError("a host function called the synchronous Host it is running in: use AsyncHost there")


async def _finish() -> None:
    """Ends what is left on a loop that was stopped."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
