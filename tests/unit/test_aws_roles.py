"""`RoleCache`: assumed roles are asked for once, kept until they are nearly over, and nobody's wait harms another's."""

from __future__ import annotations

import asyncio

import pytest

from guesthouse.net.aws import AwsFailure, Credentials
from guesthouse.net.aws_roles import MOST_ROLES, RENEW_SECONDS, RoleCache
from unit.interface_fakes import SimulatedClock

HOUR = 3_600
KEY = ("arn:aws:iam::123456789012:role/reader", "us-east-1")


class Assuming:
    """Answers as STS does; `gate` holds the answers up."""

    def __init__(self, clock: SimulatedClock, seconds: int = HOUR) -> None:
        self.clock = clock
        self.seconds = seconds
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def __call__(self) -> tuple[Credentials, int]:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return Credentials(f"ASIA{number}", "secret", "token"), self.clock.wall_ns() + self.seconds * 1_000_000_000


def test_credentials_are_kept_until_shortly_before_they_expire() -> None:
    """What is handed out lasts for five minutes more at least."""

    async def work() -> None:
        clock = SimulatedClock()
        assume, cache = Assuming(clock), RoleCache(clock)
        for passed, expected in ((0, "ASIA1"), (HOUR - RENEW_SECONDS - 1, "ASIA1"), (1, "ASIA2"), (60, "ASIA2")):
            clock.pass_ns(passed * 1_000_000_000)
            assert (await cache.get(KEY, assume)).access_key_id == expected

    asyncio.run(work())


def test_credentials_that_are_short_lived_are_asked_for_each_time() -> None:
    """They are used once, and nothing is believed to be fresh that is not."""

    async def work() -> None:
        clock = SimulatedClock()
        assume, cache = Assuming(clock, RENEW_SECONDS), RoleCache(clock)
        assert [(await cache.get(KEY, assume)).access_key_id for _ in range(3)] == ["ASIA1", "ASIA2", "ASIA3"]

    asyncio.run(work())


def test_everybody_waits_for_one_answer() -> None:
    """Another role, and another region, is asked for beside it."""

    async def work() -> None:
        clock = SimulatedClock()
        assume, cache = Assuming(clock), RoleCache(clock)
        assume.gate.clear()
        waiting = [asyncio.create_task(cache.get(KEY, assume)) for _ in range(10)]
        waiting.append(asyncio.create_task(cache.get((KEY[0], "eu-west-1"), assume)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assume.gate.set()
        found = [(await task).access_key_id for task in waiting]
        assert found == ["ASIA1"] * 10 + ["ASIA2"]

    asyncio.run(work())


def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    """Also the one who asked first; and what nobody waits for any more is still kept."""

    async def work() -> None:
        clock = SimulatedClock()
        assume, cache = Assuming(clock), RoleCache(clock)
        assume.gate.clear()
        first, second = (asyncio.create_task(cache.get(KEY, assume)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assume.gate.set()
        assert (await second).access_key_id == "ASIA1"
        assert (await cache.get(KEY, assume)).access_key_id == "ASIA1"

    asyncio.run(work())


def test_a_failure_reaches_everybody_and_is_not_kept() -> None:
    """The next one asks again."""

    async def work() -> None:
        clock = SimulatedClock()
        assume, cache = Assuming(clock), RoleCache(clock)
        assume.failure = AwsFailure("unauthorized", "no")
        results = await asyncio.gather(*(cache.get(KEY, assume) for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["no"] * 3
        assert assume.asked == 1
        assume.failure = None
        assert (await cache.get(KEY, assume)).access_key_id == "ASIA2"

    asyncio.run(work())


def test_roles_are_bounded() -> None:
    """Ever new ones drive out those that were used longest ago."""

    async def work() -> None:
        clock = SimulatedClock()
        assume, cache = Assuming(clock), RoleCache(clock)
        await cache.get(KEY, assume)
        for number in range(MOST_ROLES - 1):
            await cache.get((f"role-{number}", "us-east-1"), assume)
        await cache.get(KEY, assume)
        await cache.get(("one more", "us-east-1"), assume)
        assert assume.asked == MOST_ROLES + 1
        assert (await cache.get(KEY, assume)).access_key_id == "ASIA1"
        assert len(cache._kept) == MOST_ROLES
        await cache.get(("role-0", "us-east-1"), assume)
        assert assume.asked == MOST_ROLES + 2

    asyncio.run(work())


def test_closing_ends_what_is_in_progress() -> None:
    """Nobody is left waiting, and nothing is kept."""

    async def work() -> None:
        clock = SimulatedClock()
        assume, cache = Assuming(clock), RoleCache(clock)
        assume.gate.clear()
        waiting = asyncio.create_task(cache.get(KEY, assume))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await cache.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not cache._kept
        assert not cache._asking

    asyncio.run(work())
