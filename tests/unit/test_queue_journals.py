"""Journals of durable calls: who may add to them, what they survive, and how long they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guesthouse.queue.call import End, Lease, Output, Wait
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.queue.queue import Fenced, UnknownInvocation
from guesthouse.storage import schema
from guesthouse.storage.database import Database
from guesthouse.storage.errors import StorageError
from unit.queue_places import FUNCTION, QueuePlace

DAY = 24 * 3_600_000


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


def _journal(place: QueuePlace, lease: Lease) -> Sequence[bytes]:
    return place.wait(place.queue.journal(lease.call.id))


# -- appending


def test_what_was_appended_is_there_for_whoever_goes_on(place: QueuePlace) -> None:
    """After a crash the next lease says how many segments there are, and they are what they were."""
    (lease,) = place.durable()
    segments = [b"", b"\0\xff" * 1_000, bytes(100_000)]
    for number, segment in enumerate(segments):
        place.append(lease, number, segment)
    place.open()
    place.wait(place.queue.recover())
    (again,) = place.lease(1, struck=True)
    assert (again.seq, again.segments) == (lease.seq, 3)
    assert _journal(place, again) == segments


def test_appends_of_many_invocations_share_a_commit(place: QueuePlace) -> None:
    """200 at once take a few transactions."""
    leases = place.durable(200)
    before = place.database.commits
    assert place.all([place.queue.append(of, 0, of.call.id.encode()) for of in leases]) == [None] * 200
    assert place.database.commits - before <= 4
    assert [_journal(place, of) for of in leases[::50]] == [[of.call.id.encode()] for of in leases[::50]]


def test_of_two_who_believe_that_they_hold_the_lease_one_appends(place: QueuePlace) -> None:
    """The other one is fenced in the same batch, changes nothing, and harms no third one."""
    old, third = place.durable(2)
    place.begin()
    place.wait(place.queue.recover())
    (new, again) = place.lease(2, struck=True)
    found = place.all([place.queue.append(of, 0, of.call.id.encode()) for of in (old, new, third, again)])
    assert [type(result) for result in found] == [Fenced, type(None), Fenced, type(None)]
    assert _journal(place, new) == [old.call.id.encode()]


def test_a_segment_has_one_place(place: QueuePlace) -> None:
    """One that is too early or too late is refused alone."""
    first, second = place.durable(2)
    queue = place.queue
    found = place.all([queue.append(first, 0, b"a"), queue.append(first, 0, b"b"), queue.append(second, 1, b"c")])
    assert [type(result) for result in found] == [type(None), StorageError, StorageError]
    found = place.all([queue.append(first, 1, b"b"), queue.append(first, 2, b"c"), queue.append(second, 0, b"d")])
    assert found == [None] * 3
    assert (_journal(place, first), _journal(place, second)) == ([b"a", b"b", b"c"], [b"d"])


def test_whoever_was_superseded_by_an_end_is_fenced(place: QueuePlace) -> None:
    """Ended, retried, released, suspended or killed: nothing is appended behind that."""
    ended, retried, released, suspended, killed = leases = place.durable(5)
    queue, now = place.queue, place.clock.wall_ms
    place.end(ended)
    place.wait(queue.retry(retried, now, place.record(retried, "queued", ended_ms=None)))
    place.wait(queue.release(released))
    assert place.suspend(suspended, 1)
    place.wait(queue.kill(killed.call.id, place.record(killed, "cancelled")))
    found = place.all([queue.append(of, 0, b"late") for of in leases])
    assert [type(result) for result in found] == [Fenced] * 5
    assert place.look("SELECT count(*) FROM journals") == [(0,)]


def test_every_way_to_settle_takes_the_last_segment_along(place: QueuePlace) -> None:
    """At the end, at a retry, when it is given back, and when it is suspended."""
    lease, queue = place.durable()[0], place.queue
    ways: list[Any] = [
        lambda of: queue.release(of, b"released"),
        lambda of: queue.retry(of, 0, place.record(of, "queued", ended_ms=None), b"retried"),
        lambda of: queue.suspend(of, Wait(), b"suspended", place.record(of, "suspended", ended_ms=None)),
        lambda of: queue.succeed_all([End(of, place.record(of), Output(200, [], b"x"), None, None, b"ended")]),
    ]
    for way in ways:
        place.wait(way(lease))
        lease = next(iter(place.lease()), lease)
    assert _journal(place, lease) == [b"released", b"retried", b"suspended", b"ended"]


# -- strikes, attempts, versions


def test_a_strike_is_forgotten_when_the_journal_grows(place: QueuePlace) -> None:
    """A crash, then one that got further, then one that did not."""
    (lease,) = place.durable()
    strikes = []
    for grows in (False, False, True, False):
        if grows:
            place.append(lease, 0)
        place.open()
        place.wait(place.queue.recover())
        (lease,) = place.lease(1, struck=True)
        strikes.append(lease.strikes)
    assert strikes == [1, 2, 1, 2]


def test_crashes_and_suspensions_are_no_attempts(place: QueuePlace) -> None:
    """A retry is one; the record counts the run that was suspended."""
    (lease,) = place.durable()
    place.wait(place.queue.retry(lease, 0, place.record(lease, "queued", ended_ms=None)))
    (lease,) = place.lease()
    assert lease.attempt == 2
    place.begin()
    place.wait(place.queue.recover())
    (lease,) = place.lease(1, struck=True)
    assert lease.attempt == 2
    assert place.suspend(lease, 1)
    assert place.wait(place.queue.find(lease.call.id)).attempts == 2
    place.complete(lease.call.id, 1)
    (lease,) = place.lease()
    assert lease.attempt == 2
    place.end(lease)
    assert place.wait(place.queue.find(lease.call.id)).attempts == 2


def test_a_retry_that_waits_for_its_time_survives_a_crash(place: QueuePlace) -> None:
    """Neither its time nor its count begins anew."""
    (lease,) = place.durable()
    for attempt in (1, 2, 3):
        assert lease.attempt == attempt
        due_ms = place.clock.wall_ms + 60_000
        place.wait(place.queue.retry(lease, due_ms, place.record(lease, "queued", ended_ms=None)))
        place.open()
        assert place.wait(place.queue.recover()) == []
        assert place.lease() == []
        assert place.wait(place.queue.waiting())[FUNCTION].next_due_ms == due_ms
        place.pass_ms(60_000)
        (lease,) = place.lease()


def test_the_first_segment_fixes_the_version(place: QueuePlace) -> None:
    """Later leases have it whatever later segments say; it is pinned until the end, and a dead letter's on demand."""
    one, other = place.durable(2)
    queue = place.queue
    place.append(one, 0, version=3)
    place.append(one, 1, version=4)
    place.append(other, 0, version=5)
    assert place.suspend(one, 1)
    assert place.wait(queue.pinned(*FUNCTION)) == {3, 5}
    assert place.wait(queue.pinned("default", "other")) == frozenset()
    place.complete(one.call.id, 1)
    (one,) = place.lease()
    assert one.version == 3
    place.end(one)
    place.end(other, dead=True)
    assert place.wait(queue.pinned(*FUNCTION)) == frozenset()
    assert place.wait(queue.pinned(*FUNCTION, dead=True)) == {5}
    place.wait(queue.drop(other.call.id))
    assert place.wait(queue.pinned(*FUNCTION, dead=True)) == frozenset()


def test_a_dead_letter_goes_on_with_its_journal(place: QueuePlace) -> None:
    """With the segment that is added, on the version that is given; without one, on its own."""
    (lease,) = place.durable()
    place.append(lease, 0, b"first", version=3)
    place.complete(lease.call.id, 7, value=b"told")
    place.end(lease, dead=True)
    place.wait(place.queue.redrive(lease.call.id))
    (lease,) = place.lease()
    assert (lease.version, lease.segments, lease.attempt) == (3, 1, 1)
    place.end(lease, dead=True)
    place.wait(place.queue.redrive(lease.call.id, segment=b"cut", version=4))
    (lease,) = place.lease()
    assert (lease.version, lease.segments) == (4, 2)
    assert _journal(place, lease) == [b"first", b"cut"]
    assert place.wait(place.queue.completions(lease.call.id, [7]))[7].value == b"told"
    place.end(lease)
    assert place.queue.counts.bytes == place.queue.counts.dead_bytes == 0


# -- how long it is kept


def test_a_journal_is_kept_and_counted_with_the_record_of_its_end(place: QueuePlace) -> None:
    """What only a live one needs goes at the end; the journal goes with the record."""
    (lease,) = place.durable()
    place.append(lease, 0, bytes(1_000))
    place.complete(lease.call.id, 1, value=bytes(2_000))
    place.end(lease)
    assert _journal(place, lease) == [bytes(1_000)]
    assert place.look("SELECT count(*) FROM completions") == [(0,)]
    kept = place.queue.counts.kept_bytes
    assert 1_000 < kept < 2_200
    assert place.begin().counts.kept_bytes == kept
    place.pass_ms(8 * DAY)
    assert place.wait(place.queue.sweep()) == 1
    assert place.look("SELECT count(*) FROM journals") == [(0,)]
    assert place.queue.counts.kept_bytes == 0


def test_where_there_are_too_many_bytes_journals_go_before_records(tmp_path: Path) -> None:
    """The oldest first; the records and their answers stay."""
    place = QueuePlace(tmp_path / "guesthouse.db", keep=InvocationsConfig(keep_bytes=20_000))
    leases = place.durable(8)
    for lease in leases:
        place.append(lease, 0, bytes(4_000))
        place.pass_ms(1)
        place.end(lease)
    while place.wait(place.queue.sweep()):
        pass
    assert len(place.wait(place.queue.list())[0]) == 8
    left = [bool(_journal(place, lease)) for lease in leases]
    assert left == sorted(left)
    assert 3 <= sum(left) < 8
    assert place.queue.counts.kept_bytes <= 20_000
    assert place.look("SELECT sum(kept) FROM invocations") == [(place.queue.counts.kept_bytes,)]
    place.close()


def test_what_a_live_one_has_is_never_swept(place: QueuePlace) -> None:
    """A year goes by, and others come and go."""
    (lease,) = place.durable()
    place.append(lease, 0)
    assert place.suspend(lease, 1)
    place.complete(lease.call.id, 2)
    for _ in range(12):
        place.pass_ms(31 * DAY)
        place.end(place.durable(1, ("default", "other"))[0])
        while place.wait(place.queue.sweep()):
            pass
    assert place.complete(lease.call.id, 1)
    (lease,) = place.lease()
    assert _journal(place, lease) == [b"segment"]
    assert sorted(place.wait(place.queue.completions(lease.call.id, [1, 2]))) == [1, 2]


def test_a_dropped_dead_letter_has_no_journal(place: QueuePlace) -> None:
    """What was asked may stand in it; bytes are counted as the tables have them throughout."""
    (lease,) = place.durable()
    place.append(lease, 0, bytes(5_000))
    place.end(lease, dead=True)
    dead = place.queue.counts.dead_bytes
    assert dead > 5_000
    assert place.begin().counts.dead_bytes == dead
    place.wait(place.queue.drop(lease.call.id))
    assert _journal(place, lease) == []
    assert place.queue.counts.dead_bytes == 0
    assert place.look("SELECT sum(kept) FROM invocations") == [(place.queue.counts.kept_bytes,)]


def test_the_bytes_of_journals_count_as_those_of_calls(place: QueuePlace) -> None:
    """What is suspended or waits for its retry keeps others from filling the disk; an end gives it back."""
    place.config = QueueConfig(max_bytes=1 << 20)
    place.begin()
    (lease,) = place.durable()
    before = place.queue.counts.bytes
    place.append(lease, 0, bytes(400_000))
    assert place.suspend(lease, 1)
    assert place.queue.counts.bytes > before + 400_000
    counted = place.queue.counts.bytes
    assert place.begin().counts.bytes == counted
    place.complete(lease.call.id, 1, value=bytes(100_000))
    assert place.queue.counts.bytes > counted + 100_000
    assert place.begin().counts.bytes > counted + 100_000
    (lease,) = place.lease()
    place.append(lease, 1, bytes(1_000))
    place.open()
    place.wait(place.queue.recover())
    counted = place.queue.counts.bytes
    assert place.begin().counts.bytes == counted
    place.end(place.lease(1, struck=True)[0])
    assert place.queue.counts.bytes == 0


def test_a_journal_can_be_recorded_of_what_has_ended(place: QueuePlace) -> None:
    """Once; it is counted, and kept with the record.  A live one, or one that is not there, has none recorded."""
    place.put(2)
    done, runs = place.lease(2)
    place.end(done)
    kept = place.queue.counts.kept_bytes
    record = place.queue.record_journal
    found = place.all([record(done.call.id, [b"a", b"b"]), record(runs.call.id, [b"c"]), record("nobody", [b"d"])])
    assert [type(result) for result in found] == [type(None), StorageError, UnknownInvocation]
    assert type(place.all([record(done.call.id, [b"again"])])[0]) is StorageError
    assert _journal(place, done) == [b"a", b"b"]
    assert place.queue.counts.kept_bytes > kept
    assert place.look("SELECT sum(kept) FROM invocations") == [(place.queue.counts.kept_bytes,)]
    place.end(runs, dead=True)
    place.wait(record(runs.call.id, [b"c"]))
    dead = place.queue.counts.dead_bytes
    assert place.begin().counts.dead_bytes == dead
    place.wait(place.queue.redrive(runs.call.id))  # it is not durable: it begins anew
    assert _journal(place, runs) == []
    place.end(place.lease()[0])
    assert place.queue.counts.dead_bytes == place.queue.counts.bytes == 0


# -- older data directories


def test_a_data_directory_of_the_version_before_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was queued, running, dead and ended in it is so afterwards, and durable calls run beside it."""
    released = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", released[:5])
    old = Database(tmp_path / "guesthouse.db")
    columns = "id, namespace, name, mode, created_ms, due_ms, attempts, earlier, strikes, fence, size, kept"
    for number, state in enumerate([0, 2, 3, 4, 5, 6]):
        values = f"'old{number}', 'default', 'hello', 'async', {number}, {number}, 1, 0, 0, 1, 300, 10"
        query = f"INSERT INTO invocations ({columns}, state, key, about) VALUES ({values}, {state}, 'k', x'7b7d')"
        old.write_sync(lambda c, query=query: c.execute(query) and None)
    old.write_sync(lambda c: c.execute("INSERT INTO requests SELECT seq, x'7b7d', x'' FROM invocations") and None)
    old.close()
    monkeypatch.setattr(schema, "MIGRATIONS", released)
    place = QueuePlace(tmp_path / "guesthouse.db")
    states = [place.state(f"old{number}") for number in range(6)]
    assert states == ["queued", "queued", "queued", "running", "dead", "succeeded"]
    assert place.wait(place.queue.recover()) == ["old3"]
    place.wait(place.queue.redrive("old4"))
    taken = [*place.lease(9), *place.lease(9), *place.lease(9, struck=True)]
    assert sorted(lease.call.id for lease in taken) == ["old0", "old1", "old2", "old3", "old4"]
    assert not any(lease.call.durable or lease.segments or lease.version for lease in taken)
    for lease in taken:
        place.end(lease)
    (lease,) = place.durable()
    place.append(lease, 0)
    assert place.suspend(lease, 1)
    place.close()


def test_of_a_lease_that_is_replaced_nothing_can_be_guessed(place: QueuePlace) -> None:
    """Whoever has the number of a row and its fence still needs its id."""
    (lease,) = place.durable()
    foreign = replace(lease, call=replace(lease.call, id="other"))
    assert type(place.all([place.queue.append(foreign, 0, b"x")])[0]) is Fenced
