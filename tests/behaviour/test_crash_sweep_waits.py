"""Crash sweep over what is decided while a function waits: what was decided once stays, also where it changes how others end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse.testing import SimulatedHost, Sweeper
from support import guest
from sweeping import RETRY, form

URL = "https://api.example.com/effects"
WORKER = "worker"
POINTS = 24
"""At which each is crashed, by chance; without it the two oldest faults found here showed at one point in seven."""


@pytest.fixture(scope="module")
def sweeper() -> Iterator[Sweeper]:
    def deploy(host: SimulatedHost) -> None:
        for name in ("workflow", WORKER):
            host.deploy(name, guest("durable-probe", form("durable-probe")), durable=True, retry=RETRY)

    with Sweeper(deploy) as found:
        yield found


def worker(seconds: int, *then: Any) -> Any:
    """Calls a function that sleeps first, and has an effect if it is cancelled, too."""
    effect = {"http": {"url": f"{URL}/{seconds}", "verb": "POST"}}
    return {
        "call": {"function": WORKER, "payload": [{"sleep": seconds * 1_000}, {"wait": {"of": 0}}, *(then or [effect])]}
    }


def swept(sweeper: Sweeper, *script: Any) -> Any:
    """What a script comes to, whenever the host dies."""
    answers = []

    def scenario(host: SimulatedHost) -> Any:
        host.http.on("POST", f"{URL}/*").answer(201)
        call = host.enqueue("workflow", list(script))
        host.advance(days=2)
        answers.append(host.run_to_end(call).json())
        return answers[-1]

    sweeper.sweep(scenario, most=POINTS, twice=2)
    return answers[0]


@pytest.mark.parametrize("how", ["race", "any"])
def test_who_was_the_first_stays_the_first(sweeper: Sweeper, how: str) -> None:
    """The losers end because they are cancelled, and may have ended by the time of the next run: they stay losers."""
    told = swept(sweeper, worker(60), worker(10), worker(36_000), {how: {"of": [0, 1, 2], "cancel": True}})
    assert told[3]["ok"][0] == 1


def test_a_gather_that_has_failed_tells_the_same_of_the_rest(sweeper: Sweeper) -> None:
    """What it cancels has not ended, whatever becomes of it; and it is cancelled in the end."""
    failing = worker(10, {"fail": {"terminal": "no"}})
    told = swept(sweeper, worker(60), failing, worker(36_000), {"gather": {"of": [0, 1, 2], "then": "cancel-rest"}})
    assert [told[3][0], told[3][2]] == [None, None]
    assert told[3][1]["failed"]["message"] == "no"


def test_who_gave_up_waiting_has_given_up(sweeper: Sweeper) -> None:
    """A time-out is decided once; what it waited for goes on, and ends."""
    told = swept(sweeper, worker(3_600), {"wait": {"of": 0, "timeout_ms": 60_000}}, "current")
    assert told[1]["failed"]["kind"] == "timed-out"


def test_a_race_between_a_function_and_a_timer_is_decided_once(sweeper: Sweeper) -> None:
    """Also where the host was down when both would have ended."""
    told = swept(sweeper, worker(90_000), {"sleep": 80_000_000}, {"race": {"of": [0, 1]}}, {"wait": {"of": 0}})
    assert told[2]["ok"][0] == 1


def test_a_step_that_gave_up_has_given_up(sweeper: Sweeper) -> None:
    """Runs of a step are counted over crashes; after the last one its failure stays."""
    run = {"name": "pay", "attempts": 3, "min_wait_ms": 1_000, "max_wait_ms": 5_000}
    effect = {"http": {"url": f"{URL}/step", "verb": "POST"}}
    told = swept(sweeper, {"run": {**run, "ends": [{"temporary": "not now"}], "do": [effect]}}, "current")
    assert told[0]["failed"]["message"] == "not now"
