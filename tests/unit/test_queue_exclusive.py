"""Exclusive calls: one of each key from its first lease to its end, in order; and the state that a key keeps meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guesthouse.queue import leasing
from guesthouse.queue.call import Lease
from guesthouse.queue.config import QueueConfig
from guesthouse.queue.keyed import MOST_ITEMS
from guesthouse.queue.queue import Fenced, StateFull
from unit.queue_places import FUNCTION, QueuePlace

HOUR = 3_600_000


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


def _put(place: QueuePlace, count: int = 1, key: str = "k", **more: Any) -> list[str]:
    return place.put(count, durable=True, exclusive=True, key=key, **more)


def _ids(leases: Any) -> list[str]:
    return [lease.call.id for lease in leases]


def _one(place: QueuePlace, **more: Any) -> Lease:
    (lease,) = place.lease(9, **more)
    return lease


# -- one of each key


@pytest.mark.parametrize("meanwhile", ["runs", "suspended", "retry", "crash", "released", "woken"])
def test_a_key_is_one_invocation_s_until_its_end(place: QueuePlace, meanwhile: str) -> None:
    """Whatever becomes of it before that; those of other keys run."""
    ids = _put(place, 3)
    lease = _one(place)
    place.append(lease, 0)
    if meanwhile in ("suspended", "woken"):
        assert place.suspend(lease, 1)
    elif meanwhile == "retry":
        later = place.clock.wall_ms + HOUR
        place.wait(place.queue.retry(lease, later, place.record(lease, "queued", ended_ms=None)))
    elif meanwhile == "crash":
        place.open()
        place.wait(place.queue.recover())
    elif meanwhile == "released":
        place.wait(place.queue.release(lease))
    other = _put(place, 1, "other")
    expected = [ids[0], *other] if meanwhile == "released" else other
    assert sorted(_ids(place.lease(9))) == sorted(expected)
    if meanwhile == "woken":
        assert place.complete(lease.call.id, 1)
        lease = _one(place)
    elif meanwhile == "retry":
        place.pass_ms(HOUR)
        lease = _one(place)
    elif meanwhile == "crash":
        lease = _one(place, struck=True)
    if meanwhile in ("runs", "woken", "retry", "crash"):
        assert lease.call.id == ids[0]
        place.ready.clear()
        place.end(lease)
        assert place.ready == [FUNCTION]
        assert _ids(place.lease(9)) == ids[1:2]


@pytest.mark.parametrize("end", ["succeed", "bury", "kill", "unreadable", "cancel"])
def test_the_next_one_comes_however_the_one_before_it_ends(place: QueuePlace, end: str) -> None:
    """In the order of their acceptance, and nobody waits for ever."""
    ids = _put(place, 6)
    if end == "unreadable":
        which = "WHERE seq IN (SELECT seq FROM invocations WHERE seq % 2 = 0)"
        place.database.write_sync(lambda c: c.execute(f"UPDATE requests SET about = x'00' {which}") and None)
    for number, id_ in enumerate(ids):
        if end == "unreadable" and number % 2:
            continue
        lease = _one(place)
        assert lease.call.id == id_
        record = place.record(lease, "cancelled")
        if end == "kill":
            place.wait(place.queue.kill(id_, record))
        elif end == "cancel":
            if number + 1 < len(ids):  # somebody who waits gives up: that changes nothing for the others
                assert place.wait(place.queue.cancel(ids[-1 - number], replace(record, id=ids[-1 - number]))) is True
            place.end(lease)
            if number == 2:
                break
        else:
            place.end(lease, dead=end == "bury")
    assert place.lease(9) == []
    assert place.queue.counts.calls == 0
    assert place.look("SELECT count(*) FROM key_locks") == [(0,)]


def test_what_is_due_later_takes_its_turn_then(place: QueuePlace) -> None:
    """A delayed call holds nobody up before its time, and is held up after it."""
    (later,) = _put(place, 1, delay_ms=1_000)
    (first,) = _put(place)
    lease = _one(place)
    assert lease.call.id == first
    place.pass_ms(2_000)
    (third,) = _put(place)
    assert place.lease(9) == []
    place.end(lease)
    lease = _one(place)
    assert lease.call.id == later
    place.end(lease)
    assert _ids(place.lease(9)) == [third]


def test_thousands_behind_one_key_cost_those_of_others_nothing(
    place: QueuePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lease finds what can run, and leaves what cannot parked, also where each key has its holder."""
    monkeypatch.setattr(leasing, "LOOKED_AT", 50)
    head = _put(place, 500)
    others = [_put(place, 3, f"key {number}")[0] for number in range(20)]
    assert _ids(place.lease(100)) == [head[0], *others]
    assert place.lease(100) == []
    assert place.look("SELECT state, count(*) FROM invocations GROUP BY 1 ORDER BY 1") == [(3, 539), (4, 21)]
    place.open()
    assert place.wait(place.queue.waiting())[FUNCTION].queued == 539


def test_a_redriven_one_waits_for_whoever_has_its_key(place: QueuePlace) -> None:
    """A dead letter has given it back."""
    ids = _put(place, 2)
    place.end(_one(place), dead=True)
    lease = _one(place)
    assert lease.call.id == ids[1]
    place.wait(place.queue.redrive(ids[0]))
    assert place.lease(9) == []
    place.end(lease)
    assert _ids(place.lease(9)) == ids[:1]


def test_calls_that_only_share_a_bound_go_beside_them(place: QueuePlace) -> None:
    """A function that was made durable: its older calls have the same keys, and nobody waits for ever."""
    old = place.put(3, key="k")
    new = _put(place, 3)
    seen: list[str] = []
    while leases := [*place.lease(9, key_inflight=1), *place.lease(9, key_inflight=1)]:
        assert sum(lease.call.exclusive for lease in leases) <= 1
        seen += _ids(leases)
        for lease in leases:
            place.end(lease)
    assert sorted(seen) == sorted(old + new)
    assert [id_ for id_ in seen if id_ in new] == new


def test_two_processes_run_one_of_a_key(tmp_path: Path) -> None:
    """On the same file: the other one parks what it finds, and goes on when the first has ended."""
    here, there = QueuePlace(tmp_path / "guesthouse.db"), QueuePlace(tmp_path / "guesthouse.db")
    ids = _put(here, 2)
    there.wait(there.queue.refresh())
    lease = _one(here)
    assert there.lease(9) == []
    here.end(lease)
    assert here.ready == [FUNCTION]
    assert _ids(there.lease(9)) == ids[1:]
    here.close()
    there.close()


# -- keyed state


def test_the_state_of_a_key_is_what_was_set_last(place: QueuePlace) -> None:
    """For its next invocation too; another key and another function have their own."""
    _put(place, 2)
    _put(place, 1, "other")
    first, other = place.lease(9)
    queue = place.queue
    for lease, value in ((first, b"1"), (other, b"2")):
        place.wait(queue.state_set(lease, "a", value))
        place.wait(queue.state_set(lease, "ü", b""))
    place.wait(queue.state_set(first, "a", bytes(100_000)))
    place.end(first)
    (second,) = place.lease(9)
    assert place.wait(queue.state_names(second)) == ["a", "ü"]
    assert place.wait(queue.state_get(second, "a")) == bytes(100_000)
    assert place.wait(queue.state_get(second, "b")) is None
    place.wait(queue.state_clear(second, "a"))
    assert place.wait(queue.state_names(second)) == ["ü"]
    place.wait(queue.state_clear(second))
    assert place.wait(queue.state_names(second)) == []
    assert place.wait(queue.state_get(other, "a")) == b"2"
    place.wait(queue.state_forget(FUNCTION))
    assert place.wait(queue.state_names(other)) == []
    assert place.look("SELECT count(*) FROM keyed_state") == [(0,)]


def test_whoever_was_superseded_changes_no_state(place: QueuePlace) -> None:
    """Neither sets nor clears."""
    _put(place)
    old = _one(place)
    place.wait(place.queue.state_set(old, "a", b"1"))
    place.begin()
    place.wait(place.queue.recover())
    place.lease(9, struck=True)
    queue = place.queue
    found = place.all([queue.state_set(old, "a", b"2"), queue.state_clear(old, "a"), queue.state_clear(old)])
    assert [type(result) for result in found] == [Fenced] * 3
    assert place.wait(queue.state_get(old, "a")) == b"1"


def test_state_is_bounded_by_key_and_in_all(tmp_path: Path) -> None:
    """What is too much is refused and changes nothing; what is cleared makes room."""
    place = QueuePlace(tmp_path / "guesthouse.db", QueueConfig(state_bytes=100_000, state_key_bytes=30_000))
    for key in "abc":
        _put(place, 1, key)
    queue, (first, second, third) = place.queue, place.lease(9)
    assert place.all([queue.state_set(of, "x", bytes(20_000)) for of in (first, second)]) == [None, None]
    found = place.all([queue.state_set(first, "y", bytes(20_000)), queue.state_set(third, "x", bytes(20_000))])
    assert [type(result) for result in found] == [StateFull, StateFull]
    assert place.wait(queue.state_names(first)) == ["x"]
    place.wait(queue.state_set(first, "x", bytes(10_000)))
    place.wait(queue.state_set(third, "x", bytes(10_000)))
    place.wait(queue.state_clear(second))
    size = place.look("SELECT sum(size) FROM keyed_totals")[0][0]
    assert 20_000 < size < 21_000
    place.wait(queue.state_clear(first))
    place.wait(queue.state_clear(third))
    assert place.look("SELECT sum(size) FROM keyed_totals") == [(0,)]
    place.close()


def test_a_key_has_so_many_items_at_most(place: QueuePlace) -> None:
    """One more is refused; one that is there is changed."""
    _put(place)
    lease, queue = _one(place), place.queue

    async def fill() -> None:
        await asyncio.gather(*(queue.state_set(lease, str(number), b"") for number in range(MOST_ITEMS)))

    place.wait(fill())
    found = place.all([queue.state_set(lease, "more", b""), queue.state_set(lease, "7", b"x")])
    assert [type(result) for result in found] == [StateFull, type(None)]
    place.wait(queue.state_clear(lease, "8"))
    assert place.all([queue.state_set(lease, "more", b"x")]) == [None]
