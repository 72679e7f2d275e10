"""Clients that leave while they wait for a call: nobody goes on waiting in their place (C1)."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gateway_server import Later, Outcome, Server
from harness import until

LONG = b"Prefer: respond-async, wait=600"


def left(server: Server) -> bool:
    """Whether the server has noticed that all clients are gone."""
    return server.gateway._app.watch.open == 0


def at_work(server: Server) -> int:
    """Requests that are being answered."""
    coroutines: Any = server.on_loop(lambda: [task.get_coro() for task in asyncio.all_tasks()])
    return sum(coroutine.__qualname__ == "App.run" for coroutine in coroutines)


def ask(server: Server, method: bytes, path: str, *headers: bytes) -> socket.socket:
    sock = server.connect()
    lines = b"\r\n".join([b"%b %b HTTP/1.1" % (method, path.encode()), b"Host: localhost", *headers, b"", b""])
    sock.sendall(lines)
    return sock


@pytest.mark.parametrize("header", [LONG, b"Idempotency-Key: k"])
def test_a_client_that_leaves_while_it_waits_for_its_call_is_not_waited_for(header: bytes) -> None:
    """The call goes on."""
    with Server() as server:
        with ask(server, b"POST", "/function/echo", header):
            until(lambda: server.waiters.count == 1, "nobody waits")
        until(lambda: server.waiters.count == 0, "somebody still waits")
        assert len(server.request("GET", "/invocations").json["invocations"]) == 1


def test_a_client_that_leaves_before_its_call_is_on_disk_is_not_waited_for() -> None:
    """Otherwise each such connection would leave a waiter behind, for ten minutes."""
    with Server() as server:
        enqueue, arrived, release = server.queue.enqueue, asyncio.Event(), asyncio.Event()

        async def slow(call: Any) -> str:
            arrived.set()
            await release.wait()
            return await enqueue(call)

        server.queue.enqueue = slow  # type: ignore[method-assign]
        with ask(server, b"POST", "/function/echo", LONG):
            until(arrived.is_set, "the call did not arrive")
        until(lambda: left(server), "it did not leave")
        server.on_loop(release.set)
        until(lambda: at_work(server) == 0, "somebody still waits")
        assert len(server.request("GET", "/invocations").json["invocations"]) == 1


def test_a_client_that_leaves_while_it_is_attached_is_not_waited_for() -> None:
    """Its connection is free for others, and so has its place among those who wait to be."""
    with Server() as server:
        call = server.invocation("queued")
        with ask(server, b"GET", f"/invocations/{call}/attach?timeout=600"):
            until(lambda: server.waiters.count == 1, "nobody waits")
        until(lambda: server.waiters.count == 0, "somebody still waits")
        until(lambda: at_work(server) == 0, "its request is still being answered")


def test_a_client_that_leaves_before_it_is_attached_is_not_waited_for() -> None:
    """While the record is looked for."""
    with Server() as server:
        call = server.invocation("queued")
        find, arrived, release = server.queue.find, asyncio.Event(), asyncio.Event()

        async def slow(id: str) -> Any:
            arrived.set()
            await release.wait()
            return await find(id)

        server.queue.find = slow  # type: ignore[method-assign]
        with ask(server, b"GET", f"/invocations/{call}/attach?timeout=600"):
            until(arrived.is_set, "the request did not arrive")
        until(lambda: left(server), "it did not leave")
        server.on_loop(release.set)
        until(lambda: at_work(server) == 0, "somebody still waits")


def test_a_client_that_ends_its_side_cancels_its_function_once() -> None:
    """What a function has open can be closed in peace: the end of the connection, which follows, is no second reason."""
    began, release, ended = asyncio.Event(), asyncio.Event(), []

    async def wait() -> Outcome:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()
            ended.append("in peace")
        raise AssertionError("nobody sets it")

    with Server() as server:
        server.add("slow", lambda request, body, sink: Later(wait))
        with ask(server, b"GET", "/functions/default/slow") as sock:
            until(began.is_set, "it did not begin")
            sock.shutdown(socket.SHUT_WR)
            until(lambda: left(server), "it did not leave")
            server.on_loop(release.set)
            until(lambda: at_work(server) == 0, "it still runs")
    assert ended == ["in peace"]
