"""Callbacks beyond one receiver: functions that call each other, hosts that end, calls that are redriven."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from called_back import OURS, PATIENCE, POLICY, Place, story
from guesthouse import AsyncHost, OutboundConfig
from guesthouse.dispatch.deliveries import CallbackConfig
from guesthouse.queue.queue import Page
from served import config, served
from support import guest
from upstream import Received, Upstream, response


def test_three_functions_in_a_row() -> None:
    """The caller names the second, the first names the third in its answer; no socket is opened for either."""

    async def tell(place: Place) -> None:
        await place.host.deploy("second", guest("echo"))
        await place.host.deploy("third", guest("web-support"))
        first = await place.queue(
            f"{OURS}/async-function/second", "proxy", query=[("url", place.upstream.url("/", "up.example"))]
        )
        await place.counted("chained", 2)
        second, third = await place.record_of("second"), await place.record_of("third")
        assert (second.parent, second.root, second.depth) == (first, first, 1)
        assert (third.parent, third.root, third.depth) == (second.id, first, 2)
        assert {record.call_id for record in (second, third)} == {first}
        headers = dict(map(tuple, await place.said_of(third)))
        assert headers["x-function-name"] == "second"
        assert headers["x-call-id"] == first
        assert "x-callback-url" not in headers
        assert len(place.upstream.requests) == 1
        assert await place.host.queue.next_callback_ms() is None

    story(tell, lambda _: response(b"from upstream", "200 OK", f"X-Callback-Url: {OURS}/function/third"), ("proxy",))


def test_functions_that_call_each_other_back_end() -> None:
    """At the depth of functions that start functions."""

    async def tell(place: Place) -> None:
        url = place.upstream.url("/", "up.example")
        again = f"{OURS}/function/proxy?url={url}"
        place.upstream.answer = lambda _: response(b"", "200 OK", f"X-Callback-Url: {again}")
        await place.queue(again, "proxy", query=[("url", url)])
        await place.counted("refused")
        records, _ = await place.host.calls.list(Page(function=("default", "proxy")))
        assert sorted(record.depth for record in records) == list(range(17))
        assert len({record.root for record in records}) == 1

    story(tell, guests=("proxy",))


def test_a_spawn_function_can_be_called_back() -> None:
    """It is given the result as its payload."""

    async def tell(place: Place) -> None:
        await place.queue(f"{OURS}/function/fill", body=b'{"key": "k", "value": "v"}')
        assert (await place.record_of("fill")).state in ("succeeded", "dead")

    story(tell, guests=("echo", "fill"))


def test_a_host_that_ends_leaves_its_callbacks_to_the_next(tmp_path: Path) -> None:
    """Both one that is under way and one that waits for its next try; their tries go on being counted."""
    state = {"up": False}

    def answer(request: Received) -> bytes | None:
        if state["up"]:
            return response()
        return None if "hang" in request.line else response(b"", "503 Busy")

    async def first(place: Place) -> None:
        await place.queue(place.upstream.url("/hang", "up.example"), body=b"one")
        await place.queue(place.upstream.url("/busy", "up.example"), body=b"two")
        await place.received(2)
        await place.counted("retried")

    async def run() -> None:
        async with asyncio.timeout(PATIENCE), Upstream(answer) as upstream:
            callbacks = CallbackConfig(min_wait_ms=600_000, timeout_ms=60_000)
            settings = {"outbound": OutboundConfig(POLICY), "callbacks": callbacks}
            async with AsyncHost(tmp_path, slots=32, **settings) as host:
                await host.deploy("echo", guest("echo"))
                await first(Place(host, upstream))
            state["up"] = True
            async with AsyncHost(tmp_path, slots=32, **settings) as host:
                place = Place(host, upstream)
                got = await place.received(3)
                assert (got[2].line, got[2].body) == ("POST /hang HTTP/1.1", b"one")
                hang = [request.values("webhook-id") for request in got if "hang" in request.line]
                assert hang[0] == hang[1]
                await place.counted("delivered")
                while host.deliveries.under_way:
                    await asyncio.sleep(0.002)
                ((waiting, output),) = await _due(host)
                assert (waiting.attempts, output is not None) == (1, True)

    asyncio.run(run())


async def _due(host: AsyncHost) -> Any:
    """What waits for a later try."""
    due_ms = await host.queue.next_callback_ms()
    assert due_ms is not None
    clock = host.queue._clock

    class Later:
        def wall_ns(self) -> int:
            return due_ms * 1_000_000

        monotonic_ns, random_bytes = clock.monotonic_ns, clock.random_bytes

    host.queue._clock = Later()
    try:
        return await host.queue.callbacks(10)
    finally:
        host.queue._clock = clock


def test_a_killed_server_delivers_after_its_restart(tmp_path: Path) -> None:
    """Killed while its receiver had not answered: the next one sends the same message again."""
    settings = config(tmp_path)

    async def run() -> None:
        async with asyncio.timeout(2 * PATIENCE), Upstream(lambda _: None) as upstream:

            def first() -> None:
                with served(tmp_path / "data", "--config", settings) as server:
                    server.deploy("echo")
                    url = {"x-callback-url": upstream.url("/done")}
                    assert server.request("POST", "/async-function/echo", b"kept", url).status == 202
                    asyncio.run_coroutine_threadsafe(upstream.arrived.wait(), loop).result(PATIENCE)

            def second() -> None:
                with served(tmp_path / "data", "--config", settings) as server:
                    server.counted("callbacks_total", 1, outcome="delivered")

            loop = asyncio.get_running_loop()
            await asyncio.to_thread(first)
            upstream.answer = lambda _: response()
            await asyncio.to_thread(second)
            before, after = upstream.requests
            assert before.body == after.body == b"kept"
            assert before.values("webhook-id") == after.values("webhook-id")

    asyncio.run(run())


def test_the_callback_of_a_redriven_call_survives_the_end_of_the_one_before() -> None:
    """A receiver that takes long over the failure hears of the success as well."""
    held = asyncio.Event()

    async def later() -> AsyncIterator[bytes]:
        await held.wait()
        yield response()

    def answer(request: Received) -> Any:
        return later() if request.values("x-function-status") == ["502"] else response()

    async def tell(place: Place) -> None:
        await place.host.deploy("panic", guest("panic"), retry={"attempts": 1})
        call = await place.queue(place.upstream.url("/", "up.example"), "panic")
        await place.received()
        await place.host.deploy("panic", guest("echo"))
        await place.host.redrive(call)
        while (await place.ended(call)).state != "succeeded":
            await asyncio.sleep(0.002)
        held.set()
        await place.received(2)
        await place.counted("delivered", 2)

    story(tell, answer)
