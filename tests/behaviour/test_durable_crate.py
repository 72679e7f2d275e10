"""The crate guesthouse-guest on a real server: in each form, of both generations, in functions that are durable and not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse import Host
from harness import until
from probing import PROBE, Probes, call, failed, probes, wait
from queued import enqueue
from support import FORMS, guest

RETRY = {"attempts": 3, "min_wait_ms": 5, "max_wait_ms": 20}
NEVER = ["awakeable", wait(0), {"fail": {"terminal": "it was cancelled"}}]
"""What a function does that waits for what nobody completes."""
THREE = (*FORMS, "unknown-unknown")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    with probes(tmp_path_factory.mktemp("crate")) as found:
        for form in THREE:
            for name in (PROBE, "old-durable-calls", "durable-spawn"):
                found.deploy(f"{name}-{form}", name, form=form, retry=RETRY)
        found.deploy("greet", "greet")
        yield found


def ended(at: Probes, name: str, body: Any) -> dict[str, Any]:
    """The record of a call of a function once it has ended."""
    found = enqueue(at.host, name, json.dumps(body).encode())
    until(lambda: at.record(found)["state"] not in ("queued", "running", "suspended"), f"{name} does not end")
    return at.record(found)


# -- in each form


@pytest.mark.parametrize("form", THREE)
def test_everything_works_in_every_form(at: Probes, form: str) -> None:
    """Calls, timers, awakeables, steps and gather."""
    script = [
        call("greet", {"name": "Ada"}),
        {"sleep": 1},
        "awakeable",
        {"resolve": {"id": "$id:2", "payload": {"a": [1]}}},
        {"gather": {}},
        {"run": {"name": "a step", "min_wait_ms": 1, "ends": [{"temporary": "not yet"}, "ok"], "do": [{"value": 7}]}},
        call(f"{PROBE}-{form}", [{"fail": {"terminal": "no"}}]),
        wait(3),
    ]
    trace = at.run(script, f"{PROBE}-{form}")
    assert trace[4] == [{"ok": {"message": "Hello, Ada!"}}, {"ok": None}, {"ok": {"a": [1]}}]
    assert trace[5] == {"ok": [7]}
    assert trace[7] == {"failed": {"kind": "failed", "message": "no", "code": 422, "metadata": []}}


# -- how functions fail


@pytest.mark.parametrize(
    ("fail", "attempts", "status", "body"),
    [
        ({"temporary": "not now"}, 3, 500, "not now"),
        ({"throttled": 0}, 3, 429, "too much"),
        ({"terminal": "never"}, 1, 422, "never"),
        ({"failure": {"message": "gone", "code": 410}}, 1, 410, "gone"),
        ({"failure": {"message": "too many", "code": 429}}, 1, 429, "too many"),
        ({"failure": {"message": "down", "code": 503}}, 1, 503, "down"),
    ],
)
def test_an_error_says_whether_the_function_is_run_again(
    at: Probes, fail: Any, attempts: int, status: int, body: str
) -> None:
    """A status that the policy tries again is final if the function says so."""
    name = f"{PROBE}-{FORMS[0]}"
    found = at.start([{"fail": fail}], name)
    answer = at.answer(found)
    assert (answer.status, answer.body.decode()) == (status, body)
    assert at.record(found)["attempts"] == attempts


def test_a_failure_reaches_the_caller_with_its_text_its_status_and_its_metadata(at: Probes) -> None:
    """As it was made, through two functions; texts may be anything."""
    failure = {"message": 'it "broke"\n', "code": 409, "metadata": [["why", "ü\\"], ["why", ""]]}
    name = f"{PROBE}-{FORMS[0]}"
    trace = at.run([call(name, [{"fail": {"failure": failure}}]), wait(0)], name)
    assert trace[1] == {"failed": {"kind": "failed", **failure}}


@pytest.mark.parametrize("form", THREE)
@pytest.mark.parametrize(
    ("job", "state", "attempts", "note"),
    [
        ({"sleep_ms": 1}, "succeeded", 1, ""),
        ({"call": ["greet", {"name": "Ada"}]}, "succeeded", 1, ""),
        ({"fail": "not now"}, "dead", 3, "not now"),
        ({"fail": "not now", "until": 2}, "succeeded", 2, ""),
        ({"give_up": "never"}, "failed", 1, "guesthouse-error: terminal: never"),
    ],
    ids=["sleeps", "calls", "fails", "fails once", "gives up"],
)
def test_a_spawn_function_waits_and_fails_as_a_web_function_does(
    at: Probes, form: str, job: Any, state: str, attempts: int, note: str
) -> None:
    """What it says of its failure is its note."""
    found = ended(at, f"durable-spawn-{form}", job)
    assert (found["state"], found["attempts"], found["note"]) == (state, attempts, note)


def test_a_spawn_function_that_gave_up_is_a_failure_for_its_caller(at: Probes) -> None:
    """With the text alone."""
    spawned = call(f"durable-spawn-{FORMS[0]}", {"give_up": "never"})
    failed = at.run([spawned, wait(0)], f"{PROBE}-{FORMS[0]}")[1]["failed"]
    assert (failed["kind"], failed["message"]) == ("failed", "never")


@pytest.mark.parametrize("form", THREE)
@pytest.mark.parametrize(
    ("fail", "attempts", "status", "body"),
    [
        (None, 1, 200, "Hello, Ada!"),
        ({"temporary": "not now"}, 3, 500, "not now"),
        ({"throttled": "too much"}, 3, 429, "too much"),
        ({"terminal": "never"}, 1, 422, "never"),
        ({"coded": [503, "never"]}, 1, 503, "never"),
    ],
    ids=["ok", "temporary", "throttled", "terminal", "coded"],
)
def test_the_older_generation_waits_and_fails_so_too(
    at: Probes, form: str, fail: Any, attempts: int, status: int, body: str
) -> None:
    """Its `post!` takes the same answers."""
    job = {"sleep_ms": 1, "step": "Ada", "then": "greet", "fail": fail}
    found = enqueue(at.host, f"old-durable-calls-{form}", json.dumps(job).encode())
    answer = at.answer(found)
    assert answer.status == status
    assert body in answer.body.decode()
    assert at.record(found)["attempts"] == attempts


# -- payloads


def test_what_does_not_decode_is_a_failure_for_good(at: Probes) -> None:
    """Of a called function, here one that answers text where JSON is expected: the caller is not run again."""
    text = [{"answer": {"body": "no JSON"}}]
    job = {"ask": [f"{PROBE}-{FORMS[0]}"], "question": text, "within_ms": 30_000}
    at.deploy("first-answer", "first-answer")
    found = enqueue(at.host, "first-answer", json.dumps(job).encode())
    answer = at.answer(found)
    assert answer.status == 422
    assert answer.body.startswith(b"a payload is not what was expected: ")
    assert at.record(found)["attempts"] == 1


# -- several


def test_the_first_of_several_and_what_becomes_of_the_others(at: Probes) -> None:
    """A race ends with the first end, also a failure; `any` goes on to a success; the others stay, or are cancelled."""
    name = f"{PROBE}-{FORMS[0]}"
    never = call(name, NEVER)
    fails, well = call(name, [{"fail": {"terminal": "no"}}]), call(name, [{"value": "well"}])
    script = [fails, {"within": {"of": 0, "timeout_ms": 30_000}}, never, {"race": {"of": [1, 0]}}]
    trace = at.run([*script, fails, well, {"any": {"of": [2, 3]}}], name)
    assert trace[1] == {"ok": True}
    assert failed(trace[3])["message"] == "no"
    assert trace[6] == {"ok": [1, ["well"]]}
    trace = at.run([never, {"id": 0}, {"sleep": 1}, {"race": {"of": [0, 1]}}, {"within": {"of": 0}}], name)
    assert trace[3:] == [{"ok": [1, None]}, {"ok": False}]
    assert at.record(trace[1])["state"] in ("queued", "running", "suspended")
    trace = at.run([never, {"id": 0}, {"sleep": 1}, {"race": {"of": [0, 1], "cancel": True}}], name)
    gone(at, trace[1])


def test_what_takes_too_long_is_cancelled_if_so_asked(at: Probes) -> None:
    """A call, a race and a gather, each with a time-out; a gather that leaves the rest does leave it."""
    name = f"{PROBE}-{FORMS[0]}"
    late = [{"call_within": [20, call(name, NEVER)["call"]]}]
    assert failed(at.run(late, name)[0])["kind"] == "timed-out"
    for group in ({"any": {"of": [0], "timeout_ms": 20, "cancel": True}}, {"gather": {"timeout_ms": 20}}):
        gone(at, at.run([call(name, NEVER), {"id": 0}, group], name)[1])
    left = [call(name, NEVER), {"id": 0}, {"gather": {"timeout_ms": 20, "then": "leave-rest"}}]
    trace = at.run(left, name)
    assert trace[2] == [None]
    assert at.record(trace[1])["state"] in ("queued", "running", "suspended")


def test_of_no_promises_there_are_no_results_and_no_first(at: Probes) -> None:
    """A gather of none is done at once; a race of none is a failure."""
    name = f"{PROBE}-{FORMS[0]}"
    trace = at.run([{"gather": {"of": []}}, {"calls": []}, {"race": {"of": []}}, {"any": {"of": []}}], name)
    assert trace[:2] == [[], {"promises": [0, 0]}]
    assert [failed(found)["kind"] for found in trace[2:]] == ["failed", "failed"]


def test_ten_thousand_calls_in_one_gather(at: Probes) -> None:
    """All are made by one call of the host, and their answers come in its order."""
    count = 10_000
    orders = [{"function": "echo", "payload": number} for number in range(count)]
    at.host.deploy("echo")
    trace = at.run([{"calls": orders}, {"gather": {}}], f"{PROBE}-{FORMS[0]}")
    assert trace == [{"promises": [0, count]}, [{"ok": number} for number in range(count)]]


def gone(at: Probes, call: str) -> None:
    """Waits until a call has ended, without success."""
    until(lambda: at.record(call)["state"] not in ("queued", "running", "suspended"), f"{call} goes on")
    assert at.record(call)["state"] != "succeeded"


# -- in a function that is not durable


@pytest.mark.parametrize("form", THREE)
def test_a_function_that_is_not_durable_waits_in_memory(form: str) -> None:
    """The same calls come to the same, on a host without a disk."""
    script = [
        "current",
        call("greet", {"name": "Ada"}),
        {"sleep": 1},
        "awakeable",
        {"resolve": {"id": "$id:2", "payload": "done"}},
        {"gather": {"of": [1, 2]}},
        {"select": {"of": [0], "first": "to-end"}},
        wait(0),
        {"run": {"name": "a", "min_wait_ms": 1, "ends": [{"temporary": "not yet"}, "ok"], "do": [{"value": 1}]}},
        {"get": "x"},
    ]
    with Host() as host:
        host.deploy("greet", guest("greet"))
        host.deploy("probe", guest(PROBE, form))
        outcome = host.invoke("probe", json.dumps(script).encode())
    assert outcome.status == 200, outcome.body
    trace = json.loads(outcome.body)
    assert trace[0] == {"key": None, "attempt": 1, "durable": False}
    assert trace[5] == [{"ok": None}, {"ok": "done"}]
    assert trace[6:9] == [{"ok": 0}, {"ok": {"message": "Hello, Ada!"}}, {"ok": [1]}]
    assert trace[9]["failed"]["kind"] == "failed"
