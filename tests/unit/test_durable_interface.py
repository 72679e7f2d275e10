"""`guesthouse:durable` piece by piece: tallies of waits, failures, steps, ids, state in memory."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.dispatch.completions import completion_of
from guesthouse.dispatch.keyed_memory import KeyedMemory
from guesthouse.dispatch.workflows_waiting import Tally, ranges
from guesthouse.interfaces.durable import Policy, Promise, Until, Waited
from guesthouse.interfaces.durable.steps import backoff_ms
from guesthouse.interfaces.durable.values import (
    MOST_MESSAGE_BYTES,
    MOST_METADATA,
    Failure,
    bounded,
    completion_of_failure,
    failure_of,
)
from guesthouse.interfaces.durable.waits import Question
from guesthouse.queue.call import CANCELLATION, Completion, Output, Record, Wait
from guesthouse.queue.queue import StateFull


def calls(*numbers: int) -> list[Promise]:
    return [Promise(number, f"id{number}") for number in numbers]


def timer(number: int, due_ms: int) -> Promise:
    return Promise(number, "", due_ms)


# -- tallies


@pytest.mark.parametrize(
    ("until", "outcomes", "decided"),
    [
        (Until.END, {}, None),
        (Until.END, {2: "failed"}, 1),
        (Until.END, {3: "ok", 1: "ok"}, 2),
        (Until.SUCCESS, {1: "failed"}, None),
        (Until.SUCCESS, {1: "failed", 3: "ok"}, 2),
        (Until.SUCCESS, {1: "failed", 3: "cancelled", 2: "failed"}, 1),
        (Until.FAILURE, {1: "ok", 2: "ok"}, None),
        (Until.FAILURE, {1: "ok", 2: "cancelled"}, 1),
        (Until.FAILURE, {1: "ok", 3: "ok", 2: "ok"}, 1),
        (Until.ALL, {1: "failed", 2: "ok"}, None),
        (Until.ALL, {1: "failed", 2: "ok", 3: "ok"}, 2),
    ],
)
def test_a_wait_is_over_when_enough_has_come(until: Until, outcomes: dict[int, str], decided: int | None) -> None:
    """The first to end, the first to succeed or the last to fail, the first to fail, all."""
    tally = Tally(calls(1, 2, 3), until)
    tally.take(outcomes)
    assert tally.decided == decided


def test_of_several_everything_is_told_that_has_ended_and_of_one_only_that_one() -> None:
    """What came after it was decided is known of a gather, and nobody's business in a race."""
    for until, ended in ((Until.FAILURE, {0, 1, 2}), (Until.END, {0})):
        tally = Tally(calls(1, 2, 3), until)
        tally.take({1: "failed", 2: "ok", 3: "ok"})
        assert (tally.decided, tally.ended) == (0, ended)


def test_a_promise_that_is_waited_for_twice_ends_at_both_places() -> None:
    """A list of what was borrowed may name one of them twice."""
    tally = Tally(calls(5, 5), Until.ALL)
    tally.take({5: "ok"})
    assert tally.ended == {0, 1}


def test_timers_end_by_the_clock_in_the_order_of_their_times() -> None:
    """The earliest is the first to end."""
    tally = Tally([timer(1, 300), timer(2, 100), *calls(3)], Until.END)
    tally.pass_time(99)
    assert (tally.decided, tally.next_ms) == (None, 100)
    tally.pass_time(1_000)
    assert tally.decided == 1


def test_a_timer_that_has_ended_has_ended_whatever_the_clock_says() -> None:
    """A clock that is put back does not begin it again."""
    tally = Tally([timer(1, 300)], Until.ALL, {1})
    tally.pass_time(5)
    assert tally.decided == 0


@pytest.mark.parametrize(
    ("until", "promises", "expected"),
    [
        (Until.END, [*calls(1, 2, 5), timer(9, 70)], Wait([(0, 2), (5, 5)], ends=1, until_ms=50)),
        (Until.END, [*calls(1), timer(9, 20)], Wait([(0, 1)], ends=1, until_ms=20)),
        (Until.SUCCESS, calls(1, 2), Wait([(0, 2)], oks=1, failures=2, until_ms=50)),
        (Until.SUCCESS, [*calls(1), timer(9, 20)], Wait([(0, 1)], oks=1, until_ms=20)),
        (Until.FAILURE, calls(4), Wait([(0, 0), (4, 4)], oks=1, failures=1, until_ms=50)),
        (Until.ALL, [*calls(1, 2), timer(9, 20)], Wait([(0, 2)], ends=2, until_ms=50)),
        (Until.ALL, [timer(8, 10), timer(9, 20)], Wait([(0, 0)], until_ms=20)),
    ],
)
def test_who_is_suspended_is_woken_by_what_may_be_enough(until: Until, promises: list[Promise], expected: Wait) -> None:
    """Completions that count, the time-out, the timers that count; and the cancellation."""
    assert Tally(promises, until).wait(50, cancellation=True) == expected


def test_who_knows_that_it_was_cancelled_does_not_wait_for_that() -> None:
    """Or it would be woken at once, for ever."""
    wait = Tally(calls(1), Until.ALL).wait(None, cancellation=False)
    assert not any(first <= CANCELLATION <= last for first, last in wait.numbers)


@given(st.sets(st.integers(0, 200)))
def test_ranges_hold_the_numbers_and_no_others(numbers: set[int]) -> None:
    """In order, and no two that could be one."""
    found = ranges(sorted(numbers))
    assert [number for first, last in found for number in range(first, last + 1)] == sorted(numbers)
    assert all(after[0] > before[1] + 1 for before, after in pairwise(found))


# -- failures


def test_a_failure_comes_back_as_it_was_kept() -> None:
    """Kind, text, status and metadata; of a cancellation as well."""
    for kind in ("failed", "cancelled"):
        failure = Failure(kind, 'it "broke"', 409, [("why", "ü"), ("why", "")])
        assert failure_of(completion_of_failure(failure)) == failure


def test_a_failure_is_bounded() -> None:
    """However much somebody has to say."""
    told = failure_of(completion_of_failure(Failure("failed", "ä" * 100_000, 0, [("a", "b")] * 100)))
    assert len(told.message.encode()) <= MOST_MESSAGE_BYTES
    assert told.message.endswith("…")
    assert len(told.metadata) == MOST_METADATA
    assert len(failure_of(completion_of_failure(Failure("failed", "", 0, [("a", "b" * 10_000)]))).metadata) == 0


@given(st.text())
def test_a_text_that_fits_stays_as_it_is(text: str) -> None:
    """But for what is no Unicode."""
    assert bounded(text) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("value", [b"plain", b"\xff\xfe", b"{}", b"[]", b'{"message": 1, "metadata": []}', b"null"])
def test_a_stored_failure_that_is_none_is_one_all_the_same(value: bytes) -> None:
    """It says that it failed, and never that somebody else's value is wrong."""
    assert failure_of(Completion("failed", value, 7))[::2] == ("failed", 7)


def ended(state: str = "succeeded", **fields: Any) -> Record:
    return Record(id="i", namespace="n", name="f", mode="async", state=state, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_an_answer_that_says_well_is_its_body(status: int) -> None:
    """All of 2xx."""
    found = completion_of(ended(status=status), Output(status, [], b"body"))
    assert found == Completion("ok", b"body")


@pytest.mark.parametrize(("state", "status"), [("succeeded", 302), ("succeeded", 404), ("dead", 500), ("dead", 200)])
def test_any_other_answer_is_a_failure_with_its_text(state: str, status: int) -> None:
    """Also one that was not tried again, and a dead letter's last one."""
    headers = [("Guesthouse-Error-Card", "expired"), ("x-other", "1")]
    found = failure_of(completion_of(ended(state, status=status), Output(status, headers, b"no \xff")))
    assert found == Failure("failed", "no \N{REPLACEMENT CHARACTER}", status, [("card", "expired")])


def test_a_failure_that_guests_write_as_json_is_read() -> None:
    """Message and metadata, where the header says that it is one."""
    body = b'{"message": "gone", "metadata": [["a", "b"]]}'
    headers = [("guesthouse-error", "terminal"), ("content-type", "application/json")]
    assert failure_of(completion_of(ended(status=410), Output(410, headers, body))) == Failure(
        "failed", "gone", 410, [("a", "b")]
    )
    for other in (headers[1:], headers[:1]):
        assert failure_of(completion_of(ended(status=410), Output(410, other, body))).message == body.decode()
    for broken in (b"{", b"[]", b'{"message": 1, "metadata": []}', b'{"message": "a", "metadata": [1]}'):
        assert failure_of(completion_of(ended(status=410), Output(410, headers, broken))).message == broken.decode()


def test_an_end_without_an_answer_says_why_or_what_its_note_is() -> None:
    """A trap, a cancellation, and functions that answer nothing."""
    assert failure_of(completion_of(ended("dead", result="trapped", reason="it trapped"), None)).message == "it trapped"
    assert completion_of(ended("cancelled", reason="it was killed"), None).outcome == "cancelled"
    assert completion_of(ended(note="3 done"), None) == Completion("ok", b"3 done")
    noted = failure_of(completion_of(ended("failed", note="guesthouse-error: terminal: never"), None))
    assert noted.message == "never"
    assert failure_of(completion_of(ended("lost"), None)).message == "it ended as lost"


# -- questions


def test_a_question_is_told_from_every_other_one() -> None:
    """By what is waited for, how, and how long; also where there are too many to be named."""
    many = calls(*range(1, 500))
    questions = [
        Question("wait", "", calls(1), Until.ALL, None),
        Question("wait", "", calls(2), Until.ALL, None),
        Question("wait", "", calls(1), Until.ALL, 5),
        Question("select", "to-end", calls(1), Until.END, None),
        Question("select", "to-succeed", calls(1), Until.SUCCESS, None),
        Question("gather", "cancel-rest", many, Until.FAILURE, None),
        Question("gather", "cancel-rest", many[:-1], Until.FAILURE, None),
        Question("gather", "cancel-rest", [*many[:-1], Promise(1_000)], Until.FAILURE, None),
    ]
    texts = [str(question) for question in questions]
    assert len(set(texts)) == len(texts)
    assert max(map(len, texts)) < 200


def test_a_promise_is_what_was_written_of_it() -> None:
    """For the next run."""
    for promise in (Promise(7, "id"), Promise(8, "sign_1x"), timer(9, 5)):
        assert Promise.unpacked(promise.packed()).packed() == promise.packed()
    assert [promise.is_call for promise in (Promise(7, "id"), Promise(8, "sign_1x"), timer(9, 5))] == [
        True,
        False,
        False,
    ]


# -- steps and state


def test_the_waits_of_a_step_double_up_to_their_longest() -> None:
    """Drawn by chance below that."""
    policy = Policy(0, 100, 1_000)
    longest = [backoff_ms(runs, policy, lambda count: b"\xff" * count) for runs in (1, 2, 3, 4, 5, 5_000)]
    assert longest == [100, 200, 400, 800, 1_000, 1_000]
    assert backoff_ms(3, policy, bytes) == 0
    assert backoff_ms(1, Policy(0, 1 << 63, 1 << 63), lambda count: b"\xff" * count) == 1 << 63


def test_state_in_memory_is_each_keys_own_and_bounded() -> None:
    """What is over the bound is refused, and nothing is dropped for it."""
    memory = KeyedMemory(1_000)
    one, other = ("n", "f", "k"), ("n", "f", "other")
    memory.set(one, "b", b"1")
    memory.set(one, "a", b"2")
    memory.set(other, "a", b"3")
    assert (memory.names(one), memory.get(one, "a"), memory.get(other, "a")) == (["a", "b"], b"2", b"3")
    with pytest.raises(StateFull):
        memory.set(one, "a", bytes(1_000))
    assert memory.get(one, "a") == b"2"
    memory.clear(one, "a")
    assert memory.names(one) == ["b"]
    memory.clear(one, None)
    memory.clear(other, None)
    assert (memory.names(one), memory.size) == ([], 0)


def test_what_waiting_came_to_is_read_as_it_was_written() -> None:
    """Values are bytes, and stay so."""
    from guesthouse.interfaces.durable.waits import _packed, _unpacked

    waited = Waited({0: Completion("ok", b"\xff"), 2: Completion("failed", b"{}", 3)}, 2, "decided")
    question = Question("gather", "leave-rest", calls(1, 2, 3), Until.FAILURE, None)
    assert _unpacked(_packed(question, waited)) == waited
    assert asyncio.iscoroutinefunction(_packed) is False
