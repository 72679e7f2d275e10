"""Durable functions across hosts that stop and hosts that are killed: timers, state, awakeables, calls that were half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keyed_server import KeyedServer
from probing import OK, Probes, call, probes, tell, told, wait

ENDS = ["stopped", "killed"]


def end(at: Probes, how: str) -> None:
    """Ends a server politely, or leaves that to the end of its block, which kills it."""
    if how == "stopped":
        assert at.host.stop() == 0


@pytest.mark.parametrize("how", ENDS)
def test_everything_that_waits_survives(tmp_path: Path, how: str) -> None:
    """A timer, an awakeable, a call of a function that waits itself, the state of a key, and what had ended before."""
    with KeyedServer() as server:
        inner = [tell(server, "inner", "x"), {"sleep": 400}, wait(0), {"value": "inner"}]
        script: list[Any] = [
            {"set": ["n", 1]},
            tell(server, "outer", "x"),
            "random",
            call("other", inner),
            {"sleep": 400},
            "awakeable",
            tell(server, "id", "$id:2"),
            {"gather": {"of": [0, 1, 2]}},
            {"get": "n"},
        ]
        with probes(tmp_path, "probe", "other") as first:
            found = first.start(script, guesthouse_key="k")
            name = told(server, "id")
            told(server, "inner")
            first.suspended(found)
            end(first, how)
        with probes(tmp_path) as second:
            assert second.resolve(name, "approved").status == 202
            trace = second.trace(found)
        assert trace[7] == [
            {"ok": [trace[1] | {"body": trace[7][0]["ok"][0]["body"]}, *trace[7][0]["ok"][1:]]},
            OK,
            {"ok": "approved"},
        ]
        assert trace[7][0]["ok"][-1] == "inner"
        assert trace[8] == {"ok": 1}
        assert dict(server.done) == {"inner": 1, "outer": 1, "id": 1}
        assert len(server.asked) == 3


@pytest.mark.parametrize("how", ENDS)
def test_a_sleep_goes_on_while_no_host_is_there(tmp_path: Path, how: str) -> None:
    """It ends at the time at which it would have ended."""
    with probes(tmp_path, "probe") as first:
        found = first.start(["clock", {"sleep": 600}, wait(0), "clock"])
        first.suspended(found)
        end(first, how)
    with probes(tmp_path) as second:
        trace = second.trace(found)
        assert trace[3] - trace[0] >= 600


def test_many_sleep_at_once(tmp_path: Path) -> None:
    """Each as long as it asked for."""
    with probes(tmp_path, "probe") as at:
        calls = [at.start(["clock", {"sleep": 10 * n}, wait(0), "clock"]) for n in range(30)]
        for number, found in enumerate(calls):
            began, _, came, ended = at.trace(found)
            assert came == OK
            assert ended - began >= 10 * number
        trace = at.run([*[{"sleep": 5 * n} for n in range(20)], {"gather": {}}])
        assert trace[-1] == [OK] * 20


def test_a_suspended_call_holds_no_guest(tmp_path: Path) -> None:
    """Nothing of it is in memory: the pool is empty while it waits."""
    with probes(tmp_path, "probe") as at:
        calls = [at.start(["awakeable", wait(0)]) for _ in range(10)]
        at.suspended(*calls)
        at.host.idle()


def test_a_host_that_is_told_to_stop_suspends_what_waits_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """Also where the grace is long; it does not wait for the sleeper, and is no attempt."""
    with probes(tmp_path) as first:
        first.deploy(durable={"grace_ms": 60_000})
        with KeyedServer() as server:
            found = first.start([tell(server, "begun", "x"), {"sleep": 1_500}, wait(0), "current"])
            told(server, "begun")
            assert first.host.stop() == 0
    with probes(tmp_path) as second:
        assert second.trace(found)[3]["attempt"] == 1
        assert second.record(found)["attempts"] == 1


def test_idempotent_direct_calls_find_their_answer_at_the_next_host(tmp_path: Path) -> None:
    """Who repeats a call after a crash attaches to it."""
    with KeyedServer() as server:
        script = [tell(server, "begun", "x"), "awakeable", tell(server, "id", "$id:0"), wait(0), "random"]
        with probes(tmp_path, "probe") as first:
            found = first.start(script, idempotency_key="again")
            name = told(server, "id")
            first.suspended(found)
        with probes(tmp_path) as second:
            assert second.start(script, idempotency_key="again") == found
            second.resolve(name)
            assert second.trace(found) == second.trace(second.start(script, idempotency_key="again"))
        assert server.done["begun"] == 1
