"""F11: a call that can never succeed ends as a dead letter, and holds up no other one meanwhile."""

from __future__ import annotations

from guesthouse.dispatch.flow import LONGEST_PAUSE_NS
from stage import Scene, perform

DAY_MS = 24 * 3_600_000


def test_a_function_that_always_traps_is_dead_after_five_attempts_with_growing_waits() -> None:
    """The defaults: five runs, each wait up to twice as long as the one before; the request, result and reason stay."""

    async def work(scene: Scene) -> None:
        await scene.deploy()
        scene.stage.script[b"poison"] = [(0, "")]
        call = await scene.enqueue(b"poison")
        for attempts in (1, 2, 3, 4):
            record = await scene.retried(call, attempts)
            wait_ms = record.due_ms - scene.now_ms()
            assert wait_ms <= 1_000 << attempts - 1
            scene.advance(max(0, wait_ms) + 1)
        record = await scene.ended(call)
        assert (record.state, record.result, record.attempts) == ("dead", "trapped", 5)
        assert (await scene.host.queue.request(call)).body == b"poison"
        assert scene.stage.ran == [b"poison"] * 5

    perform(work)


def test_others_pass_by_a_poison_message_of_their_own_function() -> None:
    """One place to run: while poison waits for its next try, every other call runs; none of them waits for a dead one."""

    async def work(scene: Scene) -> None:
        await scene.deploy(flow={"max_inflight": 1})
        for number in range(10):
            scene.stage.script[b"poison %d" % number] = [(0, "")]
        poison = [await scene.enqueue(b"poison %d" % number) for number in range(10)]
        good = [await scene.enqueue(b"good %d" % number) for number in range(20)]
        for call in good:
            assert (await scene.ended(call)).state == "succeeded"
        for call in poison:
            assert (await scene.retried(call, 1)).result == "trapped"

    perform(work)


def test_poison_of_one_function_takes_no_turn_of_another() -> None:
    """A hundred dead letters in the making, and a function that has nothing to do with them."""

    async def work(scene: Scene) -> None:
        await scene.deploy("sick", retry={"min_wait_ms": 1, "max_wait_ms": 1})
        await scene.deploy("sound")
        scene.stage.script[b"poison"] = [(0, "")]
        poison = [await scene.enqueue(b"poison", "sick") for _ in range(100)]
        assert (await scene.ended(await scene.enqueue(b"fine", "sound"))).state == "succeeded"
        for call in poison:
            while (await scene.host.queue.find(call)).state != "dead":
                scene.advance(2)
                await scene.when(call, lambda record: record.state in ("queued", "dead"))
        assert scene.stage.ran.count(b"poison") == 500
        state = (await scene.host.consumer.states())[0]
        assert (state.function, state.queued, state.dead) == (("default", "sick"), 0, 100)

    perform(work, inflight=4)


def test_one_answer_cannot_stop_its_function_for_long() -> None:
    """A Retry-After of a day pauses its call for as long as the policy says, and the others for a minute."""

    async def work(scene: Scene) -> None:
        await scene.deploy(retry={"max_wait_ms": DAY_MS, "max_age_ms": 30 * DAY_MS})
        scene.stage.script[b"away"] = [(503, "86400"), (200, "")]
        call = await scene.enqueue(b"away")
        record = await scene.retried(call, 1)
        assert record.due_ms - record.started_ms > DAY_MS - 5_000
        other = await scene.enqueue(b"other")
        scene.advance(LONGEST_PAUSE_NS // 1_000_000)
        assert (await scene.ended(other)).state == "succeeded"
        scene.advance(DAY_MS)
        assert (await scene.ended(call)).state == "succeeded"

    perform(work)
