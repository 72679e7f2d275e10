"""Suspended calls: rows that nobody runs, woken by what they wait for; and whatever ends a call telling who waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from guesthouse.queue.call import CANCELLATION, Completion, Idempotency, Lease, Output, Wait
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


def _message(place: QueuePlace, lease: Lease, number: int) -> Any:
    outcome, value = _told(place, lease, number)[number]
    return outcome, orjson.loads(value)["message"]


def _child(place: QueuePlace, parent: Lease, number: int = 1, **more: Any) -> str:
    """A call whose end `parent` is told of."""
    (id_,) = place.put(1, CHILD, parent=parent.call.id, promise=number, **more)
    return id_


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


def test_ten_thousand_children_cost_the_same_each(place: QueuePlace) -> None:
    """Their parent waits for all: one count, however many are left."""
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
