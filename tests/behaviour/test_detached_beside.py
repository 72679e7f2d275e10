"""Detached work beside the rest of the host: spawned and queued runs, records, families, metrics, the log."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from command_line import built, guesthouse
from detaching import (
    CALLS,
    FORMS,
    PATIENCE,
    afresh,
    counted,
    detaching,
    do,
    done,
    heard,
    held,
    lines,
    order,
    over,
    queue,
)
from guesthouse import AsyncHost
from guesthouse.queue.config import InvocationsConfig
from probes import on_loop, redeploy, settled
from served import Origin
from support import guest


@pytest.fixture(scope="module", params=FORMS)
def shared(request):
    with detaching(request.param, CALLS, "detached-spawn") as host:
        yield host


@pytest.fixture
def host(shared):
    """A host on which nothing runs, and whose logs and counts begin at nothing."""
    return afresh(shared)


@pytest.fixture
def origin():
    with Origin() as origin:
        yield origin


def test_a_spawned_run_goes_on_after_its_result(host, origin):
    """It has no response: its tasks run after its result, and it is in flight until they have ended."""
    with heard(host) as said:
        host.spawn("detached-spawn", origin.url("/held").encode())
        origin.holds()
        assert host.inner.dispatcher.spawner.in_flight == 1
        origin.release.set()
        assert settled(host) == {"failed": 1}
    assert said == ["done"]
    assert counted(host, "detached-spawn") == {("after", "ok"): 1}


def test_a_queued_call_goes_on_after_its_answer(host, origin):
    """Its function needs no change for that either; it is running until its last task has ended."""
    query = order(queue("a", held(origin)), queue("b", {"fail": "no"}), {"status": 201})
    call_id = host.enqueue(CALLS, b"", query=query)
    origin.holds()
    assert host.invocation(call_id).state == "running"
    origin.release.set()
    record = host.attach(call_id, PATIENCE)
    assert (record.state, record.mode, record.status) == ("succeeded", "async", 201)
    assert (record.detached_ns > 0, record.note) == (True, "detached tasks 1 failed, 1 ok: b")
    assert counted(host) == {("a", "ok"): 1, ("b", "failed"): 1}


def test_the_record_of_a_call_tells_its_two_parts_apart(origin):
    """Written once the last task has ended: when it was answered, how long it worked on, which tasks ended badly."""
    with detaching("wasip2", CALLS, invocations=InvocationsConfig(record="all")) as host:
        outcome = do(host, queue("a", held(origin)), queue("b", "trap"), queue("c"))
        origin.holds()
        origin.release.set()
        detached = over(host, outcome)
        record = host.attach(outcome.invocation_id, PATIENCE)
        assert (record.state, record.result, record.status) == ("succeeded", "ok", 200)
        assert (record.duration_ns, record.detached_ns) == (outcome.duration_ns, detached.duration_ns)
        assert record.started_ms <= record.answered_ms <= record.ended_ms
        assert record.note == "detached tasks 2 lost, 1 ok: b, c"


def test_what_tasks_spawn_belongs_to_the_family_of_their_invocation(host):
    """One fan-out for the answer and what comes after it."""
    redeploy(host, CALLS, "family", spawn_fanout=2)
    start = {"spawn": "detached-spawn"}
    assert done(host, start, queue("a", start), queue("b", start), name="family") == {"ok": 1, "failed": 1}
    assert any("fan-out" in line for line in lines(host, "family"))
    settled(host)
    assert host.inner.dispatcher.spawner._families == {}


def test_the_name_of_a_task_is_bounded_in_the_metrics(host):
    """64 names of a function have series of their own, the others share one; each is counted."""
    assert done(host, {"flood": 100}) == {"ok": 100}
    counts = counted(host)
    assert len(counts) == 65
    assert (sum(counts.values()), counts["other", "ok"]) == (100, 36)


def test_a_host_for_asyncio_has_it_too(origin):
    """The outcome is there, its work goes on beside the program, and `async with` waits for it."""

    async def main() -> Any:
        async with AsyncHost() as host:
            await host.deploy(CALLS, guest(CALLS))
            outcome = await host.invoke(CALLS, query=order(queue("a", {"say": "a"}), queue("b")))
            assert outcome.status == 200
            assert outcome.detached.result == ""
        return outcome.detached

    detached = asyncio.run(main())
    assert (detached.result, dict(detached.tasks.counts)) == ("ok", {"ok": 2})


def test_the_log_says_when_it_answered_and_when_it_ended(host):
    """For who follows it: the answer with its status, then the tasks and what they took."""

    async def follow() -> Any:
        return host.inner.logs.follow("default/" + CALLS)

    follower = on_loop(host, follow())
    try:
        done(host, queue("a"), {"status": 500})
    finally:
        follower.close()
    said = lines(host)
    assert said[-2].startswith("answered: ok with status 500 after ")
    assert said[-1].startswith("ended: detached tasks 1 ok: ok after ")


def test_run_waits_for_it_and_shows_it():
    """On the command line: the answer, the log with what the tasks wrote, and a line of their own."""
    steps = json.dumps([queue("a", {"print": "from a"}), queue("b", {"fail": "no"})])
    said = guesthouse("run", built(CALLS), "-q", f"do={steps}")
    assert (said.status, said.out) == (0, "answered")
    assert "from a" in said.err
    assert "detached task b failed: no" in said.err
    assert "-- detached tasks 1 failed, 1 ok: ok after " in said.err
    outcome = guesthouse("run", built(CALLS), "-q", f"do={steps}", "--json").json
    assert (outcome["detached"]["result"], outcome["detached"]["tasks"]) == ("ok", {"ok": 1, "failed": 1})
