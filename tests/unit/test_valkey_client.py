"""`ValkeyClient` against a real server: replies, connections, credentials, and what it refuses to send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from guesthouse.net import failures
from guesthouse.net.resp import Budget, ErrorReply, SimpleString
from guesthouse.net.valkey import ServerRefused, ValkeyClient
from guesthouse.net.valkey_commands import MOST_PARTS, CommandRefused
from valkey_server import ValkeyServer

pytestmark = pytest.mark.anyio
OK = SimpleString(b"OK")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def client(valkey_server: ValkeyServer) -> AsyncIterator[ValkeyClient]:
    client = ValkeyClient(valkey_server.url)
    yield client
    await client.close()


@pytest.fixture(scope="module")
def locked_server(valkey_process: ValkeyServer) -> Iterator[ValkeyServer]:
    """A server with a password, after it is clear that there can be one at all."""
    server = ValkeyServer("--requirepass", "pass word:@/")
    yield server
    server.close()


async def test_commands_are_answered_in_order(client: ValkeyClient) -> None:
    """One by one, and many at once."""
    assert await client.command(b"SET", b"k", b"OK") == OK
    assert await client.command(b"GET", b"k") == b"OK"
    commands = [(b"INCR", b"n"), (b"LPUSH", b"k", b"1"), (b"GET", b"none"), (b"INCR", b"n")]
    replies = await client.pipeline(commands)
    assert [replies[0], replies[2], replies[3]] == [1, None, 2]
    assert isinstance(replies[1], ErrorReply)
    assert await client.pipeline([]) == []


async def test_large_requests_and_replies_are_carried_in_pieces(client: ValkeyClient) -> None:
    """Eight megabytes each way, and fifty thousand elements."""
    large = bytes(range(256)) * 32_768
    assert await client.command(b"SET", b"large", large) == OK
    assert await client.command(b"GET", b"large") == large
    numbers = [b"%d" % number for number in range(50_000)]
    assert await client.command(b"RPUSH", b"l", *numbers) == len(numbers)
    assert await client.command(b"LRANGE", b"l", b"0", b"-1") == numbers


async def test_requests_and_replies_that_cross_do_not_wait_for_each_other(client: ValkeyClient) -> None:
    """Sixty-four commands of 256 KiB whose replies are as large: neither side has room for all of them."""
    echo = (b"ECHO", b"x" * (256 << 10))
    replies = await client.pipeline([echo] * 48, budget=Budget(64 << 20))
    assert replies == [echo[1]] * 48


async def test_connections_are_used_again_and_never_shared_at_once(client: ValkeyClient) -> None:
    """Ten calls in a row need one; ten at once have ten."""
    for _ in range(10):
        await client.command(b"PING")
    assert (client.opened, client.idle) == (1, 1)
    waiting = [client.command(b"BLPOP", b"queue", b"0") for _ in range(10)]
    tasks = [asyncio.ensure_future(one) for one in waiting]
    for number in range(10):
        await client.command(b"RPUSH", b"queue", b"%d" % number)
    found = await asyncio.gather(*tasks)
    assert sorted(found) == [[b"queue", b"%d" % number] for number in range(10)]
    assert client.opened <= 11


async def test_more_calls_than_connections_take_turns(valkey_server: ValkeyServer) -> None:
    """Here a hundred over two."""
    client = ValkeyClient(valkey_server.url, connections=2)
    replies = await asyncio.gather(*[client.command(b"INCR", b"n") for _ in range(100)])
    assert sorted(replies) == list(range(1, 101))  # type: ignore[type-var]
    assert client.opened == 2
    await client.close()


async def test_who_gets_no_turn_in_time_is_told_so(valkey_server: ValkeyServer) -> None:
    """One connection, which another call holds."""
    client = ValkeyClient(valkey_server.url, connections=1)
    holding = asyncio.ensure_future(client.command(b"BLPOP", b"queue", b"0"))
    while not client.opened:
        await asyncio.sleep(0.001)
    with pytest.raises(failures.LimitReached):
        await client.command(b"PING", timeout_ms=50)
    valkey_server.ask("RPUSH", "queue", "x")
    assert await holding == [b"queue", b"x"]
    await client.close()


async def test_a_server_behind_a_file_is_reached(valkey_server: ValkeyServer) -> None:
    """`unix:` URLs."""
    for url in (f"unix://{valkey_server.socket}", f"unix:{valkey_server.socket}"):
        client = ValkeyClient(url)
        assert await client.command(b"PING") == SimpleString(b"PONG")
        await client.close()


async def test_the_url_says_who_and_which_database(locked_server: ValkeyServer) -> None:
    """The password is percent-encoded there."""
    authority = f"127.0.0.1:{locked_server.port}"
    client = ValkeyClient(f"redis://:pass%20word%3A%40%2F@{authority}/3")
    assert await client.command(b"SET", b"k", b"in three") == OK
    named = ValkeyClient(f"valkey://default:pass%20word%3A%40%2F@{authority}")
    assert await named.command(b"GET", b"k") is None
    assert await named.pipeline([(b"SELECT", b"3"), (b"GET", b"k")]) == [OK, b"in three"]
    for url, text in (
        (f"redis://:wrong@{authority}", "WRONGPASS"),
        (f"redis://:pass%20word%3A%40%2F@{authority}/99", "ERR DB index"),
    ):
        with pytest.raises(ServerRefused, match=text):
            await ValkeyClient(url).command(b"PING")
    without = ValkeyClient(f"redis://{authority}")
    assert str(await without.command(b"PING")).startswith("NOAUTH")
    for one in (client, named, without):
        await one.close()


async def test_a_transaction_has_a_connection_of_its_own(client: ValkeyClient) -> None:
    """So that an unfinished one is over with it."""
    queued = SimpleString(b"QUEUED")
    assert await client.pipeline([(b"MULTI",), (b"SET", b"k", b"v"), (b"EXEC",)]) == [OK, queued, [OK]]
    assert await client.pipeline([(b"SELECT", b"1"), (b"multi",), (b"SET", b"k", b"w")]) == [OK, OK, queued]
    assert await client.command(b"GET", b"k") == b"v"
    assert (client.opened, client.idle) == (3, 1)


@pytest.mark.parametrize(
    "commands",
    [
        [(b"subscribe", b"c")],
        [(b"PING",), (b"MONITOR",)],
        [(b"HELLO", b"3")],
        [(b"client", b"REPLY", b"OFF")],
        [(b"SCRIPT", b"DEBUG", b"YES")],
        [(b"MULTI",)],
        [()],
        [(b"",)],
    ],
)
async def test_what_would_change_a_shared_connection_is_refused(
    client: ValkeyClient, commands: list[tuple[bytes, ...]]
) -> None:
    """Before anything is sent."""
    with pytest.raises(CommandRefused):
        await client.pipeline(commands)
    assert client.opened == 0


async def test_more_arguments_than_a_server_should_see_are_refused(client: ValkeyClient) -> None:
    """In one command or in many."""
    for commands in ([(b"PING", *[b""] * MOST_PARTS)], [(b"PING",)] * (MOST_PARTS + 1)):
        with pytest.raises(failures.LimitReached):
            await client.pipeline(commands)
    assert client.opened == 0
