"""Waiting for calls, timers and several of them; calling; in durable functions and in those that keep it in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guesthouse.queue.config import QueueConfig
from support import guest
from waiting import CANCELLED, KINDS, OK, TIMED_OUT, Waiting, perform

NAME = {"name": "Ada"}
HELLO = {"ok": {"message": "Hello, Ada!"}}
both = pytest.mark.parametrize("kind", KINDS)


def call(function: str, payload: Any, **more: Any) -> dict[str, Any]:
    return {"call": {"function": function, "payload": payload, **more}}


def wait(of: int, timeout_ms: int | None = None) -> dict[str, Any]:
    return {"wait": {"of": of, "timeout_ms": timeout_ms}}


# -- waiting for one


@both
def test_a_call_comes_to_the_body_of_its_answer(kind: str) -> None:
    """Also the call of a function of the other kind, and of one that answers nothing."""

    async def work(at: Waiting) -> None:
        assert (await at.run([call("greet", NAME), wait(0)]))[1] == HELLO
        assert (await at.run([call("probe", [{"value": 1}]), wait(0)]))[1] == {"ok": [1]}
        await at.deploy("noted", "spawn-result")
        found = (await at.run([call("noted", NAME), wait(0)]))[1]
        assert set(found) == {"ok"}

    perform(kind, work)


@both
def test_a_timer_ends_when_its_time_has_come(kind: str) -> None:
    """In a moment, at a time, and at once where that has passed."""

    async def work(at: Waiting) -> None:
        trace = await at.run([{"sleep": 5}, wait(0), {"sleep": 0}, wait(1), {"sleep_until": 1_000}, wait(2, 0)])
        assert trace[1::2] == [OK, OK, OK]

    perform(kind, work)


@both
def test_what_takes_longer_than_it_may_is_timed_out(kind: str) -> None:
    """Of a wait, of several, of a race; what had ended by then is told all the same."""

    async def work(at: Waiting) -> None:
        script = [
            *("awakeable", wait(0, 5)),
            *("awakeable", call("greet", NAME), {"gather": {"of": [1, 2], "timeout_ms": 300}}),
            *("awakeable", {"select": {"of": [3], "first": "to-end", "timeout_ms": 5}}),
        ]
        trace = await at.run(script)
        assert trace[1] == trace[6] == TIMED_OUT
        assert trace[4] == [None, HELLO]

    perform(kind, work)


# -- waiting for several


@both
def test_results_are_in_the_order_of_the_calls(kind: str) -> None:
    """Whichever ends first; of different functions; a number that nobody knew before."""

    async def work(at: Waiting) -> None:
        script = [
            call("probe", [{"sleep": 60}, wait(0), {"value": "slow"}]),
            call("probe", [{"value": "fast"}]),
            {"sleep": 20},
            call("greet", NAME),
            {"gather": {}},
        ]
        slow, fast, timer, hello = (await at.run(script))[4]
        assert (slow["ok"][2], fast, timer, hello) == ("slow", {"ok": ["fast"]}, OK, HELLO)
        assert (await at.run([{"gather": {"of": []}}]))[0] == []

    perform(kind, work)


@both
@pytest.mark.parametrize("then", ["cancel-rest", "leave-rest", "wait-for-all"])
def test_the_first_failure_ends_a_gather_as_asked(kind: str, then: str) -> None:
    """With what there is: the others are cancelled, left alone, or waited for."""

    async def work(at: Waiting) -> None:
        long = [{"sleep": 100_000}, wait(0)] if then != "wait-for-all" else [{"sleep": 30}, wait(0)]
        script = [
            call("probe", long),
            {"value": "$id:0"},
            call("probe", [{"fail": {"terminal": "no"}}]),
            {"gather": {"then": then}},
        ]
        trace = await at.run(script)
        slow, failure = trace[3]
        assert failure["failed"]["message"] == "no"
        assert (slow is None) == (then != "wait-for-all")
        record = await at.host.invocation(trace[1])
        if then == "cancel-rest":
            ended = await at.ended(trace[1])
            assert ended.state == ("succeeded" if at.durable else "cancelled")  # a durable one hears of it, and goes on
        elif then == "leave-rest":
            assert record.state in ("queued", "running", "suspended")
            await at.host.kill(trace[1])

    perform(kind, work)


@both
def test_the_first_of_several_is_the_first_to_end_or_the_first_to_succeed(kind: str) -> None:
    """Its place is told, and waiting for it is done at once; where all fail, it is the last to do so."""

    async def work(at: Waiting) -> None:
        fails = call("probe", [{"fail": {"terminal": "no"}}])
        later = call("probe", [{"sleep": 40}, wait(0), {"value": "later"}])
        assert (await at.run([later, fails, {"select": {"of": [0, 1], "first": "to-end"}}, wait(1)]))[2:] == [
            {"ok": 1},
            {"failed": {"kind": "failed", "message": "no", "code": 422, "metadata": []}},
        ]
        trace = await at.run([fails, later, {"select": {"of": [0, 1], "first": "to-succeed"}}, wait(1)])
        assert trace[2] == {"ok": 1}
        assert trace[3]["ok"][2] == "later"
        trace = await at.run([fails, fails, {"select": {"of": [0, 1], "first": "to-succeed"}}])
        assert trace[2]["ok"] in (0, 1)
        assert "failed" in (await at.run([{"select": {"of": [], "first": "to-end"}}]))[0]

    perform(kind, work)


@both
def test_an_awakeable_or_a_time_whichever_comes_first(kind: str) -> None:
    """The one that was not the first stays as it is, and can be waited for."""

    async def work(at: Waiting) -> None:
        select = {"select": {"of": [0, 1], "first": "to-end"}}
        invocation, awakeable = await at.asked([{"sleep": 20}, select, wait(0)])
        await at.until(lambda: reached(at, invocation))
        await at.host.resolve(awakeable, b"7")
        assert (await at.trace(invocation))[3:] == [{"ok": 1}, {"ok": 7}]
        invocation, awakeable = await at.asked([{"sleep": 100_000}, select, wait(0)])
        await at.host.resolve(awakeable, b"8")
        assert (await at.trace(invocation))[3:] == [{"ok": 0}, {"ok": 8}]

    async def reached(at: Waiting, invocation: str) -> bool:
        """Whether it has gone on from the race: it waits without a time."""
        if at.durable:
            record = await at.host.invocation(invocation)
            return record.state == "suspended" and not record.due_ms
        workflow = at.host.workflows._memory.get(invocation)
        return workflow is not None and bool(workflow._passed)

    perform(kind, work)


@pytest.mark.parametrize(("kind", "count"), [("durable", 10_000), ("volatile", 1_000)])
def test_thousands_of_calls_are_gathered(kind: str, count: int) -> None:
    """Made together, waited for together."""

    async def work(at: Waiting) -> None:
        made = {"calls": [{"function": "greet", "payload": NAME, "times": count}]}
        trace = await at.run([made, {"gather": {}}])
        assert trace[1] == [HELLO] * count

    perform(kind, work, grace_ms=1_000)


# -- calling


@both
def test_what_stands_in_the_way_of_a_call_is_told(kind: str) -> None:
    """And then none of those is made that were asked for together."""

    async def work(at: Waiting) -> None:
        async def refused(*requests: Any) -> Any:
            (trace,) = await at.run([{"calls": requests}])
            return trace["failed"]["code"], trace["failed"]["message"]

        fine = {"function": "greet", "payload": NAME}
        assert (await refused(fine, {"function": "nobody"}))[0] == 404
        assert (await refused(fine, {"function": "Greet "}))[0] == 404
        assert (await refused({**fine, "key": "k" * 257}))[0] == 400
        assert (await refused({**fine, "key": ""}))[0] == 400
        assert (await refused({**fine, "idempotency_key": "ü" * 200}))[0] == 400
        assert (await refused({**fine, "delay_ms": 1 << 62}))[0] == 400
        assert (await refused({**fine, "headers": [["a b", "c"]]}))[0] == 400
        assert (await refused({**fine, "headers": [["a", "b\r\nc: d"]]}))[0] == 400
        assert (await refused({**fine, "headers": [["a", "b"]] * 200}))[0] == 400
        await at.host.deploy("tiny", guest("greet"), limits={"request_bytes": 100})
        assert (await refused({"function": "tiny", "payload": "x" * 200}))[0] == 413
        assert not (await at.host.invocations("greet"))[0]

    perform(kind, work)


@both
def test_a_function_calls_only_what_it_was_granted(kind: str) -> None:
    """Names, or beginnings of names; judged at each call."""

    async def work(at: Waiting) -> None:
        await at.host.deploy("grumble", guest("greet"))
        trace = await at.run([call("greet", NAME), call("grumble", NAME), call("probe", []), "current"])
        assert trace[0] == {"promise": 0}
        assert trace[1]["failed"]["code"] == trace[2]["failed"]["code"] == 403
        assert trace[3]["durable"] is at.durable

    perform(kind, work, grants=["call:gree*", "http", "topic", "spawn", "log"])


@both
def test_a_queue_that_is_full_is_an_error_of_the_call(kind: str) -> None:
    """The caller goes on."""

    async def work(at: Waiting) -> None:
        made = {"calls": [{"function": "greet", "payload": NAME, "times": 40}]}
        trace = await at.run([made, {"value": 1}])
        assert trace[0]["failed"]["code"] == 429
        assert trace[1] == 1
        assert not (await at.host.invocations("greet"))[0]

    perform(kind, work, queue=QueueConfig(max_calls=60))


@both
def test_a_call_that_repeats_an_idempotency_key_is_the_first_one(kind: str) -> None:
    """It runs once, and both are told: beside each other, from different callers, and long after it has ended."""

    async def work(at: Waiting) -> None:
        once = call("probe", [{"sleep": 10}, wait(0), "clock"], idempotency_key="order-7")
        trace = await at.run([once, once, {"gather": {}}])
        first, second = trace[2]
        assert first == second
        assert (await at.run([once, wait(0)]))[1] == first
        assert (await at.run([{"send": once["call"]}, {"value": "$sent"}]))[0] == OK
        records = (await at.host.invocations("probe"))[0]
        assert sum(record.parent is not None for record in records) == 1
        other = call("probe", [], idempotency_key="order-7")
        assert (await at.run([other]))[0]["failed"]["code"] == 422

    perform(kind, work)


@both
def test_a_call_that_nobody_waits_for_runs_after_its_delay(kind: str) -> None:
    """Its caller may have ended by then."""

    async def work(at: Waiting) -> None:
        sent = (
            await at.run([{"send": {"function": "greet", "payload": NAME, "delay_ms": 60_000}}, {"value": "$sent"}])
        )[1]
        assert (await at.host.invocation(sent)).state == "queued"
        at.advance(60_001)
        assert (await at.ended(sent)).state == "succeeded"

    perform(kind, work)


@both
def test_a_call_has_its_own_headers_and_its_place_in_the_family(kind: str) -> None:
    """Parent, root and depth are in its record."""

    async def work(at: Waiting) -> None:
        script = [
            call("probe", [{"request": "x-own"}], headers=[["X-Own", "1"], ["x-call-id", "forged"]]),
            "my_id",
            wait(0),
        ]
        trace = await at.run([{"value": 0}, *script])
        assert trace[3] == {"ok": ["1"]}
        child = next(r for r in (await at.host.invocations("probe"))[0] if r.parent is not None)
        assert (child.parent, child.root, child.depth) == (trace[2], trace[2], 1)

    perform(kind, work)


@both
def test_functions_that_call_each_other_for_ever_end_at_the_bound_of_depth(kind: str) -> None:
    """As those do that spawn each other."""

    async def work(at: Waiting) -> None:
        script = json.dumps([call("deep", []), {"if_failed": [[], [wait(0)]]}])
        await at.deploy("deep", limits={"spawn_depth": 3}, environment={"SCRIPT": script})
        found = await at.run([], "deep")
        for _ in range(3):
            found = found[1][0]["ok"]
        assert "depth" in found[0]["failed"]["message"]

    perform(kind, work)


@both
def test_a_run_that_makes_too_many_promises_is_refused_more(kind: str) -> None:
    """A call is an error, a timer has none to answer and traps."""

    async def work(at: Waiting) -> None:
        await at.deploy("few", limits={"promises": 3})
        made = {"calls": [{"function": "greet", "payload": NAME, "times": 4}]}
        trace = await at.run([made, {"sleep": 1}, {"sleep": 1}, "awakeable"], "few")
        assert trace[0]["failed"]["code"] == 400
        failed = await at.ended(await at.start([{"repeat": [4, [{"sleep": 1}]]}], "few"))
        assert failed.result == "trapped"

    perform(kind, work)


# -- steps


@both
def test_a_step_comes_to_what_its_last_run_said(kind: str) -> None:
    """It is run until it succeeds, gives up after its attempts, and not again once it has failed for good."""

    async def work(at: Waiting) -> None:
        def step(name: str, *ends: Any, **more: Any) -> dict[str, Any]:
            return {"run": {"name": name, "min_wait_ms": 1, "max_wait_ms": 3, "ends": ends, **more}}

        temporary = {"temporary": "not yet"}
        trace = await at.run(
            [
                step("a", temporary, temporary, "ok", do=["clock"]),
                step("b", temporary, attempts=3),
                step("c", {"terminal": "never"}),
                step("a", "ok"),
                {"sleep": 1},
                wait(0),
            ]
        )
        assert len(trace[0]["ok"]) == 1
        assert [each["failed"]["message"] for each in trace[1:3]] == ["not yet", "never"]
        assert trace[3] == {"ok": []}
        assert trace[5] == OK

    perform(kind, work)


@both
@pytest.mark.parametrize(
    "inside",
    ["awakeable", {"sleep": 1}, {"run": {"name": "inner"}}, call("greet", NAME)],
    ids=["awakeable", "sleep", "step", "call"],
)
def test_nothing_is_waited_for_in_a_step_and_steps_are_not_nested(kind: str, inside: Any) -> None:
    """Whoever ran the step again would not know of it."""

    async def work(at: Waiting) -> None:
        record = await at.ended(await at.start([{"run": {"name": "outer", "do": [inside]}}]))
        assert (record.state, record.result) == ("dead", "trapped")

    perform(kind, work)


@both
def test_a_call_that_is_sent_in_a_step_is_sent_once_however_often_the_step_runs(kind: str) -> None:
    """Where there is a journal to know it by."""

    async def work(at: Waiting) -> None:
        send = {"send": {"function": "greet", "payload": NAME}}
        ends = [{"temporary": "again"}, {"temporary": "again"}, "ok"]
        await at.run([{"run": {"name": "a", "min_wait_ms": 1, "max_wait_ms": 2, "ends": ends, "do": [send]}}])
        assert len((await at.host.invocations("greet"))[0]) == (1 if at.durable else 3)

    perform(kind, work)


# -- state of a key


@both
def test_state_is_a_keys_own_and_stays(kind: str) -> None:
    """For the next call with that key; without one there is none."""

    async def work(at: Waiting) -> None:
        assert "failed" in (await at.run([{"get": "n"}]))[0]
        assert await at.run([{"get": "n"}, {"set": ["n", 1]}, {"set": ["a", "x"]}], key="ada") == [OK, OK, OK]
        assert await at.run([{"get": "n"}, "names"], key="ada") == [{"ok": 1}, {"ok": ["a", "n"]}]
        assert await at.run([{"get": "n"}], key="bob") == [OK]
        assert await at.run([{"clear": "n"}, {"get": "n"}, "names"], key="ada") == [OK, OK, {"ok": ["a"]}]
        assert await at.run(["clear_all", "names", "current"], key="ada") == [
            *(OK, {"ok": []}),
            {"key": "ada", "attempt": 1, "durable": at.durable},
        ]

    perform(kind, work)


@both
def test_state_that_was_set_stays_though_the_function_fails(kind: str) -> None:
    """And its bounds are errors."""

    async def work(at: Waiting) -> None:
        failed = await at.start([{"set": ["n", 5]}, {"fail": {"terminal": "no"}}], key="ada")
        assert (await at.output(failed)).status == 422
        assert await at.run([{"get": "n"}], key="ada") == [{"ok": 5}]
        trace = await at.run([{"set": ["n" * 300, 1]}, {"set": ["", 1]}, {"get": "n" * 300}], key="ada")
        assert [each["failed"]["code"] for each in trace] == [400] * 3
        await at.deploy("small", limits={"state_bytes": 10})
        assert (await at.run([{"set": ["n", "x" * 20]}], "small", key="ada"))[0]["failed"]["code"] == 413

    perform(kind, work)


# -- bounds


@both
def test_values_that_are_too_many_bytes_together_end_the_run(kind: str) -> None:
    """The host holds them all at once."""

    async def work(at: Waiting) -> None:
        await at.deploy("narrow", limits={"wait_bytes": 49})
        script = [call("greet", NAME), call("greet", NAME), {"gather": {}}]
        assert (await at.ended(await at.start(script, "narrow"))).result == "trapped"
        trace = await at.run([*script[:2], wait(0), {"select": {"of": [1], "first": "to-end"}}], "narrow")
        assert trace[2:] == [HELLO, {"ok": 0}]

    perform(kind, work)


@both
def test_a_cancelled_call_says_so_to_whoever_waits_for_it(kind: str) -> None:
    """Cancelled by its caller, before it ran."""

    async def work(at: Waiting) -> None:
        trace = await at.run([call("greet", NAME, delay_ms=60_000), {"cancel": "$id:0"}, wait(0)])
        assert trace[1] == OK
        assert trace[2]["failed"]["kind"] == CANCELLED["failed"]["kind"]

    perform(kind, work)
