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
from waiting import Waiting, perform, performed

NAME = {"name": "Ada"}
ALL = InvocationsConfig(record="all")


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
        id, awakeable = await at.asked([start, wait(0)])
        record = await only(at, "starts")
        assert (record.state, record.note) == ("succeeded", "")
        await at.waits(id)
        await at.host.resolve(awakeable, b'"now"')
        assert (await at.trace(id))[3] == {"ok": "now"}

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
