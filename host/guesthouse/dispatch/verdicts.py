"""`judge`: what a replay shows: the same, another call, another end.  Decisions on values only."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.replayed import Ended, Verdict
from guesthouse.dispatch.tracing import Stopped, Trace, TracedJournal
from guesthouse.durable.errors import Diverged, JournalEnded
from guesthouse.durable.listing import Summary
from guesthouse.errors import GuesthouseError, Trap
from guesthouse.queue.call import Record

FRAME: Final = re.compile(r"\s*[0-9]+:\s+0x[0-9a-f]+ - ")
"""A line of a backtrace, as wasmtime writes it."""
CUT_OFF: Final = frozenset({"deadline", "cancelled", "fuel"})
"""Ends that come from outside, at any moment: the call of that moment has no result, and what follows nobody knows."""
HOST_ERROR: Final = "host-error"
"""The reason of a guest whose host call failed in the host: that is not recorded as a result."""


class Found(NamedTuple):
    """All that there is to judge by."""

    record: Record
    recorded: Ended
    summary: Summary
    outcome: Outcome
    journal: TracedJournal
    trace: Trace


class Judged(NamedTuple):
    """What comes of it."""

    verdict: Verdict
    ended: Ended
    text: str = ""
    backtrace: str = ""


def ended_of(outcome: Outcome) -> Ended:
    """How a run ended, as a journal's last record says it."""
    error = outcome.error
    if error is None:
        return Ended(outcome.result, outcome.status, hashlib.sha256(outcome.body).hexdigest())
    return Ended(outcome.result, outcome.status, "", reason_of(error))


def reason_of(error: GuesthouseError) -> str:
    """The stable word for why a guest did not end by itself."""
    return error.reason if isinstance(error, Trap) else error.problem_type


def judge(found: Found) -> Judged:
    """The verdict on a replay."""
    error = found.journal.broken or found.outcome.error
    backtrace = _backtrace(error)
    if isinstance(error, Stopped):
        return Judged("stopped", Ended(""), "", backtrace)
    if isinstance(error, Diverged):
        return _diverged(found, _both(error), backtrace)
    if isinstance(error, JournalEnded):
        return _journal_ended(found, error, backtrace)
    if found.journal.reading.ahead is not None:
        left, ended = found.journal.describe(found.journal.reading.ahead), ended_of(found.outcome)
        if ended.result == "deadline" and not found.trace.changed:
            return Judged("otherwise", ended, f"its time was over here before it came to {left}", backtrace)
        if found.trace.changed:
            text = f"it did not come to call {found.journal.entry}, which was {left}"
            return Judged("otherwise", ended, text, backtrace)
        return _diverged(found, f"recorded: {left}\nnow:      the guest has ended ({ended})", backtrace)
    return _by_the_end(found, backtrace)


def _diverged(found: Found, text: str, backtrace: str) -> Judged:
    if found.trace.changed:
        return Judged("unrecorded", Ended(""), text, backtrace)
    return Judged("diverged", Ended(""), text, backtrace)


def _both(error: Diverged) -> str:
    return f"recorded: {error.recorded}\nnow:      {error.found}"


def _journal_ended(found: Found, error: JournalEnded, backtrace: str) -> Judged:
    """The guest has asked for more than is recorded."""
    if found.trace.changed:
        return Judged("unrecorded", Ended(""), str(error), backtrace)
    recorded = found.recorded
    cut_off = recorded.result in CUT_OFF or (recorded.result == "trapped" and recorded.reason in ("", HOST_ERROR))
    if found.summary.end is None or cut_off:
        return Judged("identical", recorded, "", backtrace)
    now = found.trace.steps[-1].name if found.trace.steps else str(error)
    text = f"recorded: the guest ended there ({recorded})\nnow:      it goes on with {now}"
    return Judged("diverged", Ended(""), text, backtrace)


def _by_the_end(found: Found, backtrace: str) -> Judged:
    """The guest has come to its end, and made every call that is recorded."""
    ended, recorded = ended_of(found.outcome), found.recorded
    if not recorded.result:
        if found.record.state == "suspended":
            return Judged("otherwise", ended, "the invocation waits there; the guest now ends", backtrace)
        return Judged("unrecorded" if found.trace.changed else "identical", ended, "", backtrace)
    both_late = {recorded.result, ended.result} <= {"fuel", "deadline"}
    if ended.same(recorded) or both_late:
        return Judged("identical", ended, "", backtrace)
    return Judged("otherwise", ended, _difference(ended, recorded), backtrace)


def _difference(ended: Ended, recorded: Ended) -> str:
    if (ended.result, ended.status, ended.reason) == (recorded.result, recorded.status, recorded.reason):
        return "the body of the answer is another one"
    return f"recorded: {recorded}\nnow:      {ended}"


def _backtrace(error: GuesthouseError | None) -> str:
    """The guest's frames alone."""
    if error is None:
        return ""
    text = error.backtrace or (str(error) if isinstance(error, Trap) else "")
    return "\n".join(line.strip() for line in text.splitlines() if FRAME.match(line))
