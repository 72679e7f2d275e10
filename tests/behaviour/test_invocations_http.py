"""`/invocations` and `/queues`: what became of calls, for whoever may know, and what to do about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from gateway_server import Server, serving
from guesthouse.dispatch.flows import QueueState
from guesthouse.queue.call import Output, Record
from harness import until
from hosted import Hosted
from queued import attached, enqueue, hold, record
from served import Origin, Served, config, served


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    with served(folder / "data", "--config", config(folder)) as server:
        for name in ("detached-calls", "echo", "fetch", "panic", "spawn-outcome", "start"):
            assert server.deploy(name).status == 204
        yield server


def listed(server: Server | Served, query: str = "", token: str = "") -> list[str]:
    """The ids on one page."""
    answer = server.request("GET", f"/invocations{query}", headers={"authorization": token} if token else {})
    assert answer.status == 200, answer.body
    return [found["id"] for found in answer.json["invocations"]]


# -- records of what ran


def test_a_queued_call_has_one_record_from_its_beginning_to_its_end(server: Served, origin: Origin) -> None:
    """Its state, times, version and cost."""
    call = hold(server, origin)
    found = record(server, call)
    assert (found["state"], found["mode"], found["name"]) == ("running", "async", "fetch")
    assert server.request("GET", f"/invocations/{call}/output").problem == "not-ended"
    origin.release.set()
    assert attached(server, call).status == 200
    origin.release.clear()
    found = record(server, call)
    assert (found["state"], found["result"], found["status"], found["attempts"]) == ("succeeded", "ok", 200, 1)
    assert found["version"] == 1
    assert found["queued_at"] <= found["started_at"] <= found["ended_at"]
    assert found["duration_ms"] > 0
    assert found["fuel"] > 0
    assert found["root"] == call


def test_a_direct_call_that_runs_is_found_attached_to_and_cancelled(server: Served, origin: Origin) -> None:
    """By the id that its answer will have; its caller is told, and so is whoever has attached."""
    steps = quote(json.dumps([{"print": "here"}, {"get": origin.url("/held")}]))
    with ThreadPoolExecutor() as pool:
        calling = pool.submit(server.request, "POST", f"/functions/default/detached-calls?do={steps}")
        origin.holds()
        (line,) = server.request("GET", "/functions/manage/default/detached-calls/logs").body.splitlines()
        call = json.loads(line)["invocation_id"]
        assert record(server, call)["state"] == "running"
        waiting = pool.submit(attached, server, call)
        assert server.request("POST", f"/invocations/{call}/cancel").status == 202
        assert (calling.result(30).status, calling.result().headers["x-invocation-id"]) == (499, call)
        assert waiting.result(30).status == 499
    origin.release.set()
    origin.release.clear()


def test_a_direct_call_that_failed_is_recorded_without_a_word_of_the_guest(server: Served) -> None:
    """Its answer's id finds it; an unremarkable one is not kept."""
    answer = server.request("POST", "/functions/default/panic", b'"my secret words"')
    call = answer.headers["x-invocation-id"]
    until(lambda: server.request("GET", f"/invocations/{call}").status == 200, "it is not recorded")
    found = record(server, call)
    assert (found["mode"], found["state"], found["result"]) == ("web", "failed", "trapped")
    for path in (f"/invocations/{call}", f"/invocations/{call}/output", "/invocations"):
        assert b"secret" not in server.request("GET", path).body
    assert server.request("GET", f"/invocations/{call}/output").problem == "guest-trapped"
    fine = server.call("echo", b"x").headers["x-invocation-id"]
    assert server.request("GET", f"/invocations/{fine}").problem == "not-found"


def test_a_note_of_a_spawn_is_in_its_record_only(server: Served) -> None:
    """Its output is a problem in the host's words."""
    call = enqueue(
        server, "spawn-outcome", json.dumps({"failed-note": "disk full"}).encode(), {"idempotency-key": "once"}
    )
    until(lambda: record(server, call)["note"] != "", "it has not run")
    assert record(server, call)["note"] == "disk full"
    server.request("POST", f"/invocations/{call}/cancel")
    answer = attached(server, call)
    assert b"disk" not in answer.body


def test_a_request_is_shown_without_its_callers_credentials(server: Served) -> None:
    """Whoever may read requests is not thereby anybody else; the function has them."""
    secret = {
        "cookie": "session=hunter2",
        "authorization": "Bearer hunter2",
        "guesthouse-delay": "1h",
        "x-kind": "plain",
    }
    call = enqueue(server, "echo", b"", secret)
    shown = server.request("GET", f"/invocations/{call}/request")
    assert b"hunter2" not in shown.body
    headers = dict(shown.json["headers"])
    assert (headers["cookie"], headers["x-kind"]) == ("(not shown)", "plain")
    server.request("POST", f"/invocations/{call}/cancel")


# -- lists


def test_a_list_has_pages_newest_first(server: Served) -> None:
    """Each says where the next one begins, until there is none."""
    ids = [enqueue(server, "echo", b"x", {"guesthouse-delay": "1d"}) for _ in range(5)]
    found: list[str] = []
    query = "?function=default/echo&state=queued&limit=2"
    page = server.request("GET", f"/invocations{query}").json
    sizes = []
    while True:
        sizes.append(len(page["invocations"]))
        found += [each["id"] for each in page["invocations"]]
        if page["next"] is None:
            break
        page = server.request("GET", f"/invocations{query}&after={page['next']}").json
    assert found == ids[::-1]
    assert sizes[:2] == [2, 2]
    for call in ids:
        assert server.request("POST", f"/invocations/{call}/cancel").status == 202
    assert listed(server, query) == []
    assert listed(server, "?state=cancelled&limit=3") == ids[:1:-1]


def test_a_list_can_be_of_a_time(server: Served) -> None:
    """From a moment, or from so long ago."""
    call = enqueue(server, "echo", b"x")
    assert call in listed(server, "?since=1h")
    assert call not in listed(server, "?since=2999-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "query",
    [
        "?function=echo",
        "?state=done",
        "?since=yesterday",
        "?limit=many",
        "?after=nowhere",
        "?colour=blue",
        "?limit=1&limit=2",
    ],
)
def test_a_list_of_nonsense_is_400(server: Served, query: str) -> None:
    """A typing error is not obeyed in silence."""
    assert server.request("GET", f"/invocations{query}").problem == "bad-request"


def test_a_list_holds_what_the_token_may_read() -> None:
    """Also where it has to look through many others, and then page by page."""
    server = Server()
    server.tokens.add("all", "read")
    server.tokens.add("shop", "read", functions="shop/*")
    server.tokens.add("caller", "invoke")
    with server:
        mine = [server.invocation("queued", namespace="shop")]
        others = [server.invocation("queued") for _ in range(12)]
        mine.append(server.invocation("queued", namespace="shop"))
        assert listed(server, "", "shop") == mine[::-1]
        assert listed(server, "?function=default/echo", "shop") == []
        assert listed(server, "", "caller") == []
        assert len(listed(server, "", "all")) == len(others) + 2
        page = server.request("GET", "/invocations?limit=1", headers={"authorization": "shop"}).json
        assert [found["id"] for found in page["invocations"]] == [mine[1]]
        found = _all(server, f"/invocations?limit=1&after={page['next']}", "shop")
        assert found == [mine[0]]


def _all(server: Server, path: str, token: str) -> list[str]:
    """What is on this page and those that follow."""
    found: list[str] = []
    after: str | None = path
    while after is not None:
        page = server.request("GET", after, headers={"authorization": token}).json
        found += [each["id"] for each in page["invocations"]]
        after = None if page["next"] is None else f"/invocations?limit=1&after={page['next']}"
    return found


# -- one invocation


@pytest.mark.parametrize("more", ["", "/output", "/attach", "/request"])
def test_an_unknown_invocation_is_404(server: Served, more: str) -> None:
    """Whatever is asked of it."""
    for call in ("nothing", "0" * 28, "x" * 300):
        assert server.request("GET", f"/invocations/{call}{more}").problem == "not-found"


def test_waiting_has_an_end_and_then_says_where_to_ask_again(server: Served) -> None:
    """With 202; what is no number of seconds is 400."""
    call = enqueue(server, "echo", b"x", {"guesthouse-delay": "1d"})
    answer = server.request("GET", f"/invocations/{call}/attach?timeout=0")
    assert (answer.status, answer.headers["location"]) == (202, f"/invocations/{call}")
    assert server.request("GET", f"/invocations/{call}/attach?timeout=-1").problem == "bad-request"


def test_a_queued_calls_request_can_be_read(server: Served) -> None:
    """As its function will see it; bytes that are no text come in base64."""
    call = enqueue(server, "echo/a?x=1", b"\xff", {"guesthouse-delay": "1d", "guesthouse-key": "k", "x-own": "1"})
    found = server.request("GET", f"/invocations/{call}/request").json
    assert (found["method"], found["path"], found["query"], found["key"]) == ("POST", "a", [["x", "1"]], "k")
    assert (found["body_base64"], "body" in found) == ("/w==", False)
    assert ["x-own", "1"] in found["headers"]


def test_an_answer_is_passed_on_as_the_function_gave_it() -> None:
    """Headers twice, outside of ASCII, of a status without a body; and a problem where it was not kept."""
    with serving() as server:
        headers = [("x-one", "1"), ("x-one", "2"), ("x-name", "Jürgen"), ("date", "never")]
        for status, body in ((200, b"kept"), (404, b"not there"), (204, b"")):
            call = _written(server, Output(status, headers, body), status=status)
            answer = server.request("GET", f"/invocations/{call}/output")
            assert (answer.status, answer.body) == (status, body)
            assert answer.headers.all("x-one") == ["1", "2"]
            assert answer.headers["x-name"].encode("latin-1").decode() == "Jürgen"
            assert answer.headers["date"] != "never"
            assert answer.headers["x-invocation-id"] == call
        call = _written(server, None, status=200)
        for more in ("output", "attach"):
            answer = server.request("GET", f"/invocations/{call}/{more}")
            assert (answer.status, answer.problem) == (410, "not-kept")


@pytest.mark.parametrize(
    ("result", "status", "problem"),
    [
        ("trapped", 502, "guest-trapped"),
        ("deadline", 504, "deadline-exceeded"),
        ("fuel", 504, "fuel-exhausted"),
        ("cancelled", 499, "cancelled"),
        ("lost", 500, "invocation-lost"),
        ("failed", 502, "invocation-failed"),
        ("dropped", 502, "invocation-failed"),
    ],
)
def test_a_failure_is_told_as_a_caller_would_have_been(result: str, status: int, problem: str) -> None:
    """With the id of the invocation."""
    with serving() as server:
        call = _written(server, None, state="failed", result=result, reason="because")
        answer = server.request("GET", f"/invocations/{call}/output")
        assert (answer.status, answer.problem, answer.json["invocation_id"]) == (status, problem, call)


def _written(server: Server, output: Output | None, state: str = "succeeded", **known: Any) -> str:
    call = server.dispatcher.new_id()
    written = Record(id=call, namespace="default", name="echo", mode="web", state=state, **known)  # type: ignore[arg-type]
    server.await_on_loop(server.queue.write([(written, output)]))
    return call


# -- dead letters


def test_a_dead_letter_is_redriven_with_all_its_attempts() -> None:
    """It is the same invocation; redriving what is none is 409."""
    with Hosted("returns", "panic") as server:
        document: dict[str, Any] = {"retry": {"attempts": 1}}
        server.run(lambda host: _redeploy(host, "panic", document))
        call = _queued(server, "panic", b'"no"')
        assert server.request("GET", f"/invocations/{call}/attach").problem == "guest-trapped"
        assert server.request("GET", f"/invocations/{call}/request").json["body"] == '"no"'
        answer = server.request("POST", f"/invocations/{call}/redrive")
        assert (answer.status, answer.headers["location"]) == (202, f"/invocations/{call}")
        assert server.request("GET", f"/invocations/{call}/attach").problem == "guest-trapped"
        assert server.request("GET", f"/invocations/{call}").json["attempts"] == 2
        fine = _queued(server, "returns/unit", b"")
        server.request("GET", f"/invocations/{fine}/attach")
        assert server.request("POST", f"/invocations/{fine}/redrive").problem == "not-dead"


async def _redeploy(host: Any, name: str, manifest: dict[str, Any]) -> None:
    deployment = host.deployment(name)
    await host.deploy(name, host.registry.wasm(deployment.digest), **manifest)


def _queued(server: Hosted, path: str, body: bytes) -> str:
    return server.request("POST", f"/async-function/{path}", body).headers["x-invocation-id"]


def test_a_dropped_dead_letter_keeps_its_record_and_forgets_its_request() -> None:
    """Then it cannot be redriven any more."""
    with serving() as server:
        call = server.invocation("dead")
        assert server.request("DELETE", f"/invocations/{call}/request").status == 204
        assert server.request("GET", f"/invocations/{call}").json["state"] == "dead"
        for method, more in (("GET", "request"), ("DELETE", "request"), ("POST", "redrive")):
            assert server.request(method, f"/invocations/{call}/{more}").problem == "not-found"


# -- queues


def test_queues_tell_what_waits_runs_and_was_given_up(server: Served, origin: Origin) -> None:
    """For each function that has any of it."""
    running = hold(server, origin)
    waiting = enqueue(server, "fetch", b"", {"guesthouse-delay": "1d"})
    (queue,) = [found for found in server.request("GET", "/queues").json["queues"] if found["name"] == "fetch"]
    assert (queue["namespace"], queue["queued"], queue["running"], queue["dead"]) == ("default", 1, 1, 0)
    assert queue["limit"] > 0
    origin.release.set()
    assert attached(server, running).status == 200
    origin.release.clear()
    assert server.request("POST", f"/invocations/{waiting}/cancel").status == 202
    assert "fetch" not in {found["name"] for found in server.request("GET", "/queues").json["queues"]}


def test_queues_are_those_that_the_token_may_read() -> None:
    """Others' are not even named."""
    server = Server()
    server.tokens.add("shop", "read", functions="shop/*")
    server.tokens.add("caller", "invoke")
    server.runner.queues = [
        QueueState((namespace, "echo"), 1, 0, 0, 2.5, 0, 8, 0, 0.0) for namespace in ("default", "shop")
    ]
    with server:
        for token, namespaces in (("shop", ["shop"]), ("caller", [])):
            queues = server.request("GET", "/queues", headers={"authorization": token}).json["queues"]
            assert [queue["namespace"] for queue in queues] == namespaces
