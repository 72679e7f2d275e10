"""F4: new work is refused before the disk is full; what was accepted ends; and a full disk harms nothing that is on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty_disk import FaultyDisk
from guesthouse.queue.call import Output, Record
from guesthouse.queue.spawns import Spawns
from guesthouse.storage.database import Connection
from guesthouse.storage.errors import StorageFull
from guesthouse.storage.space import FRESH_NS, LEAST_BYTES, FreeSpace
from set_clock import SetClock
from unit.queue_places import FUNCTION, QueuePlace

GiB = 1 << 30


@pytest.fixture
def place(tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(tmp_path / "guesthouse.db")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("whole", "low"), [(1000 * GiB, LEAST_BYTES), (4 * GiB, 4 * GiB // 20)], ids=["large disk", "small disk"]
)
def test_new_work_is_refused_below_the_mark_and_taken_again_above_it(place: QueuePlace, whole: int, low: int) -> None:
    """512 MiB, or a twentieth of a small disk; nobody restarts anything."""
    place.put(1)
    for free, taken in ((low, True), (low - 1, False), (low, True)):
        place.free = (free, whole)
        place.clock.monotonic += FRESH_NS
        (found,) = place.all([place.queue.enqueue(place.call())])
        assert isinstance(found, str if taken else StorageFull)


def test_what_was_accepted_ends_while_new_work_is_refused(place: QueuePlace) -> None:
    """Leases, ends, retries, cancellations and clearing away go on; records that nobody was promised do not."""
    ids = place.put(4)
    place.free = (0, GiB)
    place.clock.monotonic += FRESH_NS
    leases = place.lease(3)
    record = place.record(leases[0])
    follow = place.call(parent=leases[0].call.id)
    place.wait(place.queue.succeed(leases[0], record, Output(200, [], b"answer"), follow))
    place.wait(place.queue.retry(leases[1], 0, place.record(leases[1], "queued")))
    place.end(leases[2], dead=True)
    place.wait(place.queue.redrive(ids[2]))
    assert place.wait(place.queue.cancel(ids[3], place.record(leases[0], "cancelled")))
    refused = place.all([place.queue.enqueue(place.call()), place.queue.write([(_failed(place), None)])])
    assert [type(found) for found in refused] == [StorageFull] * 2
    assert place.wait(place.queue.waiting())[FUNCTION].queued == 3


def _failed(place: QueuePlace) -> Record:
    now = place.clock.wall_ms
    return Record(id="w", namespace="d", name="n", mode="web", state="failed", started_ms=now, ended_ms=now)


def test_a_spawn_is_new_work_too(place: QueuePlace) -> None:
    """It is refused before anything is written; one that runs ends."""
    space = FreeSpace(place.database.directory, place.clock, lambda: place.free)
    spawns = Spawns(place.database, place.clock, space=space)
    place.wait(spawns.begin("s1", "default", "hello"))
    place.free = (0, GiB)
    place.clock.monotonic += FRESH_NS
    with pytest.raises(StorageFull):
        place.wait(spawns.begin("s2", "default", "hello"))
    spawns.end("s1")
    place.database.write_sync(lambda connection: None)
    assert place.look("SELECT id FROM spawns") == []


def test_the_disk_is_looked_at_once_a_second_at_most(tmp_path: Path) -> None:
    """A look may take its time; and one that does not answer, or memory, is no full disk."""
    looks, clock = [], SetClock()
    space = FreeSpace(tmp_path, clock, lambda: (looks.append(1) or GiB, GiB))
    for _ in range(100):
        space.check()
        clock.monotonic += FRESH_NS // 50
    assert len(looks) == 2
    FreeSpace(tmp_path).check()
    FreeSpace(tmp_path / "missing").check()
    FreeSpace(None).check()


def test_a_disk_that_is_full_refuses_new_work_and_nothing_of_it_is_there(tmp_path: Path) -> None:
    """SQLite's own word for it; neighbours in the same commit that end work are tried without it; then all goes on."""
    below = FaultyDisk("f4")
    place = QueuePlace(tmp_path / "guesthouse.db", vfs="f4")
    ids = place.put(2)
    leases = place.lease(2)
    below.disk.full = True
    found = place.all([place.queue.enqueue(place.call(body=bytes(9_000))), place.queue.release(leases[0])])
    assert [type(error) for error in found] == [StorageFull] * 2
    assert (place.queue.counts.calls, place.queue.counts.running) == (2, 2)
    below.disk.full = False
    place.end(leases[0], Output(200, [], b""))
    place.put(1)
    place.open()
    assert place.look("PRAGMA integrity_check") == [("ok",)]
    assert place.wait(place.queue.recover()) == [ids[1]]
    place.close()
    below.unregister()


def test_what_ends_work_is_stored_where_only_the_new_work_does_not_fit(
    place: QueuePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one commit with a call for which there is no room: the call alone is refused."""
    place.put(2)
    leases = place.lease(2)
    work = place.queue._batches._work

    def full(connection: Connection, changes: object) -> object:
        done = work(connection, changes)  # type: ignore[arg-type]
        if any(change.begins for change in changes):  # type: ignore[attr-defined]
            raise StorageFull("no room for that")
        return done

    monkeypatch.setattr(place.queue._batches, "_work", full)
    ends = [place.queue.succeed(lease, place.record(lease), None, None) for lease in leases]
    found = place.all([place.queue.enqueue(place.call()), *ends])
    assert [type(result) for result in found] == [StorageFull, type(None), type(None)]
    assert place.wait(place.queue.waiting()) == {}
    assert place.queue.counts.calls == 0
