"""`Idempotency-Key` and `Prefer: respond-async`: a repeated call is the same call, and nobody has to wait for one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway_server import Answer, Server
from harness import until
from queued import attached, order, record
from served import Origin, Served, config, served

HOST_HEADERS = {"date", "x-start-time", "idempotency-replayed"}
"""Headers that may differ between an answer and its repetition."""


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    with served(folder / "data", "--config", config(folder)) as server:
        for name in ("dice", "echo", "fetch", "headers", "returns", "panic", "spawn-outcome"):
            assert server.deploy(name).status == 204
        yield server


def post(server: Served, path: str, key: str, body: bytes = b"", **headers: str) -> Answer:
    """A call with an Idempotency-Key."""
    return server.request("POST", path, body, {"idempotency-key": key, **headers})


def same(first: Answer, second: Answer) -> bool:
    """Whether the second is a repetition of the first."""

    def own(answer: Answer) -> list[tuple[str, str]]:
        return [pair for pair in answer.headers.pairs if pair[0] not in HOST_HEADERS]

    repeated = "idempotency-replayed" in second.headers and second.headers["idempotency-replayed"] == "true"
    return repeated and (first.status, first.body, own(first)) == (second.status, second.body, own(second))


# -- Idempotency-Key


def test_a_repeated_call_is_answered_with_the_first_ones_result(server: Served) -> None:
    """Status, headers and body, of a function that would answer something else each time; also in OpenFaaS's form."""
    for number, path in enumerate(("/functions/default/dice", "/function/dice", "/function/dice.default/a?b=c")):
        first = post(server, path, f"roll {number}")
        assert "idempotency-replayed" not in first.headers
        for _ in range(2):
            assert same(first, post(server, path, f"roll {number}"))
        assert record(server, first.headers["x-invocation-id"])["attempts"] == 1


def test_what_a_function_answers_itself_is_repeated_whatever_its_status(server: Served) -> None:
    """An error that it says is a result as well."""
    first = post(server, "/functions/default/returns/built", "teapot")
    assert first.status == 418
    assert first.headers.all("x-one") == ["1", "2"]
    assert same(first, post(server, "/functions/default/returns/built", "teapot"))


def test_a_failure_is_repeated_too(server: Served) -> None:
    """As the problem that a call at once would have been answered; the function does not run again."""
    answers = [post(server, "/functions/default/panic", "p", b'"no"') for _ in range(2)]
    assert [answer.problem for answer in answers] == ["guest-trapped"] * 2
    assert answers[0].json["invocation_id"] == answers[1].json["invocation_id"]
    assert record(server, answers[0].json["invocation_id"])["attempts"] == 1


def test_a_repetition_while_the_first_runs_waits_for_its_result(server: Served, origin: Origin) -> None:
    """The function runs once."""
    body = order(origin, "/held")
    with ThreadPoolExecutor() as pool:
        answers: list[Future[Answer]] = [pool.submit(post, server, "/functions/default/fetch", "slow", body)]
        origin.holds()
        answers += [pool.submit(post, server, "/functions/default/fetch", "slow", body) for _ in range(2)]
        origin.release.set()
        found = [answer.result(30) for answer in answers]
    origin.release.clear()
    assert [answer.status for answer in found] == [200] * 3
    assert len({answer.headers["x-invocation-id"] for answer in found}) == 1
    assert not origin.held.acquire(blocking=False)


def test_another_request_with_the_same_key_is_422(server: Served) -> None:
    """Another body, path or query; headers do not count."""
    path = "/functions/default/headers/a?x=1"
    first = post(server, path, "used", b"b")
    for other, body in (
        (path, b"c"),
        ("/functions/default/headers/b?x=1", b"b"),
        ("/functions/default/headers/a", b"b"),
    ):
        answer = post(server, other, "used", body)
        assert (answer.status, answer.problem) == (422, "idempotency-key-reused")
    assert same(first, post(server, path, "used", b"b", accept="text/html"))


def test_a_key_is_its_functions_own(server: Served) -> None:
    """The same key with another function is another call."""
    first, second = (post(server, f"/functions/default/{name}", "shared", b"x") for name in ("echo", "headers"))
    assert first.headers["x-invocation-id"] != second.headers["x-invocation-id"]


def test_a_key_is_its_tokens_own() -> None:
    """Nobody attaches to somebody else's call."""
    server = Server()
    for token in ("one", "two"):
        server.tokens.add(token, "invoke")
    with server:

        def queued(token: str) -> str:
            headers = {"authorization": token, "idempotency-key": "k"}
            return server.request("POST", "/async-function/echo", b"x", headers).headers["x-invocation-id"]

        assert queued("one") == queued("one") != queued("two")


def test_a_key_is_its_callers_own_where_one_token_stands_for_many() -> None:
    """Also where they need none: they are told apart by what they show the function."""
    server = Server({"openfaas": {"public_functions": True}})
    server.tokens.add("ours", "invoke")
    with server:

        def asked(path: str, **headers: str) -> str:
            wanted = {"idempotency-key": "1", "prefer": "respond-async", **headers}
            return server.request("POST", path, b"", wanted).headers["x-invocation-id"]

        ours = {"x-momento-authorization": "ours"}
        for path, common in (("/function/echo", {}), ("/functions/default/canary", ours)):
            callers = ({"authorization": "Bearer ada"}, {"authorization": "Bearer bob"}, {}, {"cookie": "session=1"})
            calls = [asked(path, **shown, **common) for shown in callers]
            assert len(set(calls)) == 4
            assert calls == [asked(path, **shown, **common) for shown in callers]


def test_a_key_counts_for_post_only(server: Served) -> None:
    """Other methods are called at once, and the function is shown the header as any other."""
    answers = [server.request("PUT", "/functions/default/headers", b"", {"idempotency-key": "k"}) for _ in range(2)]
    assert [answer.json["headers"]["idempotency-key"] for answer in answers] == ["k", "k"]
    assert answers[0].headers["x-invocation-id"] != answers[1].headers["x-invocation-id"]


def test_a_queued_call_with_a_key_is_queued_once(server: Served) -> None:
    """The second 202 says which call it is."""
    first, second = (post(server, "/async-function/echo", "later", b"x") for _ in range(2))
    assert (first.status, second.status) == (202, 202)
    assert first.headers["location"] == second.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"


def test_a_client_that_goes_away_finds_its_result_when_it_comes_again(server: Served, origin: Origin) -> None:
    """The call goes on."""
    body = order(origin, "/held")
    head = b"POST /functions/default/fetch HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: gone\r\nContent-Length: %d\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(head % len(body) + body)
        origin.holds()
    origin.release.set()
    answer = post(server, "/functions/default/fetch", "gone", body)
    origin.release.clear()
    assert (answer.status, answer.headers["idempotency-replayed"]) == (200, "true")


def test_a_spawn_function_can_be_queued_and_not_waited_for(server: Served) -> None:
    """As without a key: it answers nobody."""
    body = b'"ok"'
    assert post(server, "/functions/default/spawn-outcome", "s", body).problem == "not-found"
    assert post(server, "/functions/default/spawn-outcome", "s", body, prefer="respond-async").status == 202


def test_a_delay_of_a_call_that_is_waited_for_is_400(server: Served) -> None:
    """Nobody should hold a connection for hours."""
    answer = post(server, "/functions/default/echo", "d", b"x", **{"guesthouse-delay": "1h"})
    assert (answer.problem, "respond-async" in answer.json["detail"]) == ("bad-request", True)


def test_results_outlive_the_process_and_a_call_that_it_cut_off_is_told(tmp_path: Path) -> None:
    """After `kill -9` the result of one is there; the other is lost, and neither runs again."""
    with Origin() as origin:
        body = order(origin, "/held")
        with served(tmp_path / "data", "--config", config(tmp_path)) as server:
            for name in ("dice", "fetch"):
                server.deploy(name)
            first = post(server, "/functions/default/dice", "kept")
            with server.connect() as sock:
                sock.sendall(
                    b"POST /functions/default/fetch HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: cut\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                origin.holds()
                server.process.kill()
        with served(tmp_path / "data", "--config", config(tmp_path)) as server:
            assert same(first, post(server, "/functions/default/dice", "kept"))
            answer = post(server, "/functions/default/fetch", "cut", body)
            assert (answer.status, answer.problem) == (500, "invocation-lost")
            found = record(server, answer.json["invocation_id"])
            assert (found["state"], found["result"]) == ("dead", "lost")
        assert not origin.held.acquire(blocking=False)


# -- Prefer


def test_a_caller_that_prefers_not_to_wait_is_answered_202(server: Served) -> None:
    """With where to ask, and what was heeded; in each form of a call."""
    for path in ("/functions/default/echo/a", "/function/echo/a", "/function/echo.default"):
        answer = server.request("POST", path, b"x", {"prefer": "respond-async"})
        assert (answer.status, answer.body) == (202, b"")
        assert answer.headers["preference-applied"] == "respond-async"
        call = answer.headers["location"].removeprefix("/invocations/")
        assert attached(server, call).body == b"x"


def test_a_result_that_is_there_within_the_wait_is_answered_itself(server: Served, origin: Origin) -> None:
    """Otherwise it is 202 as soon as the time is over."""
    for path in ("/functions/default/headers", "/async-function/headers"):
        answer = server.request("POST", path, b"", {"prefer": "respond-async, wait=30"})
        assert (answer.status, answer.json["method"]) == (200, "POST")
        assert answer.headers["preference-applied"] == "wait=30"
        assert float(answer.headers["x-duration-seconds"]) > 0
    answer = server.request(
        "POST", "/functions/default/fetch", order(origin, "/held"), {"prefer": "respond-async, wait=0"}
    )
    assert (answer.status, answer.headers["preference-applied"]) == (202, "respond-async, wait=0")
    origin.holds()
    origin.release.set()
    assert attached(server, answer.headers["x-invocation-id"]).status == 200
    origin.release.clear()


def test_where_too_many_wait_already_a_call_that_was_accepted_is_said_to_be() -> None:
    """With 202 at once, although its caller would have waited: it must not be made again."""
    with Server() as server:
        server.waiters._most = 0
        answer = server.request("POST", "/functions/default/echo", b"x", {"prefer": "respond-async, wait=30"})
        assert (answer.status, answer.headers["preference-applied"]) == (202, "respond-async, wait=30")
        (found,) = server.request("GET", "/invocations").json["invocations"]
        assert answer.headers["location"] == f"/invocations/{found['id']}"
        answer = server.request("POST", "/functions/default/echo", b"x", {"idempotency-key": "k"})
        assert (answer.status, "retry-after" in answer.headers) == (429, True)


def test_other_preferences_are_the_functions_own(server: Served) -> None:
    """It is called at once and shown them; also with another method."""
    for method, preference in (("POST", "return=minimal"), ("POST", "wait=5"), ("GET", "respond-async")):
        answer = server.request(method, "/functions/default/headers", None, {"prefer": preference})
        assert (answer.status, answer.json["headers"]["prefer"]) == (200, preference)
        assert "preference-applied" not in answer.headers


def test_a_server_that_stops_lets_go_whoever_waits(tmp_path: Path) -> None:
    """With 503: the call is still in the queue, and its key finds it after the restart."""
    settings = "drain_seconds = 1\n"
    with served(tmp_path / "data", "--config", config(tmp_path, settings)) as server, ThreadPoolExecutor() as pool:
        server.deploy("echo")
        delayed = server.request("POST", "/async-function/echo", b"x", {"guesthouse-delay": "1h"})
        call = delayed.headers["x-invocation-id"]
        waiting = pool.submit(attached, server, call)
        until(lambda: server.metric("invocations_attached") == 1, "nobody waits")
        server.process.terminate()
        answer = waiting.result(30)
        assert (answer.status, answer.headers["location"]) == (202, f"/invocations/{call}")
        assert server.process.wait(30) == 0
