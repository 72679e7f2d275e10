"""`Verdict`: what becomes of a queued call after one run of it.

Pure: an outcome, the deployment's policy, the time and some random bytes in, a decision out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from guesthouse.dispatch.completions import ERROR, TERMINAL
from guesthouse.dispatch.outcome import Outcome, spawn_result
from guesthouse.engine.values import Err
from guesthouse.limits import LONGEST_MS
from guesthouse.registry.policy import RetryPolicy

OVERLOADED = frozenset({429, 503})
"""Statuses that say that it was too much, and not that it was wrong."""
MOST_STRIKES = 2
"""Processes that may die while they run a call: then it does not run again."""
MOST_DURABLE_STRIKES = 10
"""The same of a durable call, without having come any further: it may be what they die of."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call."""

    state: Literal["succeeded", "failed", "queued", "dead", "cancelled"]
    """failed: it said itself that it failed for good, which is an answer like any other."""
    result: str
    """The word for how the run ended: that of `Outcome.result`, or lost."""
    reason: str = ""
    due_ms: int = 0
    """When it runs again, where it is queued."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which run of a call it was, and how many the call has."""

    number: int
    allowed: int
    accepted_ms: int
    """When the call was accepted: milliseconds since 1970-01-01 UTC."""


def judge(
    outcome: Outcome, attempt: Attempt, policy: RetryPolicy, now_ms: int, random: Callable[[int], bytes]
) -> Verdict:
    """Succeeded, failed, queued once more, or dead: by what the function says of it, then by the deployment's policy,
    with exponential waits and full jitter."""
    said = said_of(outcome)
    if said == "terminal":
        return Verdict("failed", "failed", "the function said that it failed for good")
    reason = "the function said that it failed for now" if said == "temporary" else reason_of(outcome, policy)
    if not reason:
        return Verdict("succeeded", outcome.result)
    if said != "temporary" and not _retriable(outcome, policy):
        return Verdict("dead", outcome.result, reason)
    if attempt.number >= attempt.allowed:
        times = "once" if attempt.allowed == 1 else f"{attempt.allowed} times"
        return Verdict("dead", outcome.result, f"{reason.rstrip('.')}; it ran {times}, as often as it may")
    wait = backoff_ms(attempt.number, policy, random)
    asked = retry_after_ms(outcome, now_ms)
    if asked is not None:
        wait = max(wait, min(asked, policy.max_wait_ms))
    if now_ms + wait - attempt.accepted_ms > policy.max_age_ms:
        return Verdict("dead", outcome.result, f"{reason.rstrip('.')}; a further run would come after its longest age")
    return Verdict("queued", outcome.result, reason, now_ms + wait)


def reason_of(outcome: Outcome, policy: RetryPolicy) -> str:
    """Why a run was no success, in the host's words; empty for a success."""
    if outcome.error is not None:
        return outcome.error.public
    if outcome.result == "dropped":
        return "the payload is not what the function takes"
    if outcome.result != "ok":
        return "the function said that it failed"
    return f"the function answered {outcome.status}" if outcome.status in policy.statuses else ""


def said_of(outcome: Outcome) -> str:
    """How an answer says that it is meant: terminal, temporary, or nothing."""
    if outcome.error is not None:
        return ""
    for name, value in outcome.headers:
        if name.lower() == ERROR:
            return value.strip().lower()
    if outcome.result == "failed" and isinstance(outcome.value, Err):
        note = spawn_result(outcome.value)[1]
        return "terminal" if note is not None and note.startswith(TERMINAL) else ""
    return ""


def overloaded(outcome: Outcome) -> bool:
    """Whether a run says that less should run at once."""
    return outcome.result == "deadline" or outcome.status in OVERLOADED


def backoff_ms(number: int, policy: RetryPolicy, random: Callable[[int], bytes]) -> int:
    """The wait after run `number`: a random time up to a bound that doubles with each run."""
    most = min(policy.max_wait_ms, policy.min_wait_ms << min(number - 1, 64))
    return int.from_bytes(random(8), "big") * (most + 1) >> 64


def retry_after_ms(outcome: Outcome, now_ms: int) -> int | None:
    """What the answer's Retry-After asks for, seconds or a date, in milliseconds from now; `None` without a valid one."""
    for name, value in outcome.headers:
        if name.lower() == "retry-after":
            return parse_retry_after(value.strip(), now_ms)
    return None


def parse_retry_after(value: str, now_ms: int) -> int | None:
    if value.isascii() and value.isdigit():
        return min(int(value[:12]) * 1000, LONGEST_MS)
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, OSError, IndexError):
        return None
    return min(max(0, int(moment * 1000) - now_ms), LONGEST_MS)


def _retriable(outcome: Outcome, policy: RetryPolicy) -> bool:
    return outcome.result in policy.results or (outcome.result == "ok" and outcome.status in policy.statuses)
