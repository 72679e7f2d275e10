"""Workflows across restarts, clocks that are set, cancellations and kills."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from guesthouse.dispatch.invocations import HasEnded
from guesthouse.queue.queue import UnknownInvocation
from waiting import CANCELLED, KINDS, OK, TIMED_OUT, Waiting, perform, performed

DAY = 24 * 3_600_000
NAME = {"name": "Ada"}
HELLO = {"ok": {"message": "Hello, Ada!"}}
both = pytest.mark.parametrize("kind", KINDS)


def call(function: str, payload: Any, **more: Any) -> dict[str, Any]:
    return {"call": {"function": function, "payload": payload, **more}}


def wait(of: int, timeout_ms: int | None = None) -> dict[str, Any]:
    return {"wait": {"of": of, "timeout_ms": timeout_ms}}


def lives(tmp_path: Path, *works: Any, **options: Any) -> None:
    """Parts of a test, each on a host of its own."""
    performed("durable", works, data=tmp_path / "data", **options)


# -- time


@pytest.mark.parametrize("passed", [DAY + 1, 3 * DAY])
def test_a_timer_that_fired_while_the_host_was_down_ends_at_once(tmp_path: Path, passed: int) -> None:
    """Its time was written down."""
    ids: list[str] = []

    async def first(at: Waiting) -> None:
        ids.append(await at.start([{"sleep": DAY}, wait(0)]))
        await at.waits(ids[0])
        at.clock.wall_offset_ms += passed

    async def second(at: Waiting) -> None:
        assert (await at.trace(ids[0]))[1] == OK

    lives(tmp_path, first, second)


def test_of_a_time_out_only_the_rest_counts_after_a_restart(tmp_path: Path) -> None:
    """Not all of it again, however often the host was started."""
    ids: list[str] = []

    async def first(at: Waiting) -> None:
        ids.append(await at.start(["awakeable", wait(0, DAY)]))
        await at.waits(ids[0])
        at.clock.wall_offset_ms += DAY // 2

    async def second(at: Waiting) -> None:
        await at.waits(ids[0])
        record = await at.host.invocation(ids[0])
        assert 0 < record.due_ms - at.clock.wall_ns() // 1_000_000 <= DAY // 2
        at.advance(DAY // 2 + 1)
        assert (await at.trace(ids[0]))[1] == TIMED_OUT

    lives(tmp_path, first, second)


def test_a_clock_that_is_put_back_makes_a_timer_later_and_never_fires_it_twice(tmp_path: Path) -> None:
    """What has ended stays so, for a race and for the wait after it."""

    async def work(at: Waiting) -> None:
        invocation, awakeable = await at.asked(
            [{"sleep": DAY}, {"select": {"of": [0, 1], "first": "to-end"}}, wait(0), wait(1)]
        )
        await at.waits(invocation)
        at.advance(-DAY)
        await asyncio.sleep(0)
        assert (await at.host.invocation(invocation)).state == "suspended"
        at.advance(2 * DAY + 1)
        await at.until(lambda: raced(at, invocation))
        at.advance(-DAY)
        await at.host.resolve(awakeable)
        assert (await at.trace(invocation))[3:] == [{"ok": 1}, OK, OK]

    async def raced(at: Waiting, invocation: str) -> bool:
        record = await at.host.invocation(invocation)
        return record.state == "suspended" and not record.due_ms

    perform("durable", work, data=tmp_path / "data")


@both
def test_many_timers_end_in_their_order(kind: str) -> None:
    """At once where the time has passed for all."""

    async def work(at: Waiting) -> None:
        timers = [{"sleep": 30 - place} for place in range(30)]
        trace = await at.run([*timers, {"select": {"of": list(range(30)), "first": "to-end"}}, {"gather": {}}])
        assert trace[30] == {"ok": 29}
        assert trace[31] == [OK] * 30

    perform(kind, work)


# -- restarts


def test_steps_calls_and_state_survive_a_restart(tmp_path: Path) -> None:
    """The step is not run again, its value is the same; the call goes on; what was set is set."""
    ids: list[str] = []

    async def first(at: Waiting) -> None:
        asks = ["awakeable", {"publish": ["ids", "$id:0"]}, wait(0)]
        await at.deploy("asks", environment={"SCRIPT": json.dumps(asks)})
        script = [
            {"run": {"name": "a", "ends": ["ok"], "do": ["random"]}},
            {"set": ["n", 7]},
            call("asks", []),
            {"run": {"name": "b", "ends": ["ok"], "do": ["random"]}},
            {"publish": ["values", "told"]},
            wait(0),
            {"get": "n"},
            "names",
        ]
        ids.append(await at.start(script, key="ada"))
        texts = {await at.published(), await at.published()}
        ids.append((texts - {"told"}).pop())
        await at.waits(ids[0])

    async def second(at: Waiting) -> None:
        await at.host.resolve(ids[1], b'"yes"')
        trace = await at.trace(ids[0])
        assert trace[5]["ok"][2] == {"ok": "yes"}
        assert trace[6:] == [{"ok": 7}, {"ok": ["n"]}]
        assert len((await at.host.invocations())[0]) == 2

    lives(tmp_path, first, second)


def test_a_steps_runs_and_the_time_of_the_next_survive_a_restart(tmp_path: Path) -> None:
    """The policy does not begin again."""
    ids: list[str] = []
    ends = [{"temporary": "not yet"}, {"temporary": "not yet"}]
    step = {"run": {"name": "a", "attempts": 2, "min_wait_ms": DAY, "max_wait_ms": DAY, "ends": ends, "do": [NOTE]}}

    async def first(at: Waiting) -> None:
        ids.append(await at.start([step, {"value": 1}]))
        assert await at.published() == "a run"
        await at.waits(ids[0])

    async def second(at: Waiting) -> None:
        await at.waits(ids[0])
        assert at._texts.empty()
        at.advance(DAY)
        trace = await at.trace(ids[0])
        assert trace[0]["failed"]["message"] == "not yet"
        assert await at.published() == "a run"
        assert at._texts.empty()

    lives(tmp_path, first, second)


NOTE = {"publish": ["ids", "a run"]}


def test_a_race_that_was_decided_stays_so(tmp_path: Path) -> None:
    """The loser came before the restart, too."""
    ids: list[str] = []

    async def first(at: Waiting) -> None:
        script = ["awakeable", "awakeable", {"publish": ["ids", "$id:0"]}, {"publish": ["ids", "$id:1"]}]
        script += [{"select": {"of": [0, 1], "first": "to-end"}}, "awakeable", {"publish": ["ids", "$id:2"]}, wait(2)]
        ids.append(await at.start([*script, {"select": {"of": [0, 1], "first": "to-end"}}, wait(0), wait(1)]))
        ids.extend([await at.published(), await at.published()])
        await at.host.resolve(ids[2], b"1")
        ids.append(await at.published())
        await at.host.resolve(ids[1], b"0")

    async def second(at: Waiting) -> None:
        await at.host.resolve(ids[3])
        trace = await at.trace(ids[0])
        assert trace[4] == {"ok": 1}
        assert trace[9:] == [{"ok": 0}, {"ok": 1}]

    lives(tmp_path, first, second)


def test_an_invocation_tells_how_often_it_was_tried_and_not_how_often_it_was_interrupted(tmp_path: Path) -> None:
    """A suspension is no attempt; a failure is one."""
    ids: list[str] = []
    script = [{"sleep": DAY}, wait(0), {"if_attempt": [1, [{"fail": {"temporary": "once"}}]]}, "current"]

    async def first(at: Waiting) -> None:
        ids.append(await at.start(script))
        await at.waits(ids[0])

    async def second(at: Waiting) -> None:
        await at.waits(ids[0])
        at.advance(DAY + 1)
        trace = await at.trace(ids[0])
        assert trace[-1]["attempt"] == 2

    lives(tmp_path, first, second)


# -- cancelling


WAITS = {
    "a call": [call("greet", NAME, delay_ms=DAY), wait(0)],
    "a timer": [{"sleep": DAY}, wait(0)],
    "an awakeable": ["awakeable", wait(0)],
    "a race": [{"sleep": DAY}, {"select": {"of": [0], "first": "to-end"}}],
    "several": [{"sleep": DAY}, {"gather": {}}],
    "a step": [
        {"value": 0},
        {"run": {"name": "a", "min_wait_ms": 3_000_000, "max_wait_ms": 3_000_000, "ends": [{"temporary": ""}]}},
    ],
}


@pytest.mark.parametrize("grace_ms", [0, 60_000])
@pytest.mark.parametrize("what", WAITS)
def test_a_cancelled_invocation_hears_of_it_once_where_it_waits_and_goes_on(what: str, grace_ms: int) -> None:
    """Suspended or in memory; it can put right what it did, and is told nothing a second time."""

    async def work(at: Waiting) -> None:
        made = 0 if what == "a step" else 1
        rest = [call("greet", NAME), {"sleep": 1}, {"gather": {"of": [made, made + 1]}}, {"value": "put right"}]
        script = [*WAITS[what], {"if_failed": [[{"value": "cancelled"}], []]}, *rest]
        invocation = await at.start(script)
        await at.until(lambda: at._waits(invocation) if not grace_ms else in_memory(at, invocation))
        await at.host.cancel(invocation)
        trace = await at.trace(invocation)
        told = trace[1][0] if what == "several" else trace[1]
        assert told == CANCELLED
        assert trace[-1] == "put right"
        assert trace[-2] == [HELLO, OK]
        with pytest.raises(HasEnded):
            await at.host.cancel(invocation)

    async def in_memory(at: Waiting, invocation: str) -> bool:
        workflow = at.host.workflows._stored.get(invocation)
        return workflow is not None and workflow._changed is not None and not workflow._changed.done()

    perform("durable", work, grace_ms=grace_ms)


def test_a_cancellation_is_told_once_though_the_host_is_started_again(tmp_path: Path) -> None:
    """What follows it works, in the next run too."""
    ids: list[str] = []

    async def first(at: Waiting) -> None:
        ids.append(await at.start([{"sleep": DAY}, wait(0), {"sleep": DAY}, wait(1), {"value": "put right"}]))
        await at.waits(ids[0])
        due = (await at.host.invocation(ids[0])).due_ms
        at.advance(5)
        await at.host.cancel(ids[0])
        await at.until(lambda: later(at, due))
        await at.host.cancel(ids[0])  # it knows already

    async def later(at: Waiting, due: int) -> bool:
        record = await at.host.invocation(ids[0])
        return record.state == "suspended" and record.due_ms > due

    async def second(at: Waiting) -> None:
        await at.waits(ids[0])
        at.advance(DAY + 10)
        trace = await at.trace(ids[0])
        assert (trace[1], trace[3:]) == (CANCELLED, [OK, "put right"])

    lives(tmp_path, first, second)


def tree(depth: int, end: str) -> list[Any]:
    """A script that calls one that calls one …, and says what became of it when it was told."""
    if not depth:
        return ["awakeable", {"publish": ["ids", "ready"]}, wait(0), {"publish": ["ids", f"{end} 0"]}]
    return [call("probe", tree(depth - 1, end)), wait(0), {"publish": ["ids", f"{end} {depth}"]}]


def test_a_cancelled_tree_is_told_from_its_leaves(tmp_path: Path) -> None:
    """Each of it hears that it was cancelled itself, and not only what it waits for."""

    async def work(at: Waiting) -> None:
        invocation = await at.start(tree(3, "told"))
        assert await at.published() == "ready"
        await at.waits(invocation)
        await at.host.cancel(invocation)
        trace = await at.trace(invocation)
        assert trace[1] == CANCELLED
        assert {await at.published() for _ in range(4)} == {f"told {depth}" for depth in range(4)}
        for record in (await at.host.invocations("probe"))[0]:
            assert (await at.trace(record.id))[1 if record.depth < 3 else 2] == CANCELLED

    perform("durable", work, data=tmp_path / "data")


def test_a_killed_tree_ends_at_once_and_gives_its_keys_back(tmp_path: Path) -> None:
    """Nobody of it is asked, and the next calls with those keys run."""

    async def work(at: Waiting) -> None:
        leaf = ["awakeable", {"publish": ["ids", "ready"]}, wait(0), {"publish": ["ids", "told"]}]
        invocation = await at.start([call("probe", leaf, key="leaf"), wait(0)], key="root")
        assert await at.published() == "ready"
        await at.waits(invocation)
        behind = [await at.start([{"value": place}], key=key) for place, key in enumerate(("leaf", "root"))]
        waiting = asyncio.create_task(at.host.attach(invocation))
        await asyncio.sleep(0)
        await at.host.kill(invocation)
        record = await waiting
        assert (record.state, record.reason) == ("cancelled", "it was killed")
        assert [await at.trace(each) for each in behind] == [[0], [1]]
        assert {record.state for record in (await at.host.invocations("probe"))[0]} == {"cancelled", "succeeded"}
        assert at._texts.empty()
        with pytest.raises(HasEnded):
            await at.host.kill(invocation)

    perform("durable", work, data=tmp_path / "data")


@both
def test_a_function_cancels_and_kills_those_of_its_family_alone(kind: str) -> None:
    """What somebody else called, and what does not exist, is answered alike."""

    async def work(at: Waiting) -> None:
        stranger = await at.start(["awakeable", wait(0)])
        await at.waits(stranger)
        trace = await at.run(
            [
                {"cancel": stranger},
                {"kill": stranger},
                {"cancel": "nobody"},
                call("greet", NAME, delay_ms=DAY),
                {"kill": "$id:0"},
                wait(0),
                {"send": {"function": "greet", "payload": NAME, "delay_ms": DAY}},
                {"cancel": "$sent"},
                {"cancel": "$sent"},
                {"sleep": 1},
                {"cancel": "$id:1"},
            ]
        )
        assert [trace[place]["failed"]["code"] for place in (0, 1, 2, 10)] == [404] * 4
        assert (trace[4], trace[7], trace[8]) == (OK, OK, OK)  # what has ended has ended
        assert trace[5]["failed"]["kind"] == "cancelled"
        await at.host.kill(stranger)

    perform(kind, work)


def test_a_guest_that_never_waits_is_ended_by_a_cancellation(tmp_path: Path) -> None:
    """Nobody could tell it; it has nothing to put right either."""

    async def work(at: Waiting) -> None:
        await at.deploy("plain", "greet")
        invocation = await at.host.enqueue("plain", b"{}", delay_ms=DAY)
        await at.host.cancel(invocation)
        assert (await at.ended(invocation)).state == "cancelled"
        failing = await at.host.enqueue("plain", b"not json")  # is tried again, and waits for that
        await at.until(lambda: tried(at, failing))

    async def tried(at: Waiting, invocation: str) -> bool:
        return (await at.host.invocation(invocation)).attempts > 0

    perform("durable", work, data=tmp_path / "data")


def test_an_invocation_that_does_not_exist_cannot_be_killed() -> None:
    """As it cannot be cancelled."""

    async def work(at: Waiting) -> None:
        with pytest.raises(UnknownInvocation):
            await at.host.kill("nobody")
        with pytest.raises(UnknownInvocation):
            await at.host.cancel("nobody")

    perform("volatile", work)


def test_a_direct_call_that_is_not_durable_is_killed_as_it_is_cancelled() -> None:
    """It runs in memory, and that is all there is of it."""

    async def work(at: Waiting) -> None:
        running = asyncio.create_task(at.host.invoke("probe", b'["my_id", "awakeable", {"wait": {"of": 0}}]'))
        await at.until(lambda: begun(at))
        (invocation,) = at.host.workflows._memory
        await at.host.kill(invocation)
        assert (await running).result == "cancelled"

    async def begun(at: Waiting) -> bool:
        return bool(at.host.workflows._memory)

    perform("volatile", work)
