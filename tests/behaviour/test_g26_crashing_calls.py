"""G26: a call that ends its host is put away after two processes, and nothing else suffers for it.

The host is a process of its own; what ends it is a host function that only this test has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stage import PATIENCE, Scene, perform
from support import ROOT

INNOCENT = 12
LIVES = f"""
import asyncio, json, os, sys
from dataclasses import dataclass
from guesthouse import AsyncHost
from guesthouse.queue.config import QueueConfig
from stage import MovedClock, Scene, Stage, host_call, STAGE

first = sys.argv[2] == "first"

@dataclass
class Fatal(Stage):
    __hash__ = Stage.__hash__

    @host_call(STAGE, "act")
    async def act(self, invocation, body):
        if body == b"crash":
            await self.when(lambda: not first or self.acting["actor"] == {INNOCENT})
            os.abort()
        if first:
            self.holding = True
        return await super().act(invocation, body)

async def work():
    stage, clock = Fatal(), MovedClock()
    async with AsyncHost(sys.argv[1], interfaces=[stage], clock=clock, queue=QueueConfig(inflight=64)) as host:
        scene = Scene(host, stage, clock)
        if first:
            await scene.deploy()
            await scene.deploy("late")
            for number in range({INNOCENT}):
                await scene.enqueue(b"innocent %d" % number)
            await scene.enqueue(b"later", "late", due_ms=scene.now_ms() + 3_600_000)
            await scene.enqueue(b"crash")
        while True:
            records = (await host.queue.list())[0]
            if sum(record.state in ("queued", "running") for record in records) == 1:
                break
            await asyncio.sleep(0.002)
        fresh = await scene.ended(await scene.enqueue(b"fresh"))
        found = [[record.name, record.state, record.result, record.reason, record.attempts] for record in records]
        print(json.dumps({{"found": found, "fresh": fresh.state, "ran": [body.decode() for body in stage.ran]}}), flush=True)

asyncio.run(work())
"""


def live(directory: Path, which: str) -> tuple[int, str]:
    """One life of the host: how it ended, and what it said."""
    command = [sys.executable, "-c", LIVES, str(directory), which]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'host'}:{ROOT / 'tests'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    return done.returncode, done.stdout or done.stderr[-2_000:]


def test_a_call_that_kills_its_host_is_put_away_after_two_processes_and_the_others_end_well(tmp_path: Path) -> None:
    """Twelve calls ran beside it when it killed the first host: each of them ends, and none is taken for the culprit."""
    assert live(tmp_path, "first")[0] == -signal.SIGABRT
    assert live(tmp_path, "again")[0] == -signal.SIGABRT
    status, said = live(tmp_path, "again")
    assert status == 0, said
    told = json.loads(said)
    ended = [found for found in told["found"] if found[1] not in ("queued", "running")]
    dead = [found for found in ended if found[1] == "dead"]
    assert [found[:4] for found in dead] == [["actor", "dead", "lost", "the host died while it ran, twice"]]
    assert [found[1] for found in ended if found not in dead] == ["succeeded"] * INNOCENT
    assert told["fresh"] == "succeeded"
    assert "crash" not in told["ran"]


KILLED = """
import asyncio, sys
from guesthouse import AsyncHost
from stage import MovedClock, Scene, Stage

async def work():
    stage, clock = Stage(holding=True), MovedClock()
    async with AsyncHost(sys.argv[1], interfaces=[stage], clock=clock) as host:
        scene = Scene(host, stage, clock)
        await scene.deploy()
        ids = [await scene.enqueue(b"once", attempts=1)] + [await scene.enqueue(b"wait") for _ in range(3)]
        await stage.when(lambda: stage.acting["actor"] == 4)
        print(*ids, flush=True)
        await asyncio.sleep(3600)

asyncio.run(work())
"""


@pytest.fixture
def cut_off(tmp_path: Path) -> tuple[Path, list[str]]:
    """A directory whose host was killed while it ran four calls, of which the first may run once only."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'host'}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        ids = child.stdout.readline().split()
        child.kill()
    return tmp_path, ids


def test_a_call_that_was_cut_off_runs_again_unless_it_may_run_once_only(cut_off: tuple[Path, list[str]]) -> None:
    """At least once by default; a call with one attempt is lost, says so, and can be driven again by whoever dares."""
    directory, (once, *often) = cut_off

    async def work(scene: Scene) -> None:
        scene.stage.let_go(len(often))
        lost = await scene.ended(once)
        assert (lost.state, lost.result, lost.reason) == ("dead", "lost", "the host died while it ran")
        for call in often:
            ran = await scene.ended(call)
            assert (ran.state, ran.attempts) == ("succeeded", 2)
        assert scene.stage.ran == [b"wait"] * 3
        assert (await scene.host.queue.request(once)).body == b"once"

    perform(work, data_dir=directory)


def test_calls_with_a_strike_run_one_after_the_other(cut_off: tuple[Path, list[str]]) -> None:
    """While one of them runs the next one is not even taken; calls without a strike pass by."""
    directory, ids = cut_off

    async def work(scene: Scene) -> None:
        await scene.stage.when(lambda: scene.stage.acting["actor"] == 1)
        assert (await scene.ended(await scene.enqueue(b"fresh"))).state == "succeeded"
        assert scene.stage.acting["actor"] == 1
        assert [(await scene.host.queue.find(call)).state for call in ids[1:]].count("running") == 1
        scene.stage.let_go(len(ids))
        for call in ids[1:]:
            assert (await scene.ended(call)).attempts == 2
        assert scene.stage.most["actor"] == 2

    perform(work, data_dir=directory)
