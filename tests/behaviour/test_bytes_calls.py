"""`momento:bytes` in the hands of a guest, in every form: reading, skipping, and handing on what is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from guesthouse import Host
from guesthouse.dispatch.outcome import Outcome
from guesthouse.interfaces.bytes import StreamFailed
from guesthouse.interfaces.invocation import WebRequest
from harness import run
from support import FORMS, host_with


@pytest.fixture(scope="module", params=(*FORMS, "unknown-unknown"))
def host(request):
    with host_with("bytes-calls", form=request.param) as host:
        yield host


def told(outcome: Outcome) -> tuple[Any, bytes]:
    """What the calls were answered, and what was left."""
    assert outcome.status == 200
    return json.loads(dict(outcome.headers)["x-answers"]), outcome.body


def do(host: Host, body: bytes, *steps: Any) -> tuple[Any, bytes]:
    """The same for a body that is there."""
    return told(host.invoke("bytes-calls", body, query=[("do", json.dumps(steps))]))


def arriving(host: Host, parts: list[bytes | Exception], *steps: Any) -> Outcome:
    """The outcome for a body that arrives in parts, of which the last may be a failure."""

    async def source() -> AsyncIterator[bytes]:
        for part in parts:
            await asyncio.sleep(0)
            if isinstance(part, Exception):
                raise part
            yield part

    async def call(inner: Any) -> Outcome:
        request = WebRequest(query=[("do", json.dumps(steps))])
        return await inner.dispatcher.web(inner.deployment("bytes-calls"), request, source())

    return run(host, call)


def test_reads_are_at_most_what_was_asked_and_none_at_the_end(host):
    """The end stays the end."""
    steps = ("remaining", {"read": 4}, "remaining", {"read": 99}, {"read": 1}, {"read": 1}, "remaining")
    assert do(host, b"abcdefg", *steps) == ([7, "abcd", 3, "efg", None, None, 0], b"")


def test_try_read_is_the_same_with_a_result_around_it(host):
    """At a regular end there is no error."""
    steps = ({"try_read": 2}, {"try_read": 9}, {"try_read": 9}, {"read": 9})
    assert do(host, b"abc", *steps) == ([{"ok": "ab"}, {"ok": "c"}, {"ok": None}, None], b"")


def test_advance_skips_and_stops_at_the_end(host):
    """Nothing traps."""
    steps = ({"advance": 2}, "remaining", {"read": 1}, {"advance": 1000}, "remaining", {"read": 1})
    assert do(host, b"abcdef", *steps) == ([None, 4, "c", None, 0, None], b"")


def test_what_is_left_after_the_cursor_is_handed_on(host):
    """A buffer in an answer means its rest."""
    assert do(host, b"abcdef") == ([], b"abcdef")
    assert do(host, b"abcdef", {"read": 2}, {"advance": 1}) == (["ab", None], b"def")


def test_reading_nothing_ends_nothing(host):
    """An empty list is never an answer; the data is still there."""
    assert do(host, b"ab", {"read": 0}, {"try_read": 0}, {"advance": 0}) == ([None, {"ok": None}, None], b"ab")


def test_an_empty_body_is_at_its_end(host):
    """From the beginning."""
    assert do(host, b"", "remaining", {"read": 5}, {"try_read": 5}) == ([0, None, {"ok": None}], b"")


def test_a_buffer_can_be_dropped_unread(host):
    """The answer is another one then."""
    assert do(host, b"abc", "drop") == ([None], b"dropped")


def test_a_read_of_the_largest_size_is_not_more_than_there_is(host):
    """The size is a bound, not an allocation."""
    assert do(host, b"abc", {"read": 0xFFFFFFFF}) == (["abc"], b"")


def test_a_body_that_arrives_is_waited_for(host):
    """`remaining` is what is there without waiting; reads block until something is."""
    steps = ("remaining", {"read": 99}, "remaining", {"read": 1}, {"read": 99}, {"read": 99})
    outcome = arriving(host, [b"ab", b"cde"], *steps)
    assert told(outcome) == ([0, "ab", 0, "c", "de", None], b"")


def test_what_was_skipped_before_it_arrived_is_skipped(host):
    """Over the borders of its parts."""
    outcome = arriving(host, [b"ab", b"cde", b"f"], {"advance": 3}, {"read": 99})
    assert told(outcome) == ([None, "de"], b"f")


@pytest.mark.parametrize(
    ("failure", "word"),
    [(StreamFailed("the upstream went away"), {"failed": "the upstream went away"}), (TimeoutError(), "timed-out")],
)
def test_a_source_that_fails_says_why_to_try_read_and_ends_for_read(host, failure, word):
    """The bytes before it come first, and every call after it is answered the same."""
    steps = ({"try_read": 9}, {"try_read": 9}, {"read": 9}, {"try_read": 9}, "drop")
    outcome = arriving(host, [b"ab", failure], *steps)
    assert told(outcome) == ([{"ok": "ab"}, word, None, word, None], b"dropped")
