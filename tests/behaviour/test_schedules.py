"""Schedules in a real host: functions are called at their times, through the queue."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from command_line import built, guesthouse
from guesthouse import AsyncHost
from guesthouse.errors import BadRequest
from guesthouse.queue.call import Record
from guesthouse.queue.queue import Page
from harness import until
from served import served
from support import guest

PATIENCE = 30
EACH_SECOND = "* * * * * *"


async def records(host: AsyncHost, name: str, count: int) -> list[Record]:
    """The first calls of a function, oldest first, once so many have ended."""
    while True:
        found, _ = await host.calls.list(Page(function=("default", name)))
        if len(found) >= count:
            return [await host.calls.attach(record.id, PATIENCE) for record in list(found)[::-1][:count]]
        await asyncio.sleep(0.02)


def test_functions_are_called_at_their_times() -> None:
    """A web function is told which schedule and which tick it is; a spawn function gets the body as its payload."""

    async def run() -> None:
        async with asyncio.timeout(PATIENCE), AsyncHost(slots=16) as host:
            schedule = {"cron": EACH_SECOND, "body": "null"}
            await host.deploy("web-support", guest("web-support"), schedule=[schedule])
            await host.deploy("spawn-unit", guest("spawn-unit"), schedule=[schedule])
            first, second = await records(host, "web-support", 2)
            told = []
            for record in (first, second):
                assert (record.state, record.mode) == ("succeeded", "async")
                output = await host.calls.output(record.id)
                assert output is not None
                told.append(json.loads(output.body)[0])
            headers = [dict(map(tuple, asked["headers"])) for asked in told]
            assert all(found["guesthouse-schedule"] == EACH_SECOND for found in headers)
            ticks = [found["guesthouse-tick"] for found in headers]
            assert ticks[0] < ticks[1]
            assert [asked["method"] for asked in told] == ["POST", "POST"]
            (spawned,) = await records(host, "spawn-unit", 1)
            assert spawned.state in ("succeeded", "dead")

    asyncio.run(run())


def test_what_is_no_schedule_is_refused_at_deploy() -> None:
    """And nothing is deployed: neither for an expression, nor for a time zone, nor for words that there are not."""

    async def run() -> None:
        async with AsyncHost(slots=16) as host:
            for schedule in ({"cron": "never"}, {"cron": EACH_SECOND, "timezone": "Mars/Base"}, {"when": EACH_SECOND}):
                with pytest.raises(BadRequest, match="schedule"):
                    await host.deploy("echo", guest("echo"), schedule=[schedule])
            with pytest.raises(BadRequest, match="schedule: it lacks 'cron'"):
                await host.deploy("echo", guest("echo"), schedule=[{"body": "x"}])
            assert host.registry.list() == ()

    asyncio.run(run())


def test_a_schedule_comes_from_the_command_line_and_survives_a_kill(tmp_path: Path) -> None:
    """Each tick is one call, before and after."""
    wasm = built("headers")

    def ticks() -> list[str]:
        found = []
        for call in server.request("GET", "/invocations?function=default/headers&state=succeeded&limit=1000").json[
            "invocations"
        ]:
            output = server.request("GET", f"/invocations/{call['id']}/output").json
            found.append(output["headers"]["guesthouse-tick"])
        return found

    with served(tmp_path / "data") as server:
        said = guesthouse("deploy", wasm, "--name", "headers", "--schedule", EACH_SECOND, "--url", server.url)
        assert said.status == 0, said.err
        shown = guesthouse("versions", "show", "headers", "--url", server.url).out
        assert f"  schedule  {EACH_SECOND} (UTC)\n" in shown
        assert "retry" not in shown
        assert guesthouse("deploy", wasm, "--timezone", "Europe/Berlin", "--url", server.url).status == 2
        said = guesthouse("deploy", wasm, "--schedule", "0 25 * * *", "--url", server.url)
        assert (said.status, "hour" in said.err) == (1, True)
        until(lambda: ticks() != [], "no tick came")
        before = ticks()
    with served(tmp_path / "data") as server:
        until(lambda: len(ticks()) > len(before), "no tick came after the restart")
        after = ticks()
        assert set(before) < set(after)
        assert len(set(after)) == len(after)
