"""The queue in the host's database, in a file and in memory: what the model says, and how it stands with what it is on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from guesthouse.errors import BadRequest
from guesthouse.queue.call import Idempotency, Output, QueuedCall
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.queue.queue import Page, UnknownInvocation, Waiting
from guesthouse.storage import schema
from guesthouse.storage.database import Connection, Database, rows
from guesthouse.storage.errors import StorageError
from unit.queue_machine import QueueMachine
from unit.queue_model import DEAD_DAYS, KEEP_DAYS, KEY_HOURS, LEASE_SECONDS
from unit.queue_places import FUNCTION, QueuePlace

CONFIG = QueueConfig(max_dead_days=DEAD_DAYS, idempotency_hours=KEY_HOURS, lease_seconds=LEASE_SECONDS)
KEEP = InvocationsConfig(keep_days=KEEP_DAYS)
FORGOTTEN = (
    "SELECT id FROM invocations AS i WHERE state = 3 AND NOT EXISTS (SELECT 1 FROM invocations AS j WHERE j.key = i.key"
    " AND (j.namespace, j.name) = (i.namespace, i.name) AND j.state IN (0, 1, 2)) AND NOT EXISTS (SELECT 1 FROM"
    " key_locks AS k WHERE k.key = i.key AND (k.namespace, k.name) = (i.namespace, i.name))"
)
"""Calls that are parked behind nobody: they would wait for ever."""


@pytest.fixture(params=["memory", "file"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path


@pytest.fixture
def place(directory: Path | None) -> Iterator[QueuePlace]:
    opened = QueuePlace(None if directory is None else directory / "guesthouse.db", CONFIG, KEEP)
    yield opened
    opened.close()


def test_it_does_what_the_model_does(directory: Path | None) -> None:
    """Any order of calls, ends, crashes, clock jumps and looks comes to the same as in the model."""
    places: list[QueuePlace] = []

    class Machine(QueueMachine):
        def __init__(self) -> None:
            places.append(QueuePlace(None if directory is None else directory / f"{len(places)}.db", CONFIG, KEEP))
            super().__init__(places[-1])

        @invariant()
        def what_is_counted_is_in_the_tables(self) -> None:
            assert places[-1].counted() == places[-1].in_tables()

        @invariant()
        def whoever_is_parked_has_somebody_before_it(self) -> None:
            assert places[-1].look(FORGOTTEN) == []

        def teardown(self) -> None:
            places[-1].close()

    checks = list(HealthCheck)
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=25, stateful_step_count=50, deadline=None, suppress_health_check=checks)
    )


def test_calls_that_come_at_once_share_a_commit(place: QueuePlace) -> None:
    """500 calls take two or three transactions, not 500, and each is acknowledged as itself."""
    before = place.database.commits
    ids = place.put(500)
    assert len(set(ids)) == 500
    assert place.database.commits - before <= 4
    assert [lease.call.id for lease in place.lease(1000)] == ids


def test_an_id_that_exists_harms_no_other_call_of_its_commit(place: QueuePlace) -> None:
    """Twice in one commit, and once more later: the first stays as it is, and its neighbours are stored."""
    first, other, late = (place.call(id="same", body=body) for body in (b"1", b"2", b"3"))
    found = place.all([place.queue.enqueue(call) for call in (place.call(), first, other, place.call())])
    assert [type(result) for result in found] == [str, str, StorageError, str]
    found = place.all([place.queue.enqueue(call) for call in (place.call(), late, place.call())])
    assert [type(result) for result in found] == [str, StorageError, str]
    assert place.wait(place.queue.request("same")).body == b"1"
    assert place.look("SELECT count(*) FROM requests") == [(5,)]
    assert place.wait(place.queue.waiting())[FUNCTION].queued == 5


def test_what_cannot_be_stored_is_refused_alone(place: QueuePlace) -> None:
    """Text that is no Unicode, times that are no times: the caller's mistake, before anything is written."""
    wrong = [
        place.call(headers=[("x", "\ud800")]),
        place.call(key="\ud800"),
        place.call(due_ms=1 << 60),
        place.call(queued_ms=-1),
    ]
    found = place.all([place.queue.enqueue(call) for call in [*wrong, place.call()]])
    assert [type(result) for result in found] == [BadRequest] * 4 + [str]


def test_a_body_of_any_bytes_comes_back_as_it_was(place: QueuePlace) -> None:
    """A megabyte that is no text, beside an empty one."""
    bodies = [bytes(range(256)) * 4096, b"", b"\0"]
    place.all([place.queue.enqueue(place.call(body=body)) for body in bodies])
    assert [lease.call.body for lease in place.lease(9)] == bodies


def test_a_lease_that_nobody_waits_for_any_more_is_given_back(place: QueuePlace) -> None:
    """Whoever asked was cancelled, at any moment of the commit: the calls wait as before."""
    ids = place.put(8)

    async def give_up(turns: int) -> None:
        task = asyncio.create_task(place.queue.lease(FUNCTION, 8))
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns == 20:
            await asyncio.wait((task,))
        elif turns > 10:
            while not place.queue.counts.running and not task.done():
                await asyncio.sleep(0)
        task.cancel()
        found = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(found, list):
            await asyncio.gather(*(place.queue.release(lease) for lease in found))
        await place.queue.close()

    for turns in (0, 1, 2, 3, 4, 11, 20):
        place.wait(give_up(turns))
        waiting = place.wait(place.queue.waiting())[FUNCTION]
        assert (waiting.queued, waiting.running) == (8, 0)
    assert [lease.call.id for lease in place.lease(8)] == ids


def test_a_request_that_something_else_has_changed_holds_up_nobody(place: QueuePlace) -> None:
    """It ends as dead and says why; whoever asks for one that still waits is told of a damaged file."""
    ids = place.put(4)

    def spoil(connection: Connection) -> None:
        which = "WHERE seq = (SELECT seq FROM invocations WHERE id = ?)"
        connection.execute(f"DELETE FROM requests {which}", (ids[1],))
        connection.execute(f"UPDATE requests SET about = ? {which}", (b'{"method": 1}', ids[2]))

    place.database.write_sync(spoil)
    with pytest.raises(StorageError, match="cannot be read"):
        place.wait(place.queue.request(ids[2]))
    assert [lease.call.id for lease in place.lease(4)] == [ids[0], ids[3]]
    for id_ in ids[1:3]:
        record = place.wait(place.queue.find(id_))
        assert (record.state, record.result) == ("dead", "lost")
    assert place.wait(place.queue.waiting())[FUNCTION].running == 2


@pytest.mark.parametrize("after", ["", "x", "AAAA", "*" * 22, "A" * 22 + "=", "_" * 22, "ä" * 22, "A" * 1000])
def test_a_place_in_a_list_that_nobody_gave_out_is_refused(place: QueuePlace, after: str) -> None:
    """It is what somebody wrote into a URL."""
    with pytest.raises(BadRequest):
        place.wait(place.queue.list(Page(after=after)))


@pytest.mark.parametrize("most", [0, -1, 1001])
def test_a_page_has_a_size_that_can_be(place: QueuePlace, most: int) -> None:
    """And a state that exists."""
    with pytest.raises(BadRequest):
        place.wait(place.queue.list(Page(most=most)))
    with pytest.raises(BadRequest, match="queued, running, dead"):
        place.wait(place.queue.list(Page(state="gone")))


def test_pages_of_one_namespace_show_nothing_of_another(place: QueuePlace) -> None:
    """Newest first."""
    place.put(3, ("a", "x"))
    mine = place.put(3, ("b", "y"))
    found, after = place.wait(place.queue.list(Page(namespace="b")))
    assert ([record.id for record in found], after) == (mine[::-1], None)


def test_another_process_goes_on_where_the_first_one_ended(place: QueuePlace) -> None:
    """Counts, places and fences are those of the file: what was leased has a strike, and the old holder is fenced."""
    place.put(4, body=b"12345")
    leases = place.lease(2)
    place.end(leases[0], Output(200, [], b"answer"))
    counts = vars(place.queue.counts)
    before = {name: counts[name] for name in ("calls", "bytes", "dead_bytes", "kept_bytes", "_namespaces")}
    place.open()
    counts = vars(place.queue.counts)
    assert before == {name: counts[name] for name in before}
    assert place.wait(place.queue.recover()) == [leases[1].call.id]
    assert place.wait(place.queue.waiting())[FUNCTION] == Waiting(3, 0, place.clock.wall_ms, None, 0, 1)
    assert place.lease(1, struck=True)[0].strikes == 1


def test_a_file_of_the_version_before_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three migrations old: its functions stay, and calls can be queued beside them."""
    released = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", released[:3])
    old = Database(tmp_path / "guesthouse.db")
    old.write_sync(lambda c: c.execute("INSERT INTO functions VALUES ('default', 'hello', 3, NULL, 3)") and None)
    old.close()
    monkeypatch.setattr(schema, "MIGRATIONS", released)
    place = QueuePlace(tmp_path / "guesthouse.db")
    assert place.look("SELECT name, latest FROM functions") == [("hello", 3)]
    assert place.put(1) == [lease.call.id for lease in place.lease(1)]
    place.close()


def test_every_question_has_its_index(place: QueuePlace) -> None:
    """What a lease, a page, a wake-up, a kill and a sweep look for is found without reading all of a table."""
    asked: list[str] = []

    def trace(connection: Connection) -> None:
        connection.set_exec_trace(lambda cursor, sql, bindings: asked.append(sql) is None)

    place.database.write_sync(trace)
    place.put(3, key="k")
    for lease in place.lease(3, busy_keys=["j"], key_inflight=1):
        place.end(lease, Output(200, [], b""))
    _live_durably(place)
    place.wait(place.queue.sweep())
    place.wait(place.queue.recover())
    place.database.write_sync(lambda connection: connection.set_exec_trace(None))
    plans = [
        str(detail)
        for sql in asked
        if sql.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")
        for *_, detail in place.database.write_sync(lambda c, sql=sql: _plan(c, sql))
    ]
    assert len(plans) > 100
    tables = (
        "invocations",
        "requests",
        "outputs",
        "journals",
        "completions",
        "waits",
        "waited",
        "attached",
        "key_locks",
    )
    scans = [plan.split() for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan]
    assert not [plan for plan in scans if plan[1] in (*tables, "i", "r", "c", "d", "j", "p", "w")]


def _live_durably(place: QueuePlace) -> None:
    """All that a durable call can meet with."""
    queue = place.queue
    key = Idempotency(b"k" * 32, b"r" * 32)
    function = ("default", "durable")
    parent, other = place.durable(2, function)
    place.append(parent, 0, version=1)
    child = place.call(("default", "child"), parent=parent.call.id, promise=1, idempotency=key, key="k", exclusive=True)
    place.wait(queue.enqueue_all([replace(child, durable=True)]))
    place.wait(queue.enqueue(place.call(parent=other.call.id, promise=1, idempotency=key)))
    (runs,) = place.lease(9, ("default", "child"))
    assert place.suspend(parent, 0, 1, 2, ends=2, until_ms=place.clock.wall_ms + 1)
    place.complete(parent.call.id, 2)
    place.wait(queue.state_set(runs, "a", b"1"))
    place.wait(queue.state_clear(runs))
    place.end(runs, Output(200, [], b"x"))
    place.pass_ms(2)
    (parent,) = place.lease(9, function)
    for call_id in (parent.call.id, other.call.id):
        place.wait(queue.live_children(call_id))
        place.wait(queue.journal(call_id))
        place.wait(queue.completions(call_id, [1, 2]))
        place.wait(queue.outcomes(call_id))
    place.wait(queue.pinned(*function))
    place.wait(queue.kill(parent.call.id, place.record(parent, "cancelled")))
    place.end(other, dead=True)
    place.wait(queue.redrive(other.call.id, segment=b"cut"))
    place.end(place.lease(9, function)[0], dead=True)
    place.wait(queue.drop(other.call.id))
    place.wait(queue.record_journal(other.call.id, [b"a"]))


def _plan(connection: Connection, sql: str) -> list[tuple[object, ...]]:
    numbered = [int(number) for number in re.findall(r"\?([0-9])", sql)]
    count = max(numbered, default=sql.count("?"))
    return rows(connection, f"EXPLAIN QUERY PLAN {sql}", [None] * count)


def test_of_what_is_not_there_everybody_is_told(place: QueuePlace) -> None:
    """Records, answers, requests, and what people do to calls."""
    queue = place.queue
    calls = [queue.find("x"), queue.output("x"), queue.request("x"), queue.redrive("x"), queue.drop("x")]
    assert [type(found) for found in place.all(calls)] == [UnknownInvocation] * 5
    call: QueuedCall = place.call()
    place.wait(queue.enqueue(call))
    (lease,) = place.lease()
    record = place.record(lease, "cancelled")
    assert type(place.all([queue.cancel("x", record)])[0]) is UnknownInvocation
