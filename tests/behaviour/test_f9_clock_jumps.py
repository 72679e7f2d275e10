"""F9: a wall clock that jumps loses nothing of the queue, settles nothing twice, and starts nothing before its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.queue_places import FUNCTION, QueuePlace

HOUR = 3_600_000


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


@pytest.mark.parametrize("jump", [-HOUR, HOUR, -24 * 365 * HOUR])
def test_calls_for_at_once_run_at_once_in_their_order_whatever_the_clock_does(place: QueuePlace, jump: int) -> None:
    """Those of before the jump first, those of after it next; also for the process that comes next."""
    before = place.put(2)
    place.clock.wall_ms += jump
    after = place.put(2)
    place.open()
    after += place.put(1)
    assert [lease.call.id for lease in place.lease(9)] == before + after


def test_a_delayed_call_starts_at_its_instant_and_not_before(place: QueuePlace) -> None:
    """An hour's delay is over when the wall says so: earlier where it is put forward, later where it is put back."""
    (call_id,) = place.put(1, delay_ms=HOUR)
    place.clock.wall_ms -= HOUR
    assert not place.lease()
    place.pass_ms(2 * HOUR - 1)
    assert not place.lease()
    place.pass_ms(1)
    (lease,) = place.lease()
    assert lease.call.id == call_id
    place.wait(place.queue.retry(lease, place.clock.wall_ms + HOUR, place.record(lease, "queued")))
    place.clock.wall_ms += HOUR
    assert [found.call.id for found in place.lease()] == [call_id]


def test_a_jump_takes_no_lease_from_who_is_alive(place: QueuePlace) -> None:
    """Forward by a day: what runs is not given out again, and settles once."""
    place.put(1)
    (lease,) = place.lease()
    place.clock.wall_ms += 24 * HOUR
    assert place.wait(place.queue.expire()) == 0
    assert not place.lease()
    place.end(lease)


def test_a_jump_back_keeps_no_lease_from_being_taken_back(place: QueuePlace) -> None:
    """A process that says nothing for the time of a lease has lost it, whatever the wall says; its end is refused."""
    place.put(1)
    place.lease()
    place.clock.wall_ms -= 24 * HOUR
    place.clock.monotonic += 31_000 * 1_000_000
    assert place.wait(place.queue.expire()) == 1
    (again,) = place.lease(1, struck=True)
    assert (again.attempt, again.strikes) == (2, 1)
    place.end(again)


def test_nothing_kept_is_lost_by_a_jump_back(place: QueuePlace) -> None:
    """Records and dead letters of later than now stay until their time is over."""
    place.put(2)
    first, second = place.lease(2)
    place.end(first)
    place.end(second, dead=True)
    place.clock.wall_ms -= 24 * 365 * HOUR
    assert place.wait(place.queue.sweep()) == 0
    assert len(place.wait(place.queue.list())[0]) == 2
    place.wait(place.queue.redrive(second.call.id))
    assert [lease.call.id for lease in place.lease()] == [second.call.id]
    assert place.wait(place.queue.waiting())[FUNCTION].running == 1
