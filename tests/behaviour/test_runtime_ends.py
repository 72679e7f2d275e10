"""Durable functions that are cancelled or killed: what the guest sees of it, what becomes of what it called, and of its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyed_server import KeyedServer
from probing import Probes, call, failed, probes, tell, told, wait

HOUR = 3_600_000
BLOCKED: dict[str, list[Any]] = {
    "a call": [call("other", [{"sleep": HOUR}, wait(0)]), wait(0)],
    "a sleep": [{"sleep": HOUR}, wait(0)],
    "an awakeable": ["awakeable", wait(0)],
}
"""What an invocation may wait for that is cancelled; the last operation is the wait."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    with probes(tmp_path_factory.mktemp("ends"), "probe", "other") as found:
        yield found


@pytest.fixture
def server() -> Iterator[KeyedServer]:
    with KeyedServer() as server:
        yield server


def cancel(at: Probes, id: str, how: str = "cancel") -> None:
    answer = at.post(f"/invocations/{id}/{how}")
    assert answer.status == 202, answer.body


def begun(function: str, script: list[Any]) -> list[Any]:
    """Operations that call a function, as promise 1, and wait until it has begun."""
    return ["awakeable", call(function, [{"resolve": {"id": "$id:0"}}, *script]), wait(0)]


@pytest.mark.parametrize("blocked", BLOCKED.values(), ids=BLOCKED)
def test_a_cancelled_invocation_sees_a_failure_where_it_waits_and_can_compensate(
    at: Probes, blocked: list[Any]
) -> None:
    """From the management API: the failure is terminal and of its own kind; what follows runs, waits included."""
    found = at.start([*blocked, {"sleep": 1}, wait(1), {"value": "tidied up"}])
    at.suspended(found)
    cancel(at, found)
    trace = at.trace(found)
    assert failed(trace[len(blocked) - 1])["kind"] == "cancelled"
    assert trace[-2:] == [{"ok": None}, "tidied up"]


@pytest.mark.parametrize("blocked", BLOCKED.values(), ids=BLOCKED)
def test_a_function_can_cancel_what_it_has_called(at: Probes, blocked: list[Any]) -> None:
    """The called one sees it where it waits, and its answer reaches the caller."""
    trace = at.run([*begun("probe", blocked), {"cancel": "$id:1"}, wait(1)])
    assert trace[3] == {"ok": None}
    assert failed(trace[4]["ok"][len(blocked)])["kind"] == "cancelled"


def test_children_are_cancelled_with_it_leaves_first(at: Probes, server: KeyedServer) -> None:
    """Three generations, each of which says so when it ends."""

    def generation(name: str, inner: list[Any]) -> list[Any]:
        return [*inner, tell(server, name, "over")]

    leaf = generation("leaf", [tell(server, "begun", ""), {"sleep": HOUR}, wait(0)])
    middle = generation("middle", [call("other", leaf), wait(0)])
    root = at.start(generation("root", [call("other", middle), wait(0)]))
    told(server, "begun")
    at.suspended(root)
    cancel(at, root)
    at.trace(root)
    ended = [asked.name for asked in server.asked if asked.name != "begun"]
    assert ended == ["leaf", "middle", "root"]


def test_one_that_has_not_begun_never_does(at: Probes, server: KeyedServer) -> None:
    """It ends as cancelled."""
    found = at.start([tell(server, "ran", "")], guesthouse_delay="3600")
    cancel(at, found)
    assert at.record(found)["state"] == "cancelled"
    assert server.asked == []


def test_a_killed_tree_ends_at_once_and_releases_its_keys(at: Probes, server: KeyedServer) -> None:
    """Nobody is asked; later calls of the keys run."""
    leaf = [tell(server, "begun", "$sent"), {"sleep": HOUR}, wait(0), tell(server, "tidied", "")]
    root = at.start([call("other", leaf, key="inner"), wait(0), tell(server, "tidied", "")], guesthouse_key="outer")
    told(server, "begun")
    at.suspended(root)
    behind = at.start(["current"], guesthouse_key="outer")
    beside = at.start(["current"], "other", guesthouse_key="inner")
    cancel(at, root, "kill")
    assert at.record(root)["state"] == "cancelled"
    assert at.trace(behind)[0]["key"] == "outer"
    assert at.trace(beside)[0]["key"] == "inner"
    assert {asked.name for asked in server.asked} == {"begun"}


def test_a_function_can_kill_what_it_has_called(at: Probes) -> None:
    """Its own wait says cancelled."""
    trace = at.run([*begun("other", [{"sleep": HOUR}, wait(0)]), {"kill": "$id:1"}, wait(1)])
    assert failed(trace[-1])["kind"] == "cancelled"


def test_cancelling_survives_a_kill_of_the_host(tmp_path: Path) -> None:
    """What was cancelled is cancelled for the next host too, once."""
    with probes(tmp_path, "probe") as first:
        found = first.start([{"sleep": HOUR}, wait(0), {"sleep": 200}, wait(1), {"value": "tidied up"}])
        first.suspended(found)
        cancel(first, found)
    with probes(tmp_path) as second:
        trace = second.trace(found)
        assert failed(trace[1])["kind"] == "cancelled"
        assert trace[3:] == [{"ok": None}, "tidied up"]
