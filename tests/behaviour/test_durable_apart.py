"""What a durable call does and what others do at the same time: each in transactions of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guesthouse.queue.call import LIVE, Record
from guesthouse.queue.config import InvocationsConfig
from guesthouse.storage.errors import StorageFull
from play import crash
from support import guest
from waiting import KINDS, OK, PROBE, Waiting, perform, performed

NAME = {"name": "Ada"}
ALL = InvocationsConfig(record="all")
DAY = 24 * 3_600_000


def call(function: str, payload: Any, **more: Any) -> dict[str, Any]:
    return {"call": {"function": function, "payload": payload, **more}}


def wait(of: int, timeout_ms: int | None = None) -> dict[str, Any]:
    return {"wait": {"of": of, "timeout_ms": timeout_ms}}


async def only(at: Waiting, name: str) -> Record:
    """The record of the one call of a function, once that has ended."""

    async def known() -> bool:
        found = [record for record in (await at.host.queue.list())[0] if record.name == name]
        return bool(found) and found[0].state not in LIVE

    await at.until(known)
    (record,) = [record for record in (await at.host.queue.list())[0] if record.name == name]
    return record


def test_what_a_started_function_does_is_not_in_the_journal_of_the_one_that_started_it() -> None:
    """Neither is undone when that one is suspended, nor is anything in its journal that it has not done."""

    async def work(at: Waiting) -> None:
        await at.host.deploy("starts", guest("durable-spawn"))
        start = {"spawn": ["starts", {"call": ["greet", NAME]}]}
        parent, awakeable = await at.asked([start, wait(0)])
        record = await only(at, "starts")
        assert (record.state, record.note) == ("succeeded", "")
        await at.waits(parent)
        await at.host.resolve(awakeable, b'"now"')
        assert (await at.trace(parent))[3] == {"ok": "now"}

    perform("durable", work, invocations=ALL)


@pytest.mark.parametrize("how", ["call", "send", "set", "spawn"])
def test_what_was_committed_is_not_refused_to_the_run_that_goes_on(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that is in the queue already needs no room there or on the disk, nor its function; nor does a value that is set."""
    later = {"function": "greet", "payload": NAME, "delay_ms": 3_600_000}
    effect = {
        "call": [{"calls": [later]}, {"id": 1}],
        "send": [{"send": later}],
        "set": [{"set": ["a", 1]}],
        "spawn": [{"spawn": ["later", {}]}],
    }[how]
    lives: list[str] = []

    async def first(at: Waiting) -> None:
        await at.host.deploy("later", guest("durable-spawn"))
        lives.extend(await at.asked([{"block": effect}, wait(0)], key="k"))

        async def waits_in_memory() -> bool:
            return bool(at.host.dispatcher.lingering)

        await at.until(waits_in_memory)
        await crash(at.host)

    async def second(at: Waiting) -> None:
        monkeypatch.setattr(at.host.queue._space, "check", full)
        await at.host.delete("greet")
        await at.host.delete("later")
        await at.host.resolve(lives[1])
        done = (await at.trace(lives[0]))[2]
        calls = [record.id for record in (await at.host.queue.list())[0] if record.name == "greet"]
        assert done == ([{"promises": [1, 1]}, *calls] if how == "call" else [{"ok": None}])

    def full() -> None:
        raise StorageFull("there is no room")

    performed("durable", [first, second], data=tmp_path, grace_ms=60_000)


def test_a_tree_that_waits_in_memory_is_killed_like_one_that_is_suspended() -> None:
    """What runs is no exception: it does not go on, is not tried again, and its children end with it."""

    async def work(at: Waiting) -> None:
        parent = await at.start([call("probe", ["awakeable", wait(0)]), {"publish": ["ids", "$id:0"]}, wait(0)])
        child = await at.published()

        async def both_run() -> bool:
            return {(await at.host.invocation(one)).state for one in (parent, child)} == {"running"}

        await at.until(both_run)
        await at.host.kill(parent)
        ends = [await at.ended(one) for one in (parent, child)]
        assert [(end.state, end.reason) for end in ends] == [("cancelled", "it was killed")] * 2

    perform("durable", work, grace_ms=60_000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_somebody_else_made_first_is_not_cancelled_with_the_rest(kind: str) -> None:
    """Two have called with the same idempotency key: the one that gives up is not the one whose call it is."""

    async def work(at: Waiting) -> None:
        await at.deploy("asks", PROBE)
        begun = {"publish": ["ids", "begun"]}
        shared = call("asks", [begun, {"sleep": DAY}, wait(0), {"value": 7}], idempotency_key="one")
        first = await at.start([shared, wait(0)])
        await at.published()
        await at.waits(first)
        fails = call("asks", [{"fail": {"terminal": "no"}}])
        assert (await at.run([shared, fails, {"gather": {}}]))[2][0] is None
        at.advance(DAY + 1)
        assert (await at.trace(first))[1]["ok"][2:] == [OK, 7]

    perform(kind, work)


def test_a_clock_that_is_first_read_in_a_step_is_none_that_a_later_run_misses() -> None:
    """The next run does not run the step: what it reads after it is what was read after it."""

    async def work(at: Waiting) -> None:
        script = [{"run": {"name": "looks", "do": ["clock"]}}, "clock", wait(0), "clock"]
        invocation, awakeable = await at.asked(script)
        await at.waits(invocation)
        at.advance(DAY)
        await at.host.resolve(awakeable)
        _, _, step, before, _, after = await at.trace(invocation)
        assert step["ok"][0] <= before <= after - DAY

    perform("durable", work)
