"""What the queue holds is bounded: calls and bytes, dead letters, records and answers, keys; and so is the disk's use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guesthouse.queue.call import Callback, Idempotency, Output
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.queue.queue import AnotherRequest, QueueFull, UnknownInvocation
from guesthouse.queue.rows import ROW_BYTES
from unit.queue_places import FUNCTION, QueuePlace

DAY = 24 * 3_600_000
OTHER = ("default", "other")
FOREIGN = ("foreign", "hello")
CONFIG = QueueConfig(max_calls=16, max_bytes=1 << 20, max_dead_bytes=20_000)
KEEP = InvocationsConfig(keep_bytes=20_000)


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if request.param == "memory" else tmp_path / "guesthouse.db", CONFIG, KEEP)
    yield opened
    opened.close()


def _refused(place: QueuePlace, function: tuple[str, str] = FUNCTION, body: bytes = b"") -> bool:
    (found,) = place.all([place.queue.enqueue(place.call(function, body=body))])
    return isinstance(found, QueueFull)


def test_a_function_a_namespace_and_the_queue_are_full_one_after_the_other(place: QueuePlace) -> None:
    """Half, three quarters and all of 16 calls; what is refused touches no disk, and what ends makes room."""
    place.put(8)
    commits = place.database.commits
    assert _refused(place)
    assert place.database.commits == commits
    place.put(4, OTHER)
    assert _refused(place, OTHER)
    place.put(4, FOREIGN)
    assert _refused(place, FOREIGN)
    assert _refused(place)
    (lease,) = place.lease(1, FOREIGN)
    assert _refused(place, FOREIGN)  # it runs: its row is there
    place.end(lease)
    place.put(1, FOREIGN)


def test_the_bound_holds_for_calls_that_come_at_once(place: QueuePlace) -> None:
    """30 calls in one turn of the loop: 8 are taken."""
    found = place.all([place.queue.enqueue(place.call()) for _ in range(30)])
    assert sum(isinstance(result, str) for result in found) == 8
    assert sum(isinstance(result, QueueFull) for result in found) == 22
    assert place.queue.counts.calls == 8


def test_bytes_are_bounded_as_calls_are(place: QueuePlace) -> None:
    """Half of a MiB for one function; a call that is refused leaves no trace in the count."""
    assert _refused(place, body=bytes(1 << 19))
    place.put(1, body=bytes(500_000))
    assert _refused(place, body=bytes(30_000))
    place.put(1, OTHER, body=bytes(200_000))
    counted = place.queue.counts.bytes
    assert 700_000 < counted < 700_000 + 4 * ROW_BYTES
    place.open()
    assert place.queue.counts.bytes == counted


def test_a_repeated_key_finds_its_call_in_a_full_queue(place: QueuePlace) -> None:
    """The repetition is no new work; another request with the key is told so, another key is refused."""
    key = Idempotency(b"k" * 32, b"r" * 32)
    first = place.call(idempotency=key)
    place.wait(place.queue.enqueue(first))
    place.put(7)
    again, other, more = place.all(
        [
            place.queue.enqueue(place.call(idempotency=found))
            for found in (key, replace(key, request=b"s" * 32), Idempotency(b"l" * 32, b"r" * 32))
        ]
    )
    assert (again, type(other), type(more)) == (first.id, AnotherRequest, QueueFull)
    place.free = (0, 1 << 40)
    place.pass_ms(2_000)
    assert place.wait(place.queue.enqueue(place.call(idempotency=key))) == first.id


def test_what_follows_a_call_is_taken_where_the_queue_is_full(place: QueuePlace) -> None:
    """A chain ends no earlier because others wait: it takes the place of the call before."""
    place.put(8)
    (lease,) = place.lease()
    place.put(1, OTHER)
    place.wait(place.queue.succeed(lease, place.record(lease), None, place.call()))
    assert place.queue.counts.calls == 9
    assert _refused(place)


def test_records_and_answers_go_when_they_are_too_many_bytes_the_oldest_first(place: QueuePlace) -> None:
    """20 kB stay; what is left can still be read, and the count is that of the table."""
    ids = place.put(8)
    for lease in place.lease(8):
        place.pass_ms(1)
        place.end(lease, Output(200, [], bytes(3_000)))
    assert place.queue.counts.kept_bytes > 24_000
    assert place.wait(place.queue.sweep()) > 0
    assert place.wait(place.queue.sweep()) == 0
    left = [record.id for record in place.wait(place.queue.list())[0]]
    assert left == ids[-len(left) :][::-1]
    assert 4 <= len(left) < 8
    assert place.queue.counts.kept_bytes <= 20_000
    assert place.look("SELECT sum(kept) FROM invocations") == [(place.queue.counts.kept_bytes,)]
    assert place.look("SELECT count(*) FROM outputs") == [(len(left),)]
    assert type(place.all([place.queue.output(ids[0])])[0]) is UnknownInvocation


def test_an_answer_that_is_still_to_be_delivered_outlives_others(place: QueuePlace) -> None:
    """The oldest one has a callback and stays; where nothing else is left it goes, and its callback with it."""
    ids = place.put(8)
    for number, lease in enumerate(place.lease(8)):
        callback = Callback(id=lease.call.id, namespace="default", name="hello", url="http://a/", headers=[])
        output = Output(200, [], bytes(3_000))
        place.wait(place.queue.succeed(lease, place.record(lease), output, None if number else callback))
        place.pass_ms(1)
    while place.wait(place.queue.sweep()):
        pass
    assert place.wait(place.queue.output(ids[0])) is not None
    ((callback, output),) = place.wait(place.queue.callbacks(9))
    assert (callback.id, output) == (ids[0], Output(200, [], bytes(3_000)))
    place.keep = replace(KEEP, keep_bytes=1)
    place.begin()
    while place.wait(place.queue.sweep()):
        pass
    assert place.wait(place.queue.list()) == ([], None)
    assert place.wait(place.queue.next_callback_ms()) is None


def test_dead_letters_lose_their_requests_by_age_and_by_bytes_and_their_records_later(place: QueuePlace) -> None:
    """The oldest ones first; a dead letter that lost its request cannot be redriven, but is still known."""
    ids = place.put(8, body=bytes(3_000))
    for lease in place.lease(8):
        place.pass_ms(1)
        place.end(lease, dead=True)
    assert place.wait(place.queue.sweep()) == 3
    found = place.all([place.queue.redrive(call_id) for call_id in ids[:4]])
    assert [type(result) for result in found] == [UnknownInvocation] * 3 + [type(None)]
    assert place.wait(place.queue.find(ids[0])).state == "dead"
    assert place.wait(place.queue.waiting())[FUNCTION].dead == 4
    place.pass_ms(31 * DAY)
    while place.wait(place.queue.sweep()):
        pass
    assert [record.id for record in place.wait(place.queue.list())[0]] == [ids[3]]
    assert place.look("SELECT count(*) FROM requests") == [(1,)]
    assert place.queue.counts.dead_bytes == 0


def test_keys_are_forgotten_after_a_day_and_not_with_their_calls(place: QueuePlace) -> None:
    """Until then a repetition finds the call that was, however it ended."""
    key = Idempotency(b"k" * 32, b"r" * 32)
    first = place.call(idempotency=key)
    place.wait(place.queue.enqueue(first))
    place.end(place.lease()[0])
    place.pass_ms(DAY - 1)
    assert place.wait(place.queue.enqueue(place.call(idempotency=key))) == first.id
    place.pass_ms(1)
    later = place.call(idempotency=key)
    assert place.wait(place.queue.enqueue(later)) == later.id
    assert place.look("SELECT count(*) FROM idempotency") == [(1,)]
    place.pass_ms(DAY)
    assert place.wait(place.queue.sweep()) == 1
    assert place.look("SELECT count(*) FROM idempotency") == [(0,)]
