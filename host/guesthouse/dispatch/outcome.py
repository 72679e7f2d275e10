"""`Outcome`: how an invocation ended, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guesthouse.durable.errors import Ambiguous, Diverged, JournalError, Suspended
from guesthouse.engine.values import Err
from guesthouse.errors import (
    BadAnswer,
    Cancelled,
    CommandFailed,
    DeadlineExceeded,
    FuelExhausted,
    GuesthouseError,
)
from guesthouse.telemetry import LogRecord

if TYPE_CHECKING:
    from guesthouse.dispatch.detached import Detached

JOURNALED: Mapping[type[GuesthouseError], str] = {
    Suspended: "suspended",
    Diverged: "diverged",
    Ambiguous: "ambiguous",
    JournalError: "journal",
}
"""How runs with a journal end besides."""
DROPPED_NOTE = "Failed to extract spawn payload: "
"""How the published spawn macro begins its note when the payload does not decode: the run counts as dropped."""
DROPPED_PANIC = "payload is not valid json"
"""What the older spawn macro panics with then."""


@dataclass(slots=True)
class Outcome:
    """How one invocation ended: its answer or its error, and what it used."""

    invocation_id: str
    result: str = "ok"
    """ok, failed (it said so itself), dropped (its payload did not decode), trapped, deadline, fuel, cancelled or lost; of
    runs of durable calls also suspended (no end), diverged, ambiguous and journal."""
    status: int = 0
    """HTTP status that the guest chose; 0 where there is none."""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    value: Any = None
    """What a library function or a spawn function returned."""
    error: GuesthouseError | None = None
    """Why there is no answer; `None` where there is one."""
    fuel_used: int | None = None
    """`None` where it cannot be known: after a memory trap, a deadline or a cancellation."""
    peak_memory: int = 0
    """Bytes of linear memory at the end."""
    duration_ns: int = 0
    streamed: bool = False
    """The answer has left through the `ResponseSink` already."""
    logs: Sequence[LogRecord] = field(default=())
    detached: Detached | None = None
    """What goes on after the answer; `None` where nothing does."""

    def unwrap(self) -> Outcome:
        """Itself, if the guest answered; else raises its error."""
        if self.error is not None:
            raise self.error
        return self

    @property
    def summary(self) -> str:
        """How it ended and what it cost, in a few words."""
        status = f" with status {self.status}" if self.status else ""
        fuel = "unknown fuel" if self.fuel_used is None else f"{self.fuel_used:,} fuel"
        return f"{self.result}{status} after {self.duration_ns / 1e6:,.3f} ms, {fuel}, {self.peak_memory:,} bytes of memory"

    @property
    def text(self) -> str:
        """The body as UTF-8, with U+FFFD for what is not."""
        return self.body.decode(errors="replace")


def result_of(error: GuesthouseError) -> str:
    """The word for an error in `Outcome.result` and in the metrics."""
    if isinstance(error, DeadlineExceeded):
        return "deadline"
    if isinstance(error, FuelExhausted):
        return "fuel"
    if isinstance(error, Cancelled):
        return "cancelled"
    for kind, word in JOURNALED.items():
        if isinstance(error, kind):
            return word
    return "failed" if isinstance(error, BadAnswer | CommandFailed) else "trapped"


def spawn_result(value: Any) -> tuple[str, str | None]:
    """The word and the note of what a spawn function returned (nothing, in the older form)."""
    if value is None:
        return "ok", None
    _, note = value[0]
    if not isinstance(value, Err):
        return "ok", note
    return ("dropped" if (note or "").startswith(DROPPED_NOTE) else "failed"), note
