"""Callbacks on the wire: every result reaches its receiver, whatever the receiver does, and nobody else's waits for it."""

from __future__ import annotations

import asyncio
import hmac
import itertools
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from called_back import QUICK, Place, story
from guesthouse.dispatch.deliveries import CallbackConfig
from guesthouse.dispatch.invocations import Wanted
from guesthouse.net.breaker import FAILURES
from guesthouse.net.client import OutboundRequest, OutboundResponse
from guesthouse.net.failures import ConnectionFailed
from support import guest
from upstream import Answer, Received, Steps, response


def test_a_result_is_posted_with_what_is_to_be_known_of_it() -> None:
    """Its body is the function's answer; the headers are the function's own and OpenFaaS's."""

    async def tell(place: Place) -> None:
        call = await place.queue(place.upstream.url("/done?x=1", "up.example"), call_id="order-7")
        (got,) = await place.received()
        assert (got.line, got.body) == ("POST /done?x=1 HTTP/1.1", b"result")
        headers = {name.lower(): value for name, value in got.headers}
        assert headers["content-type"] == "application/octet-stream"
        assert headers["x-call-id"] == "order-7"
        assert headers["x-function-name"] == "echo"
        assert headers["x-function-status"] == "200"
        assert float(headers["x-duration-seconds"]) > 0
        assert int(headers["x-start-time"]) > 1_700_000_000 * 10**9
        assert headers["user-agent"].startswith("guesthouse/")
        assert headers["webhook-id"].startswith(call)
        assert not {"webhook-signature", "x-retry", "x-callback-url", "x-invocation-id"} & set(headers)
        await place.counted("delivered")
        await place.nothing_left()
        assert place.said() == [
            f"callback to http://up.example:{place.upstream.port} delivered, try 1: it answered 200"
        ]
        assert (await place.ended(call)).state == "succeeded"
        assert (output := await place.host.calls.output(call)) is not None
        assert output.body == b"result"

    story(tell)


def test_a_failure_is_posted_too() -> None:
    """Once, after the last of its runs."""

    async def tell(place: Place) -> None:
        await place.host.deploy("panic", guest("panic"), retry={"attempts": 2, "min_wait_ms": 1, "max_wait_ms": 1})
        await place.queue(place.upstream.url("/", "up.example"), "panic")
        (got,) = await place.received()
        assert got.body == b""
        assert got.values("x-function-status") == ["502"]
        assert (got.values("x-retry"), got.values("x-retry-max")) == (["1"], ["1"])
        await place.counted("delivered")
        assert len(place.upstream.requests) == 1

    story(tell)


def test_a_receiver_can_verify_who_sent_it() -> None:
    """As the Standard Webhooks say: HMAC-SHA256 of id, time and body, with the secret of the configuration."""
    key = b"k" * 32

    async def tell(place: Place) -> None:
        await place.queue(place.upstream.url("/", "up.example"))
        (got,) = await place.received()
        (message,), (seconds,), (signature,) = (
            got.values(f"webhook-{name}") for name in ("id", "timestamp", "signature")
        )
        expected = hmac.digest(key, f"{message}.{seconds}.result".encode(), "sha256")
        assert signature == f"v1,{b64encode(expected).decode()}"

    story(tell, callbacks=CallbackConfig(f"whsec_{b64encode(key).decode()}"))


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Wait", "408 Late", "425 Early"])
def test_a_receiver_that_fails_is_tried_again(status: str) -> None:
    """Until it takes it; each try is the same message."""

    async def tell(place: Place) -> None:
        await place.queue(place.upstream.url("/", "up.example"))
        got = await place.received(3)
        await place.counted("delivered")
        await place.counted("retried", 2)
        assert [request.body for request in got] == [b"result"] * 3
        assert len({request.values("webhook-id")[0] for request in got}) == 1
        assert "not delivered, try 2: it answered" in place.said()[1]
        await place.nothing_left()

    answers = itertools.chain([response(b"", status)] * 2, itertools.repeat(response()))
    story(tell, lambda _: next(answers))


def test_a_receiver_is_left_alone_as_long_as_it_asks_for() -> None:
    """Its Retry-After is honoured, up to the longest wait."""

    async def tell(place: Place) -> None:
        await place.queue(place.upstream.url("/", "up.example"))
        await place.received()
        await place.counted("retried")
        due_ms = await place.host.queue.next_callback_ms()
        assert due_ms is not None
        assert due_ms - place.host._clock.wall_ns() // 1_000_000 > 250_000

    story(
        tell,
        lambda _: response(b"", "503 Busy", "Retry-After: 300"),
        callbacks=CallbackConfig(min_wait_ms=1, max_wait_ms=600_000),
    )


@pytest.mark.parametrize("status", ["400 No", "401 No", "404 No", "410 Gone", "301 Moved", "302 Found", "307 There"])
def test_a_receiver_that_refuses_or_redirects_is_not_asked_again(status: str) -> None:
    """Where a redirect leads was never checked: nobody goes there."""

    async def tell(place: Place) -> None:
        inside = place.upstream.url("/inside")
        place.upstream.answer = lambda _: response(b"", status, f"Location: {inside}")
        await place.queue(place.upstream.url("/", "up.example"))
        await place.counted("failed")
        await place.nothing_left()
        assert len(place.upstream.requests) == 1
        assert place.said()[0].endswith(f"it answered {status[:3]}")

    story(tell)


def test_tries_are_bounded() -> None:
    """Then it is given up, with a line in the function's log; the result stays readable."""

    async def tell(place: Place) -> None:
        call = await place.queue(place.upstream.url("/", "up.example"))
        await place.counted("failed")
        await place.nothing_left()
        assert len(place.upstream.requests) == 3
        assert place.said()[-1].endswith("it answered 500; it was tried 3 times")
        assert await place.host.calls.output(call) is not None

    story(tell, lambda _: response(b"", "500 Oops"), callbacks=CallbackConfig(attempts=3, min_wait_ms=1, max_wait_ms=1))


def test_a_mistake_of_ours_is_a_try_like_any_other() -> None:
    """It is not made again at once and for ever, and callbacks that follow are delivered."""

    async def tell(place: Place) -> None:
        really, tries = place.host.outbound.open, 0

        async def broken(request: OutboundRequest) -> OutboundResponse:
            nonlocal tries
            if request.url.endswith("/bad"):
                tries += 1
                raise RuntimeError("a mistake")
            return await really(request)

        place.host.outbound.open = broken  # type: ignore[method-assign, assignment]
        await place.queue(place.upstream.url("/bad", "up.example"))
        await place.counted("failed")
        await place.nothing_left()
        assert tries == QUICK.attempts
        await place.queue(place.upstream.url("/good", "up.example"))
        await place.counted("delivered")

    story(tell)


def test_a_receiver_that_was_not_asked_has_not_had_its_last_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others did not reach it and it is left alone for a while; then it is there, and is told."""
    monkeypatch.setattr("guesthouse.net.breaker.REST_SECONDS", 0.1)

    async def tell(place: Place) -> None:
        breakers, key = place.host.outbound.breakers, ("default", "echo", f"up.example:{place.upstream.port}")
        for _ in range(FAILURES):
            breakers.settle(key, ConnectionFailed(), False)
        await place.queue(place.upstream.url("/", "up.example"))
        await place.counted("delivered")
        assert "is not asked again yet" in place.said()[0]

    story(tell, callbacks=replace(QUICK, attempts=1))


def test_nobody_there_is_tried_again() -> None:
    """A connection that is refused is no answer."""

    async def tell(place: Place) -> None:
        free = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = free.sockets[0].getsockname()[1]
        free.close()
        await free.wait_closed()
        await place.queue(f"http://none.example:{port}/")
        await place.counted("failed")
        assert "could not be made; it was tried 2 times" in place.said()[-1]

    story(tell, callbacks=CallbackConfig(attempts=2, min_wait_ms=1, max_wait_ms=1))


async def endless() -> AsyncIterator[bytes]:
    """An answer without an end."""
    yield b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n"
    while True:
        yield bytes(65_536)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: endless(),
        lambda _: Steps(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")(),
    ],
    ids=["endless", "stalled"],
)
def test_what_a_receiver_says_besides_its_status_is_not_waited_for(answer: Answer) -> None:
    """An answer without an end, or one that stalls, is as good as an empty one: the connection ends."""

    async def tell(place: Place) -> None:
        await place.queue(place.upstream.url("/", "up.example"))
        await place.counted("delivered")
        await place.upstream.left.wait()
        await place.nothing_left()
        assert place.host.outbound.slots._shares == {}

    story(tell, answer, callbacks=CallbackConfig(timeout_ms=20_000))


def test_a_receiver_that_hangs_is_tried_again_and_holds_up_nobody() -> None:
    """Of a thousand callbacks to it few are under way; those to another server are delivered meanwhile."""

    def answer(request: Received) -> bytes | None:
        return None if request.values("host")[0].startswith("slow") else response()

    async def tell(place: Place) -> None:
        slow, quick = place.upstream.url("/", "slow.example"), place.upstream.url("/", "up.example")
        for _ in range(40):
            await place.queue(slow)
        await place.received(2)
        for _ in range(10):
            await place.queue(quick)
        await place.counted("delivered", 10)
        hosts = [request.values("host")[0].split(":")[0] for request in place.upstream.requests]
        assert (hosts.count("slow.example"), hosts.count("up.example")) == (2, 10)
        while place.host.deliveries.under_way > 2:  # counted before it is written down
            await asyncio.sleep(0.002)
        assert place.host.deliveries.under_way == 2

    story(tell, answer, callbacks=CallbackConfig(at_once_per_destination=2, timeout_ms=60_000))


def test_a_namespace_whose_receivers_all_hang_leaves_room_for_the_others() -> None:
    """It has half of what may be under way, however many servers it names."""

    def answer(request: Received) -> bytes | None:
        return response() if "/quick" in request.line else None

    async def tell(place: Place) -> None:
        await place.host.deploy("echo", guest("echo"), namespace="shop")
        for name in ("slow.example", "none.example", "up.example"):
            await place.queue(place.upstream.url("/", name))
            await place.queue(place.upstream.url("/", name))
        await place.received(2)
        asked = Wanted(body=b"x", callback=place.upstream.url("/quick", "up.example"))
        await place.host.calls.accept(place.host.deployment("echo", "shop"), asked)
        await place.counted("delivered")
        assert ["/quick" in request.line for request in place.upstream.requests] == [False, False, True]

    story(tell, answer, callbacks=CallbackConfig(at_once=4, at_once_per_destination=2, timeout_ms=60_000))


def test_a_receiver_that_does_not_answer_in_time_is_tried_again() -> None:
    """A time that is bounded, and a second try that succeeds."""
    answers = itertools.chain([None], itertools.repeat(response()))

    async def tell(place: Place) -> None:
        await place.queue(place.upstream.url("/", "up.example"))
        await place.counted("delivered")
        assert place.said()[0].endswith("the answer took too long")

    story(tell, lambda _: next(answers), callbacks=CallbackConfig(timeout_ms=200, min_wait_ms=1, max_wait_ms=1))
