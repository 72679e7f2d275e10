"""Durable functions over HTTP: called as any other, and what a client may do besides."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from harness import until
from hosted import Hosted
from play import JUDGE, Play, player
from stage import Stage
from support import guest, wat

PLAYER = "/functions/default/player"
MANAGED = "/functions/manage/default/player"


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def server(play: Play) -> Iterator[Hosted]:
    with Hosted(interfaces=[play]) as server:
        server.run(lambda host: _plays(play, host))
        server.run(lambda host: host.deploy("player", player(), durable={"grace_ms": 0}))
        yield server


async def _plays(play: Play, host: object) -> None:
    play.plays_on(host)  # type: ignore[arg-type]  # whoever runs this knows its host as an object


def suspended(server: Hosted, count: int = 1) -> list[str]:
    """The ids of suspended calls, once there are so many."""

    def found() -> list[str]:
        answer = server.request("GET", "/invocations?state=suspended")
        return [record["id"] for record in answer.json["invocations"]]

    until(lambda: len(found()) == count, "the calls were not suspended")
    return found()


@pytest.mark.parametrize("path", [PLAYER, "/function/player"])
def test_a_direct_call_is_answered_with_the_functions_answer(server: Hosted, play: Play, path: str) -> None:
    """In both forms; with the id of the invocation, whose record is there."""
    answer = server.request("POST", path, b"rw")
    assert (answer.status, answer.body) == (200, b"\1\1")
    record = server.request("GET", f"/invocations/{answer.headers['x-invocation-id']}").json
    assert (record["mode"], record["state"], record["journal_entries"]) == ("durable", "succeeded", 2)


def test_a_long_body_and_other_methods_are_passed_on(server: Hosted) -> None:
    """As for any function."""
    answer = server.request("PUT", PLAYER, b"l" * 70_000)
    assert (answer.status, len(answer.body)) == (200, 70_000)


def test_a_client_need_not_wait(server: Hosted, play: Play) -> None:
    """It is told where the answer will be: at once, or after as long as it wants to wait."""
    for headers in ({"prefer": "respond-async"}, {"prefer": "wait=0"}):
        answer = server.request("POST", PLAYER, b"rf", headers)
        assert (answer.status, answer.body) == (202, b"")
        place = answer.headers["location"]
        assert place == f"/invocations/{answer.headers['x-invocation-id']}"
        (call,) = suspended(server)
        server.run(lambda host, call=call: play.complete(call, 1, 7))
        answer = server.request("GET", f"{place}/attach")
        assert (answer.status, answer.body[1:]) == (200, b"\7")


def test_a_client_that_goes_away_ends_nothing(server: Hosted, play: Play) -> None:
    """The call goes on, and its answer is kept."""
    client = HTTPConnection("127.0.0.1", server.port)
    client.request("POST", PLAYER, b"rfw")
    (call,) = suspended(server)
    client.close()
    server.run(lambda host: play.complete(call, 1, 7))
    answer = server.request("GET", f"/invocations/{call}/attach")
    assert (answer.status, answer.body[1:]) == (200, b"\7\1")


def test_calls_with_the_same_key_come_one_after_the_other(server: Hosted, play: Play) -> None:
    """Of the header; the second begins when the first has ended."""
    first = server.request("POST", PLAYER, b"fw", {"guesthouse-key": "a", "prefer": "wait=0"})
    (call,) = suspended(server)
    second = server.request("POST", PLAYER, b"rrw", {"guesthouse-key": "a", "prefer": "wait=0"})
    assert server.request("POST", PLAYER, b"rw", {"guesthouse-key": "b"}).status == 200
    record = server.request("GET", second.headers["location"]).json
    assert record["state"] == "queued"
    server.run(lambda host: play.complete(call, 0, 1))
    for answer in (first, second):
        assert server.request("GET", f"{answer.headers['location']}/attach").status == 200
    assert [at for _, at in play.effects] == [1, 1, 2]


def test_a_repeated_request_is_the_same_call(server: Hosted, play: Play) -> None:
    """By its Idempotency-Key, however long the call takes."""
    first = server.request("POST", PLAYER, b"wf", {"idempotency-key": "k", "prefer": "wait=0"})
    again = server.request("POST", PLAYER, b"wf", {"idempotency-key": "k", "prefer": "wait=0"})
    assert first.status == again.status == 202
    assert first.headers["location"] == again.headers["location"]
    (call,) = suspended(server)
    server.run(lambda host: play.complete(call, 1, 7))
    assert server.request("POST", PLAYER, b"wf", {"idempotency-key": "k"}).body == b"\1\7"
    assert len(play.effects) == 1


def test_a_delay_needs_a_client_that_does_not_wait(server: Hosted) -> None:
    """As for any function."""
    assert server.request("POST", PLAYER, b"r", {"guesthouse-delay": "1h"}).status == 400
    answer = server.request("POST", PLAYER, b"r", {"guesthouse-delay": "1h", "prefer": "respond-async"})
    assert answer.status == 202


def test_what_is_suspended_is_shown_and_counted(server: Hosted, play: Play) -> None:
    """By what it waits for, and by its function."""
    server.request("POST", PLAYER, b"wf", {"prefer": "wait=0"})
    (call,) = suspended(server)
    record = server.request("GET", f"/invocations/{call}").json
    assert (record["state"], record["waits_for"], record["due_at"]) == ("suspended", "a future", None)
    (queue,) = server.request("GET", "/queues").json["queues"]
    assert (queue["suspended"], queue["queued"], queue["running"]) == (1, 0, 0)


def test_a_function_that_somebody_stands_on_is_409_to_delete(server: Hosted, play: Play) -> None:
    """It says how many; afterwards it can be."""
    server.request("POST", PLAYER, b"wf", {"prefer": "wait=0"})
    (call,) = suspended(server)
    answer = server.request("DELETE", MANAGED)
    assert (answer.status, answer.problem) == (409, "still-needed")
    assert "1 invocation stands" in answer.json["detail"]
    server.run(lambda host: play.complete(call, 1, 7))
    assert server.request("GET", f"/invocations/{call}/attach").status == 200
    assert server.request("DELETE", MANAGED).status == 204


def test_the_policy_of_a_function_is_shown(server: Hosted) -> None:
    """What was not said has its usual value."""
    shown = server.request("GET", MANAGED).json["durable"]
    assert (shown["grace_ms"], shown["replay_ms"]) == (0, 60_000)
    query = "?durable=true"
    module = guest("echo")
    path = "/functions/manage/default/echo"
    assert server.request("PUT", path + query, module, {"content-type": "application/wasm"}).status == 204
    assert server.request("GET", path).json["durable"]["grace_ms"] == 1_000
    assert server.request("PUT", path, module, {"content-type": "application/wasm"}).status == 204
    assert server.request("GET", path).json["durable"] is None
    for wrong in ("?durable=yes", "?durable=true&durable=true"):
        assert server.request("PUT", path + wrong, module, {"content-type": "application/wasm"}).status == 400


@pytest.mark.parametrize("durable", [True, False])
def test_how_an_answer_is_meant_is_for_the_host_alone(durable: bool) -> None:
    """The header is judged, and no client sees it: neither one that called directly, nor one that fetches the answer."""
    stage = Stage(script={b"no": [(409, "terminal")]})
    with Hosted(interfaces=[stage]) as server:
        server.run(lambda host: host.deploy("judge", wat(JUDGE), durable=durable))
        answer = server.request("POST", "/functions/default/judge", b"no")
        assert (answer.status, answer.body) == (409, b"no")
        assert "guesthouse-error" not in answer.headers
        answer = server.request("POST", "/functions/default/judge", b"no", {"prefer": "respond-async"})
        place = answer.headers["location"]
        answer = server.request("GET", f"{place}/attach")
        assert (answer.status, answer.body) == (409, b"no")
        assert "guesthouse-error" not in answer.headers
        record = server.request("GET", place).json
        assert (record["state"], record["attempts"], record["reason"]) == (
            "failed",
            1,
            "the function said that it failed for good",
        )
