"""Streamed answers: server-sent events and raw bodies, and what becomes of the response that ends them."""

from __future__ import annotations

import pytest

from support import FORMS, host_with


@pytest.fixture(scope="module", params=FORMS)
def host(request):
    with host_with("ticker", "chunks", form=request.param) as host:
        yield host


def test_events_arrive_in_order_with_their_names_and_ids(host):
    """One call of the guest is one event."""
    outcome = host.invoke("ticker", query=[("events", "2"), ("event", "tick"), ("ids", ""), ("data", "a\nb")])
    assert outcome.body == b"event: tick\nid: 1\ndata: a\ndata: b\n\nevent: tick\nid: 2\ndata: a\ndata: b\n\n"
    assert (outcome.status, outcome.streamed) == (200, True)
    assert ("content-type", "text/event-stream") in outcome.headers


def test_a_failing_end_becomes_one_last_event(host):
    """The status has left long ago, so the error travels as an event."""
    outcome = host.invoke("ticker", query=[("events", "1"), ("status", "503")])
    assert outcome.body.endswith(b"event: http-error\ndata: HTTP 503: the ticker stopped\n\n")


def test_a_raw_stream_carries_the_guests_status_headers_and_bytes(host):
    """`send-response-start` commits them; the 204 that the handler then returns ends the body."""
    outcome = host.invoke("chunks", b"one\ntwo\n")
    assert (outcome.status, outcome.body, outcome.error) == (201, b"one\ntwo\n", None)
    assert ("x-lines", "2") in outcome.headers


def test_events_after_an_explicit_start_do_not_send_the_head_again(host):
    """The SDK's "events with headers" is a start followed by events."""
    outcome = host.invoke("chunks", b"one\ntwo\n", headers=[("accept", "text/event-stream")])
    assert (outcome.status, outcome.body) == (201, b"data: one\n\ndata: two\n\n")


def test_waiting_between_events_takes_no_thread(host):
    """A guest that sleeps between its events is suspended, not spinning."""
    outcome = host.invoke("ticker", query=[("events", "3"), ("every_ms", "10")])
    assert outcome.body.count(b"data: tick") == 3
    assert outcome.duration_ns >= 19_000_000
