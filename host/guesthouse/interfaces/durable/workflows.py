"""`Workflows`: whoever keeps promises, starts calls and holds state for guests, as this interface needs to know it.

Two keep these promises: one in the host's database, for durable functions, and one in memory, for all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from guesthouse.errors import InputError
from guesthouse.queue.call import Completion

if TYPE_CHECKING:
    from guesthouse.interfaces.durable.values import Promise
    from guesthouse.interfaces.invocation import Invocation


class NoSuchAwakeable(InputError):
    """An id that was not made here, or of something that has ended: which, nobody is told."""

    status = 404
    problem_type = "not-found"
    title = "There is no such awakeable"


class TooManyPromises(InputError):
    """An invocation that has made as many promises as it may."""


class Until(Enum):
    """What somebody waits for, of several."""

    ALL = "all"
    """Each has ended."""
    FAILURE = "failure"
    """Each has ended, or one has failed."""
    END = "end"
    """One has ended."""
    SUCCESS = "success"
    """One has succeeded, or each has failed."""


Why = Literal["decided", "timed-out", "cancelled"]


class Waited(NamedTuple):
    """What came of waiting for several."""

    ended: Mapping[int, Completion]
    """What those came to that have ended, by place in the list; nothing where one was enough."""
    decided: int | None
    """The place of the one that ended the waiting."""
    why: Why


class Request(NamedTuple):
    """WIT `request`: a call as a guest wants it; as it is lifted, unchecked."""

    function: str
    payload: bytes
    key: str | None = None
    delay: int = 0
    """Milliseconds."""
    idempotency_key: str | None = None
    headers: Sequence[tuple[str, str]] = ()


class Policy(NamedTuple):
    """WIT `policy`: when a step that failed for now is run again."""

    attempts: int
    """Runs in all; 0: as often as it takes."""
    min_wait: int
    """Milliseconds, as the next."""
    max_wait: int


ONCE: Final = Policy(1, 0, 0)


@dataclass(slots=True)
class Step:
    """What is known of a step."""

    name: str
    policy: Policy = ONCE
    runs: int = 0
    """That were over, and it has to be run again."""
    due_ms: int = 0
    """When, in milliseconds since 1970-01-01 UTC."""
    end: Completion | None = None
    """What it came to, for good."""
    told_cancelled: bool = False
    """Whether that is how the guest learned that its invocation was cancelled."""
    runs_now: bool = False
    """Whether the guest is at it."""


class Workflow(Protocol):
    """What one invocation may ask for.  What it is given was checked by whoever asks, but for requests."""

    key: str | None
    """Which it was called with."""
    attempt: int
    durable: bool
    step: Step | None
    """The one at work, or to be run again."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def timer(self, due_ms: int) -> Promise:
        """Ends at a time.  Raises `TooManyPromises`."""

    def awakeable(self) -> Promise:
        """Ends when somebody completes it.  Raises `TooManyPromises`."""

    async def wait(self, promises: Sequence[Promise], until: Until, until_ms: int | None) -> Waited:
        """Waits for promises, at most until a time, and until the invocation is cancelled, which is told once.

        Traps where the values are over `Limits.wait_bytes`.
        """

    def replayed(self, promises: Sequence[Promise], waited: Waited) -> None:
        """An earlier run was told this: a cancellation is not told again, and a timer does not begin again."""

    def was_cancelled(self) -> None:
        """An earlier run was told that the invocation was cancelled: it is not told again."""

    async def call(self, wanted: Sequence[Request]) -> list[Promise]:
        """Calls functions, or none of them: raises an `InputError` or `Unavailable` that says why."""

    async def send(self, wanted: Request) -> str:
        """Calls a function that nobody waits for: the id of its invocation.  Raises as `call`."""

    async def end(self, id: str, *, kill: bool = False) -> None:
        """Cancels or kills an invocation of the same family, if it has not ended.  Raises `UnknownInvocation` for others."""

    async def leave(self, ids: Sequence[str]) -> None:
        """Cancels calls of this invocation that nobody waits for any more, as far as they have not ended."""

    def begin_step(self, name: str) -> Step:
        """What is known of the next step."""

    async def end_step(self, step: Step) -> None:
        """Notes what has changed about the step at work; on return it survives what the invocation survives."""

    async def get(self, name: str) -> bytes | None:
        """A value of the key's state."""

    async def set(self, name: str, value: bytes) -> None:
        """Sets one.  Raises `InputError` at a bound."""

    async def clear(self, name: str | None) -> None:
        """Forgets one, or all."""

    async def names(self) -> Sequence[str]:
        """Of all that are set, in their order."""


class Workflows(Protocol):
    """Those of a host."""

    def open(self, invocation: Invocation) -> Workflow:
        """That of an invocation; called once for each run."""

    async def resolve(self, id: str, payload: bytes) -> None:
        """Completes an awakeable; the first time counts.  Raises `NoSuchAwakeable` and `BodyTooLarge`."""

    async def reject(self, id: str, reason: str) -> None:
        """Completes an awakeable as failed.  Raises as `resolve`."""
