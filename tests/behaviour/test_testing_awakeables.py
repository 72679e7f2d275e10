"""Awakeables in simulated time: a test sees those that can be completed, and no others, and completes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guesthouse.interfaces.durable import NoSuchAwakeable
from guesthouse.testing import SimulatedHost, Stuck
from support import guest

HOOK = "https://chat.example.com/hooks/1"
ORDER = {"what": "an engine", "tell": HOOK}
WAIT = ["awakeable", {"wait": {"of": 0}}]


@pytest.fixture
def host() -> Iterator[SimulatedHost]:
    with SimulatedHost() as host:
        host.deploy("approval", guest("approval"), durable=True)
        host.deploy("probe", guest("durable-probe"), durable=True)
        host.deploy("fleeting", guest("durable-probe"), limits={"deadline_ms": 3_600_000})
        host.http.on("POST", HOOK).answer(204)
        yield host


def test_those_of_all_functions_are_listed_with_whom_they_are_of(host: SimulatedHost) -> None:
    """Also of functions that are not durable; those that are completed, or whose invocation has ended, are not."""
    calls = {name: host.enqueue(name, WAIT) for name in ("probe", "fleeting")}
    found = {pending.function: pending for pending in host.awakeables()}
    assert {name: pending.invocation_id for name, pending in found.items()} == calls
    host.resolve(found["probe"].id, "yes")
    host.reject(found["fleeting"].id, "no")
    assert host.awakeables() == []
    assert host.run_to_end(calls["probe"]).json()[1] == {"ok": "yes"}
    assert host.run_to_end(calls["fleeting"]).json()[1]["failed"]["message"] == "no"
    call = host.enqueue("probe", WAIT)
    (pending,) = host.awakeables()
    host.kill(call)
    assert host.awakeables() == []
    with pytest.raises(NoSuchAwakeable):
        host.resolve(pending.id)


def test_one_that_is_waited_for_is_the_same_after_a_crash(host: SimulatedHost) -> None:
    """In memory or suspended, before and after."""
    call = host.enqueue("approval", ORDER)
    (before,) = host.awakeables()
    host.crash()
    assert host.awakeables() == [before]
    host.advance(days=1)
    assert host.invocation(call).state == "suspended"
    host.crash()
    assert host.awakeables() == [before]
    host.resolve(before.id, {"by": "Ada"})
    assert host.run_to_end(call).json() == {"approved": {"by": "Ada"}}


def test_one_that_nobody_was_told_of_goes_with_its_host(host: SimulatedHost) -> None:
    """What was never written down was never anywhere: the next run makes another one, and only that is listed."""
    call = host.enqueue("probe", WAIT)
    (lost,) = host.awakeables()
    host.crash()
    (found,) = host.awakeables()
    assert found.id != lost.id
    host.resolve(found.id)
    assert host.run_to_end(call).ok


def test_whoever_waits_for_somebodys_act_is_told_for_what(host: SimulatedHost) -> None:
    """Where no time brings the end of a call, it says which awakeables it waits for."""
    call = host.enqueue("probe", WAIT)
    (pending,) = host.awakeables()
    with pytest.raises(Stuck, match=f"{call} of probe is suspended, .* waits for {pending.id}"):
        host.run_to_end(call)
