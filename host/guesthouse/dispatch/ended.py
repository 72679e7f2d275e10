"""What is answered of an invocation that has ended: the function's own answer, or the problem that it ended with."""

from __future__ import annotations

from typing import Final, Protocol

from guesthouse.errors import (
    Cancelled,
    DeadlineExceeded,
    FuelExhausted,
    GuesthouseError,
    InputError,
    NotFound,
    Trap,
)
from guesthouse.queue.call import LIVE, Output, Record
from guesthouse.queue.queue import UnknownInvocation


class Outputs(Protocol):
    """Whoever keeps answers."""

    async def output(self, id: str) -> Output | None:
        """The answer of an invocation that has ended, if it was kept.  Raises `UnknownInvocation`."""


class NotEnded(InputError):
    """The output of an invocation that is queued or runs."""

    status = 409
    problem_type = "not-ended"
    title = "The invocation has not ended"


class NotKept(NotFound):
    """The output of an invocation whose record was kept, but not its answer."""

    status = 410
    problem_type = "not-kept"
    title = "The output was not kept"


class Lost(GuesthouseError):
    """The process died while the function ran, and it is not run again: nobody knows how far it came."""

    problem_type = "invocation-lost"
    title = "The invocation was lost"

    @property
    def public(self) -> str:
        return "The host stopped while the function ran; it is not known how far it came, and it was not run again."


class GaveUp(GuesthouseError):
    """A call that did not succeed, for a reason of its own."""

    status = 502
    problem_type = "invocation-failed"
    title = "The invocation did not succeed"


_ERRORS: Final[dict[str, GuesthouseError]] = {
    "trapped": Trap("the function trapped"),
    "deadline": DeadlineExceeded(),
    "fuel": FuelExhausted(),
    "cancelled": Cancelled(),
    "lost": Lost("the host stopped while the function ran"),
}
"""What a caller who waited would have been told, by the word of the outcome."""
NOTHING: Final = Output(204, (), b"")
"""Of a spawn function, which answers nothing."""


async def read_answer(invocations: Outputs, record: Record) -> Output:
    """The answer of an invocation, as far as it was kept; raises what `answer_of` raises."""
    try:
        output = await invocations.output(record.id)
    except UnknownInvocation:  # one that was called directly, and is not written down
        output = None
    return answer_of(record, output)


def answer_of(record: Record, output: Output | None) -> Output:
    """The answer of an invocation; raises `NotEnded`, `NotKept`, or what a caller who waited would have been told."""
    if record.state in LIVE:
        raise NotEnded(f"the invocation is {record.state}")
    if output is not None:
        return output
    if record.state == "succeeded":
        if record.status:
            raise NotKept("the record of the invocation was kept, its output was not")
        return NOTHING
    if record.status:
        raise NotKept(f"the function answered with status {record.status}; its answer was not kept")
    error = _ERRORS.get(record.result)
    if error is None:
        raise GaveUp(record.reason or f"the invocation ended as {record.state}")
    raise type(error)(str(error))
