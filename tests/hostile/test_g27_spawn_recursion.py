"""G27: functions that start functions come to an end: in depth, in number, and in the queue."""

from __future__ import annotations

import time

import pytest

from guesthouse import Host, Outcome
from guesthouse.dispatch import spawner
from harness import LATE, often
from probes import redeploy, settled
from support import FORMS, guest

MEMORY_MIB = 48
OK = {"ok", "failed"}


def counted(host: Host) -> dict[str, int]:
    """The spawns that ended, by outcome, once all have."""
    return settled(host)


@pytest.fixture(autouse=True)
def fresh(host: Host) -> None:
    """Counts begin at nothing."""
    settled(host)
    host.inner.metrics._counters["spawns"].clear()


@pytest.mark.parametrize("form", FORMS)
def test_a_function_that_starts_itself_twice_ends(host: Host, form: str) -> None:
    """Within its fan-out of 1,000: the root and its family are so many runs, and no more; others are answered meanwhile."""
    host.deploy("fork-bomb", guest("fork-bomb", form), limits={"spawn_fanout": 300})
    for _ in range(often(1)):
        host.inner.metrics._counters["spawns"].clear()
        host.spawn("fork-bomb")
        began = time.monotonic()
        assert host.invoke("echo", b"x").result == "ok"
        assert time.monotonic() - began < LATE
        counts = counted(host)
        assert sum(counts.values()) == 301
        assert counts.keys() <= OK
    assert host.inner.dispatcher.spawner.in_flight == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_a_chain_has_a_longest_length(host: Host, depth: int, form: str) -> None:
    """A function at the greatest depth is told `limit`, which is a value and no trap."""
    host.deploy("fork-bomb", guest("fork-bomb", form), limits={"spawn_depth": depth})
    host.spawn("fork-bomb")
    assert counted(host) == {"ok": 2**depth - 1, "failed": 2**depth}


@pytest.mark.parametrize("form", FORMS)
def test_the_default_depth_is_sixteen(host: Host, form: str) -> None:
    """With the default limits a bomb is bounded by the fan-out first: 1,000 runs beside the root."""
    host.deploy("fork-bomb", guest("fork-bomb", form))
    host.spawn("fork-bomb")
    counts = counted(host)
    assert sum(counts.values()) == 1_001
    assert host.inner.default_limits.spawn_depth == 16


def test_a_caller_that_dies_does_not_reset_the_count(host: Host) -> None:
    """A web function that starts the bomb is its root."""
    host.deploy("fork-bomb", guest("fork-bomb"), limits={"spawn_fanout": 20})
    host.deploy("start", guest("start"), limits={"spawn_fanout": 20})
    outcome: Outcome = host.invoke("start", b"{}", path="fork-bomb")
    assert outcome.result == "ok"
    assert sum(counted(host).values()) == 20
    assert not host.inner.dispatcher.spawner._families


def test_a_full_queue_is_a_limit_and_no_trap(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue has an end for all together; a function is told, and those that were accepted run."""
    monkeypatch.setattr(spawner, "MOST_IN_FLIGHT", 10)
    host.deploy("fork-bomb", guest("fork-bomb"))
    host.spawn("fork-bomb")
    counts = counted(host)
    assert counts.keys() <= OK
    assert counts["failed"] > 0
    redeploy(host, "fork-bomb", spawn_depth=2)
    monkeypatch.undo()
    host.inner.metrics._counters["spawns"].clear()
    host.spawn("fork-bomb")
    assert counted(host) == {"ok": 3, "failed": 4}


def test_bombs_beside_each_other_share_no_count(host: Host) -> None:
    """Ten roots, each with its own family; web calls keep their slots."""
    host.deploy("fork-bomb", guest("fork-bomb"), limits={"spawn_fanout": 30})
    for _ in range(10):
        host.spawn("fork-bomb")
    for _ in range(20):
        assert host.invoke("echo", b"x").result == "ok"
    assert sum(counted(host).values()) == 310
