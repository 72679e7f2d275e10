"""Suspended calls: rows that nobody runs, woken by what they wait for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.queue.call import CANCELLATION, Completion, Lease, Output, Wait
from guesthouse.queue.completing import ranges
from guesthouse.queue.queue import Page, TooMuch, UnknownInvocation
from unit.queue_places import FUNCTION, QueuePlace

HOUR = 3_600_000
CHILD = ("default", "child")


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


def _told(place: QueuePlace, lease: Lease, *numbers: int) -> dict[int, tuple[str, bytes]]:
    found = place.wait(place.queue.completions(lease.call.id, numbers))
    return {number: (completion.outcome, completion.value) for number, completion in found.items()}


# -- suspended rows


def test_a_suspended_call_is_a_row_and_nothing_else(place: QueuePlace) -> None:
    """It is listed and found, it is not leased, not counted as queued or running, and lasts as long as it has to."""
    (lease,) = place.durable()
    assert place.suspend(lease, 1, until_ms=place.clock.wall_ms + HOUR)
    assert place.lease() == []
    found, _ = place.wait(place.queue.list(Page(state="suspended")))
    assert [(record.id, record.mode, record.due_ms) for record in found] == [
        (lease.call.id, "durable", place.clock.wall_ms + HOUR)
    ]
    for _ in range(2):
        waiting = place.wait(place.queue.waiting())[FUNCTION]
        assert (waiting.queued, waiting.running, waiting.suspended) == (0, 0, 1)
        assert (waiting.oldest_ms, waiting.next_due_ms) == (None, place.clock.wall_ms + HOUR)
        assert place.queue.counts.calls == 1
        place.open()
        assert place.wait(place.queue.recover()) == []
    assert place.wait(place.queue.request(lease.call.id)).durable


def test_one_that_waits_for_no_time_is_due_at_none(place: QueuePlace) -> None:
    """Neither does its record say one."""
    (lease,) = place.durable()
    assert place.suspend(lease, 1)
    assert place.wait(place.queue.waiting())[FUNCTION].next_due_ms is None
    assert place.wait(place.queue.find(lease.call.id)).due_ms == 0


def test_a_completion_wakes_it_at_the_end_of_the_line(place: QueuePlace) -> None:
    """And the host is told of the function, and of the future."""
    (lease,) = place.durable()
    assert place.suspend(lease, 1)
    (other,) = place.put(1)
    place.pass_ms(1)
    assert place.complete(lease.call.id, 1, value=b"x")
    assert (place.told, place.ready) == ([(lease.call.id, 1)], [FUNCTION])
    assert [of.call.id for of in place.lease(9)] == [other, lease.call.id]
    assert _told(place, lease, 1, 2) == {1: ("ok", b"x")}


def test_what_completes_while_it_is_being_suspended_is_not_slept_through(place: QueuePlace) -> None:
    """Before the suspension, or in the same transaction: it is ready at once."""
    (lease,) = place.durable()
    place.complete(lease.call.id, 1)
    assert not place.suspend(lease, 1)
    (lease,) = place.lease()
    wait = place.queue.suspend(lease, Wait([(2, 2)]), b"", place.record(lease, "suspended", ended_ms=None))
    place.all([wait, place.queue.complete(lease.call.id, 2, Completion("ok", b""))])
    (lease,) = place.lease()
    assert place.look("SELECT count(*) FROM waits") == place.look("SELECT count(*) FROM waited") == [(0,)]


@pytest.mark.parametrize(
    ("terms", "ends", "wakes"),
    [
        ({}, "f", 1),
        ({"ends": 3}, "ofo", 3),
        ({"ends": 2}, "oo", 2),
        ({"oks": 1}, "ffo", 3),
        ({"oks": 1, "failures": 3}, "ffc", 3),
        ({"oks": 3, "failures": 1}, "oof", 3),
        ({"oks": 3, "failures": 1}, "c", 1),
        ({"ends": 3, "failures": 2}, "off", 3),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_it_wakes_when_it_is_enough_and_not_before(
    place: QueuePlace, terms: Any, ends: str, wakes: int, before: int
) -> None:
    """The first of what it waits for, whichever part of it came before it was suspended."""
    words = {"o": "ok", "f": "failed", "c": "cancelled"}
    (lease,) = place.durable()
    late = 0
    for number, end in enumerate(ends[:before], 10):
        place.complete(lease.call.id, number, words[end])
        late += 1
    suspended = place.wait(
        place.queue.suspend(lease, Wait([(10, 12)], **terms), b"", place.record(lease, "suspended", ended_ms=None))
    )
    assert suspended is (late < wakes)
    for number, end in enumerate(ends[before:], 10 + before):
        assert (place.state(lease.call.id) == "suspended") is (number - 10 < wakes)
        place.complete(lease.call.id, 99)  # nobody waits for that one
        place.complete(lease.call.id, number, words[end])
    assert place.state(lease.call.id) == "queued"
    assert place.look("SELECT count(*) FROM waits") == place.look("SELECT count(*) FROM waited") == [(0,)]


def test_ranges_are_put_in_order() -> None:
    """Overlapping, touching, empty ones, and that of the cancellation, which counts for itself."""
    assert ranges(Wait([(5, 9), (0, 0), (1, 2), (3, 3), (8, 12), (20, 19)])) == [(1, 3), (5, 12)]
    assert ranges(Wait([(0, 4), (2, 3)])) == [(1, 4)]
    assert ranges(Wait()) == []


def test_ten_thousand_children_cost_the_same_each() -> None:
    """Their parent waits for all: one count, however many are left."""
    place = QueuePlace()
    (parent,) = place.durable()
    for start in range(1, 10_001, 1_000):
        calls = [place.call(CHILD, parent=parent.call.id, promise=start + n) for n in range(1_000)]
        place.wait(place.queue.enqueue_all(calls))
    assert len(place.wait(place.queue.live_children(parent.call.id))) == 10_000
    record = place.record(parent, "suspended", ended_ms=None)
    assert place.wait(place.queue.suspend(parent, Wait([(1, 10_000)], ends=10_000), b"", record))
    steps: list[int] = []
    for _ in range(10):
        leases = place.lease(1_000, CHILD)
        assert place.look("SELECT count(*), sum(ends) FROM waits") == [(1, 10_000 - sum(steps))]
        place.all([place.queue.succeed(of, place.record(of), Output(200, [], b"x"), None) for of in leases])
        steps.append(len(leases))
    assert sum(steps) == 10_000
    assert [of.call.id for of in place.lease()] == [parent.call.id]
    assert len(place.wait(place.queue.outcomes(parent.call.id))) == 10_000
    assert len(place.told) == 10_000
    place.close()


# -- time


def test_a_timer_fires_though_nobody_was_there(place: QueuePlace) -> None:
    """A month goes by without any process: the next one finds it due."""
    (lease,) = place.durable()
    assert place.suspend(lease, 1, until_ms=place.clock.wall_ms + 30 * 24 * HOUR)
    place.clock.wall_ms += 30 * 24 * HOUR - 1
    place.open()
    place.wait(place.queue.recover())
    assert place.lease() == []
    place.clock.wall_ms += 1
    assert place.wait(place.queue.waiting())[FUNCTION].oldest_ms == place.clock.wall_ms
    (again,) = place.lease()
    assert (again.call.id, again.attempt) == (lease.call.id, 1)
    assert place.look("SELECT count(*) FROM waits") == place.look("SELECT count(*) FROM waited") == [(0,)]


def test_a_clock_that_jumps_back_over_a_timer_only_delays_it(place: QueuePlace) -> None:
    """It does not fire early, and it fires."""
    (lease,) = place.durable()
    due_ms = place.clock.wall_ms + 1_000
    assert place.suspend(lease, until_ms=due_ms)
    place.clock.wall_ms -= HOUR
    assert place.lease() == []
    assert place.wait(place.queue.waiting())[FUNCTION].next_due_ms == due_ms
    place.clock.wall_ms = due_ms
    assert len(place.lease()) == 1


def test_a_time_that_has_come_is_not_waited_for(place: QueuePlace) -> None:
    """Nor is nothing at all: whoever has no room for it goes on later."""
    first, second = place.durable(2)
    assert not place.suspend(first, until_ms=place.clock.wall_ms)
    assert not place.suspend(second)
    assert len(place.lease(9)) == 2


# -- completions


def test_the_first_completion_counts(place: QueuePlace) -> None:
    """In one transaction and in several, also after it was waited for; later ones are ignored without an error."""
    (lease,) = place.durable()
    id_ = lease.call.id
    outcomes = [("ok", b"first"), ("failed", b"second"), ("ok", b"third")]
    found = place.all([place.queue.complete(id_, 1, Completion(*of)) for of in outcomes])  # type: ignore[arg-type]
    assert found == [True, False, False]
    assert place.suspend(lease, 2)
    assert not place.complete(id_, 1, "cancelled")
    assert place.state(id_) == "suspended"
    assert _told(place, lease, 1) == {1: ("ok", b"first")}


def test_whoever_is_over_is_told_nothing(place: QueuePlace) -> None:
    """Nobody, an invocation that is not durable, one that has ended; a dead letter may go on, and is told."""
    plain = place.put(1)[0]
    place.lease()
    done, dead, killed = place.durable(3)
    place.end(done)
    place.end(dead, dead=True)
    place.wait(place.queue.kill(killed.call.id, place.record(killed, "cancelled")))
    for id_ in ("nobody", plain, done.call.id, killed.call.id):
        found = place.all([place.queue.complete(id_, 1, Completion("ok", b""))])
        assert type(found[0]) is UnknownInvocation
    assert place.complete(dead.call.id, 1, value=b"x")
    place.wait(place.queue.redrive(dead.call.id))
    assert _told(place, dead, 1) == {1: ("ok", b"x")}
    assert place.look("SELECT count(*) FROM completions") == [(1,)]


def test_a_cancellation_wakes_from_whatever_is_waited_for(place: QueuePlace) -> None:
    """Completions, a time, the next attempt; one that comes while it is being suspended, if it does not know of it yet."""
    many, timed, retried, early, knows = leases = place.durable(5)
    now = place.clock.wall_ms
    record = place.record(many, "suspended", ended_ms=None)
    assert place.wait(place.queue.suspend(many, Wait([(1, 5)], ends=5), b"", record))
    assert place.suspend(timed, until_ms=now + HOUR)
    place.append(retried, 0)
    place.wait(place.queue.retry(retried, now + HOUR, place.record(retried, "queued", ended_ms=None)))
    for lease in leases:
        assert place.complete(lease.call.id, CANCELLATION, "cancelled")
    assert not place.suspend(early, CANCELLATION, 7)
    assert place.suspend(knows, 7)
    assert {of.call.id for of in place.lease(9)} == {of.call.id for of in leases[:4]}


def test_what_is_read_at_once_is_bounded(place: QueuePlace) -> None:
    """What somebody asks for that is more is refused; how it ended can be seen without it."""
    (lease,) = place.durable()
    for number in range(3):
        place.complete(lease.call.id, number, value=bytes(1_000))
    assert len(place.wait(place.queue.completions(lease.call.id, [0, 1, 2], 3_000))) == 3
    assert type(place.all([place.queue.completions(lease.call.id, [0, 1, 2], 2_999)])[0]) is TooMuch
    assert place.wait(place.queue.outcomes(lease.call.id)) == {0: "ok", 1: "ok", 2: "ok"}
