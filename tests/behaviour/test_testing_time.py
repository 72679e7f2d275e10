"""Simulated time: it stands still by itself, and when it passes everything falls due in its order, without any sleeping."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.invocation import Invocation
from guesthouse.queue.config import InvocationsConfig
from guesthouse.testing import AsyncSimulatedHost, SimulatedHost, Stuck
from stage import ACTOR, STAGE
from support import guest, wat

SOON = 20
"""Seconds of the machine's time that are more than enough for anything here."""
KEPT = InvocationsConfig(keep_days=365)


class Actors(Interface):
    """Answers actors with the statuses of a script, and notes at what time they asked."""

    name = "stage"
    wit = "package test:stage@1.0.0; interface stage { act: func(body: list<u8>) -> tuple<u32, string>; }"

    def __init__(self, host_now: list[datetime], *statuses: int) -> None:
        self.times = host_now
        self.bodies: list[bytes] = []
        self._statuses = list(statuses)
        self.clock = lambda: datetime.now(UTC)

    @host_call(STAGE, "act")
    def act(self, invocation: Invocation, body: bytes) -> tuple[int, str]:
        self.times.append(self.clock())
        self.bodies.append(body)
        return (self._statuses.pop(0) if self._statuses else 200), ""


def actors(*statuses: int, **options: object) -> tuple[SimulatedHost, Actors]:
    """A host with an actor."""
    stage = Actors([], *statuses)
    host = SimulatedHost(interfaces=[stage], **options)
    stage.clock = lambda: host.now
    host.deploy("actor", wat(ACTOR), retry={"attempts": 4, "min_wait_ms": 60_000, "max_wait_ms": 3_600_000})
    return host, stage


def test_a_call_in_thirty_days_runs_in_thirty_days_and_nobody_waits_for_it() -> None:
    """Time goes on in one step to what falls due next."""
    host, stage = actors()
    with host:
        began, start = time.monotonic(), host.now
        call = host.enqueue("actor", delay_ms=30 * 86_400_000)
        host.run_until_idle()
        assert (host.now, stage.times) == (start, [])
        assert host.run_to_end(call).ok
        assert stage.times == [start + timedelta(days=30)]
        assert host.simulation.life().loop.jumps == 1
        assert time.monotonic() - began < SOON


def test_what_falls_due_meanwhile_happens_at_its_time_and_in_its_order() -> None:
    """Advancing over many moments is as if somebody had waited."""
    host, stage = actors()
    with host:
        start = host.now
        for hours in (5, 1, 3):
            host.enqueue("actor", str(hours).encode(), delay_ms=hours * 3_600_000)
        assert host.advance(hours=4) == start + timedelta(hours=4)
        assert stage.bodies == [b"1", b"3"]
        assert stage.times == [start + timedelta(hours=hours) for hours in (1, 3)]
        host.advance(timedelta(hours=1))
        assert stage.bodies == [b"1", b"3", b"5"]


def test_retries_come_at_their_times() -> None:
    """A call that fails three times has waited for as long as its policy says."""
    host, stage = actors(500, 500, 500)
    with host:
        result = host.run("actor")
        assert (result.ok, result.record.attempts) == (True, 4)
        waits = [after - before for before, after in zip(stage.times, stage.times[1:], strict=False)]
        assert all(timedelta() < wait <= timedelta(hours=1) for wait in waits)
        assert len(set(waits)) == 3


def test_schedules_tick_while_time_passes() -> None:
    """A month of a weekly schedule is four runs, each on its Monday."""
    with SimulatedHost(invocations=KEPT) as host:
        host.deploy("echo", guest("echo"), schedule=[{"cron": "0 9 * * 1"}])
        host.advance(days=30)
        times = [datetime.fromtimestamp(record.queued_ms / 1e3, UTC) for record in host.invocations("echo")]
        assert sorted(times) == [datetime(2030, 1, day, 9, tzinfo=UTC) for day in (7, 14, 21, 28)]
        host.delete("echo")
        host.advance(days=30)
        assert len(host.invocations("echo")) == 4


def test_a_schedule_that_comes_with_a_later_deploy_is_kept() -> None:
    """Nobody has to look for new schedules while time passes."""
    with SimulatedHost(invocations=KEPT) as host:
        host.deploy("echo", guest("echo"))
        host.advance(days=3)
        host.deploy("echo", guest("echo"), schedule=[{"cron": "0 0 * * *"}])
        host.advance(days=3)
        assert len(host.invocations("echo")) == 3


def test_a_guest_that_sleeps_takes_no_time() -> None:
    """Sleeps of WASI are over at once, and the guest's clock has moved by as much."""
    with SimulatedHost() as host:
        host.deploy("clock", guest("clock"), limits={"deadline_ms": 3_600_000})
        began, start = time.monotonic(), host.now
        answer = json.loads(host.invoke("clock", query=[("sleep_ms", "1800000")]).body)
        assert (host.now - start) // timedelta(milliseconds=1) == 1_800_000
        assert answer["slept_ns"] // 1_000_000_000 == 1_800
        assert time.monotonic() - began < SOON


def test_a_guest_that_sleeps_too_long_meets_its_deadline() -> None:
    """Deadlines are times like any other."""
    with SimulatedHost() as host:
        host.deploy("clock", guest("clock"), limits={"deadline_ms": 10_000})
        start = host.now
        assert host.invoke("clock", query=[("sleep_ms", "1800000")]).result == "deadline"
        assert timedelta(seconds=5) < host.now - start <= timedelta(seconds=10)  # computing takes real time of it


def test_a_guest_that_computes_forever_is_ended_all_the_same() -> None:
    """Computing takes the machine's time, and is bounded by that, however far simulated time has gone."""
    with SimulatedHost(interfaces=[Actors([])]) as host:
        host.deploy(
            "spin", wat(ACTOR.replace("(call $act", "(loop $on (br $on)) (call $act")), limits={"deadline_ms": 50}
        )
        for _ in range(2):
            assert host.invoke("spin").result == "deadline"
            host.advance(days=300)


def test_what_needs_somebodys_act_is_not_waited_for() -> None:
    """Where no time brings what is waited for, waiting for it says so, and does not hang."""

    async def forever(inner: object) -> None:
        await asyncio.get_running_loop().create_future()

    with SimulatedHost() as host, pytest.raises(Stuck):
        host.use(forever, passes=True)


def test_time_begins_where_the_test_says() -> None:
    """Start and time zone are the test's."""
    start = datetime(2031, 5, 17, 12, tzinfo=timezone(timedelta(hours=2)))
    with SimulatedHost(start=start) as host:
        assert host.now == start
        host.deploy("clock", guest("clock"))
        answer = json.loads(host.invoke("clock").body)
        assert answer["unix_ms"] == int(start.timestamp() * 1_000)
    with pytest.raises(ValueError, match="time zone"):
        SimulatedHost(start=datetime(2031, 5, 17))


def test_the_same_seed_makes_the_same_world() -> None:
    """What is random is the same in each run, and another with another seed."""

    def ids(seed: int) -> list[str]:
        with SimulatedHost(seed=seed) as host:
            host.deploy("echo", guest("echo"))
            return [host.enqueue("echo") for _ in range(3)]

    assert ids(1) == ids(1) != ids(2)


def test_it_can_be_awaited_on_any_loop() -> None:
    """The asynchronous form has the same verbs."""

    async def work() -> None:
        async with AsyncSimulatedHost() as host:
            await host.deploy("echo", guest("echo"))
            call = await host.enqueue("echo", {"a": 1}, delay_ms=86_400_000)
            assert not (await host.result(call)).ok
            assert (await host.run_to_end(call)).json() == {"a": 1}
            assert (await host.advance(hours=1)) == host.now

    asyncio.run(work())
