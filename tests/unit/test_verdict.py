"""What becomes of a queued call after a run: a table of outcomes, and the waits between runs."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.verdict import Attempt, backoff_ms, judge, overloaded, retry_after_ms
from guesthouse.errors import BadAnswer, Cancelled, DeadlineExceeded, FuelExhausted, Trap
from guesthouse.limits import LONGEST_MS
from guesthouse.registry.policy import RetryPolicy

NOW_MS = 1_800_000_000_000
FIRST = Attempt(1, 5, NOW_MS)


def longest(count: int) -> bytes:
    """Randomness that makes every wait its longest."""
    return b"\xff" * count


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome("i", status=200), "succeeded"),
        (Outcome("i", status=404), "succeeded"),
        (Outcome("i", status=501), "succeeded"),
        (Outcome("i"), "succeeded"),
        (Outcome("i", status=500), "queued"),
        (Outcome("i", status=429), "queued"),
        (Outcome("i", "failed"), "queued"),
        (Outcome("i", "dropped"), "dead"),
        (Outcome("i", "trapped", error=Trap("guest's words")), "queued"),
        (Outcome("i", "deadline", error=DeadlineExceeded()), "queued"),
        (Outcome("i", "fuel", error=FuelExhausted()), "dead"),
        (Outcome("i", "failed", error=BadAnswer("guest's words")), "queued"),
        (Outcome("i", "cancelled", error=Cancelled()), "dead"),
    ],
)
def test_an_outcome_is_a_success_is_tried_again_or_is_dead(outcome: Outcome, state: str) -> None:
    """By the default policy; the reason is there exactly where it is no success, and never in a guest's words."""
    verdict = judge(outcome, FIRST, RetryPolicy(), NOW_MS, longest)
    assert (verdict.state, verdict.result) == (state, outcome.result)
    assert bool(verdict.reason) == (state != "succeeded")
    assert "guest's words" not in verdict.reason
    assert (verdict.due_ms > NOW_MS) == (state == "queued")


def test_the_last_attempt_and_the_longest_age_end_it() -> None:
    """One run more than allowed, or one that would come too late, does not happen."""
    failed, policy = Outcome("i", status=500), RetryPolicy(max_age_ms=10_000)
    assert judge(failed, Attempt(4, 5, NOW_MS), RetryPolicy(), NOW_MS, longest).state == "queued"
    assert judge(failed, Attempt(5, 5, NOW_MS), RetryPolicy(), NOW_MS, longest).state == "dead"
    assert judge(failed, Attempt(1, 5, NOW_MS - 9_000), policy, NOW_MS, longest).state == "queued"
    assert judge(failed, Attempt(1, 5, NOW_MS - 9_001), policy, NOW_MS, longest).state == "dead"


@given(st.integers(1, 1_000), st.integers(1, 100_000), st.integers(0, 10_000_000), st.binary(min_size=8, max_size=8))
def test_a_wait_is_a_random_time_up_to_a_bound_that_doubles(number: int, least: int, more: int, drawn: bytes) -> None:
    """Full jitter: between nothing and the bound, the bound itself included, and never over the policy's longest."""
    policy = RetryPolicy(min_wait_ms=least, max_wait_ms=least + more)
    bound = min(policy.max_wait_ms, least * 2 ** (number - 1))
    assert 0 <= backoff_ms(number, policy, lambda count: drawn) <= bound
    assert backoff_ms(number, policy, longest) == bound
    assert backoff_ms(number, policy, bytes) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        (" 120 ", 120_000),
        ("9" * 12, LONGEST_MS),
        ("9" * 5_000, LONGEST_MS),
        (formatdate(NOW_MS / 1_000 + 60, usegmt=True), 60_000),
        (formatdate(NOW_MS / 1_000 - 60, usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_MS),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_and_anything_else_is_none(value: str, expected: int | None) -> None:
    """It comes from a guest: whatever it is, it is a time within bounds or nothing."""
    assert retry_after_ms(Outcome("i", headers=[("a", "1"), ("Retry-After", value)]), NOW_MS) == expected


@given(st.text(max_size=60))
def test_no_text_of_a_guest_breaks_the_reading_of_a_retry_after(value: str) -> None:
    """A time within bounds, or nothing."""
    found = retry_after_ms(Outcome("i", headers=[("retry-after", value)]), NOW_MS)
    assert found is None or 0 <= found <= LONGEST_MS


def test_a_retry_after_makes_a_wait_longer_and_never_shorter_nor_over_the_longest() -> None:
    """It is the least that is waited, within the policy's bound."""
    policy = RetryPolicy(min_wait_ms=10_000, max_wait_ms=60_000)
    for value, expected in (("1", 10_000), ("30", 30_000), ("3600", 60_000)):
        outcome = Outcome("i", status=503, headers=[("retry-after", value)])
        assert judge(outcome, FIRST, policy, NOW_MS, longest).due_ms == NOW_MS + expected


def test_overload_is_what_says_that_less_should_run() -> None:
    """429, 503 and deadlines; not what is merely wrong."""
    assert [status for status in (200, 408, 429, 500, 503, 504) if overloaded(Outcome("i", status=status))] == [
        429,
        503,
    ]
    assert overloaded(Outcome("i", "deadline", error=DeadlineExceeded()))
    assert not overloaded(Outcome("i", "trapped", error=Trap("x")))
