"""Families of calls: whatever ends one tells who waits for it; trees that end together; processes that take over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from guesthouse.queue.call import Completion, Idempotency, Lease, Output
from guesthouse.queue.queue import UnknownInvocation
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


def _message(place: QueuePlace, lease: Lease, number: int) -> Any:
    outcome, value = _told(place, lease, number)[number]
    return outcome, orjson.loads(value)["message"]


def _child(place: QueuePlace, parent: Lease, number: int = 1, **more: Any) -> str:
    """A call whose end `parent` is told of."""
    (id_,) = place.put(1, CHILD, parent=parent.call.id, promise=number, **more)
    return id_


# -- whatever ends a child


def test_every_end_of_a_child_is_told_to_its_parent(place: QueuePlace) -> None:
    """An answer, a failure, a cancellation before it began, a kill, a row that cannot be read: each in its transaction."""
    (parent,) = place.durable()
    ids = [_child(place, parent, number) for number in range(1, 7)]
    queue = place.queue
    assert place.wait(queue.cancel(ids[2], replace(place.record(parent, "cancelled", reason="away"), id=ids[2])))
    place.database.write_sync(
        lambda c: (
            c.execute(f"DELETE FROM requests WHERE seq = (SELECT seq FROM invocations WHERE id = '{ids[4]}')") and None
        )
    )
    done, failed, killed, said = place.lease(9, CHILD)
    place.wait(queue.succeed(done, place.record(done, status=201), Output(201, [], b"answer"), None))
    place.wait(queue.bury(failed, place.record(failed, "dead", reason="it trapped"), None, None))
    place.wait(queue.kill(killed.call.id, place.record(killed, "cancelled", reason="killed")))
    place.wait(queue.succeed(said, place.record(said), None, None, Completion("failed", b"its own words", 409)))
    assert _told(place, parent, 1) == {1: ("ok", b"answer")}
    assert _message(place, parent, 2) == ("failed", "it trapped")
    assert _message(place, parent, 3) == ("cancelled", "away")
    assert _message(place, parent, 4) == ("cancelled", "killed")
    assert _message(place, parent, 5)[0] == "failed"
    assert _told(place, parent, 6) == {6: ("failed", b"its own words")}
    assert place.wait(queue.completions(parent.call.id, [1, 6]))[6].code == 409
    assert place.wait(queue.live_children(parent.call.id)) == []
    assert len(place.told) == 6


def test_a_retry_tells_nobody_and_a_redriven_child_tells_nothing_new(place: QueuePlace) -> None:
    """Its parent knows how it ended, and goes by that."""
    (parent,) = place.durable()
    _child(place, parent)
    (child,) = place.lease(1, CHILD)
    place.wait(place.queue.retry(child, 0, place.record(child, "queued", ended_ms=None)))
    assert _told(place, parent, 1) == {}
    (child,) = place.lease(1, CHILD)
    place.end(child, dead=True)
    place.wait(place.queue.redrive(child.call.id))
    place.end(place.lease(1, CHILD)[0], Output(200, [], b"late"))
    assert _told(place, parent, 1)[1][0] == "failed"


@pytest.mark.parametrize("how", ["ended", "killed", "swept"])
def test_a_child_whose_parent_is_gone_ends_as_any_other(place: QueuePlace, how: str) -> None:
    """Nobody is told, nothing stays behind; not even a new invocation that got the row of the parent hears of it."""
    (parent,) = place.durable()
    _child(place, parent)
    if how == "killed":
        (child,) = place.lease(1, CHILD)
        place.wait(place.queue.kill(parent.call.id, place.record(parent, "cancelled")))
        assert place.state(child.call.id) == "cancelled"
        return
    place.end(parent)
    if how == "swept":
        place.pass_ms(8 * 24 * HOUR)
        assert place.wait(place.queue.sweep()) == 1
        place.durable()
    (child,) = place.lease(1, CHILD)
    place.end(child)
    assert place.state(child.call.id) == "succeeded"
    assert place.look("SELECT count(*) FROM completions") == [(0,)]
    assert place.told == []


def test_a_dead_parent_hears_of_its_children_and_goes_on_with_that(place: QueuePlace) -> None:
    """A child that ends between the end and the redrive is not waited for in vain."""
    (parent,) = place.durable()
    _child(place, parent)
    place.end(parent, dead=True)
    place.end(place.lease(1, CHILD)[0], Output(200, [], b"x"))
    place.wait(place.queue.redrive(parent.call.id))
    (parent,) = place.lease()
    assert not place.suspend(parent, 1)


def test_a_child_of_an_invocation_that_is_not_durable_is_told_to_nobody(place: QueuePlace) -> None:
    """Its promises are in memory: nothing is written down for it."""
    place.put(1)
    (parent,) = place.lease()
    _child(place, parent)
    place.end(place.lease(1, CHILD)[0])
    assert place.look("SELECT count(*) FROM completions") == [(0,)]


@pytest.mark.parametrize("when", ["live", "ended", "dead", "swept", "together"])
def test_who_repeats_an_idempotency_key_is_told_of_the_one_call(place: QueuePlace, when: str) -> None:
    """While it runs, after its end, when nothing is known of it any more, or both in one transaction: it runs once."""
    first, second = place.durable(2)
    key = Idempotency(b"k" * 32, b"r" * 32)
    one = place.call(CHILD, parent=first.call.id, promise=1, idempotency=key)
    other = place.call(CHILD, parent=second.call.id, promise=5, idempotency=key)
    if when == "together":
        place.all([place.queue.enqueue(one), place.queue.enqueue(other)])
    else:
        place.wait(place.queue.enqueue(one))
    (child,) = place.lease(9, CHILD)
    if when in ("ended", "dead", "swept"):
        place.end(child, Output(200, [], b"x"), dead=when == "dead")
    if when == "swept":
        place.database.write_sync(lambda c: c.execute(f"DELETE FROM invocations WHERE id = '{one.id}'") and None)
    if when != "together":
        assert place.wait(place.queue.enqueue_all([other])) == [(one.id, 5)]
    if when in ("live", "together"):
        assert place.suspend(second, 5)
        place.end(child, Output(200, [], b"x"))
    expected = "failed" if when in ("dead", "swept") else "ok"
    assert _told(place, second, 5)[5][0] == expected
    assert _told(place, first, 1)[1][0] == ("ok" if when != "dead" else "failed")
    assert place.lease(9, CHILD) == []
    assert place.look("SELECT count(*) FROM attached") == [(0,)]


def test_who_attached_and_has_ended_is_told_nothing(place: QueuePlace) -> None:
    """Nor is whoever gets its row."""
    key = Idempotency(b"k" * 32, b"r" * 32)
    place.put(1, CHILD, idempotency=key)
    (owner,) = place.durable()
    assert place.wait(place.queue.enqueue_all([place.call(CHILD, parent=owner.call.id, promise=1, idempotency=key)]))
    place.end(owner)
    place.pass_ms(8 * 24 * HOUR)
    place.wait(place.queue.sweep())
    (other,) = place.durable()
    assert other.seq == owner.seq
    place.end(place.lease(1, CHILD)[0])
    assert _told(place, other, 1) == {}


# -- trees


def test_a_tree_is_known_from_its_leaves(place: QueuePlace) -> None:
    """Those that are waited for, at any depth, deepest first; not those that were only sent, nor those that have ended."""
    (root,) = place.durable()
    first, _ = (_child(place, root, number, durable=True) for number in (1, 2))
    (middle, other) = place.lease(9, CHILD)
    leaf = _child(place, middle)
    place.put(1, CHILD, parent=root.call.id)
    place.end(other)
    assert place.wait(place.queue.live_children(root.call.id)) == [(leaf, 2), (first, 1)]
    assert place.wait(place.queue.live_children("nobody")) == []


def test_a_killed_tree_ends_at_once(place: QueuePlace) -> None:
    """Running, queued, suspended, waiting for its retry: all end, keys are free, and whoever ran one is fenced."""
    (root,) = place.durable()
    for number in range(1, 5):
        _child(place, root, number, durable=True, key=str(number), exclusive=True)
    runs, waits, later, again = place.lease(9, CHILD)
    _child(place, runs)
    place.append(runs, 0, bytes(3_000))
    assert place.suspend(waits, 1)
    place.wait(place.queue.retry(later, place.clock.wall_ms + HOUR, place.record(later, "queued", ended_ms=None)))
    place.wait(place.queue.release(again))
    place.put(1, CHILD, durable=True, key="1", exclusive=True)
    assert len(place.lease(9, CHILD)) == 2  # the one that was given back, and the child of the one that runs
    assert place.look("SELECT count(*) FROM invocations WHERE state = 3") == [(1,)]
    ended = place.wait(place.queue.kill(root.call.id, place.record(root, "cancelled", reason="enough")))
    assert len(ended) == 6
    assert {(record.state, record.reason) for record in ended} == {("cancelled", "enough")}
    place.ready.clear()
    assert type(place.all([place.queue.succeed(runs, place.record(runs), None, None)])[0]).__name__ == "Fenced"
    left = place.look("SELECT count(*) FROM waits UNION ALL SELECT count(*) FROM waited")
    assert left == [(0,), (0,)]
    assert place.look("SELECT sum(kept) FROM invocations WHERE state > 5") == [(place.queue.counts.kept_bytes,)]
    counts = place.queue.counts
    assert place.begin().counts.calls == counts.calls
    assert place.begin().counts.bytes == counts.bytes


def test_a_kill_of_what_has_ended_changes_nothing(place: QueuePlace) -> None:
    """And of nobody is an error."""
    (lease,) = place.durable()
    place.end(lease)
    assert place.wait(place.queue.kill(lease.call.id, place.record(lease, "cancelled"))) == []
    assert place.state(lease.call.id) == "succeeded"
    assert type(place.all([place.queue.kill("nobody", place.record(lease, "cancelled"))])[0]) is UnknownInvocation


def test_what_has_begun_is_not_cancelled_as_queued(place: QueuePlace) -> None:
    """A durable call that has a journal, or is suspended, has to be told; one that has not begun just ends."""
    fresh, begun, waits = place.durable(3)
    place.append(begun, 0)
    assert place.suspend(waits, 1)
    for lease in (fresh, begun):
        place.wait(place.queue.release(lease))
    found = [
        place.wait(place.queue.cancel(lease.call.id, place.record(lease, "cancelled")))
        for lease in (fresh, begun, waits)
    ]
    assert found == [True, False, False]


# -- processes


def test_another_process_resumes_what_this_one_suspended(tmp_path: Path) -> None:
    """Both have the file open; each finds what the other one has changed when it looks again."""
    here = QueuePlace(tmp_path / "guesthouse.db")
    there = QueuePlace(tmp_path / "guesthouse.db")
    there.wait(there.queue.refresh())
    (lease,) = here.durable()
    here.append(lease, 0, b"from here")
    assert here.suspend(lease, 1)
    assert there.wait(there.queue.refresh())
    assert there.wait(there.queue.waiting())[FUNCTION].suspended == 1
    assert here.complete(lease.call.id, 1)
    assert there.wait(there.queue.refresh())
    assert there.wait(there.queue.waiting())[FUNCTION].queued == 1
    (again,) = there.lease()
    assert there.wait(there.queue.journal(again.call.id)) == [b"from here"]
    assert type(here.all([here.queue.append(lease, 1, b"late")])[0]).__name__ == "Fenced"
    there.append(again, 1, b"from there")
    there.end(again)
    assert here.wait(here.queue.refresh())
    assert (here.queue.counts.calls, here.wait(here.queue.waiting())) == (0, {})
    assert not here.wait(here.queue.refresh())
    here.close()
    there.close()


def test_counting_anew_forgets_nothing_that_is_being_written(tmp_path: Path) -> None:
    """Calls that were accepted in the same turn are counted once."""
    here, there = QueuePlace(tmp_path / "guesthouse.db"), QueuePlace(tmp_path / "guesthouse.db")
    for turn in range(5):
        there.put(3)
        calls = [here.queue.enqueue(here.call(id=f"h{turn}{number}")) for number in range(3)]
        here.all([calls[0], here.queue.refresh(), *calls[1:], here.queue.refresh()])
        assert here.queue.counts.calls == 6 * (turn + 1)
    here.close()
    there.close()


def test_what_a_silent_process_ran_is_taken_over(tmp_path: Path) -> None:
    """After its lease time, by another one on the same file; its own later end changes nothing."""
    here, there = QueuePlace(tmp_path / "guesthouse.db"), QueuePlace(tmp_path / "guesthouse.db")
    (lease,) = here.durable()
    here.append(lease, 0)
    assert there.wait(there.queue.expire()) == 0
    there.pass_ms(31_000)
    assert there.wait(there.queue.expire()) == 1
    there.wait(there.queue.refresh())
    (again,) = there.lease(1, struck=True)
    assert (again.segments, again.attempt, again.strikes) == (1, 1, 1)
    found = here.all([here.queue.succeed(lease, here.record(lease), None, None)])
    assert type(found[0]).__name__ == "Fenced"
    here.close()
    there.close()
