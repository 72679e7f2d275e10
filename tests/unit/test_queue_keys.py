"""Calls with keys: thousands behind one busy key cost those of other keys nothing, and each key keeps its order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.queue import leasing
from guesthouse.queue.queue import Page
from unit.queue_places import FUNCTION, QueuePlace


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


def _ids(leases: Any) -> list[str]:
    return [lease.call.id for lease in leases]


def test_calls_behind_thousands_of_a_busy_key_are_found(place: QueuePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, one lease takes what can run, in steps between which others can write."""
    monkeypatch.setattr(leasing, "LOOKED_AT", 50)
    keyed = place.put(1_000, key="k")
    free = place.put(2) + place.put(1, key="j")
    (head,) = place.lease(1, key_inflight=1)
    assert head.call.id == keyed[0]
    assert _ids(place.lease(9, busy_keys=["k"], key_inflight=1)) == free
    assert place.look("SELECT count(*) FROM invocations WHERE state = 3")[0][0] >= 900
    for expected in keyed[1:4]:
        place.end(head)
        (head,) = place.lease(9, busy_keys=["j"], key_inflight=1)
        assert head.call.id == expected


def test_one_lease_takes_no_more_of_a_key_than_may_run(place: QueuePlace) -> None:
    """Two of each; then two more when one slot of each key is free, and none where none is."""
    first, second = place.put(4, key="a"), place.put(4, key="b")
    leases = place.lease(9, key_inflight=2)
    assert _ids(leases) == first[:2] + second[:2]
    assert _ids(place.lease(9, busy_keys=["a", "b"], key_inflight=2)) == []
    place.end(leases[0])
    assert _ids(place.lease(9, busy_keys=["b"], key_inflight=2)) == first[2:]


def test_a_bound_that_was_taken_away_holds_up_nothing(place: QueuePlace) -> None:
    """Calls that had been parked all come out once their key has no bound any more."""
    ids = place.put(100, key="k")
    place.lease(1, key_inflight=1)
    assert _ids(place.lease(200, busy_keys=["k"], key_inflight=1)) == []
    assert sorted(_ids(place.lease(200))) == ids[1:]


@pytest.mark.parametrize("how", ["cancelled", "unreadable", "crash"])
def test_the_next_of_a_key_follows_however_the_one_before_it_leaves(place: QueuePlace, how: str) -> None:
    """Cancelled while it waits, damaged, or taken back from a dead process: nothing waits for ever."""
    ids = place.put(5, key="k")
    (first,) = place.lease(1, key_inflight=1)
    assert _ids(place.lease(5, busy_keys=["k"], key_inflight=1)) == []
    if how == "cancelled":
        assert place.wait(place.queue.cancel(ids[1], place.record(first, "cancelled")))
    elif how == "unreadable":
        query = f"DELETE FROM requests WHERE seq = (SELECT seq FROM invocations WHERE id = '{ids[1]}')"
        place.database.write_sync(lambda connection: connection.execute(query) and None)
    else:
        place.open()
        assert place.wait(place.queue.recover()) == [ids[0]]
        (first,) = place.lease(1, key_inflight=1, struck=True)
    place.end(first)
    expected = ids[1:] if how == "crash" else ids[2:]
    for call_id in expected:
        (lease,) = place.lease(5, key_inflight=1)
        assert lease.call.id == call_id
        place.end(lease)
    assert place.wait(place.queue.waiting()) == {}


def test_parked_calls_are_counted_and_listed_as_queued(place: QueuePlace) -> None:
    """Nobody outside sees where a call waits."""
    ids = place.put(10, key="k")
    place.lease(1, key_inflight=1)
    place.lease(1, busy_keys=["k"], key_inflight=1)
    assert place.wait(place.queue.waiting())[FUNCTION].queued == 9
    found, _ = place.wait(place.queue.list(Page(state="queued")))
    assert [record.id for record in found] == ids[:0:-1]
    place.open()
    assert place.wait(place.queue.waiting())[FUNCTION].queued == 9
