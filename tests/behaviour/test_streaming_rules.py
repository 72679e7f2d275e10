"""`web-function-stream`, rule by rule, called by a guest in every form: what leaves, and what the guest is answered.

The guest does what `?do=` lists and publishes the answer of each call to the topic `stream-calls`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guesthouse import Host
from guesthouse.dispatch.outcome import Outcome
from probes import on_loop, redeploy
from support import FORMS, host_with

MIB = 1 << 20
SSE_HEAD = [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("connection", "keep-alive")]
STARTED = "the response was already started"
NEEDS_START = "send-response-start must be called before send-data"
NOTHING = "event or data must be provided"
BREAKS = "holds a line break or a null character"


@pytest.fixture(scope="module", params=(*FORMS, "unknown-unknown"))
def host(request):
    with host_with("stream-calls", form=request.param) as host:
        yield host


def start(status: int = 200, *headers: tuple[str, str]) -> dict[str, Any]:
    """A step that begins the response explicitly."""
    return {"start": [status, headers]}


def sse(event: str | None = None, event_id: str | None = None, data: str | None = None) -> dict[str, Any]:
    """A step that sends an event."""
    return {"sse": {"event": event, "id": event_id, "data": data}}


def end(status: int, body: str = "") -> dict[str, Any]:
    """The response that the guest returns."""
    return {"end": [status, body]}


async def _listen(host: Host) -> Any:
    return host.inner.topics.subscribe("default", "stream-calls")


def do(host: Host, *steps: Any, body: bytes = b"", name: str = "stream-calls") -> tuple[Outcome, list[str]]:
    """The outcome, and what the calls were answered."""
    subscription = on_loop(host, _listen(host))
    outcome = host.invoke(name, body, query=[("do", json.dumps(steps))])
    answers = [message.value for message in subscription.take(1000)]
    subscription.close()
    return outcome, answers


# -- events


def test_the_first_event_commits_the_head_of_an_event_stream(host):
    """Status 200 and the three headers, once."""
    outcome, answers = do(host, sse("greeting", "7", "hello"), sse(data="again"))
    assert answers == ["ok", "ok"]
    assert (outcome.status, list(outcome.headers), outcome.streamed) == (200, SSE_HEAD, True)
    assert outcome.body == b"event: greeting\nid: 7\ndata: hello\n\ndata: again\n\n"


@pytest.mark.parametrize(
    ("step", "wire"),
    [
        (sse(data=""), b"data:\n\n"),
        (sse("ping"), b"event: ping\n\n"),
        (sse("ping", "1"), b"event: ping\nid: 1\n\n"),
        (sse(data="a\nb\rc\r\nd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (sse(data="a\n\nevent: b"), b"data: a\ndata: \ndata: event: b\n\n"),
        (sse("e" * 512, "i" * 512), b"event: " + b"e" * 512 + b"\nid: " + b"i" * 512 + b"\n\n"),
        (sse("ä" * 256, data="é"), f"event: {'ä' * 256}\ndata: é\n\n".encode()),
    ],
)
def test_one_call_is_one_event(host, step, wire):
    """What is absent has no line; line breaks in data never make two events of one."""
    outcome, answers = do(host, step)
    assert (answers, outcome.body) == (["ok"], wire)


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        (sse(), NOTHING),
        (sse(event_id="1"), NOTHING),
        (sse("a\nb"), f"bad event name: {BREAKS}"),
        (sse("a\rb"), f"bad event name: {BREAKS}"),
        (sse("a\0b"), f"bad event name: {BREAKS}"),
        (sse("a" * 513), "bad event name: over 512 bytes"),
        (sse("ä" * 257), "bad event name: over 512 bytes"),
        (sse("a", "1\n2"), f"bad event id: {BREAKS}"),
        (sse("a", "1\r2"), f"bad event id: {BREAKS}"),
        (sse("a", "1\0002"), f"bad event id: {BREAKS}"),
        (sse("a", "1" * 513), "bad event id: over 512 bytes"),
        ({"sse_bytes": [97, 255]}, "bad data: not valid UTF-8 at byte 1"),
        ({"sse_size": MIB + 1}, f"bad data: the data is over {MIB} bytes"),
    ],
)
def test_a_wrong_event_is_an_error_value_and_commits_nothing(host, step, answer):
    """The guest goes on and can still answer in the usual way."""
    outcome, answers = do(host, step, end(418, "teapot"))
    assert answers == [answer]
    assert (outcome.status, outcome.body, outcome.streamed) == (418, b"teapot", False)
    assert ("x-late", "1") in outcome.headers


def test_a_megabyte_is_one_event_from_memory_and_from_the_requests_buffer(host):
    """The limit itself is allowed."""
    outcome, answers = do(host, {"sse_size": MIB}, {"body": "sse"}, body=b"y" * MIB)
    assert answers == ["ok", "ok"]
    assert outcome.body == b"data: " + b"x" * MIB + b"\n\ndata: " + b"y" * MIB + b"\n\n"


# -- the response that is returned in the end


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_good_end_just_ends_the_events(host, status):
    """Its headers and its body are dropped."""
    outcome, _ = do(host, sse("a"), end(status, "ignored"))
    assert (outcome.status, outcome.body, list(outcome.headers)) == (200, b"event: a\n\n", SSE_HEAD)
    assert outcome.result == "ok"


@pytest.mark.parametrize(
    ("status", "text", "data"),
    [
        (500, "it broke", "data: HTTP 500: it broke\n"),
        (404, "", "data: HTTP 404: \n"),
        (302, "a\nb\r\nc\rd", "data: HTTP 302: a\ndata: b\ndata: c\ndata: d\n"),
        (199, "low", "data: HTTP 199: low\n"),
        (65535, "high", "data: HTTP 65535: high\n"),
    ],
)
def test_any_other_end_is_one_last_event(host, status, text, data):
    """`http-error` has the status and the body; the call itself went well."""
    outcome, _ = do(host, sse("a"), end(status, text))
    assert outcome.body == b"event: a\n\nevent: http-error\n" + data.encode() + b"\n"
    assert (outcome.status, outcome.result) == (200, "ok")


def test_the_last_event_is_cut_at_a_megabyte_and_never_through_a_character(host):
    """However long the body is."""
    outcome, _ = do(host, sse("a"), {"end_size": [500, 3 * MIB]})
    data = outcome.body.removeprefix(b"event: a\n\nevent: http-error\ndata: ").removesuffix(b"\n\n")
    assert MIB - 4 < len(data) <= MIB
    assert data.decode().removeprefix("HTTP 500: ").strip("é") == ""


def test_a_trap_after_events_is_no_good_end(host):
    """What was sent was sent; the outcome says that the guest died."""
    outcome, _ = do(host, sse("a"), "trap")
    assert (outcome.body, outcome.result, outcome.streamed) == (b"event: a\n\n", "trapped", True)


# -- an explicit start


def test_a_raw_stream_has_the_guests_status_headers_and_bytes(host):
    """No framing of ours; every byte value; headers in order, repeated ones too, but not those that are the host's."""
    headers = [("Content-Type", "text/csv"), ("x-a", "1"), ("x-a", "2"), ("content-length", "9"), ("connection", "x")]
    outcome, answers = do(host, start(206, *headers), {"data": "a\r\n"}, {"data": ""}, {"bytes": [0, 255]}, end(204))
    assert answers == ["ok"] * 4
    assert (outcome.status, outcome.body) == (206, b"a\r\n\0\xff")
    assert list(outcome.headers) == [("Content-Type", "text/csv"), ("x-a", "1"), ("x-a", "2")]


def test_a_start_alone_is_a_whole_answer(host):
    """Zero calls of `send-data` are fine."""
    outcome, answers = do(host, start(201, ("x-a", "1")))
    assert (answers, outcome.status, outcome.body, outcome.result) == (["ok"], 201, b"", "ok")


def test_the_requests_buffer_can_be_sent_unread(host):
    """What is left of it becomes part of the answer."""
    outcome, answers = do(host, start(), {"body": "data"}, body=b"untouched \xff")
    assert (answers, outcome.body) == (["ok", "ok"], b"untouched \xff")


def test_events_after_an_explicit_start_keep_its_head(host):
    """The SDK's "events with headers"; a failing end is still an event."""
    outcome, answers = do(host, start(201, ("content-type", "text/event-stream")), sse("a"), end(500, "no"))
    assert answers == ["ok", "ok"]
    assert (outcome.status, list(outcome.headers)) == (201, [("content-type", "text/event-stream")])
    assert outcome.body == b"event: a\n\nevent: http-error\ndata: HTTP 500: no\n\n"


def test_data_and_events_share_a_body_that_was_started(host):
    """In the order of the calls."""
    outcome, answers = do(host, start(), {"data": ": hello\n\n"}, sse("a"), {"data": ": bye\n\n"})
    assert answers == ["ok"] * 4
    assert outcome.body == b": hello\n\nevent: a\n\n: bye\n\n"


@pytest.mark.parametrize(
    ("steps", "answers"),
    [
        ([{"data": "x"}], [NEEDS_START]),
        ([sse("a"), {"data": "x"}], ["ok", NEEDS_START]),
        ([start(), start(500)], ["ok", STARTED]),
        ([sse("a"), start()], ["ok", STARTED]),
    ],
)
def test_calls_out_of_order_are_error_values(host, steps, answers):
    """They change nothing of what has left."""
    outcome, answered = do(host, *steps, end(200))
    assert answered == answers
    assert outcome.result == "ok"
    assert b"x" not in outcome.body


def test_a_start_that_was_refused_can_be_tried_again(host):
    """Status and headers are checked before anything leaves."""
    outcome, answers = do(
        host,
        start(99), start(101), start(600), start(200, ("a b", "x")), start(200, ("a", "x\r\ny: z")), {"headers": 257},
        {"data": "x"}, start(202), {"data": "y"},
    )  # fmt: skip
    assert all(answer not in ("ok", STARTED) for answer in answers[:7])
    assert answers[7:] == ["ok", "ok"]
    assert (outcome.status, outcome.body) == (202, b"y")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_takes_none(host, status):
    """Data and events after it are refused."""
    outcome, answers = do(host, start(status), {"data": "x"}, sse("a"))
    assert answers == ["ok", *[f"a response with status {status} has no body"] * 2]
    assert (outcome.status, outcome.body) == (status, b"")


@pytest.mark.parametrize("status", [199, 302, 404, 500])
def test_a_raw_stream_that_ends_badly_is_no_answer(host, status):
    """Its status has left: the outcome says that it cannot be completed."""
    outcome, _ = do(host, start(), {"data": "x"}, end(status, "no"))
    assert (outcome.result, outcome.error.reason) == ("failed", "bad-answer")
    assert f"the raw stream ended with status {status}" in [record.text for record in outcome.logs]


def test_what_is_streamed_is_bounded_by_the_deployments_limit(host):
    """The call that would go over it answers an error; the guest may end well."""
    redeploy(host, "stream-calls", "small", response_bytes=100)
    outcome, answers = do(host, start(), {"repeat": [1, 90]}, {"repeat": [1, 11]}, sse("12345"), name="small")
    assert answers == ["ok", "ok", *["the response is over 100 bytes"] * 2]
    assert (outcome.body, outcome.result) == (b"x" * 90, "ok")
    outcome, answers = do(host, start(), {"body": "data"}, body=b"z" * 101, name="small")
    assert answers == ["ok", "the response is over 100 bytes"]


def test_a_thousand_events_arrive_in_order(host):
    """None is lost, none is sent twice."""
    outcome, _ = do(host, {"events": 1000})
    assert outcome.body == b"".join(b"data: %d\n\n" % number for number in range(1000))
