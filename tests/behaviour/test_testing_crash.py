"""Crashes of a simulated host: what was begun has no effect, what was acknowledged is kept, and nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from guesthouse._native.handle import stores
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.invocation import Invocation
from guesthouse.testing import AsyncSimulatedHost, Crashed, SimulatedHost
from harness import files
from stage import ACTOR, STAGE
from support import guest, wat

DAY = 86_400_000


class Gatekeeper(Interface):
    """Holds every actor until a test lets it go, or its host dies."""

    name = "stage"
    wit = "package test:stage@1.0.0; interface stage { act: func(body: list<u8>) -> tuple<u32, string>; }"

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = False
        self.runs = 0

    @host_call(STAGE, "act")
    async def act(self, invocation: Invocation, body: bytes) -> tuple[int, str]:
        self.runs += 1
        self.begun.set()
        if not self.open:
            await asyncio.get_running_loop().create_future()
        return 200, ""


def test_what_was_acknowledged_survives_and_runs_at_its_time() -> None:
    """A call for later is kept over a crash, over a stop, and over days in which there was no host."""
    with SimulatedHost() as host:
        host.deploy("echo", guest("echo"))
        start = host.now
        ids = [host.enqueue("echo", str(days).encode(), delay_ms=days * DAY) for days in (1, 5, 9)]
        host.crash()
        host.restart()
        assert (host.now, [host.invocation(call).state for call in ids]) == (start, ["queued"] * 3)
        host.crash(timedelta(days=4))
        assert host.run_to_end(ids[0]).text == "1"
        assert host.now == start + timedelta(days=4), "it was late, but needs no further time"
        assert host.run_to_end(ids[2]).text == "9"
        assert host.now == start + timedelta(days=9)
        assert host.result(ids[1]).text == "5"


def test_a_run_that_a_crash_cuts_off_is_run_again() -> None:
    """As after `kill -9`: the next host takes it back with a strike."""
    keeper = Gatekeeper()
    with SimulatedHost(interfaces=[keeper]) as host:
        host.deploy("actor", wat(ACTOR), limits={"deadline_ms": 3_600_000})
        call = host.enqueue("actor")
        host.run_until_idle()
        assert host.invocation(call).state == "running"
        keeper.open = True
        host.crash()
        assert host.run_to_end(call).ok
        assert (keeper.runs, host.simulation.crashes) == (2, 1)


def test_whoever_waits_for_a_host_that_dies_is_told_so() -> None:
    """A call that is under way ends with `Crashed`, as a connection does that breaks off."""
    keeper = Gatekeeper()

    async def work() -> None:
        async with AsyncSimulatedHost(interfaces=[keeper]) as host:
            await host.deploy("actor", wat(ACTOR), limits={"deadline_ms": 3_600_000})
            call = asyncio.create_task(host.use(lambda inner: inner.invoke("actor")))
            await asyncio.to_thread(keeper.begun.wait, 30)
            await host.crash()
            with pytest.raises(Crashed):
                await call

    asyncio.run(work())


def test_a_stop_waits_for_what_runs_and_a_crash_does_not() -> None:
    """The end of a run is kept by a stop; a crash throws away what was not committed."""
    with SimulatedHost() as host:
        host.deploy("clock", guest("clock"), limits={"deadline_ms": 3_600_000})
        first = host.enqueue("clock", method="GET", query=[("sleep_ms", "2000")])
        host.run_until_idle()
        host.restart()
        assert host.invocation(first).state == "succeeded"
        second = host.enqueue("clock", method="GET", query=[("sleep_ms", "2000")])
        host.run_until_idle()
        host.crash()
        assert host.invocation(second).state in ("queued", "running")
        assert host.run_to_end(second).record.attempts == 2


def test_nothing_of_a_dead_host_is_left() -> None:
    """Guests, files and tasks of a host that crashed in the middle of its work are given back."""
    keeper = Gatekeeper()
    with SimulatedHost(interfaces=[keeper]) as host:
        host.deploy("actor", wat(ACTOR), limits={"deadline_ms": 3_600_000})
        host.crash()
        before = files()
        for _ in range(20):
            for _ in range(3):
                host.enqueue("actor")
            host.run_until_idle()
            host.crash()
        assert files() <= before + 3  # of the runs that the next host has begun already
    made, deleted = stores()
    assert made == deleted


def test_a_data_directory_can_be_given_and_is_that_of_any_host(tmp_path: Path) -> None:
    """What one simulated host leaves there another one finds."""
    with SimulatedHost(tmp_path) as host:
        host.deploy("echo", guest("echo"))
        call = host.enqueue("echo", b"later", delay_ms=DAY)
    with SimulatedHost(tmp_path) as host:
        assert host.run_to_end(call).text == "later"


def test_a_host_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """The reason is that of the host."""
    (tmp_path / "guesthouse.db").write_bytes(b"something else" * 100)
    with pytest.raises(Exception, match="database"):
        SimulatedHost(tmp_path)
