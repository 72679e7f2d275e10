"""F2: what the queue acknowledged is true after a power cut at any moment, whatever the disk made of what was not synced."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from faulty_disk import FaultyDisk, cut_the_power
from guesthouse.queue.call import Callback, Output
from guesthouse.queue.queue import Page
from guesthouse.storage import writer
from unit.queue_places import FUNCTION, QueuePlace

Told = dict[str, list[tuple[int, str]]]
"""For each call the states that were acknowledged, and the length of the disk's log then."""


def _a_life(place: QueuePlace, length: Callable[[], int]) -> Told:
    """Calls that come, run, end in each way, and are redriven."""
    told: Told = {}

    def tell(ids: list[str], state: str) -> None:
        for call_id in ids:
            told.setdefault(call_id, []).append((length(), state))

    for turn in range(6):
        tell(place.put(4, body=bytes([turn]) * 700), "queued")
        tell(place.put(1, delay_ms=3_600_000), "queued")
        leases = place.lease(3)
        for lease, dead in zip(leases, (False, True, False), strict=True):
            ids = [lease.call.id]
            if lease is leases[2] and turn % 2:
                place.wait(place.queue.retry(lease, 0, place.record(lease, "queued")))
                tell(ids, "queued")
                continue
            follows = Callback(id=ids[0], namespace="default", name="hello", url="http://a/", headers=[])
            end = place.queue.bury if dead else place.queue.succeed
            record = place.record(lease, "dead" if dead else "succeeded")
            place.wait(end(lease, record, Output(200, [], b"answer" * 99), None if dead else follows))
            tell(ids, record.state)
            if dead and turn % 3 == 0:
                place.wait(place.queue.redrive(ids[0]))
                tell(ids, "queued")
    return told


def test_what_was_acknowledged_is_there_after_a_power_cut_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call is in the last state that was told of it, or in a later one, whole: with its request, answer, callback."""
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 40)
    (tmp_path / "live").mkdir()
    below = FaultyDisk("f2-queue")
    place = QueuePlace(tmp_path / "live" / "guesthouse.db", vfs="f2-queue")
    begun = len(below.disk.log)
    told = _a_life(place, lambda: len(below.disk.log))
    place.close()
    log = list(below.disk.log)
    below.unregister()
    for cut in range(begun, len(log) + 1, 3):
        directory = tmp_path / f"after-{cut}"
        cut_the_power(log[:cut], directory, random.Random(cut))
        after = QueuePlace(directory / "guesthouse.db")
        assert after.look("PRAGMA integrity_check") == [("ok",)]
        after.wait(after.queue.recover())
        _check(after, told, cut)
        after.close()


def _check(after: QueuePlace, told: Told, cut: int) -> None:
    found = {record.id: record for record in after.wait(after.queue.list(Page(most=1_000)))[0]}
    for call_id, states in told.items():
        known = [state for length, state in states if length <= cut]
        assert not known or call_id in found
        if call_id not in found:
            continue
        state = found[call_id].state
        assert state in [known[-1] if known else "queued", *(state for length, state in states if length > cut)]
        if state in ("queued", "dead"):
            assert after.wait(after.queue.request(call_id)).id == call_id
        if state in ("succeeded", "dead"):
            assert after.wait(after.queue.output(call_id)) == Output(200, [], b"answer" * 99)
    owed = {callback.id for callback, _ in after.wait(after.queue.callbacks(1_000))}
    assert owed == {record.id for record in found.values() if record.state == "succeeded"}
    waiting = after.wait(after.queue.waiting()).get(FUNCTION)
    queued = sum(1 for record in found.values() if record.state == "queued")
    assert queued == (0 if waiting is None else waiting.queued)
