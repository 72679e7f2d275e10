"""`Queue`: what a place for queued calls and for records of invocations has to do, whatever keeps it.

Promises, which `tests/unit/queue_machine.py` checks of every backend: what `enqueue` acknowledged is not lost by any crash; a
call is leased to one holder at a time, and whoever settles it, or adds to its journal, with an older fence changes nothing;
each call ends in exactly one record; what belongs together is stored together, also whoever waits for an end being told of it.
All methods are awaited on one loop.  Knows nothing of how calls run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from guesthouse.errors import AdmissionFull, GuesthouseError, InputError, NotFound
from guesthouse.queue.call import Callback, Completion, End, Idempotency, Lease, Output, QueuedCall, Record, Wait

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


class StateFull(AdmissionFull):
    """The state of keys is as many bytes as it may be."""

    problem_type = "state-full"
    title = "There is no room for more state of keys"


class TooMuch(InputError):
    """More bytes were asked for than are read at once."""

    status = 413
    problem_type = "too-much"
    title = "That is more than is read at once"


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
    suspended: int = 0
    """Durable calls that nobody runs: they wait for a completion or a time, which is among the due ones."""


class Queue(Protocol):
    """Calls that wait, leases, dead letters, records, outputs, callbacks and journals of one data directory."""

    on_completed: Callable[[str, int], None]
    """Told on the loop of each future that has completed by this process: id of its invocation, and its number."""
    on_ready: Callable[[FunctionKey], None]
    """Told on the loop of functions of which a call became ready through another one: suspended, or behind its key."""

    async def enqueue(self, call: QueuedCall) -> str:
        """Takes a call; on return it survives a crash.

        Its id; or the id of the earlier call with the same idempotency key and request, and nothing new is stored.  Raises
        `QueueFull`, `AnotherRequest`, and `StorageFull` where the disk has no room for new work.  A key may outlive the
        record of its call.  Honours `JOINED`.
        """

    async def enqueue_all(self, calls: Sequence[QueuedCall]) -> Sequence[tuple[str, int]]:
        """Takes all of some calls, or none, in one transaction: the id of each, as `enqueue` would say, and its `promise`.

        A call whose idempotency key is known is not made again: the end of the earlier one completes its `promise` too, at
        once where it has ended.  Honours `JOINED`.
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
        An `exclusive` call has its key for itself from its first lease to its end; others like it come after that, in the
        order in which they became due.  The attempts of a durable call count its runs that failed, and one more.
        """

    async def extend(self) -> None:
        """Keeps all leases of this holder for another lease time."""

    async def succeed(
        self,
        lease: Lease,
        record: Record,
        output: Output | None,
        callback: Callback | QueuedCall | None,
        completion: Completion | None = None,
        segment: bytes = b"",
    ) -> None:
        """Ends a call: its record and output, and a callback or a further call, in one transaction.  Raises `Fenced`.

        Whoever waits for it is told `completion`, or what its record and output come to; `segment` is the last of its journal.
        """

    @property
    def crowded(self) -> bool:
        """Whether new calls come in so fast that those who wait for their acceptance come first."""

    async def succeed_all(self, ends: Sequence[End]) -> Sequence[GuesthouseError | None]:
        """Ends calls together, as `succeed` does each; what it would have raised for each."""

    async def retry(self, lease: Lease, due_ms: int, record: Record, segment: bytes = b"") -> None:
        """Puts a call back until `due_ms`; `record` says how the attempt went.  Raises `Fenced`.

        Its strikes are forgotten: this process has survived it.
        """

    async def release(self, lease: Lease, segment: bytes = b"") -> None:
        """Puts a call back as if it had not been leased: it did not begin, or goes on later.  Raises `Fenced`."""

    async def bury(
        self,
        lease: Lease,
        record: Record,
        output: Output | None,
        callback: Callback | QueuedCall | None,
        completion: Completion | None = None,
        segment: bytes = b"",
    ) -> None:
        """Ends a call as a dead letter, which keeps its request and, if it is durable, what it needs to go on.

        Raises `Fenced`.
        """

    async def cancel(self, id: str, record: Record) -> bool:
        """Ends a call that is queued; false where it has begun (a durable one that has a journal) or has ended.

        Raises `UnknownInvocation`.  Honours `JOINED`.
        """

    async def recover(self) -> Sequence[str]:
        """Takes back what other holders leased, a strike each; for the start of a process that owns the data directory.

        The ids of the calls, which are queued again, due now; whoever runs them looks at their strikes.
        """

    async def expire(self) -> int:
        """Takes back what is leased and was not extended in time, a strike each; how many calls.

        For other processes too that share the data directory: theirs by the wall's clock.
        """

    async def refresh(self) -> bool:
        """Counts anew where another process has changed anything since the last time; whether one has.

        To be called now and then where other processes share the data directory: `waiting` then says what there is to do.
        """

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
        """The request of a call that has not ended, is dead, or has a journal.  Raises `UnknownInvocation`."""

    async def list(self, wanted: Page = ALL) -> tuple[Sequence[Record], str | None]:
        """Records, newest first, and where the next page begins (`after`); raises `BadRequest` for one that is no page."""

    async def redrive(self, id: str, *, segment: bytes = b"", version: int | None = None) -> None:
        """Queues a dead letter once more, with all its attempts.  Raises `UnknownInvocation` where it is none.

        A durable one goes on with its journal, to which `segment` is added, on `version` from now on, or on its own.
        """

    async def drop(self, id: str) -> None:
        """Forgets the request of a dead letter, and its journal; its record stays.

        Raises `UnknownInvocation` where it is none.
        """

    async def sweep(self) -> int:
        """Removes what is past its retention, some at a time; how many records.  More are left where it is not 0."""

    # -- journals, and what durable invocations wait for

    async def append(self, lease: Lease, number: int, segment: bytes, *, version: int | None = None) -> None:
        """Adds a segment to a journal, which has `number` so far; its strikes are forgotten.  Raises `Fenced`.

        The first one that has a `version` fixes that of the later leases.
        """

    async def journal(self, id: str) -> Sequence[bytes]:
        """The segments of a journal; none where there is none (any more).  Raises `UnknownInvocation`.

        It is kept as long as the record, but goes first where there are too many bytes.
        """

    async def record_journal(self, id: str, segments: Sequence[bytes]) -> None:
        """Stores the journal of an invocation that has ended and has none.  Raises `UnknownInvocation`."""

    def ready(self, function: FunctionKey) -> bool:
        """Whether calls of a function wait for nothing but their turn, as far as this process knows."""

    async def suspend(self, lease: Lease, wait: Wait, segment: bytes, record: Record) -> bool:
        """Puts a durable call away until something happens; false: that has happened, and it is ready.  Raises `Fenced`."""

    async def complete(self, id: str, number: int, completion: Completion) -> bool:
        """Completes a future of a durable invocation; whether it was the first completion, which counts.

        That of `CANCELLATION` wakes it from any wait, also for its next attempt.  A dead letter is told too: it may be
        redriven.  Raises `UnknownInvocation` where there is none that may go on.  Honours `JOINED`.
        """

    async def completions(self, id: str, numbers: Collection[int], most_bytes: int = ...) -> Mapping[int, Completion]:
        """What has completed of some futures of an invocation that may go on.  Raises `TooMuch`."""

    async def outcomes(self, id: str) -> Mapping[int, str]:
        """How each future of an invocation has completed that has, without what it came to."""

    async def live_children(self, id: str) -> Sequence[tuple[str, int]]:
        """Who is below an invocation and has not ended: called by it, or by those, and waited for.  Deepest first."""

    async def kill(self, id: str, record: Record) -> Sequence[Record]:
        """Ends an invocation and all that are below it, running or not; those that had not ended, as they are now.

        `record` is what is known of it then; the others get its state, result and reason.  Raises `UnknownInvocation`.
        Honours `JOINED`.
        """

    async def pinned(self, namespace: str, name: str, *, dead: bool = False) -> frozenset[int]:
        """Versions of a function that invocations have to end on; with those of its dead letters where `dead` is true."""

    # -- the state of a key, for whoever has the lease of a call with one

    async def state_get(self, lease: Lease, item: str) -> bytes | None:
        """A value; `None`: there is none."""

    async def state_names(self, lease: Lease) -> Sequence[str]:
        """The names of all values, in order."""

    async def state_set(self, lease: Lease, item: str, value: bytes) -> None:
        """Sets a value.  Raises `Fenced`, `StateFull` and `StorageFull`.  Honours `JOINED`."""

    async def state_clear(self, lease: Lease, item: str | None = None) -> None:
        """Clears a value, or all of the key.  Raises `Fenced`.  Honours `JOINED`."""

    async def state_forget(self, function: FunctionKey) -> None:
        """Clears the state of all keys of a function: it was deleted."""

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
