"""`ValkeyClient` and servers that lie, stall, leave and cannot be trusted: an error each, and nothing left behind."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import trustme

from guesthouse.net import failures, valkey
from guesthouse.net.resp import SimpleString
from guesthouse.net.valkey import ServerRefused, ValkeyClient
from resp_server import RespServer
from valkey_server import ValkeyServer

pytestmark = pytest.mark.anyio
LONG = 20_000
"""Milliseconds that nothing here should take."""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(LONG / 1000):
        await event.wait()


async def stale(client: ValkeyClient) -> None:
    """Lets the loop see what happened to idle connections."""
    async with asyncio.timeout(LONG / 1000):
        while any(connection.usable for connection, _ in client._idle):
            await asyncio.sleep(0.001)


async def test_after_the_server_was_killed_and_started_again_calls_work_again(own_valkey_server: ValkeyServer) -> None:
    """Without a word from the caller; meanwhile they fail."""
    client = ValkeyClient(own_valkey_server.url)
    await client.command(b"PING")
    waiting = asyncio.ensure_future(client.command(b"BLPOP", b"queue", b"0"))
    while client.under_way == 0:
        await asyncio.sleep(0)
    own_valkey_server.kill()
    with pytest.raises((failures.Interrupted, failures.ConnectionFailed)):
        await waiting
    with pytest.raises(failures.ConnectionFailed):
        await client.command(b"PING")
    assert own_valkey_server.start()
    assert await client.command(b"PING") == SimpleString(b"PONG")
    await client.close()


async def test_an_idle_connection_that_ended_is_not_used() -> None:
    """The server closes each after its answer: no call notices."""
    async with RespServer(lambda command: b":1\r\n") as server:
        server.close_after = b"GET"
        client = ValkeyClient(server.url)
        for _ in range(3):
            assert await client.command(b"GET", b"k") == 1
            await until(server.left)
            server.left.clear()
            await stale(client)
        assert client.opened == 3
        await client.close()


async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    """They would be taken for the next reply: with the reply, and after it."""
    async with RespServer(lambda command: b":1\r\n:2\r\n") as server:
        client = ValkeyClient(server.url)
        for _ in range(3):
            assert await client.command(b"GET", b"k") == 1
            await stale(client)
        assert client.opened == 3
        await client.close()


async def late(release: asyncio.Event) -> AsyncIterator[bytes]:
    yield b"$5\r\nab"
    await release.wait()
    yield b"cde\r\n"


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_connection_with_an_unfinished_reply_is_never_used_again(how: str) -> None:
    """The next call has a new one, and its own reply."""
    release = asyncio.Event()
    async with RespServer(lambda command: late(release) if command[1] == b"slow" else b":7\r\n") as server:
        client = ValkeyClient(server.url)
        if how == "timeout":
            assert await client.command(b"GET", b"first") == 7  # so that the short time is not spent on connecting
            with pytest.raises(failures.Timeout):
                await client.command(b"GET", b"slow", timeout_ms=100)
        else:
            task = asyncio.ensure_future(client.command(b"GET", b"slow"))
            await until(server.arrived)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        release.set()
        assert client.idle == client.under_way == 0
        assert await client.command(b"GET", b"fast") == 7
        assert (client.opened, client.idle) == (2, 1)
        await client.close()


async def drip(piece: bytes) -> AsyncIterator[bytes]:
    while True:
        yield piece
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", failures.Malformed),
        (b"$99999999999\r\n", failures.TooLarge),
        (b"*99999999999\r\n", failures.TooLarge),
        (b"*1\r\n" * 1_000, failures.Malformed),
        (b"*16\r\n" * 30, failures.TooLarge),
        (b"+" + b"x" * 100_000, failures.Malformed),
        (b"%1\r\n", failures.Malformed),
        (b"$3\r\nabcde", failures.Malformed),
    ],
)
async def test_a_server_that_lies_is_an_error(answer: bytes, error: type[Exception]) -> None:
    """At once, and the connection is over."""
    async with RespServer(lambda command: answer) as server:
        client = ValkeyClient(server.url, reply_bytes=20_000, timeout_ms=LONG)
        with pytest.raises(error):
            await client.command(b"GET", b"k")
        assert client.idle == 0
        await until(server.left)
        await client.close()


@pytest.mark.parametrize("piece", [b"*0\r\n" * 10_000, b"$3\r\nabc\r\n" * 10_000, b"$9999999\r\n" + b"x" * 50_000])
async def test_a_server_that_never_stops_is_cut_off(piece: bytes) -> None:
    """Once the reply is there, or larger than it may be, whatever else comes."""
    async with RespServer(lambda command: drip(piece)) as server:
        client = ValkeyClient(server.url, reply_bytes=10 << 20, timeout_ms=LONG)
        with suppress(failures.Malformed, failures.TooLarge):
            await client.pipeline([(b"GET", b"k")] * 100)
        assert client.idle == 0
        await until(server.left)
        await client.close()


async def test_a_server_that_drips_is_cut_off_at_the_timeout() -> None:
    """However busy it looks."""
    async with RespServer(lambda command: b":7\r\n" if command[1] == b"first" else drip(b":")) as server:
        client = ValkeyClient(server.url)
        assert await client.command(b"GET", b"first") == 7  # so that the short time is not spent on connecting
        with pytest.raises((failures.Timeout, failures.Malformed)):
            await client.command(b"GET", b"k", timeout_ms=200)
        await client.close()


async def test_a_huge_reply_leaves_turns_for_others() -> None:
    """While three hundred thousand elements are read the loop goes round hundreds of times."""
    turns = 0
    done = asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async with RespServer(lambda command: b"*300000\r\n" + b":1\r\n" * 300_000) as server:
        client = ValkeyClient(server.url, reply_bytes=32 << 20, timeout_ms=LONG)
        counting = asyncio.ensure_future(count())
        reply = await client.command(b"GET", b"k")
        assert isinstance(reply, list)
        assert len(reply) == 300_000
        done.set()
        await counting
        assert turns >= 300
        await client.close()


async def test_what_does_not_speak_the_protocol_gets_nothing_but_a_ping() -> None:
    """No byte of a caller, nor a password: another protocol's server could be made to act on them."""
    for answer in (b"220 mail.example\r\n", b"+OK\r\n", b"$4\r\nPONG\r\n", b"*1\r\n+PONG\r\n"):
        async with RespServer(lambda command, answer=answer: answer, honest=False) as server:  # type: ignore[misc]
            client = ValkeyClient(server.url.replace("//", "//:secret@"))
            with pytest.raises(failures.Malformed):
                await client.command(b"GET", b"QUIT\r\nHELO me")
            assert server.commands == [[b"PING"]]
            await client.close()


async def test_a_server_that_sends_clients_away_is_named() -> None:
    """Too many clients, protected mode."""
    async with RespServer(lambda command: b"-ERR max number of clients reached\r\n", honest=False) as server:
        client = ValkeyClient(server.url)
        with pytest.raises(ServerRefused, match="max number of clients"):
            await client.command(b"GET", b"k")
        await client.close()


async def test_nobody_there_is_a_failed_connection_and_silence_a_timeout() -> None:
    """Both before the command was sent."""
    async with RespServer(lambda command: None, honest=False) as server:
        client = ValkeyClient(server.url, connect_timeout_ms=50)
        with pytest.raises(failures.ConnectTimeout):
            await client.command(b"GET", b"k")
        await client.close()
    gone = ValkeyClient(server.url)
    with pytest.raises(failures.ConnectionFailed):
        await gone.command(b"GET", b"k")


async def test_closing_ends_what_is_under_way() -> None:
    """And nothing can be asked any more."""
    async with RespServer(lambda command: None) as server:
        client = ValkeyClient(server.url)
        task = asyncio.ensure_future(client.command(b"GET", b"k"))
        await until(server.arrived)
        await client.close()
        with pytest.raises(failures.Interrupted):
            await task
        with pytest.raises(failures.Interrupted):
            await client.command(b"GET", b"k")
        await client.close()


async def test_idle_connections_end_after_their_time(
    monkeypatch: pytest.MonkeyPatch, valkey_server: ValkeyServer
) -> None:
    """The one that was idle longest first; those over `most_idle` at once."""
    monkeypatch.setattr(valkey, "IDLE_SECONDS", 0.01)
    client = ValkeyClient(valkey_server.url, most_idle=2)
    await asyncio.gather(*[client.command(b"EVAL", b"return 1", b"0") for _ in range(5)])
    assert client.idle <= 2
    async with asyncio.timeout(LONG / 1000):
        while client.idle:
            await asyncio.sleep(0.005)
    assert await client.command(b"PING") == SimpleString(b"PONG")
    await client.close()


# -- TLS


async def test_servers_with_tls_are_verified(authority: trustme.CA, ca_file: str) -> None:
    """By the extra authority and by name or address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with RespServer(lambda command: b"$3\r\nyes\r\n", tls=context) as server:
        client = ValkeyClient(server.url, ca_file=ca_file)
        assert await client.command(b"GET", b"k") == b"yes"
        await client.close()
        for url, file in ((server.url, None), (server.url.replace("127.0.0.1", "localhost"), ca_file)):
            with pytest.raises(failures.TlsError):
                await ValkeyClient(url, ca_file=file).command(b"GET", b"k")
    async with RespServer(lambda command: b":1\r\n") as plain:
        client = ValkeyClient(plain.url.replace("redis", "rediss"), ca_file=ca_file, connect_timeout_ms=200)
        with pytest.raises((failures.TlsError, failures.ConnectTimeout)):
            await client.command(b"GET", b"k")
        assert plain.commands == []


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path) -> str:  # type: ignore[no-untyped-def]
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)
