"""`Queue`: what a place for queued calls and for records of invocations has to do, whatever keeps it.

Promises, which `tests/unit/queue_machine.py` checks of every backend: what `enqueue` acknowledged is not lost by any crash; a
call is leased to one holder at a time, and whoever settles it with an older fence changes nothing; each call ends in exactly
one record; what belongs together is stored together.  All methods are awaited on one loop.  Knows nothing of how calls run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from guesthouse.errors import AdmissionFull, GuesthouseError, InputError, NotFound
from guesthouse.queue.call import Callback, End, Idempotency, Lease, Output, QueuedCall, Record

FunctionKey = tuple[str, str]
"""Namespace and name."""


class QueueFull(AdmissionFull):
    """A queue holds as many calls, or bytes, as it may."""

    problem_type = "queue-full"
    title = "Too many calls are queued"


class AnotherRequest(InputError):
    """An Idempotency-Key that was used for a request of another content."""

    status = 422
    problem_type = "idempotency-key-reused"
    title = "The Idempotency-Key belongs to another request"


class Fenced(GuesthouseError):
    """A call that was settled by somebody whose lease had been taken over: nothing was changed."""


class UnknownInvocation(NotFound):
    """No record of this id (any more)."""

    title = "There is no such invocation"


class Page(NamedTuple):
    """Which records somebody asks for: of one function, of one namespace, or all."""

    function: FunctionKey | None = None
    namespace: str | None = None
    state: str | None = None
    since_ms: int | None = None
    """Milliseconds since 1970-01-01 UTC."""
    most: int = 100
    after: str | None = None
    """What the page before has said."""


ALL: Final = Page()


@dataclass(frozen=True, slots=True)
class Waiting:
    """The queue of one function."""

    queued: int
    """Calls that wait, for their turn or for their time."""
    running: int
    oldest_ms: int | None
    """When the oldest call that could run now became due."""
    next_due_ms: int | None
    """When the first call becomes due that has to wait for its time."""
    dead: int
    struck: int = 0
    """Calls among the queued ones that have strikes."""


class Queue(Protocol):
    """Calls that wait, leases, dead letters, records, outputs and callbacks of one data directory."""

    async def enqueue(self, call: QueuedCall) -> str:
        """Takes a call; on return it survives a crash.

        Its id; or the id of the earlier call with the same idempotency key and request, and nothing new is stored.  Raises
        `QueueFull`, `AnotherRequest`, and `StorageFull` where the disk has no room for new work.  A key may outlive the
        record of its call.
        """

    async def lease(
        self,
        function: FunctionKey,
        most: int,
        busy_keys: Collection[str] = (),
        *,
        key_inflight: int = 0,
        struck: bool = False,
    ) -> Sequence[Lease]:
        """Takes up to `most` calls of a function that are due, in the order in which they became due, except of `busy_keys`.

        At most `key_inflight` of any key, unless that is 0; fewer than `most` are all that can be taken.  A call that had to
        wait for its key may come later than others, never before an earlier one of its key.
        Of those without strikes; or, where `struck` is true, of those with strikes alone: who runs them one at a time knows
        whose fault the next crash is, and no innocent call collects two strikes beside one that kills its host.
        """

    async def extend(self) -> None:
        """Keeps all leases of this holder for another lease time."""

    async def succeed(
        self, lease: Lease, record: Record, output: Output | None, callback: Callback | QueuedCall | None
    ) -> None:
        """Ends a call: its record and output, and a callback or a further call, in one transaction.  Raises `Fenced`."""

    @property
    def crowded(self) -> bool:
        """Whether new calls come in so fast that those who wait for their acceptance come first."""

    async def succeed_all(self, ends: Sequence[End]) -> Sequence[GuesthouseError | None]:
        """Ends calls together, as `succeed` does each; what it would have raised for each."""

    async def retry(self, lease: Lease, due_ms: int, record: Record) -> None:
        """Puts a call back until `due_ms`; `record` says how the attempt went.  Raises `Fenced`.

        Its strikes are forgotten: this process has survived it.
        """

    async def release(self, lease: Lease) -> None:
        """Puts a call back as if it had not been leased: it did not begin.  Raises `Fenced`."""

    async def bury(
        self, lease: Lease, record: Record, output: Output | None, callback: Callback | QueuedCall | None
    ) -> None:
        """Ends a call as a dead letter, which keeps its request.  Raises `Fenced`."""

    async def cancel(self, id: str, record: Record) -> bool:
        """Ends a call that is queued; false where it is running or has ended.  Raises `UnknownInvocation`."""

    async def recover(self) -> Sequence[str]:
        """Takes back what other holders leased, a strike each; for the start of a process that owns the data directory.

        The ids of the calls, which are queued again, due now; whoever runs them looks at their strikes.
        """

    async def expire(self) -> int:
        """Takes back what is leased and was not extended in time, a strike each; how many calls."""

    async def waiting(self) -> Mapping[FunctionKey, Waiting]:
        """Every function for which something is queued, running or dead."""

    # -- records

    async def write(self, records: Sequence[tuple[Record, Output | None]]) -> None:
        """Writes records of invocations that were never queued."""

    async def find(self, id: str) -> Record:
        """What is known of an invocation.  Raises `UnknownInvocation`."""

    async def output(self, id: str) -> Output | None:
        """The answer of an invocation that has ended, if it was kept.  Raises `UnknownInvocation`."""

    async def request(self, id: str) -> QueuedCall:
        """The request of a call that is queued, running or dead.  Raises `UnknownInvocation`."""

    async def list(self, wanted: Page = ALL) -> tuple[Sequence[Record], str | None]:
        """Records, newest first, and where the next page begins (`after`); raises `BadRequest` for one that is no page."""

    async def redrive(self, id: str) -> None:
        """Queues a dead letter once more, with all its attempts.  Raises `UnknownInvocation` where it is none."""

    async def drop(self, id: str) -> None:
        """Forgets the request of a dead letter; its record stays.  Raises `UnknownInvocation` where it is none."""

    async def sweep(self) -> int:
        """Removes what is past its retention, some at a time; how many records.  More are left where it is not 0."""

    # -- callbacks

    async def callbacks(
        self, most: int, under_way: Collection[str] = (), busy: Collection[str] = (), crowded: Collection[str] = ()
    ) -> Sequence[tuple[Callback, Output | None]]:
        """Callbacks that are due, in the order in which they became due, with the outputs that they deliver.

        Until they are settled they are given out again, but for the ids that are `under_way`; those to a destination that
        is `busy` (see `Callback.destination`), or of a namespace that is `crowded`, wait, and hold up no others.
        """

    async def delivered(self, callback: Callback) -> None:
        """Forgets a callback."""

    async def postpone(self, callback: Callback, due_ms: int) -> None:
        """Tries a callback again later, one attempt more."""

    async def next_callback_ms(self) -> int | None:
        """When the next callback is due; `None`: there is none."""

    async def find_idempotent(self, idempotency: Idempotency) -> str | None:
        """The id of the call with this key.  Raises `AnotherRequest`."""
