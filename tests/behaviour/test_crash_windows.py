"""Windows of time in which other durable runtimes lost or repeated something when they died there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import until
from keyed_server import KeyedServer
from probing import OK, Probes, call, failed, probes, tell, told, wait

HOUR = 3_600_000


def first_of(*of: int) -> dict[str, Any]:
    return {"select": {"of": list(of), "first": "to-end"}}


def test_what_was_recorded_and_not_seen_is_seen_once_and_in_the_same_order(tmp_path: Path) -> None:
    """The host dies right after it has recorded an answer: the next one tells the guest so before anything newer."""
    with KeyedServer() as server:
        script = [
            "awakeable",
            "awakeable",
            tell(server, "ids", json.dumps(["$id:0", "$id:1"])),
            first_of(0, 1),
            tell(server, "decided", "$last"),
            first_of(0, 1),
            wait(0),
            wait(1),
        ]
        server.hold("decided", "before")
        with probes(tmp_path, "probe") as first:
            found = first.start(script)
            one, two = json.loads(told(server, "ids"))
            first.suspended(found)
            assert first.resolve(two, "the second").status == 202
            server.holds()
            assert first.resolve(one, "the first").status == 202
        with probes(tmp_path) as second:
            trace = second.trace(found)
        assert trace[3] == {"ok": 1}
        assert trace[6:] == [{"ok": "the first"}, {"ok": "the second"}]
        assert {asked.body for asked in server.asked if asked.name == "decided"} == {b'{"ok":1}'}


def test_the_loser_of_a_race_loses_it_again(tmp_path: Path) -> None:
    """A completion that comes while the race is being decided changes nothing about it, in any later run."""
    with KeyedServer() as server:
        script = ["awakeable", {"sleep": 1}, tell(server, "id", "$id:0"), first_of(0, 1), {"value": "$last"}]
        more = [tell(server, "raced", "$last"), wait(0), {"value": "$last"}]
        server.hold("raced", "after")
        with probes(tmp_path, "probe") as first:
            found = first.start([*script, *more])
            name = told(server, "id")
            server.holds()
            assert first.resolve(name, "late").status == 202
        with probes(tmp_path) as second:
            trace = second.trace(found)
        assert trace[3] == {"ok": 1}
        assert trace[6] == {"ok": "late"}
        assert {asked.body for asked in server.asked if asked.name == "raced"} == {b'{"ok":1}'}


def test_a_child_whose_caller_dies_after_it_was_accepted_is_called_once(tmp_path: Path) -> None:
    """The call is in the caller's journal if and only if it is in the queue."""
    with KeyedServer() as server:
        child = call("other", [tell(server, "child", "x"), {"value": "grown"}])
        server.hold("child", "before")
        with probes(tmp_path, "probe", "other") as first:
            found = first.start([child, {"id": 0}, wait(0)])
            server.holds()
        with probes(tmp_path) as second:
            trace = second.trace(found)
            assert trace[2]["ok"][1] == "grown"
            listed = second.host.request("GET", "/invocations?function=default/other").json["invocations"]
            assert [one["id"] for one in listed] == [trace[1]]
        assert dict(server.done) == {"child": 1}


def test_a_body_that_was_half_read_is_read_again_as_it_was(tmp_path: Path) -> None:
    """A guest that drops an answer in its middle and asks for another thing sees the same bytes in its next run."""
    with KeyedServer() as server:
        send = [{"send": {"verb": "POST", "url": server.url(f"r{n}"), "body": "b"}} for n in range(2)]
        steps = [send[0], {"read": [0, 3]}, {"drop": 0}, send[1], {"read": [1, 4]}, {"advance": [1, 1]}, {"all": 1}]
        server.hold("r1", "after")
        with probes(tmp_path) as first:
            first.deploy("http-calls", "http-calls", durable=True)
            found = first.start(steps, "http-calls")
            server.holds()
        with probes(tmp_path) as second:
            trace = second.trace(found)
        assert (trace[1], trace[4], trace[6]) == ("r0,", "r1, ", "umber 2")
        assert dict(server.done) == {"r0": 1, "r1": 1}


def test_a_timer_that_was_due_while_no_host_was_there_fires_at_once(tmp_path: Path) -> None:
    """And only once."""
    with KeyedServer() as server:
        with probes(tmp_path, "probe") as first:
            found = first.start([{"sleep": 50}, wait(0), tell(server, "woken", "x")])
            first.suspended(found)
        with probes(tmp_path) as second:
            assert second.trace(found)[1] == OK
        assert len(server.asked) == 1


def test_the_retry_of_a_step_goes_on_where_it_was(tmp_path: Path) -> None:
    """How many runs there were, and when the next one may be, survive a crash: three runs in all, not three for each host."""
    with KeyedServer() as server:
        step = {
            "name": "patient",
            "attempts": 3,
            "ends": [{"temporary": "no"}, {"throttled": 700}, {"temporary": "never"}],
            "min_wait_ms": 1,
            "max_wait_ms": 2,
            "do": [tell(server, "tried", "x")],
        }
        with probes(tmp_path, "probe") as first:
            found = first.start([{"run": step}, "current"])
            until(lambda: len(server.asked) == 2, "there was no second run")
            first.suspended(found)
        with probes(tmp_path) as second:
            trace = second.trace(found)
        assert "never" in failed(trace[0])["message"]
        assert trace[1]["attempt"] == 1
        assert len(server.asked) == 3
        assert server.keys["tried"]
        assert len(server.keys["tried"]) == 1


def test_the_attempts_of_a_function_survive_a_crash(tmp_path: Path) -> None:
    """Two failed tries before it, and one behind it: that is three, and the wait of the policy goes on as well."""
    retry = {"attempts": 3, "min_wait_ms": 600, "max_wait_ms": 600}

    def tried(at: Probes, found: str, times: int) -> None:
        until(lambda: at.record(found)["attempts"] >= times, "it was not tried again")

    with KeyedServer() as server:
        script = [{"if_attempt": [n, [tell(server, f"try-{n}", "x")]]} for n in (1, 2, 3)]
        with probes(tmp_path) as first:
            first.deploy(retry=retry)
            found = first.start([*script, {"fail": {"temporary": "never"}}])
            tried(first, found, 2)
        with probes(tmp_path) as second:
            assert second.answer(found).status >= 400
            record = second.record(found)
            assert (record["state"], record["attempts"]) == ("dead", 3)
        assert dict(server.done) == {"try-1": 1, "try-2": 1, "try-3": 1}


def test_a_trap_is_no_text_that_a_replay_would_have_to_repeat(tmp_path: Path) -> None:
    """A guest that traps with another text, or at another place of its code, is no divergence: it is just another end."""
    with probes(tmp_path) as at:
        at.deploy(retry={"attempts": 1})
        found = at.start(["random", {"set": ["a", 1]}, "trap"], guesthouse_key="k")
        at.answer(found)
        assert at.record(found)["result"] == "trapped"
        version = at.deploy("probe", "durable-probe-cache", retry={"attempts": 1})
        assert at.post(f"/invocations/{found}/redrive?version={version}").status == 202
        at.answer(found)
        assert at.record(found)["result"] == "trapped"


def test_an_error_of_the_world_is_told_again_as_it_was(tmp_path: Path) -> None:
    """Its text has what is never the same twice, a port; the next run sees that of the first."""
    with KeyedServer() as gone:
        url = gone.url("nobody")
    with KeyedServer() as server:
        script = [{"http": {"url": url, "verb": "POST"}}, tell(server, "said", "$last"), {"value": "$last"}]
        server.hold("said", "after")
        with probes(tmp_path, "probe") as first:
            found = first.start(script)
            server.holds()
        with probes(tmp_path) as second:
            assert "error" in second.trace(found)[0]
        assert len({asked.body for asked in server.asked}) == 1
        assert len(server.asked) == 2
