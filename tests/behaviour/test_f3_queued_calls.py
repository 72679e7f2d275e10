"""F3: once a sync or a write has failed the queue acknowledges nothing any more, and what it acknowledged is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty_disk import FaultyDisk
from guesthouse.queue.call import Output
from guesthouse.queue.queue import Page
from guesthouse.storage import writer
from guesthouse.storage.errors import StorageFailed
from unit.queue_places import QueuePlace


@pytest.fixture
def below() -> Iterator[FaultyDisk]:
    layer = FaultyDisk("f3-queue")
    yield layer
    layer.unregister()


def _work_until_it_fails(place: QueuePlace) -> dict[str, str]:
    """What was acknowledged of each call."""
    told: dict[str, str] = {}
    try:
        for _ in range(20):
            told.update(dict.fromkeys(place.put(2, body=bytes(1_500)), "queued"))
            (lease,) = place.lease()
            told[lease.call.id] = "running"
            place.end(lease, Output(200, [], bytes(900)))
            told[lease.call.id] = "succeeded"
    except (StorageFailed, AssertionError):
        pass
    return told


@pytest.mark.parametrize("what", ["fail_sync", "fail_write"])
@pytest.mark.parametrize("k", range(1, 40, 6))
def test_after_one_failure_nothing_is_acknowledged_and_nothing_is_lost(
    tmp_path: Path, below: FaultyDisk, monkeypatch: pytest.MonkeyPatch, what: str, k: int
) -> None:
    """In the log or in a checkpoint; whoever settles, leases or queues afterwards is told."""
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 10)
    place = QueuePlace(tmp_path / "guesthouse.db", vfs="f3-queue")
    before = below.disk.syncs if what == "fail_sync" else below.disk.writes
    setattr(below.disk, what, before + k)
    told = _work_until_it_fails(place)
    assert place.database.failed.wait(10)
    calls = [place.queue.enqueue(place.call(id="late")), place.queue.lease(("default", "hello"), 1)]
    assert [type(found) for found in place.all(calls)] == [StorageFailed] * 2
    place.close()
    after = QueuePlace(tmp_path / "guesthouse.db")
    after.wait(after.queue.recover())
    found = {record.id: record.state for record in after.wait(after.queue.list(Page(most=1_000)))[0]}
    after.close()
    assert "late" not in found
    later = {"queued": ("queued", "succeeded"), "running": ("queued", "succeeded"), "succeeded": ("succeeded",)}
    for call_id, state in told.items():
        assert found[call_id] in later[state]
