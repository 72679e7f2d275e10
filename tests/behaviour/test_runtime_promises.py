"""Durable functions that wait: for the first of several, for all, for time, for people; and the steps that they run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from keyed_server import KeyedServer
from probing import OK, Probes, call, failed, probes, send, tell, told, wait

HOUR = 3_600_000
SOON = {"attempts": 5, "min_wait_ms": 1, "max_wait_ms": 2}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    with probes(tmp_path_factory.mktemp("promises"), "probe", "other") as found:
        yield found


@pytest.fixture
def server() -> Iterator[KeyedServer]:
    with KeyedServer() as server:
        yield server


def first(of: list[int], how: str = "to-end", timeout_ms: int | None = None) -> dict[str, Any]:
    return {"select": {"of": of, "first": how, "timeout_ms": timeout_ms}}


# -- combinators


def test_an_awakeable_or_a_time_out_whichever_comes_first(at: Probes, server: KeyedServer) -> None:
    """As a race with a timer, and as the time-out of a wait."""
    assert at.run(["awakeable", {"sleep": 20}, first([0, 1])])[2] == {"ok": 1}
    late = at.run(["awakeable", wait(0, timeout_ms=20)])[1]
    assert failed(late)["kind"] == "timed-out"
    found = at.start(["awakeable", {"sleep": HOUR}, tell(server, "id", "$id:0"), first([0, 1]), wait(0)])
    assert at.resolve(told(server, "id"), "in time").status == 202
    assert at.trace(found)[3:] == [{"ok": 0}, {"ok": "in time"}]


def test_any_is_the_first_success_and_race_the_first_end(at: Probes) -> None:
    """A failure that comes first decides a race, and not who succeeds first."""
    calls = [call("other", [{"fail": {"terminal": "no"}}]), call("other", [{"sleep": 700}, wait(0)])]
    assert at.run([*calls, first([0, 1], "to-end")])[2] == {"ok": 0}
    assert at.run([*calls, first([0, 1], "to-succeed")])[2] == {"ok": 1}
    trace = at.run([calls[0], calls[0], first([0, 1], "to-succeed"), wait(0)])
    assert "ok" in trace[2]  # the last to fail, where all do
    assert failed(trace[3])["message"] == "no"


def test_the_first_successful_of_several_awakeables(at: Probes, server: KeyedServer) -> None:
    """Others may be rejected before."""
    ids = json.dumps(["$id:0", "$id:1", "$id:2"])
    found = at.start(["awakeable"] * 3 + [tell(server, "ids", ids), first([0, 1, 2], "to-succeed"), wait(2)])
    one, two, three = json.loads(told(server, "ids"))
    assert [at.reject(one, "no").status, at.reject(two, "neither").status] == [202, 202]
    assert at.resolve(three, {"yes": True}).status == 202
    assert at.trace(found)[4:] == [{"ok": 2}, {"ok": {"yes": True}}]


def test_gather_gives_results_in_the_order_of_the_list(at: Probes) -> None:
    """Not in that in which they ended; over different functions, an unknown number, and none at all."""
    slow = [call("other" if n % 2 else "probe", [{"sleep": 60 - 20 * n}, wait(0), {"value": n}]) for n in range(3)]
    trace = at.run([*slow, {"gather": {}}])
    assert [one["ok"][-1] for one in trace[-1]] == [0, 1, 2]
    assert at.run([{"gather": {"of": []}}]) == [[]]
    many = at.run([{"calls": [{"function": "other", "payload": [{"value": "x"}], "times": 40}]}, {"gather": {}}])
    assert many[1] == [{"ok": ["x"]}] * 40


@pytest.mark.parametrize("then", ["cancel-rest", "leave-rest"])
def test_the_first_failure_ends_a_gather_with_what_there_is(at: Probes, then: str) -> None:
    """The rest is cancelled or left alone, as asked."""
    fails = call("other", [{"fail": {"terminal": "no"}}])
    waits = call("other", [{"sleep": HOUR}, wait(0)])
    trace = at.run([fails, waits, {"id": 1}, {"gather": {"of": [0, 1], "then": then}}])
    assert failed(trace[3][0])["message"] == "no"
    assert trace[3][1] is None or failed(trace[3][1])["kind"] == "cancelled"
    if then == "leave-rest":
        at.suspended(trace[2])
        assert at.post(f"/invocations/{trace[2]}/kill").status == 202
    else:
        assert at.answer(trace[2]).status >= 400 or failed(at.answer(trace[2]).json[1])["kind"] == "cancelled"


def test_a_gather_can_wait_for_all_whatever_fails(at: Probes) -> None:
    """Failures stand at their places."""
    calls = [call("other", [{"fail": {"terminal": "no"}}]), call("other", [{"value": 1}])]
    (one, two) = at.run([*calls, {"gather": {"then": "wait-for-all"}}])[2]
    assert (failed(one)["message"], two) == ("no", {"ok": [1]})


# -- awakeables


def test_an_awakeable_may_be_completed_before_it_is_waited_for(at: Probes, server: KeyedServer) -> None:
    """Nothing is lost, and the first completion counts."""
    found = at.start(["awakeable", tell(server, "id", "$id:0"), {"sleep": 200}, wait(1), wait(0)])
    name = told(server, "id")
    answers = [at.resolve(name, 1), at.resolve(name, 2), at.reject(name, "3")]
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert at.trace(found)[4] == {"ok": 1}


def test_a_rejection_is_a_terminal_failure_with_its_text(at: Probes, server: KeyedServer) -> None:
    """The waiting function sees it; it is not tried again."""
    found = at.start(["awakeable", tell(server, "id", "$id:0"), wait(0), "current"])
    assert at.reject(told(server, "id"), "not this time").status == 202
    trace = at.trace(found)
    assert (failed(trace[2])["kind"], failed(trace[2])["message"]) == ("failed", "not this time")
    assert trace[3]["attempt"] == 1


@pytest.mark.parametrize("by", ["resolve", "reject"])
def test_any_function_may_complete_an_awakeable(at: Probes, server: KeyedServer, by: str) -> None:
    """By its id, and nothing else."""
    found = at.start(["awakeable", tell(server, "id", "$id:0"), wait(0)])
    name = told(server, "id")
    more = {"payload": {"n": 1}} if by == "resolve" else {"reason": "no"}
    assert at.run([{by: {"id": name, **more}}], "other") == [OK]
    came = at.trace(found)[2]
    assert came == {"ok": {"n": 1}} if by == "resolve" else failed(came)["message"] == "no"


def test_an_unknown_id_and_one_of_the_past_are_404(at: Probes, server: KeyedServer) -> None:
    """Which of both, nobody is told."""
    found = at.start(["awakeable", tell(server, "id", "$id:0"), wait(0)])
    name = told(server, "id")
    assert at.resolve(name).status == 202
    assert at.trace(found)[2] == OK
    bent = name[:-1] + ("A" if name[-1] != "A" else "B")
    answers = [at.resolve(bent), at.resolve("sign_1abc"), at.resolve(name)]
    assert [answer.status for answer in answers] == [404] * 3
    assert len({answer.json["detail"] for answer in answers}) == 1


# -- steps


def test_a_step_that_succeeded_is_not_run_again(at: Probes, server: KeyedServer) -> None:
    """Its value is the one that it had, in every later run; the run that follows a failure is one."""
    script = [
        {"run": {"name": "once", "do": [tell(server, "ran", "x"), "random"]}},
        {"if_attempt": [1, [{"fail": {"temporary": "later"}}]]},
        {"if_attempt": [2, ["current"]]},
    ]
    at.deploy("retried", retry=SOON)
    trace = at.run(script, "retried")
    assert trace[2][0]["attempt"] == 2
    assert server.done["ran"] == 1
    assert trace[0]["ok"][1] is not None


def test_a_step_is_run_again_until_it_succeeds(at: Probes) -> None:
    """By its own policy, which is not the function's."""
    ends = [{"temporary": "not yet"}, {"temporary": "still not"}, "ok"]
    trace = at.run([{"run": {"name": "third", "ends": ends, "min_wait_ms": 1, "max_wait_ms": 2}}, "current"])
    assert trace[0] == {"ok": []}
    assert trace[1]["attempt"] == 1


def test_a_step_gives_up_after_its_attempts(at: Probes, server: KeyedServer) -> None:
    """The last reason is the failure that the function sees."""
    ends, do = [{"temporary": "never"}], [tell(server, "tried", "x")]
    step = {"name": "thrice", "attempts": 3, "ends": ends, "min_wait_ms": 1, "max_wait_ms": 2, "do": do}
    trace = at.run([{"run": step}])
    assert "never" in failed(trace[0])["message"]
    assert len([asked for asked in server.asked if asked.name == "tried"]) == 3


def test_a_terminal_failure_inside_a_step_is_not_tried_again(at: Probes, server: KeyedServer) -> None:
    """It is the failure of the step at once."""
    step = {"name": "final", "ends": [{"terminal": "no such seat"}], "do": [tell(server, "tried", "x")]}
    assert failed(at.run([{"run": step}])[0])["message"] == "no such seat"
    assert len(server.asked) == 1


# -- state of a key


def test_state_is_added_to_listed_and_cleared(at: Probes) -> None:
    """Each key has its own."""
    changes = [{"set": ["a", 1]}, {"set": ["b", [2]]}, {"clear": "a"}, "clear_all"]
    asks = [["names"], ["names", {"get": "a"}], ["names"], ["names", {"get": "a"}]]
    trace = at.run(
        [{"block": [change, *ask]} for change, ask in zip(changes, asks, strict=True)], guesthouse_key="state"
    )
    assert trace == [
        [OK, {"ok": ["a"]}],
        [OK, {"ok": ["a", "b"]}, {"ok": 1}],
        [OK, {"ok": ["b"]}],
        [OK, {"ok": []}, OK],
    ]
    at.run([{"set": ["a", 1]}], guesthouse_key="one")
    assert at.run([{"get": "a"}], guesthouse_key="two") == [OK]


def test_state_that_was_set_before_a_terminal_failure_stays(at: Probes) -> None:
    """What was done was done."""
    body = at.start([{"set": ["kept", "yes"]}, {"fail": {"terminal": "no"}}], guesthouse_key="kept")
    assert at.answer(body).status >= 400
    assert at.run([{"get": "kept"}], guesthouse_key="kept") == [{"ok": "yes"}]


def test_one_way_calls_of_a_key_all_arrive(at: Probes) -> None:
    """From several callers beside each other."""
    names = [f"{caller}-{number}" for caller in range(4) for number in range(10)]
    callers = [at.start([send("other", [{"set": [name, 1]}], key="sum") for name in names[n::4]]) for n in range(4)]
    for caller in callers:
        at.trace(caller)
    assert at.run([call("other", ["names"], key="sum"), wait(0)])[1] == {"ok": [{"ok": sorted(names)}]}
