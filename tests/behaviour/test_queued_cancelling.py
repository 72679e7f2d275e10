"""Queued calls that are cancelled: while they wait, while they run, and once they have ended."""

from __future__ import annotations

from stage import Scene, perform

HOUR_MS = 3_600_000
WAITS = {"min_wait_ms": 60_000, "max_wait_ms": 60_000}


def test_a_running_call_ends_when_it_is_cancelled():
    """The guest is ended where it waits; the record says cancelled, and it does not run again."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        call = await scene.enqueue(b"wait")
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        assert scene.host.consumer.cancel(call)
        record = await scene.ended(call)
        assert (record.state, record.result, record.attempts) == ("cancelled", "cancelled", 1)
        assert not scene.host.consumer.cancel(call)
        assert scene.stage.ran == [b"wait"]

    perform(work)


def test_a_call_that_waits_can_be_cancelled():
    """It never runs; what waits behind it does."""

    async def work(scene: Scene) -> None:
        await scene.deploy(flow={"max_inflight": 1})
        first = await scene.enqueue(b"wait")
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        second, third = await scene.enqueue(b"second"), await scene.enqueue(b"third")
        await scene.host.calls.cancel(second)
        assert (await scene.ended(second)).state == "cancelled"
        scene.stage.let_go()
        assert (await scene.ended(third)).state == (await scene.ended(first)).state == "succeeded"
        assert scene.stage.ran == [b"wait", b"third"]

    perform(work)
