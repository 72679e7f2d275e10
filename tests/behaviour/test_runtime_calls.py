"""Durable functions that call others: order, keys, delays, what reaches a function, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from probing import OK, Probes, call, probes, send, wait
from queued import attached, enqueue
from support import guest


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    with probes(tmp_path_factory.mktemp("calls"), "probe", "other") as found:
        found.deploy("echo", "echo", durable=True)
        yield found


# -- call order


@pytest.mark.parametrize("first", [send, call], ids=["one-way", "awaited"])
def test_two_calls_of_one_key_run_in_the_order_in_which_they_were_made(at: Probes, first) -> None:
    """Also where nobody waits for the first one, which takes its time."""
    key = f"order-{first.__name__}"
    slow = [{"sleep": 50}, wait(0), {"set": ["seen", "the first one's"]}]
    script = [first("other", slow, key=key), call("other", [{"get": "seen"}], key=key)]
    trace = at.run([*script, wait(1 if first is call else 0)])
    assert trace[-1] == {"ok": [{"ok": "the first one's"}]}


def test_calls_of_other_keys_do_not_wait(at: Probes) -> None:
    """A key whose call waits for hours holds up nobody else's."""
    holder = at.start([{"sleep": 3_600_000}, wait(0)], guesthouse_key="held")
    at.suspended(holder)
    behind = at.start(["current"], guesthouse_key="held")
    assert at.run(["current"], guesthouse_key="free")[0]["key"] == "free"
    assert at.record(behind)["state"] == "queued"
    assert at.post(f"/invocations/{holder}/cancel").status == 202
    assert at.trace(behind)[0]["key"] == "held"


# -- calls between functions


def test_a_call_is_answered_with_the_body_of_the_functions_answer(at: Probes) -> None:
    """JSON that the other function made of what it was given, and bytes of one that knows nothing of this."""
    assert at.run([call("other", [{"value": {"a": [1, None]}}]), wait(0)])[1] == {"ok": [{"a": [1, None]}]}
    assert at.run([call("echo", "as it is"), wait(0)])[1] == {"ok": "as it is"}


def test_a_call_that_nobody_waits_for_runs_all_the_same(at: Probes) -> None:
    """And its id is an invocation like any other."""
    trace = at.run([send("other", [{"value": "done"}]), {"value": "$sent"}])
    assert trace[0] == OK
    assert at.trace(trace[1]) == ["done"]


def test_a_delayed_call_begins_no_sooner(at: Probes) -> None:
    """By the clock that the functions read."""
    trace = at.run(["clock", send("other", ["clock"], delay_ms=300), {"value": "$sent"}])
    (ran,) = at.trace(trace[2])
    assert ran - trace[0] >= 300


def test_a_second_call_with_the_same_idempotency_key_is_the_first(at: Probes) -> None:
    """Of whichever caller: one run, one answer."""
    twice = [call("other", ["random"], idempotency_key="one"), call("other", ["random"], idempotency_key="one")]
    trace = at.run([*twice, wait(0), wait(1)])
    assert trace[2] == trace[3]
    assert at.run([call("other", ["random"], idempotency_key="one"), wait(0)])[1] == trace[2]
    assert at.run([call("other", ["random"], idempotency_key="two"), wait(0)])[1] != trace[2]


def test_a_second_one_way_call_with_the_same_idempotency_key_is_the_first(at: Probes) -> None:
    """They have one id."""
    once = [send("other", ["random"], idempotency_key="sent"), {"value": "$sent"}]
    first, second = at.run([*once, *once])[1::2]
    assert first == second
    assert at.run([call("other", ["random"], idempotency_key="sent"), wait(0)])[1] == {"ok": at.trace(first)}


def test_a_function_that_is_not_there_is_a_failure_and_calls_nobody(at: Probes) -> None:
    """Of several at once, none is called."""
    trace = at.run([{"calls": [{"function": "other", "payload": []}, {"function": "nowhere", "payload": []}]}])
    assert trace[0]["failed"]["kind"] == "failed"
    assert "nowhere" in trace[0]["failed"]["message"]


def test_a_name_is_taken_as_it_is(at: Probes) -> None:
    """With a space behind it, it is another name: one that no function can have, and nobody trims it."""
    trace = at.run([call("other ", [])])
    assert "'other '" in trace[0]["failed"]["message"]
    wasm = {"content-type": "application/wasm"}
    assert at.host.request("PUT", "/functions/manage/default/other%20", guest("echo"), wasm).status == 404


def test_a_call_knows_its_family(at: Probes) -> None:
    """Its record names the call that made it, and the one at the root."""
    child = [call("other", []), {"id": 0}, wait(0)]
    trace = at.run([call("probe", child), {"id": 0}, wait(0), "my_id"])
    root, middle, leaf = trace[3], trace[1], trace[2]["ok"][1]
    assert [at.record(name)["parent"] for name in (root, middle, leaf)] == [None, root, middle]
    assert {at.record(name)["root"] for name in (root, middle, leaf)} == {root}
    assert [at.record(name)["depth"] for name in (root, middle, leaf)] == [0, 1, 2]


# -- ingress


def test_request_headers_reach_the_function(at: Probes) -> None:
    """Of a direct call, a queued one, and one that another function makes."""
    script = [{"request": "x-colour"}]
    direct = at.host.request("POST", "/functions/default/probe", json.dumps(script).encode(), {"x-colour": "blue"})
    assert direct.json == ["blue"]
    assert at.run(script, x_colour="red") == ["red"]
    assert at.run([call("other", script, headers=[["x-colour", "green"]]), wait(0)])[1] == {"ok": ["green"]}


def test_raw_bytes_go_in_and_come_out(at: Probes) -> None:
    """All of them, in a direct call and in a queued one."""
    body = bytes(range(256)) * 256
    assert at.host.call("echo", body).body == body
    assert attached(at.host, enqueue(at.host, "echo", body)).body == body


def test_a_direct_call_with_an_idempotency_key_runs_once(at: Probes) -> None:
    """Whoever repeats it gets the first answer, also while it is at work."""
    body, headers = json.dumps(["random", {"sleep": 100}, wait(0)]).encode(), {"idempotency-key": "direct"}

    def ask(_: int) -> bytes:
        return at.host.request("POST", "/functions/default/probe", body, headers).body

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(ask, range(4)))
    assert len(answers | {ask(4)}) == 1


def test_a_queued_call_with_an_idempotency_key_can_be_attached_to_by_sending_it_again(at: Probes) -> None:
    """The second acknowledgement has the id of the first, and a direct call with the key gets its answer."""
    script = ["random"]
    first = at.start(script, idempotency_key="attach")
    assert at.start(script, idempotency_key="attach") == first
    body = json.dumps(script).encode()
    direct = at.host.request("POST", "/async-function/probe", body, {"idempotency-key": "attach"})
    assert direct.headers["x-invocation-id"] == first
    assert at.answer(first).status == 200
