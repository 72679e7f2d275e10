"""What headers say about how to call a function: each one read, each malformed one refused with what was expected."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from guesthouse.errors import BadRequest
from guesthouse.gateway.wishes import Wishes, prefers_async, read_wishes


def test_a_request_without_any_is_passed_on_as_it_is() -> None:
    """Nothing is wished, and the function is shown all headers."""
    headers = [("accept", "*/*"), ("x-own", "1"), ("x-own", "2")]
    assert read_wishes(headers) == Wishes(headers)


def test_the_function_is_not_shown_what_was_for_the_host() -> None:
    """Each of them is read, and the rest stays in its order."""
    found = read_wishes(
        [
            ("a", "1"),
            ("x-callback-url", "https://example.org/done"),
            ("x-call-id", "mine"),
            ("x-start-time", "123"),
            ("guesthouse-delay", "2m"),
            ("guesthouse-key", "customer 7"),
            ("idempotency-key", "k"),
            ("prefer", "respond-async, wait=5"),
            ("b", "2"),
        ]
    )
    assert found == Wishes(
        [("a", "1"), ("b", "2")],
        "https://example.org/done",
        "mine",
        "123",
        "customer 7",
        120_000,
        "k",
        True,
        5,
    )
    assert found.applied == "respond-async, wait=5"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0", 0), ("7", 7_000), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("1d", 86_400_000)],
)
def test_a_delay_has_a_unit_or_is_in_seconds(text: str, milliseconds: int) -> None:
    """Five ways to write one."""
    assert read_wishes([("guesthouse-delay", text)]).delay_ms == milliseconds


@pytest.mark.parametrize(
    ("text", "async_", "seconds"),
    [
        ("respond-async", True, None),
        ("Respond-Async ; x=y, wait = 10", True, 10),
        ('a="b, respond-async", wait="3"', False, 3),
        ("wait=100000", False, 600),
        ("wait=1, wait=2", False, 1),
        ('return=minimal;foo="x,y"', False, None),
        (" , respond-async,, ", True, None),
        ("", False, None),
    ],
)
def test_preferences_are_read_as_rfc_7240_writes_them(text: str, async_: bool, seconds: int | None) -> None:
    """Names without regard to case, quoted values, parameters; the first of each counts; a long wait is shortened."""
    found = read_wishes([("prefer", text)])
    assert (found.respond_async, found.wait_s) == (async_, seconds)


def test_several_prefer_headers_are_one_list() -> None:
    """As HTTP says of such headers."""
    found = read_wishes([("prefer", "respond-async"), ("prefer", "wait=7")])
    assert (found.respond_async, found.wait_s) == (True, 7)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("guesthouse-delay", "soon")], "Guesthouse-Delay has a number of seconds"),
        ([("guesthouse-delay", "-1")], "Guesthouse-Delay has a number of seconds"),
        ([("guesthouse-delay", "1.5")], "Guesthouse-Delay has a number of seconds"),
        ([("guesthouse-delay", "٣")], "Guesthouse-Delay has a number of seconds"),
        ([("guesthouse-delay", "367d")], "at most a year"),
        ([("guesthouse-delay", "99999999d")], "at most a year"),
        ([("guesthouse-key", "")], "Guesthouse-Key has 1 to 256 bytes"),
        ([("guesthouse-key", "k" * 257)], "Guesthouse-Key has 1 to 256 bytes"),
        ([("guesthouse-key", "ü" * 129)], "Guesthouse-Key has 1 to 256 bytes"),
        ([("x-call-id", "i" * 129)], "X-Call-Id has 1 to 128"),
        ([("x-call-id", "a\x7fb")], "X-Call-Id has 1 to 128"),
        ([("x-call-id", "ü")], "X-Call-Id has 1 to 128"),
        ([("x-callback-url", "")], "X-Callback-Url has 1 to"),
        ([("idempotency-key", "k" * 256)], "Idempotency-Key has 1 to 255"),
        ([("idempotency-key", "")], "Idempotency-Key has 1 to 255"),
        ([("prefer", "respond-async wait=1")], "write preferences with commas"),
        ([("prefer", '"x"')], "write preferences with commas"),
        ([("prefer", "wait=soon")], "Prefer: wait has a number of seconds"),
        ([("prefer", "wait")], "Prefer: wait has a number of seconds"),
        ([("prefer", "wait=-1")], "Prefer: wait has a number of seconds"),
        ([("guesthouse-key", "a"), ("guesthouse-key", "a")], "there is more than one Guesthouse-Key header"),
        ([("idempotency-key", "a"), ("idempotency-key", "b")], "there is more than one Idempotency-Key header"),
    ],
)
def test_a_malformed_one_is_refused_with_what_was_expected(headers: list[tuple[str, str]], said: str) -> None:
    """A delay or a key that was left out in silence would be found out too late."""
    with pytest.raises(BadRequest, match=said):
        read_wishes(headers)


def test_a_start_time_that_is_none_is_replaced_in_silence() -> None:
    """It is not the caller's fault what a proxy has put there."""
    for value in ("", "yesterday", "1" * 21, "-5"):
        assert read_wishes([("x-start-time", value)]) == Wishes([])


def test_only_an_idempotency_key_or_respond_async_changes_a_direct_call() -> None:
    """Other preferences are the function's own business."""
    assert prefers_async([("idempotency-key", b"k")])
    assert prefers_async([("prefer", b"wait=1, respond-async")])
    assert not prefers_async([("prefer", b"return=minimal"), ("accept", b"respond-async")])


def test_a_preference_is_known_by_its_whole_name_in_any_case() -> None:
    """As RFC 7240 compares them."""
    for value in (b"Respond-Async", b"wait=1,RESPOND-ASYNC ; a=b", b"respond-async=1"):
        assert prefers_async([("prefer", value)])
    for value in (b"no-respond-async", b"respond-asynchronously", b'a="respond-async"', b""):
        assert not prefers_async([("prefer", value)])


@pytest.mark.parametrize("start", ["respond-async", "respond-async=", "a;", "a;b=", "", ",", 'a="'])
@pytest.mark.parametrize("filler", [" ", "\t", " \t", '"a"', '\\"', ",", "a,", "a ", ";", "=", "; "])
def test_reading_preferences_takes_no_longer_than_their_length(start: str, filler: str) -> None:
    """Whatever they are made of: a client could keep the loop from everybody else otherwise."""
    value = start + filler * (32_000 // len(filler)) + '"'
    began = time.process_time()
    with suppress(BadRequest):
        read_wishes([("prefer", value)])
    prefers_async([("prefer", value.encode())])
    assert time.process_time() - began < 2  # a hundred times what it needs, a tenth of what it once took
