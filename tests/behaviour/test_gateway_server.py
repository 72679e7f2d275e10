"""How the server begins and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading

import pytest

from gateway_server import Later, Outcome, Server, read_answers, serving
from guesthouse.errors import BadRequest, Unavailable


def test_while_draining_readiness_and_functions_are_503() -> None:
    """Until what runs is done, whoever asks is told, and nothing is deployed or deleted; then the server ends."""
    release, draining = asyncio.Event(), threading.Event()
    with serving() as server:

        async def drain(timeout_s: float) -> None:
            draining.set()
            await release.wait()

        server.dispatcher.drain = drain  # type: ignore[method-assign]
        server.stop()
        assert draining.wait(10)
        answer = server.request("GET", "/readyz")
        assert (answer.status, answer.problem) == (503, "draining")
        assert server.request("GET", "/healthz").status == 200
        assert server.request("DELETE", "/functions/manage/default/echo").problem == "draining"
        assert server.request("GET", "/functions/manage/default/echo").status == 200
        server.on_loop(release.set)
        server.join()


def test_an_answer_that_is_under_way_is_finished_when_the_server_stops() -> None:
    """Drained means answered."""
    release = asyncio.Event()

    async def wait() -> Outcome:
        await release.wait()
        return Outcome(body=b"done")

    with serving() as server:

        async def drain(timeout_s: float) -> None:
            release.set()

        server.dispatcher.drain = drain  # type: ignore[method-assign]
        server.add("slow", lambda request, body, sink: Later(wait))
        with server.connect() as sock:
            sock.sendall(b"GET /functions/default/slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not server.dispatcher.requests:
                pass
            server.stop()
            assert read_answers(sock, 1) == [(200, b"done")]
        server.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(number: signal.Signals) -> None:
    """And `serve` returns, with the process's handlers as they were."""
    before = signal.getsignal(number)
    server = Server()

    async def run() -> None:
        gateway = server.make_gateway()
        await gateway.serve(started=lambda: os.kill(os.getpid(), number))

    asyncio.run(run())
    assert server.dispatcher.drained == [server.config.drain_seconds]
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_wait() -> None:
    """For whoever is in a hurry."""
    server = Server()
    cancelled = threading.Event()

    async def drain(timeout_s: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    server.dispatcher.drain = drain  # type: ignore[method-assign]

    async def run() -> None:
        gateway = server.make_gateway()
        await gateway.serve(started=lambda: os.kill(os.getpid(), signal.SIGTERM))

    asyncio.run(run())
    assert cancelled.is_set()


def test_a_stopped_server_takes_no_connections() -> None:
    """Its port is free again."""
    with serving() as server:
        server.stop()
        server.join()
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_an_address_in_use_is_said_in_one_line() -> None:
    """With the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"), Server({"listen": {"port": port}}):
            pass


def test_a_host_name_that_means_nothing_is_said_in_one_line() -> None:
    """It is the configuration's mistake."""
    with (
        pytest.raises(BadRequest, match=r"nowhere\.invalid"),
        Server({"listen": {"host": "nowhere.invalid", "port": 1}}),
    ):
        pass


def test_a_name_with_two_addresses_listens_on_both() -> None:
    """`localhost` is 127.0.0.1 and, where there is IPv6, ::1."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with serving({"listen": {"host": "localhost", "port": port}}) as server:
        assert ("127.0.0.1", port) in server.gateway.addresses
        assert server.request("GET", "/healthz").status == 200
