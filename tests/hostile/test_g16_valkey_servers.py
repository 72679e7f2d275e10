"""G16: real guests that talk to Valkey servers that lie, stall, flood and leave: an error for the guest, no harm to the host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from guesthouse import AsyncHost
from guesthouse._native.handle import stores
from harness import MEMORY_MIB, PATIENCE, files, often, resident, tidy
from resp_server import Answer, RespServer
from support import FORMS, guest

ORDER = json.dumps({"cluster": "main", "commands": [["GET", "k"]]}).encode()
MiB = 1 << 20


async def endless(piece: bytes) -> AsyncIterator[bytes]:
    while True:
        yield piece
        await asyncio.sleep(0.001)


async def half() -> AsyncIterator[bytes]:
    yield b"*2\r\n$3\r\nabc\r\n$1000\r\nab"


LIES: list[Answer] = [
    lambda command: b"\x00\xff\x80garbage\r\n",
    lambda command: b"HTTP/1.1 200 OK\r\n\r\n",
    lambda command: b"$9223372036854775807\r\n",
    lambda command: b"*9223372036854775807\r\n",
    lambda command: b"*1\r\n" * 100_000,
    lambda command: b"*1000000\r\n" * 20,
    lambda command: b"*2\r\n" * 31 + b":1\r\n" * 20,
    lambda command: b"$-9\r\n",
    lambda command: b"-" + b"e" * 200_000,
    lambda command: b":1\r\n" * 100_000,
    lambda command: b"",
    lambda command: endless(b"*0\r\n" * 5_000),
    lambda command: endless(b"$3\r\nabc\r\n" * 5_000),
    lambda command: endless(b"*1000\r\n" + b":1\r\n" * 999),
    lambda command: endless(b"$60000000\r\n" + b"x" * 50_000),
    lambda command: endless(b"+"),
    lambda command: half(),
]


@pytest.mark.parametrize("form", FORMS)
def test_whatever_a_server_answers_the_guest_is_told_and_the_host_is_well(form: str) -> None:
    """Garbage, huge lengths, deep nesting, floods, drips, half replies: each call ends, all sockets come back."""

    async def attack() -> None:
        before, memory = files(), resident()
        lie = [LIES[0]]
        async with RespServer(lambda command: lie[0](command)) as server:
            async with AsyncHost(valkey={"main": server.url}) as host:
                limits = {"valkey_timeout_ms": 300, "valkey_reply_bytes": 4 * MiB}
                await host.deploy("valkey-calls", guest("valkey-calls", form), limits=limits)
                for one in LIES * often(1):
                    lie[0] = one
                    outcome = await host.invoke("valkey-calls", ORDER)
                    assert outcome.status == 200, outcome
                    (answer,) = json.loads(outcome.body)
                    assert isinstance(answer, dict | int | list)
                lie[0] = lambda command: b"$2\r\nme\r\n"
                assert json.loads((await host.invoke("valkey-calls", ORDER)).body) == [{"data": "me"}]
                assert host.dispatcher.pool.in_use == 0
                assert stores()[0] == stores()[1]
            await _until(lambda: server.open == 0)
        await _until(lambda: files() <= before + 2)
        tidy()
        assert resident() - memory < MEMORY_MIB * MiB

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_leaves_in_the_middle_of_a_reply_is_an_error(form: str) -> None:
    """After every byte of it."""
    reply = b"*3\r\n$1\r\na\r\n+OK\r\n*1\r\n:1\r\n"

    async def attack() -> None:
        cut = [0]
        async with RespServer(lambda command: reply[: cut[0]]) as server:
            server.close_after = b"GET"
            async with AsyncHost(valkey={"main": server.url}) as host:
                await host.deploy("valkey-calls", guest("valkey-calls", form))
                for cut[0] in range(len(reply)):
                    (answer,) = json.loads((await host.invoke("valkey-calls", ORDER)).body)
                    assert answer == {"other": "the connection ended before the answer was complete"}
                cut[0] = len(reply)
                assert json.loads((await host.invoke("valkey-calls", ORDER)).body) == [[{"data": "a"}, "ok", [1]]]

    asyncio.run(attack())


@pytest.mark.parametrize("end", ["cancelled", "deadline"])
@pytest.mark.parametrize("form", FORMS)
def test_a_guest_that_waits_for_a_reply_ends_with_its_invocation(form: str, end: str) -> None:
    """Its connection ends, too, and takes what the server was doing with it; two hundred at once leave room for others."""

    async def attack() -> None:
        async with (
            RespServer(lambda command: None if command[0] == b"GET" else b":1\r\n") as server,
            AsyncHost(valkey={"main": server.url}) as host,
        ):
            limits = {"deadline_ms": 1_000} if end == "deadline" else {}
            await host.deploy("valkey-calls", guest("valkey-calls", form), limits=limits)
            await host.deploy("valkey-calls", guest("valkey-calls", form), namespace="other")
            tasks = [asyncio.ensure_future(host.invoke("valkey-calls", ORDER)) for _ in range(200)]
            await _until(server.arrived.is_set)
            good = json.dumps({"cluster": "main", "commands": [["DEL", "k"]]}).encode()
            assert json.loads((await host.invoke("valkey-calls", good, namespace="other")).body) == [1]
            if end == "cancelled":
                for task in tasks:
                    task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert _ended(outcome)
            assert host.dispatcher.pool.in_use == 0
            assert len(server.commands) - server.commands.count([b"PING"]) <= 200
            await _until(lambda: server.open <= 1)  # that of the good one

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_streams_that_a_guest_keeps_count_as_its_handles(form: str) -> None:
    """Arrays in arrays cannot fill the host: past the limit the guest traps."""
    deep = b"*1\r\n" * 30 + b":1\r\n"

    async def attack() -> None:
        async with RespServer(lambda command: deep) as server, AsyncHost(valkey={"main": server.url}) as host:
            await host.deploy("valkey-calls", guest("valkey-calls", form), limits={"resources": 8})
            outcome = await host.invoke("valkey-calls", ORDER)
            assert outcome.result == "trapped"
            await host.deploy("valkey-calls", guest("valkey-calls", form), limits={"resources": 40})
            outcome = await host.invoke("valkey-calls", ORDER)
            assert outcome.status == 200
            assert stores()[0] == stores()[1]

    asyncio.run(attack())


def _ended(outcome: Any) -> bool:
    if isinstance(outcome, BaseException):
        return isinstance(outcome, asyncio.CancelledError)
    return outcome.result in ("deadline", "cancelled") or b"other" in outcome.body


async def _until(happened: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.002)
