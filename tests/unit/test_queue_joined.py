"""Effects of durable calls on the host's own database: stored with the journal that says so, or undone with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from guesthouse.queue.call import Lease
from guesthouse.queue.journals import Append, append_now
from guesthouse.queue.queue import Fenced
from guesthouse.storage.database import Connection
from guesthouse.storage.joined import JOINED
from unit.queue_places import QueuePlace


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


def _journal(place: QueuePlace, lease: Lease) -> Sequence[bytes]:
    return place.wait(place.queue.journal(lease.call.id))


class Journaling:
    """What a journal joins to the units of work of its invocation."""

    def __init__(self, lease: Lease, done: Sequence[Any] = (), broken: bool = False) -> None:
        self.lease, self.done, self.broken = lease, list(done), broken
        self.told: list[Any] = []

    def stored(self) -> tuple[Any] | None:
        return (self.done.pop(0),) if self.done else None

    def store(self, connection: Connection, result: Any) -> None:
        append_now(connection, Append(self.lease, None, repr(result).encode()))
        if self.broken:
            raise RuntimeError("a mistake")

    def committed(self, result: Any) -> None:
        self.told.append(result)


async def _joined(joined: Journaling, work: Any) -> Any:
    token = JOINED.set(joined)
    try:
        return await work()
    finally:
        JOINED.reset(token)


def test_an_effect_and_its_segment_are_one(place: QueuePlace) -> None:
    """On the queue and on any other table: both are there, and whoever asked is told after the journal."""
    (lease,) = place.durable()
    joined = Journaling(lease)
    child = place.call()

    async def work() -> Any:
        kept = await place.queue.enqueue(child)
        assert joined.told == [child.id]
        done = await place.database.write(lambda c: c.execute("INSERT INTO token_changes VALUES (7)") and 8)
        return kept, done

    assert place.wait(_joined(joined, work)) == (child.id, 8)
    place.wait(asyncio.sleep(0))
    assert joined.told == [child.id, 8]
    assert _journal(place, lease) == [repr(child.id).encode(), b"8"]


@pytest.mark.parametrize("why", ["fenced", "broken"])
def test_an_effect_whose_segment_cannot_be_stored_is_undone_alone(place: QueuePlace, why: str) -> None:
    """Whoever was superseded has no effect; what others do in the same transaction is done."""
    (lease,) = place.durable()
    if why == "fenced":
        place.begin()
        place.wait(place.queue.recover())
        place.lease(1, struck=True)
    joined = Journaling(lease, broken=why == "broken")
    queue, counted = place.queue, place.queue.counts.calls
    calls = [place.call() for _ in range(4)]

    async def effect() -> Any:
        await queue.enqueue_all(calls[1:3])

    async def other() -> Any:
        await place.database.write(lambda c: c.execute("INSERT INTO token_changes VALUES (7)") and None)

    found = place.all(
        [queue.enqueue(calls[0]), _joined(joined, effect), _joined(joined, other), queue.enqueue(calls[3])]
    )
    assert [type(result) for result in found][::3] == [str, str]
    assert all(isinstance(result, Fenced if why == "fenced" else Exception) for result in found[1:3])
    assert queue.counts.calls == counted + 2
    assert place.begin().counts.calls == counted + 2
    assert [lease.call.id for lease in place.lease(9)] == [calls[0].id, calls[3].id]
    assert place.look("SELECT count(*) FROM token_changes") == [(1,)]
    assert joined.told == []


def test_what_an_earlier_run_has_had_committed_is_answered_and_not_done(place: QueuePlace) -> None:
    """Neither on the queue nor elsewhere; what was reserved for it is given back."""
    (lease,) = place.durable()
    joined = Journaling(lease, ["earlier", [("x", 1)], 7])
    counted = place.queue.counts.calls

    async def work() -> Any:
        first = await place.queue.enqueue(place.call())
        second = await place.queue.enqueue_all([place.call(promise=1)])
        return first, second, await place.database.write(lambda c: 1 // 0)

    assert place.wait(_joined(joined, work)) == ("earlier", [("x", 1)], 7)
    assert place.queue.counts.calls == counted
    assert place.look("SELECT count(*) FROM invocations") == [(1,)]
    assert _journal(place, lease) == []


def test_who_commits_for_others_has_joined_nothing(place: QueuePlace) -> None:
    """The task that commits is begun by somebody with a journal: what others ask of it later is not that journal's."""
    (lease,) = place.durable()

    async def both() -> None:
        first = asyncio.create_task(_joined(Journaling(lease), lambda: place.queue.enqueue(place.call())))
        await asyncio.sleep(0)
        await asyncio.gather(first, *(place.queue.enqueue(place.call()) for _ in range(3)))

    place.wait(both())
    assert len(_journal(place, lease)) == 1
