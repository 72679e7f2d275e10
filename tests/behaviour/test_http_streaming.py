"""Bodies that are still arriving while a guest reads them, or does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse import Host
from http_guests import FORMS, NAME, Json, http_host, once_1_0, once_old, send, soon, steps, upstream_of
from probes import on_loop, redeploy
from upstream import END, EVENT_STREAM, Received, Steps, Upstream, chunk, response

EVENTS = [f"event: tick\nid: {number}\ndata: {number}\n\n" for number in range(1, 4)]


@pytest.fixture(scope="module", params=FORMS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with http_host(request.param, "http-calls", "http-1-0", "old-http-calls", "sse-proxy", "proxy") as host:
        yield host


class Ticker:
    """Answers with an event stream whose next event is sent when `/next` is asked for, and which ends with `/end`."""

    def __init__(self) -> None:
        self.steps = Steps(EVENT_STREAM)
        self.sent = 0

    def __call__(self, request: Received) -> Any:
        path = request.line.split(" ")[1]
        if path == "/events":
            return self.steps()
        if path == "/next":
            self.steps.send(chunk(EVENTS[self.sent].encode()))
            self.sent += 1
        elif path == "/end":
            self.steps.end()
        elif path == "/break":
            self.steps.end(b"")
        elif path == "/nonsense":
            self.steps.send(b"this is no length\r\n")
        return response()


@pytest.fixture
def upstream(host: Host) -> Iterator[Upstream]:
    with upstream_of(host, Ticker()) as upstream:
        yield upstream
    assert on_loop(host, nothing_open(host))


async def nothing_open(host: Host) -> bool:
    return host.inner.outbound.slots._shares == {}


def ask(upstream: Upstream, path: str, **fields: Any) -> Json:
    return send(upstream.url(path, NAME), **fields)


def ok(*pieces: str | None) -> list[Json]:
    return [{"ok": piece} for piece in pieces]


def test_events_arrive_one_by_one(host: Host, upstream: Upstream) -> None:
    """The guest has each of them before the next one is sent: it is the guest that asks for it."""
    order = [ask(upstream, "/events")]
    for _ in EVENTS:
        order += [ask(upstream, "/next"), {"try_read": [0, 4096]}]
    order += [ask(upstream, "/end"), {"try_read": [0, 4096]}, {"try_read": [0, 4096]}, {"read": [0, 4096]}]
    found = steps(host, *order)
    assert found[0]["status"] == 200
    assert ["content-type", "text/event-stream"] in found[0]["headers"]
    assert [found[n] for n in (2, 4, 6)] == ok(*EVENTS)
    assert found[8:] == [{"ok": None}, {"ok": None}, None]


def test_read_gives_what_has_arrived_and_no_more_than_was_asked_for(host: Host, upstream: Upstream) -> None:
    """It waits for the first byte only; `remaining` says how many need no waiting; `advance` skips them."""
    found = steps(
        host,
        ask(upstream, "/events"), {"remaining": 0}, ask(upstream, "/next"),
        {"read": [0, 6]}, {"remaining": 0}, {"advance": [0, 1]}, {"read": [0, 4]}, {"read": [0, 1000]},
        ask(upstream, "/end"), {"read": [0, 1000]}, {"remaining": 0}, {"read": [0, 1000]},
    )  # fmt: skip
    event = EVENTS[0]
    assert [found[1], *found[3:8]] == [0, event[:6], len(event) - 6, None, event[7:11], event[11:]]
    assert found[9:] == [None, 0, None]


def test_skipping_goes_on_into_what_has_not_arrived(host: Host, upstream: Upstream) -> None:
    """`advance` past what is there skips what comes next."""
    found = steps(
        host, ask(upstream, "/events"), {"advance": [0, 7]}, ask(upstream, "/next"), {"read": [0, 1000]}, {"drop": 0}
    )
    assert found[3] == EVENTS[0][7:]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/break", "the connection ended before the answer was complete"),
        ("/nonsense", "the answer is not valid HTTP"),
    ],
)
def test_a_failure_part_way_is_told_after_what_came_before(host: Host, upstream: Upstream, path: str, why: str) -> None:
    """By `try-read`, again and again; to `read` it is the end."""
    found = steps(
        host,
        ask(upstream, "/events"), ask(upstream, "/next"), {"read": [0, 7]}, ask(upstream, path),
        {"try_read": [0, 1000]}, {"try_read": [0, 1000]}, {"try_read": [0, 1000]}, {"read": [0, 1000]}, {"remaining": 0},
    )  # fmt: skip
    assert found[2:3] + found[4:5] == [EVENTS[0][:7], {"ok": EVENTS[0][7:]}]
    assert found[5:] == [{"err": "failed", "why": why}, {"err": "failed", "why": why}, None, 0]


def test_a_timeout_covers_the_body(host: Host, upstream: Upstream) -> None:
    """`invoke-with-timeout` has answered by then; the body is what has timed out."""
    found = steps(
        host,
        ask(upstream, "/events", timeout_ms=1_500), ask(upstream, "/next"),
        {"try_read": [0, 1000]}, {"try_read": [0, 1000]}, {"try_read": [0, 1000]}, {"read": [0, 1000]},
    )  # fmt: skip
    assert found[2:] == [*ok(EVENTS[0]), {"err": "timed-out"}, {"err": "timed-out"}, None]


def test_a_server_that_falls_silent_is_given_up(host: Host, upstream: Upstream) -> None:
    """After `http_idle_ms`, though the request had more time."""
    redeploy(host, "http-calls", "impatient", http_idle_ms=700)
    order = (ask(upstream, "/events"), ask(upstream, "/next"), {"try_read": [0, 1000]}, {"try_read": [0, 1000]})
    assert steps(host, *order, name="impatient")[2:] == [*ok(EVENTS[0]), {"err": "timed-out"}]


def test_a_body_over_its_limit_fails_there(host: Host, upstream: Upstream) -> None:
    """After exactly the bytes that the limit allows."""
    redeploy(host, "http-calls", "frugal", http_response_bytes=40)
    order = [ask(upstream, "/events"), ask(upstream, "/next"), ask(upstream, "/next")]
    found = steps(host, *order, *[{"try_read": [0, 7]}] * 8, name="frugal")
    body, last = "".join(step.get("ok") or "" for step in found[3:]), found[-1]
    assert body == "".join(EVENTS)[:40]
    assert last == {"err": "failed", "why": "limit exceeded: the response body is too large"}


@pytest.mark.parametrize("end", [[{"drop": 0}], []], ids=["dropped", "forgotten"])
def test_a_body_that_nobody_wants_is_let_go(host: Host, upstream: Upstream, end: list[Json]) -> None:
    """Its connection ends when the guest drops it, and at the latest with the guest."""
    found = steps(host, ask(upstream, "/events"), *end)
    assert found[1:] == [True] * len(end)
    soon(host, upstream.left.wait())


def test_what_was_dropped_makes_room(host: Host, upstream: Upstream) -> None:
    """An invocation may have six answers open, and any number one after the other."""
    order: list[Json] = []
    upstream.answer = lambda _: Steps(EVENT_STREAM)()
    for number in range(20):
        order += [ask(upstream, "/events"), {"drop": number}]
    found = steps(host, *order)
    assert [step["status"] for step in found[::2]] == [200] * 20


def test_answers_that_are_left_open_are_requests_at_once(host: Host, upstream: Upstream, monkeypatch: Any) -> None:
    """One more than the limit allows is refused."""
    redeploy(host, "http-calls", "narrow", http_concurrency=2)
    monkeypatch.setattr(host.inner.outbound, "config", type(host.inner.outbound.config)(connect_timeout_ms=700))
    upstream.answer = lambda _: Steps(EVENT_STREAM)()
    found = steps(host, *[ask(upstream, "/events")] * 3, name="narrow")
    assert [step.get("status") for step in found] == [200, 200, None]
    assert found[2] == {"error": ["request-error", "limit exceeded: too many outgoing requests at once"]}


def test_a_body_is_passed_on_as_the_body_of_another_request(host: Host, upstream: Upstream) -> None:
    """From where the guest stopped reading, and without going through it."""
    found = steps(
        host,
        ask(upstream, "/events"), ask(upstream, "/next"), {"read": [0, 7]}, ask(upstream, "/next"), ask(upstream, "/end"),
        ask(upstream, "/upload", verb="POST", body_of=0),
    )  # fmt: skip
    assert found[5]["status"] == 200
    assert upstream.requests[-1].body.decode() == "".join(EVENTS[:2])[7:]


def test_a_body_that_breaks_off_is_not_passed_on(host: Host, upstream: Upstream) -> None:
    """Nothing is sent of half a body."""
    found = steps(
        host,
        ask(upstream, "/events"), ask(upstream, "/next"), ask(upstream, "/break"), {"remaining": 0},
        ask(upstream, "/upload", verb="POST", body_of=0),
    )  # fmt: skip
    assert found[4] == {"error": ["request-error", "the request body broke off"]}
    assert "/upload" not in upstream.requests[-1].line


def test_a_body_that_never_ends_is_not_waited_for_longer_than_the_timeout(host: Host, upstream: Upstream) -> None:
    """The timeout of a request covers the arrival of its own body."""
    found = steps(host, ask(upstream, "/events"), ask(upstream, "/upload", verb="POST", body_of=0, timeout_ms=300))
    assert found[1] == {"error": ["timeout", "the request body took too long"]}


def test_a_body_is_passed_on_as_the_functions_own_answer(host: Host, upstream: Upstream) -> None:
    """With what the guest had read of it missing."""
    order = [ask(upstream, "/events"), ask(upstream, "/next"), {"read": [0, 7]}, ask(upstream, "/end"), {"answer": 0}]
    outcome = host.invoke("http-calls", json.dumps(order).encode()).unwrap()
    assert (outcome.status, outcome.text) == (200, EVENTS[0][7:])
    assert ("content-type", "text/event-stream") in outcome.headers


def test_older_guests_get_a_body_that_is_whole(host: Host, upstream: Upstream) -> None:
    """Plain bytes cannot arrive later; one that breaks off is an error for them."""
    whole = EVENT_STREAM + b"".join(chunk(event.encode()) for event in EVENTS) + END
    upstream.answer = lambda _: whole
    assert once_old(host, upstream.url("/", NAME))["body"] == "".join(EVENTS)
    assert once_1_0(host, upstream.url("/", NAME))["body"] == "".join(EVENTS)

    def broken(_: Received) -> Any:
        ended = Steps(whole[: -len(END)])
        ended.end(b"")
        return ended()

    upstream.answer = broken
    assert "ended before the answer was complete" in once_old(host, upstream.url("/", NAME))["error"]
    assert once_1_0(host, upstream.url("/", NAME))["body"] == "".join(EVENTS)  # `read` knows no failures


def test_a_large_body_arrives_whole(host: Host, upstream: Upstream) -> None:
    """Many times what is read ahead, in the pieces that the network makes of it."""
    data = bytes(range(256)) * 8192
    upstream.answer = lambda _: response(data)
    first, found = steps(host, ask(upstream, "/large"), {"all": 0})
    assert first["status"] == 200
    assert found.encode("latin-1") == data


# -- guests that pass events on


def test_a_proxy_passes_events_on(host: Host, upstream: Upstream) -> None:
    """With their names and ids; what has neither name nor data is no event."""
    upstream.answer = lambda _: EVENT_STREAM + b"".join(
        chunk(text) for text in (b": a comment\n\n", b"event: tick\nid: 7\ndata: one\ndata: two\n\n", b"id: 8\n\ndata: last\n\n")
    ) + END  # fmt: skip
    outcome = host.invoke("sse-proxy", query=[("url", upstream.url("/", NAME))]).unwrap()
    assert ("content-type", "text/event-stream") in outcome.headers
    assert outcome.text == "event: tick\nid: 7\ndata: one\ndata: two\n\ndata: last\n\n"
    assert upstream.requests[0].values("accept") == ["text/event-stream"]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data:one\n\ndata: two\n\n", "data: one\n\ndata: two\n\n"),
        ("data: one\r\n\r\ndata: two\r\n\r\n", ""),
        ("data: one\n\ndata: never ended\n", "data: one\n\n"),
        ("retry: 5\nunknown: x\ndata: one\n\n", "data: one\n\n"),
        ("event: a\nevent: b\n\n", "Multiple event fields"),
        ("id: a\nid: b\n\n", "Multiple id fields"),
    ],
    ids=["no space", "CRLF", "no end", "other fields", "two names", "two ids"],
)
def test_what_the_crates_take_for_an_event(host: Host, upstream: Upstream, stream: str, events: str) -> None:
    """The published reader of events has its own ideas, and gets the bytes for them as they were sent."""
    upstream.answer = lambda _: EVENT_STREAM + chunk(stream.encode()) + END
    outcome = host.invoke("sse-proxy", query=[("url", upstream.url("/", NAME))])
    assert outcome.text == events or (outcome.status == 500 and events in outcome.text)


def test_a_proxy_passes_bytes_on_as_they_are(host: Host, upstream: Upstream) -> None:
    """With the headers of the answer, and without looking at it."""
    upstream.answer = lambda _: EVENT_STREAM + chunk(b": a comment\r\n\r\n\xff") + END
    outcome = host.invoke("sse-proxy", query=[("url", upstream.url("/", NAME)), ("raw", "")]).unwrap()
    assert ("content-type", "text/event-stream") in outcome.headers
    assert outcome.body == b": a comment\r\n\r\n\xff"


def test_a_proxy_ends_its_events_with_an_error_where_they_broke_off(host: Host, upstream: Upstream) -> None:
    """The events before it have arrived."""

    def broken(_: Received) -> Any:
        ended = Steps(EVENT_STREAM + chunk(b"data: one\n\ndata: tw"))
        ended.end(b"")
        return ended()

    upstream.answer = broken
    outcome = host.invoke("sse-proxy", query=[("url", upstream.url("/", NAME))])
    assert outcome.text.startswith("data: one\n\nevent: http-error\ndata: HTTP 500: ")
    assert "the connection ended before the answer was complete" in outcome.text


def test_a_proxy_passes_an_error_on(host: Host, upstream: Upstream) -> None:
    """An answer that is no stream has its status and its text."""
    upstream.answer = lambda _: response(b"no events today", "503 Busy")
    outcome = host.invoke("sse-proxy", query=[("url", upstream.url("/", NAME))])
    assert (outcome.status, outcome.text) == (503, "no events today")


def test_a_guest_that_is_cancelled_lets_its_connection_go(host: Host, upstream: Upstream) -> None:
    """While it waits for the next event."""

    async def attack() -> None:
        query = [("url", upstream.url("/events", NAME))]
        call = asyncio.ensure_future(host.inner.invoke("sse-proxy", query=query))
        await upstream.arrived.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await upstream.left.wait()
        assert host.inner.dispatcher.pool.in_use == 0

    soon(host, attack())
