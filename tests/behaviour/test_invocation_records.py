"""What is written down of invocations that nobody queued: which, when, and at what cost for those who call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from guesthouse import AsyncHost, Host
from guesthouse.dispatch import recorder
from guesthouse.errors import GuesthouseError, Trap
from guesthouse.queue.call import Record
from guesthouse.queue.config import InvocationsConfig
from harness import run
from probes import RUNNER, RUNNING, SPAWNED, Gate, on_loop
from stage import Scene, perform
from support import guest, wat


def recording(which: str) -> dict[str, Any]:
    """The option of a host that writes these down."""
    return {"invocations": InvocationsConfig(record=which)}


async def written(host: AsyncHost, count: int) -> list[Record]:
    """All records, oldest first, once there are so many."""
    async with asyncio.timeout(20):
        while len(found := (await host.queue.list())[0]) < count:
            await asyncio.sleep(0.002)
    return sorted(found, key=lambda record: record.id)


def test_of_all_invocations_everything_is_written_down_that_is_known() -> None:
    """Web calls from any thread, typed calls: version, times, outcome, cost, and how often which interface was called."""
    with Host(interfaces=[gate := Gate()], **recording("all")) as host:
        host.deploy("headers", guest("headers"))
        version = host.deploy("running", wat(RUNNING))
        answered = host.invoke("headers", b"x")
        on_loop(host, gate.open())
        assert host.call("running", "run", 7, interface=RUNNER) == 7
        web, call = run(host, lambda inner: written(inner, 2))
        assert (web.id, web.mode, web.state, web.result, web.status) == (
            answered.invocation_id,
            "web",
            "succeeded",
            "ok",
            200,
        )
        assert (web.fuel, web.duration_ns, web.peak_memory) == (
            answered.fuel_used,
            answered.duration_ns,
            answered.peak_memory,
        )
        assert web.host_calls["web"] > 3
        assert web.started_ms <= web.answered_ms <= web.ended_ms
        assert (call.mode, call.name, call.version, call.digest) == ("call", "running", 1, version.digest)
        assert call.host_calls == {"gate": 1}
        assert run(host, lambda inner: inner.queue.output(web.id)) is None


def test_by_default_only_failures_are_written_down() -> None:
    """An answer below 500 is none, whatever it says; traps, deadlines and answers from 500 on are."""

    async def work(scene: Scene) -> None:
        await scene.deploy(limits={"deadline_ms": 300})
        scene.stage.script = {b"400": [(400, "")], b"500": [(500, "")], b"trap": [(0, "")]}
        for body in (b"fine", b"400", b"500", b"trap", b"wait"):
            await scene.host.invoke("actor", body)
        found = await written(scene.host, 3)
        assert [(record.state, record.result, record.status) for record in found] == [
            ("failed", "ok", 500),
            ("failed", "trapped", 0),
            ("failed", "deadline", 0),
        ]
        assert found[1].reason == "The function ended without an answer; its log says why."

    perform(work)


def test_where_nothing_is_to_be_written_down_nobody_is_told() -> None:
    """Off: not even failures; queued calls and spawns have their records nevertheless."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        scene.stage.script[b"trap"] = [(0, "")]
        await scene.host.invoke("actor", b"trap")
        assert scene.host.dispatcher.record is None
        call = await scene.enqueue(b"x")
        await scene.ended(call)
        assert [record.id for record in (await scene.host.queue.list())[0]] == [call]

    perform(work, **recording("off"))


@pytest.mark.parametrize(
    ("payload", "state", "result"), [(b"quick", "succeeded", "ok"), (b"trap", "failed", "trapped")]
)
def test_a_spawned_run_has_a_record_however_it_ends(payload: bytes, state: str, result: str) -> None:
    """With its family, and what it called."""
    with Host(interfaces=[Gate()]) as host:
        host.deploy("spawned", wat(SPAWNED))
        found = host.spawn("spawned", payload)
        (record,) = run(host, lambda inner: written(inner, 1))
        assert (record.id, record.mode, record.state, record.result) == (found, "spawn", state, result)
        assert (record.root, record.depth, record.host_calls) == (found, 0, {"gate": 1})
        assert record.queued_ms <= record.started_ms <= record.ended_ms


def test_a_spawned_run_that_a_closing_host_gives_up_has_a_record_too(tmp_path: Any) -> None:
    """Cancelled, and not lost: the next process finds it."""
    with Host(tmp_path, interfaces=[gate := Gate()]) as host:
        host.deploy("spawned", wat(SPAWNED))
        host.spawn("spawned", b"wait")
        on_loop(host, gate.arrivals())
        on_loop(host, host.inner.close(drain_seconds=0))
    with Host(tmp_path, interfaces=[Gate()]) as host:
        (record,) = run(host, lambda inner: written(inner, 1))
        assert (record.state, record.result) == ("cancelled", "cancelled")


def test_what_ended_last_is_on_disk_when_a_host_has_closed(tmp_path: Any) -> None:
    """Closing writes what waits."""
    with Host(tmp_path, **recording("all")) as host:
        host.deploy("echo", guest("echo"))
        for _ in range(20):
            host.invoke("echo", b"x")
    with Host(tmp_path) as host:
        assert len(run(host, lambda inner: written(inner, 20))) == 20


def test_many_records_are_few_transactions() -> None:
    """A hundred calls in one turn of the loop cost the disk a handful of commits."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("echo", guest("echo"))
        before = scene.host.database.commits
        for _ in range(100):
            await scene.host.invoke("echo", b"x")
        await written(scene.host, 100)
        assert scene.host.database.commits - before <= 10

    perform(work, **recording("all"))


def test_a_record_can_be_found_before_it_is_on_disk() -> None:
    """Who has just been answered may ask at once."""

    async def work(scene: Scene) -> None:
        await scene.host.deploy("echo", guest("echo"))
        outcome = await scene.host.invoke("echo", b"x")
        assert (await scene.host.calls.find(outcome.invocation_id)).state == "succeeded"

    perform(work, **recording("all"))


def test_records_that_cannot_be_written_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the backlog, or when the storage refuses: the caller has its answer, and the metrics tell how many."""
    monkeypatch.setattr(recorder, "MOST_WAITING", 2)

    async def work(scene: Scene) -> None:
        await scene.host.deploy("echo", guest("echo"))

        async def refuse(records: Any) -> None:
            raise GuesthouseError("no")

        write, scene.host.queue.write = scene.host.queue.write, refuse  # type: ignore[method-assign]
        for _ in range(5):
            assert (await scene.host.invoke("echo", b"x")).status == 200
        async with asyncio.timeout(20):
            while scene.metric("guesthouse_records_dropped_total") < 5:
                await asyncio.sleep(0.002)
        scene.host.queue.write = write  # type: ignore[method-assign]
        await scene.host.invoke("echo", b"x")
        await written(scene.host, 1)

    perform(work, **recording("all"))


def test_an_invocation_that_somebody_cancels_says_so() -> None:
    """A direct call that is ended by its id: its caller is told, and so is whoever looks."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        task = asyncio.create_task(scene.host.invoke("actor", b"wait"))
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        (running,) = scene.host.dispatcher.waiting
        await scene.host.calls.cancel(running.id)
        outcome = await task
        assert outcome.result == "cancelled"
        assert not isinstance(outcome.error, Trap)
        (record,) = await written(scene.host, 1)
        assert (record.id, record.state) == (running.id, "cancelled")

    perform(work)
