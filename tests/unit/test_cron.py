"""Schedules: each tick is queued at most once, whatever the clock does and however often the host starts again (F9)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.dispatch.cron import GRACE_SECONDS, Cron, check_schedules
from guesthouse.errors import BadRequest
from guesthouse.queue.call import QueuedCall
from guesthouse.queue.config import QueueConfig
from guesthouse.queue.store import StoredQueue
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.registry.policy import Schedule
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
from guesthouse.telemetry import Metrics
from set_clock import SetClock
from unit.registries import WASM

MINUTELY = Schedule("* * * * *")
SECONDLY = Schedule("* * * * * *")


def at(text: str) -> int:
    """Milliseconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


class Place:
    """A registry and a queue that outlive the cron in front of them; the clock is the test's."""

    def __init__(self, when: str = "2027-01-15T11:59:30", config: QueueConfig | None = None) -> None:
        self.clock = SetClock()
        self.clock.wall_ms = at(when)
        self.database = Database(None)
        self.registry = Registry(self.database, clock=self.clock)
        self.queue = StoredQueue(self.database, config, clock=self.clock)
        self.metrics = Metrics()
        self.woken: list[tuple[str, str]] = []
        self.ids = 0
        self.start()

    def start(self) -> None:
        """Begins anew, as another process would."""
        self.cron = Cron(self.registry, self.queue, self.woken.append, self._id, self.metrics, self.clock)

    def _id(self) -> str:
        self.ids += 1
        return f"call-{self.ids}"

    async def deploy(self, *schedules: Schedule, name: str = "work", kind: str = "web", **manifest: Any) -> Deployment:
        """A new version."""
        described = Manifest(schedules=schedules, **manifest)
        return await self.registry.deploy("default", name, WASM, kind=kind, manifest=described)

    async def move(self, seconds: float) -> float:
        """Sets the clock forward or back and lets the cron look at it."""
        self.clock.wall_ms += int(seconds * 1_000)
        return await self.cron.turn()

    async def calls(self, name: str = "work") -> list[QueuedCall]:
        """What is queued, oldest first; it is taken out."""
        return [lease.call for lease in await self.queue.lease(("default", name), 10_000)]

    async def ticks(self, name: str = "work") -> list[str]:
        """The times of what is queued."""
        return [dict(call.headers)["guesthouse-tick"] for call in await self.calls(name)]


def story(tell: Callable[[Place], Awaitable[None]], *arguments: Any, **options: Any) -> None:
    """Runs an asynchronous story."""

    async def run() -> None:
        place = Place(*arguments, **options)
        await tell(place)
        await place.queue.close()
        place.database.close()

    asyncio.run(run())


def test_a_tick_is_a_call_that_says_what_it_is() -> None:
    """With the body of its schedule, its expression and its time; whoever runs calls is told."""

    async def tell(place: Place) -> None:
        await place.deploy(Schedule("0 12 * * *", body="do it"))
        assert await place.move(0) == 1.0
        assert await place.calls() == []
        await place.move(30)
        (call,) = await place.calls()
        assert (call.namespace, call.name, call.method, call.path, call.body) == (
            "default",
            "work",
            "POST",
            None,
            b"do it",
        )
        assert dict(call.headers) == {
            "guesthouse-schedule": "0 12 * * *",
            "guesthouse-tick": "2027-01-15T12:00:00Z",
            "x-call-id": call.id,
            "x-start-time": f"{at('2027-01-15T12:00:00')}000000",
        }
        assert place.woken == [("default", "work")]
        assert b'guesthouse_schedule_ticks_total{outcome="queued"} 1.0' in place.metrics.expose()

    story(tell)


def test_nothing_is_early_and_the_next_look_is_in_time() -> None:
    """The wait ends with the tick, and is never longer than a second, for the clock can be set."""

    async def tell(place: Place) -> None:
        await place.deploy(MINUTELY)
        assert await place.move(10) == 1.0
        assert await place.move(19.75) == pytest.approx(0.25)
        assert await place.calls() == []
        await place.move(0.25)
        assert await place.ticks() == ["2027-01-15T12:00:00Z"]

    story(tell)


def test_schedules_follow_deploys() -> None:
    """A new version replaces them, a deleted function has none, a new one begins with its next tick."""

    async def tell(place: Place) -> None:
        await place.deploy(MINUTELY)
        await place.move(0)
        await place.deploy(Schedule("5 12 * * *"))
        await place.move(60)
        assert await place.ticks() == []
        await place.move(270)
        assert await place.ticks() == ["2027-01-15T12:05:00Z"]
        await place.deploy(MINUTELY)
        await place.move(20)
        assert await place.ticks() == []
        await place.registry.delete("default", "work")
        await place.move(60)
        assert (await place.ticks(), place.cron.schedules) == ([], 0)

    story(tell)


def test_a_redeploy_with_the_same_schedule_loses_and_repeats_nothing() -> None:
    """Neither between two ticks nor in the second of one; another body is the same tick."""

    async def tell(place: Place) -> None:
        await place.deploy(MINUTELY)
        await place.move(30)
        assert len(await place.ticks()) == 1
        await place.deploy(MINUTELY)
        await place.move(0)
        await place.deploy(Schedule("* * * * *", body="another"))
        place.start()
        await place.move(0)
        assert await place.ticks() == []
        await place.move(60)
        assert await place.ticks() == ["2027-01-15T12:01:00Z"]

    story(tell)


def test_a_restart_repeats_nothing_and_makes_up_for_the_last_minute_only() -> None:
    """A tick that fell into a short stop runs late; those of a long one do not."""

    async def tell(place: Place) -> None:
        await place.deploy(MINUTELY)
        await place.move(30)
        assert len(await place.ticks()) == 1
        place.start()
        await place.move(5)
        assert await place.ticks() == []
        place.start()
        await place.move(60)  # the tick at 12:01 came while nobody was there, five seconds ago
        assert await place.ticks() == ["2027-01-15T12:01:00Z"]
        place.start()
        await place.move(3_600)
        assert await place.ticks() == ["2027-01-15T13:01:00Z"]

    story(tell)


def test_a_version_that_was_just_made_has_no_past() -> None:
    """Also if the host starts again before its first tick."""

    async def tell(place: Place) -> None:
        await place.move(45)
        await place.deploy(MINUTELY)
        await place.move(1)
        place.start()
        await place.move(1)
        assert await place.ticks() == []
        await place.move(60)
        assert await place.ticks() == ["2027-01-15T12:01:00Z"]

    story(tell)


def test_a_jump_forward_is_no_flood() -> None:
    """Of all the ticks in between one is left: the last, if it is not older than a minute."""

    async def tell(place: Place) -> None:
        await place.deploy(SECONDLY, Schedule("0 11 * * *"))
        await place.move(1)
        await place.calls()
        await place.move(7 * 24 * 3_600)
        assert await place.ticks() == ["2027-01-22T11:59:31Z"]
        assert b'guesthouse_schedule_ticks_total{outcome="missed"} 1.0' in place.metrics.expose()

    story(tell)


def test_a_jump_back_repeats_nothing() -> None:
    """What was queued is found by its time; what was passed over comes at its time."""

    async def tell(place: Place) -> None:
        await place.deploy(MINUTELY)
        for _ in range(5):
            await place.move(60)
        assert len(await place.ticks()) == 5
        await place.move(-3_600 - 151)
        assert await place.ticks() == []
        for _ in range(60):
            await place.move(60)
        early = await place.ticks()
        assert early[0] == "2027-01-15T11:02:00Z"
        assert early[-1] == "2027-01-15T11:59:00Z"
        assert len(set(early)) == len(early) == 58
        await place.move(180)
        await place.move(60)
        assert await place.ticks() == ["2027-01-15T12:05:00Z"]

    story(tell, "2027-01-15T11:59:30")


def test_a_host_whose_clock_was_ahead_when_it_deployed_runs_its_schedules() -> None:
    """A version that was made in the future does not wait for it."""

    async def tell(place: Place) -> None:
        await place.deploy(MINUTELY)
        place.clock.wall_ms = at("2026-01-01T00:00:30")
        place.start()
        await place.move(0)
        await place.move(30)
        assert await place.ticks() == ["2026-01-01T00:01:00Z"]

    story(tell)


def test_what_cannot_be_queued_is_tried_for_a_minute() -> None:
    """Then it is missed; the schedule goes on."""

    async def tell(place: Place) -> None:
        await place.deploy(Schedule("0 * * * *"))
        filler = QueuedCall(id="filler", namespace="default", name="other", queued_ms=1)
        await place.queue.enqueue(filler)
        await place.move(30)
        await place.move(10)
        assert b'guesthouse_schedule_ticks_total{outcome="failed"} 2.0' in place.metrics.expose()
        await place.queue.cancel("filler", replace(await place.queue.find("filler"), state="cancelled"))
        await place.move(10)
        await place.move(10)
        assert await place.ticks() == ["2027-01-15T12:00:00Z"]
        await place.move(3_600 - 30)
        await place.move(GRACE_SECONDS)
        assert b'guesthouse_schedule_ticks_total{outcome="missed"} 1.0' in place.metrics.expose()

    story(tell, config=QueueConfig(max_calls=1))


@pytest.mark.parametrize(
    ("cron", "begin", "expected"),
    [
        ("30 2 * * *", "2027-03-28T00:00:00", ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]),
        ("30 2 * * *", "2027-10-30T23:00:00", ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]),
        ("0 * * * *", "2027-10-31T00:30:00", ["2027-10-31T01:00:00Z", "2027-10-31T02:00:00Z"]),
    ],
)
def test_a_time_that_there_is_not_or_twice_is_one_tick(cron: str, begin: str, expected: list[str]) -> None:
    """In Berlin, where clocks are put forward and back: late by less than an hour, or the first of the two."""

    async def tell(place: Place) -> None:
        await place.deploy(Schedule(cron, "Europe/Berlin"))
        found = []
        for _ in range(2 * 24 * 4):
            await place.move(15 * 60)
            found += await place.ticks()
        assert found[: len(expected)] == expected
        assert len(set(found)) == len(found)

    story(tell, begin)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("move"), st.integers(-4_000, 4_000)),
            st.tuples(st.just("move"), st.integers(0, 90)),
            st.tuples(st.just("restart"), st.just(0)),
            st.tuples(st.just("deploy"), st.integers(0, 2)),
        ),
        max_size=30,
    )
)
def test_no_tick_comes_twice_or_early_whatever_happens(steps: list[tuple[str, int]]) -> None:
    """Any movements of the clock, restarts and deploys of three schedules, one of them each second."""
    choices = (MINUTELY, SECONDLY, Schedule("*/7 * * * *", "America/St_Johns"))

    async def tell(place: Place) -> None:
        await place.deploy(MINUTELY)
        seen: Counter[tuple[str, str]] = Counter()
        for step, value in steps:
            if step == "move":
                await place.move(value)
            elif step == "restart":
                place.start()
            else:
                await place.deploy(*choices[: value + 1])
            await place.cron.turn()
            calls = await place.calls()
            now = place.clock.wall_ms
            for call in calls:
                headers = dict(call.headers)
                seen[headers["guesthouse-schedule"], headers["guesthouse-tick"]] += 1
                late = now - at(headers["guesthouse-tick"].removesuffix("Z"))
                assert 0 <= late <= GRACE_SECONDS * 1_000
            assert len(calls) <= len(choices)
        assert not seen or max(seen.values()) == 1

    story(tell)


def draft(*schedules: Schedule, kind: str = "web") -> Deployment:
    """A deployment that is about to be made."""
    return Deployment("default", "work", 0, "", kind, 0, 0, Manifest(schedules=schedules))


@pytest.mark.parametrize(
    ("cron", "timezone"),
    [
        ("", "UTC"),
        ("* * * *", "UTC"),
        ("@daily", "UTC"),
        ("61 * * * *", "UTC"),
        ("*/0 * * * *", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("MON#1/2 * * * *", "UTC"),
        ("0 0 * * MON#1/2", "UTC"),
        ("9" * 5_000 + " * * * *", "UTC"),
        ("9" * 200 + " * * * *", "UTC"),
        ("* * * * *\n", "UTC"),
        ("*\x00 * * * *", "UTC"),
        ("* * * * *", ""),
        ("* * * * *", "Europe"),
        ("* * * * *", "Europe/Nowhere"),
        ("* * * * *", "../../etc/passwd"),
        ("* * * * *", "/etc/localtime"),
        ("* * * * *", "a\0b"),
    ],
)
def test_what_is_no_schedule_is_refused_at_deploy(cron: str, timezone: str) -> None:
    """With the words that are wrong, and without reading files that are no time zones."""
    with pytest.raises(BadRequest, match="schedule"):
        check_schedules(draft(Schedule(cron, timezone)), 1_800_000_000)


def test_a_time_zone_that_is_none_is_told_apart_from_an_expression_that_is_none() -> None:
    """Whoever has to correct it is told which of the two it is."""
    with pytest.raises(BadRequest, match=r"schedule\.timezone: there is no time zone 'Europe/Nowhere'"):
        check_schedules(draft(Schedule("* * * * *", "Europe/Nowhere")), 1_800_000_000)
    with pytest.raises(BadRequest, match=r"schedule\.cron '61 \* \* \* \*'"):
        check_schedules(draft(Schedule("61 * * * *", "Europe/Berlin")), 1_800_000_000)


def test_what_cannot_be_called_by_itself_is_refused_at_deploy() -> None:
    """Functions of other types, and two schedules that would be one."""
    for kind in ("web", "spawn", "command"):
        check_schedules(draft(MINUTELY, SECONDLY, Schedule("0 0 L * *", "Asia/Kathmandu"), kind=kind), 1_800_000_000)
    check_schedules(draft(kind="library"), 1_800_000_000)
    with pytest.raises(BadRequest, match="library"):
        check_schedules(draft(MINUTELY, kind="library"), 1_800_000_000)
    with pytest.raises(BadRequest, match="same times"):
        check_schedules(draft(MINUTELY, Schedule("* * * * *", body="x")), 1_800_000_000)


def test_a_schedule_that_this_host_cannot_read_harms_no_other() -> None:
    """Stored by another one, whose time zones are newer."""

    async def tell(place: Place) -> None:
        await place.deploy(Schedule("* * * * *", "Mars/Base"), MINUTELY)
        await place.move(30)
        assert len(await place.ticks()) == 1

    story(tell)
