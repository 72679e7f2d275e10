"""What `AsyncHost` and `Host` do with calls for later, and with what is known of all invocations."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from guesthouse.dispatch.exports import Export
from guesthouse.dispatch.flows import QueueState
from guesthouse.dispatch.invocations import Invocations, Wanted
from guesthouse.dispatch.recordings import Recordings
from guesthouse.dispatch.replay import Replays
from guesthouse.dispatch.replayed import Replayed
from guesthouse.dispatch.workflows import Workflows
from guesthouse.queue.call import Output, QueuedCall, Record
from guesthouse.queue.queue import Page
from guesthouse.registry.deployment import Deployment

T = TypeVar("T")
ATTACH_SECONDS = 60.0


class AsyncCalls:
    """The part of `AsyncHost` that is about them."""

    calls: Invocations
    workflows: Workflows
    recordings: Recordings
    replays: Replays

    def deployment(self, name: str, namespace: str = "default") -> Deployment:
        """The current version of a function.  Raises `NotFound`."""
        raise NotImplementedError  # the host's own

    async def enqueue(
        self,
        name: str,
        body: bytes = b"",
        *,
        namespace: str = "default",
        method: str = "POST",
        path: str | None = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
        callback: str | None = None,
        delay_ms: int = 0,
        key: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Queues a call of a function, which survives a crash once this returns; the id of the invocation.

        Its result is sent to the URL `callback`; it waits for `delay_ms` milliseconds at least, and shares the bound
        `flow.key_inflight` with calls of the same `key`; with an `idempotency_key` that was used it is the same call.
        Raises `NotFound`, `BadRequest`, `BodyTooLarge`, `QueueFull` and `AnotherRequest`.
        """
        wanted = Wanted(
            method,
            path,
            query,
            headers,
            body=body,
            callback=callback,
            key=key,
            delay_ms=delay_ms,
            idempotency_key=idempotency_key,
        )
        return (await self.calls.accept(self.deployment(name, namespace), wanted)).id

    async def invocation(self, id: str) -> Record:
        """What is known of an invocation.  Raises `UnknownInvocation`."""
        return await self.calls.find(id)

    async def invocations(
        self,
        function: str | None = None,
        *,
        namespace: str | None = None,
        state: str | None = None,
        since_ms: int | None = None,
        most: int = 100,
        after: str | None = None,
    ) -> tuple[Sequence[Record], str | None]:
        """Records of invocations, newest first, and what `after` has to be for the next page (`None` on the last).

        Of one function (in the namespace `default`, if none is given), of one namespace, or all; `since_ms` is in
        milliseconds since 1970-01-01 UTC.
        """
        key = None if function is None else (namespace or "default", function)
        return await self.calls.list(Page(key, namespace if key is None else None, state, since_ms, most, after))

    async def output(self, id: str) -> Output | None:
        """What an invocation answered, if it has ended and that was kept.  Raises `UnknownInvocation`."""
        return await self.calls.output(id)

    async def attach(self, id: str, timeout_s: float = ATTACH_SECONDS) -> Record:
        """Waits for the end of an invocation, `timeout_s` seconds at most: what is known of it then."""
        return await self.calls.attach(id, timeout_s)

    async def request(self, id: str) -> QueuedCall:
        """What a call asks for that is queued, runs, or is a dead letter.  Raises `UnknownInvocation`."""
        return await self.calls.request(id)

    async def cancel(self, id: str) -> None:
        """Ends an invocation that waits or runs; a durable one hears of it at its next wait, after all that it called.

        Raises `UnknownInvocation` and `HasEnded`.
        """
        await self.calls.cancel(id)

    async def kill(self, id: str) -> None:
        """Ends an invocation, and all that it called and waits for, without asking.  Raises as `cancel`."""
        await self.calls.kill(id)

    async def resolve(self, id: str, payload: bytes = b"") -> None:
        """Completes an awakeable, by its id; the first time counts.  Raises `NoSuchAwakeable` and `BodyTooLarge`."""
        await self.workflows.resolve(id, payload)

    async def reject(self, id: str, reason: str) -> None:
        """Completes an awakeable as failed, for a reason that whoever waits is told.  Raises as `resolve`."""
        await self.workflows.reject(id, reason)

    async def redrive(
        self, id: str, *, from_entry: int | None = None, version: int | None = None, fail: bool = False
    ) -> None:
        """Queues a dead letter once more, with all its attempts; a durable one goes on where it was.

        `from_entry` voids what is recorded from that call on; `version` is what it goes on on, if that does again what was
        kept; with `fail` it sees the request as failed that was perhaps sent.  Raises `UnknownInvocation`, `NotDead`, `Differs`.
        """
        await self.recordings.redrive(id, from_entry=from_entry, version=version, fail=fail)

    async def journal(self, id: str) -> Mapping[str, Any]:
        """What an invocation has done so far: each recorded call, without what was said.  Raises `NoJournal`."""
        return await self.recordings.journal(id)

    async def export(self, id: str) -> bytes:
        """An invocation as one file, for `replay` here or on any other host.  Raises `UnknownInvocation` and `NoJournal`.

        It has all that the function was given: the caller's credentials, values of the environment, others' answers.
        """
        return await self.recordings.export(id)

    async def replay(
        self,
        export: bytes | Export,
        *,
        until: int | None = None,
        changes: Mapping[int, Any] | None = None,
        wasm: bytes | None = None,
    ) -> Replayed:
        """Runs an exported invocation again from its journal: nothing is called but what needs nothing but the guest.

        It stops before call `until`, and sees call N come to `changes[N]`, JSON of its type (see `replay_values`); `wasm` runs in
        the place of its own module.  Raises `InvalidExport`, `InvalidModule`, `BadRequest`.
        """
        return await self.replays.replay(export, until=until, changes=changes or {}, wasm=wasm)

    async def drop(self, id: str) -> None:
        """Forgets the request of a dead letter; its record stays.  Raises `UnknownInvocation` and `NotDead`."""
        await self.calls.drop(id)

    async def queues(self) -> Sequence[QueueState]:
        """How it stands with every function for which calls are queued, running or dead."""
        return await self.calls.queues()


class Calls:
    """The part of `Host` that is about them."""

    inner: AsyncCalls

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError  # the host's own

    def enqueue(self, name: str, body: bytes = b"", **options: Any) -> str:
        """See `AsyncHost.enqueue`."""
        return self._run(self.inner.enqueue(name, body, **options))

    def invocation(self, id: str) -> Record:
        """See `AsyncHost.invocation`."""
        return self._run(self.inner.invocation(id))

    def invocations(self, function: str | None = None, **options: Any) -> tuple[Sequence[Record], str | None]:
        """See `AsyncHost.invocations`."""
        return self._run(self.inner.invocations(function, **options))

    def output(self, id: str) -> Output | None:
        """See `AsyncHost.output`."""
        return self._run(self.inner.output(id))

    def attach(self, id: str, timeout_s: float = ATTACH_SECONDS) -> Record:
        """See `AsyncHost.attach`."""
        return self._run(self.inner.attach(id, timeout_s))

    def request(self, id: str) -> QueuedCall:
        """See `AsyncHost.request`."""
        return self._run(self.inner.request(id))

    def cancel(self, id: str) -> None:
        """See `AsyncHost.cancel`."""
        self._run(self.inner.cancel(id))

    def kill(self, id: str) -> None:
        """See `AsyncHost.kill`."""
        self._run(self.inner.kill(id))

    def resolve(self, id: str, payload: bytes = b"") -> None:
        """See `AsyncHost.resolve`."""
        self._run(self.inner.resolve(id, payload))

    def reject(self, id: str, reason: str) -> None:
        """See `AsyncHost.reject`."""
        self._run(self.inner.reject(id, reason))

    def redrive(self, id: str, **options: Any) -> None:
        """See `AsyncHost.redrive`."""
        self._run(self.inner.redrive(id, **options))

    def journal(self, id: str) -> Mapping[str, Any]:
        """See `AsyncHost.journal`."""
        return self._run(self.inner.journal(id))

    def export(self, id: str) -> bytes:
        """See `AsyncHost.export`."""
        return self._run(self.inner.export(id))

    def replay(self, export: bytes | Export, **options: Any) -> Replayed:
        """See `AsyncHost.replay`."""
        return self._run(self.inner.replay(export, **options))

    def drop(self, id: str) -> None:
        """See `AsyncHost.drop`."""
        self._run(self.inner.drop(id))

    def queues(self) -> Sequence[QueueState]:
        """See `AsyncHost.queues`."""
        return self._run(self.inner.queues())
