"""Errors of durable functions: what is tried again, what never is, and what a caller is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keyed_server import KeyedServer
from probing import OK, Probes, call, failed, probes, tell, wait

SOON = {"attempts": 4, "min_wait_ms": 1, "max_wait_ms": 2}
FAILURE = {"failure": {"message": "the card was refused", "code": 402, "metadata": [["card", "4711"], ["try", "1"]]}}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    with probes(tmp_path_factory.mktemp("errors"), "probe") as found:
        found.deploy("other", retry=SOON)
        found.deploy("middle", retry=SOON)
        yield found


@pytest.fixture
def server() -> Iterator[KeyedServer]:
    with KeyedServer() as server:
        yield server


def test_a_terminal_failure_reaches_the_caller_with_text_and_metadata_and_is_never_tried_again(
    at: Probes, server: KeyedServer
) -> None:
    """Through one function more as well."""
    inner = call("other", [tell(server, "tried", "x"), {"fail": FAILURE}])
    trace = at.run([inner, wait(0)])
    assert failed(trace[1]) == {
        "kind": "failed", "message": "the card was refused", "code": 402, "metadata": [["card", "4711"], ["try", "1"]],
    }  # fmt: skip
    assert len(server.asked) == 1


def test_a_direct_caller_is_told_as_well(at: Probes) -> None:
    """By status and text; how it was meant stays inside."""
    answer = at.answer(at.start([{"fail": FAILURE}], "other"))
    assert (answer.status, "guesthouse-error" in answer.headers) == (402, False)
    assert b"the card was refused" in answer.body


def test_a_failure_of_a_step_is_one_too(at: Probes) -> None:
    """Its text is what the function sees, and can be passed on."""
    trace = at.run([{"run": {"name": "s", "ends": [{"terminal": "no room"}]}}])
    assert failed(trace[0])["message"] == "no room"


@pytest.mark.parametrize("how", [{"fail": {"temporary": "not now"}}, "trap"], ids=["temporary", "trap"])
def test_other_failures_are_tried_again_until_they_succeed(at: Probes, server: KeyedServer, how) -> None:
    """What was done before is not done again, and the caller sees the success alone."""
    script = [tell(server, "before", "x"), {"if_attempt": [1, [how]]}, {"if_attempt": [2, [how]]}, "current"]
    trace = at.run([call("other", script), wait(0)])
    assert trace[1]["ok"][3]["attempt"] == 3
    assert dict(server.done) == {"before": 1}
    assert len(server.asked) == 1


def test_they_are_tried_as_often_as_the_policy_says(at: Probes, server: KeyedServer) -> None:
    """Then the caller is told that it failed, and why."""
    script = [{"run": {"name": "counted", "do": [tell(server, "first", "x")]}}, {"fail": {"temporary": "never"}}]
    trace = at.run([call("other", script), {"id": 0}, wait(0)])
    assert "never" in failed(trace[2])["message"]
    found = at.record(trace[1])
    assert (found["state"], found["attempts"]) == ("dead", 4)
    assert len(server.asked) == 1


def test_a_call_that_ended_is_never_run_again_when_its_caller_is(at: Probes, server: KeyedServer) -> None:
    """Whether it succeeded or failed for good; the caller is tried again twice."""
    calls = [
        call("other", [tell(server, "good", "x"), {"value": 1}]),
        call("other", [tell(server, "bad", "x"), {"fail": {"terminal": "no"}}]),
    ]
    again = [{"if_attempt": [n, [{"fail": {"temporary": "again"}}]]} for n in (1, 2)]
    trace = at.run([*calls, wait(0), wait(1), *again, "current"], "middle")
    assert trace[2]["ok"][1] == 1
    assert failed(trace[3])["message"] == "no"
    assert trace[-1]["attempt"] == 3
    assert dict(server.done) == {"good": 1, "bad": 1}
    assert len(server.asked) == 2


def test_a_throttled_call_is_slowed_down_and_not_failed(at: Probes) -> None:
    """It succeeds once it may."""
    script = [{"if_attempt": [1, [{"fail": {"throttled": 10}}]]}, "current"]
    assert at.run([call("other", script), wait(0)])[1]["ok"][1]["attempt"] == 2


def test_a_guest_can_go_on_after_a_failure(at: Probes) -> None:
    """They are values."""
    trace = at.run(
        [
            call("other", [{"fail": {"terminal": "no"}}]),
            wait(0),
            {"if_failed": [[{"value": "other way"}], []]},
            {"set": ["x", 1]},
        ]
    )
    assert trace[2] == ["other way"]
    assert trace[3] != OK  # there is no key: that is a failure too, and no trap
