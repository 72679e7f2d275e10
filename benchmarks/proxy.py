"""What a function that passes server-sent events on adds to each of them, and how soon it stops when its client leaves.

One source sends each event to clients that ask it directly and to clients behind the proxy function, all of them in this
process and on its clock: what the proxy adds is how much later an event is here.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from benchmarks import guests, servers
from benchmarks.figures import Figure
from benchmarks.measure import percentile
from benchmarks.report import Result, Table

WAYS = {"event by event": "", "as bytes": "&raw"}
"""How the guest passes them on: it takes each apart and sends it again, or hands the body over as it is."""
CLIENTS = (1, 32)
"""At the same time, each with an invocation of its own."""
PACE_S = 0.02
PATIENCE_S = 30.0
SETTINGS = {"GUESTHOUSE_OUTBOUND__SCHEMES": '["http"]', "GUESTHOUSE_OUTBOUND__ALLOW_ADDRESSES": '["127.0.0.0/8"]'}
MOST_ADDED_MS = 5.0
MOST_STOP_MS = 100.0


class Source:
    """An upstream that sends events when it is told to."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self.left = asyncio.Event()
        """Set when somebody ended a connection."""

    async def start(self) -> None:
        """Listens on a free port of this machine."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def send(self, number: int) -> None:
        """Sends an event to everybody, beginning with another one each time."""
        event = b"id: %d\ndata: an event of some bytes, as a model's next words would be\n\n" % number
        first = number % max(1, len(self._writers))
        for writer in self._writers[first:] + self._writers[:first]:
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))

    def close(self) -> None:
        """Ends all connections."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        self._writers.append(writer)
        try:
            await reader.read(1)
        except OSError:
            pass
        finally:
            self._writers.remove(writer)
            self.left.set()
            writer.close()


class Client:
    """Watches events and notes when each was here."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self._changed = asyncio.Event()

    async def connect(self, port: int, path: str) -> None:
        """Begins to watch."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        self._task = asyncio.ensure_future(self._read(reader))

    async def saw(self, number: int) -> None:
        """Waits for an event."""
        async with asyncio.timeout(PATIENCE_S):
            while number not in self.seen:
                self._changed.clear()
                await self._changed.wait()

    def leave(self) -> None:
        """Ends the connection."""
        self._task.cancel()
        self._writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.startswith(b"id: "):
                self.seen[int(line[4:])] = time.perf_counter_ns()
                self._changed.set()


async def until(client: Client, source: Source, number: int) -> int:
    """Sends events until a client has one; the next number."""
    while not client.seen:
        source.send(number)
        number += 1
        await asyncio.sleep(PACE_S)
    return number


async def added(source: Source, path: Callable[[str], str], port: int, clients: int, events: int) -> list[float]:
    """By how many milliseconds later each event is at each client of the proxy."""
    direct, behind = Client(), [Client() for _ in range(clients)]
    await direct.connect(source.port, "/")
    for client in behind:
        await client.connect(port, path(f"http://127.0.0.1:{source.port}/"))
    first = 0
    for client in (direct, *behind):
        first = await until(client, source, first)
    for number in range(first, first + events):
        source.send(number)
        await asyncio.sleep(PACE_S)
    numbers = range(first, first + events)
    for client in (direct, *behind):
        await client.saw(numbers[-1])
        client.leave()
    return [(client.seen[number] - direct.seen[number]) / 1e6 for client in behind for number in numbers]


async def stopped(source: Source, path: Callable[[str], str], port: int, times: int) -> list[float]:
    """Milliseconds from the moment a client leaves to the end of the connection behind the function."""
    found = []
    for _ in range(times):
        client = Client()
        await client.connect(port, path(f"http://127.0.0.1:{source.port}/"))
        await until(client, source, 0)
        source.left.clear()
        left = time.perf_counter_ns()
        client.leave()
        await asyncio.wait_for(source.left.wait(), PATIENCE_S)
        found.append((time.perf_counter_ns() - left) / 1e6)
    return found


async def measure(port: int, events: int, times: int) -> dict[str, dict[str, list[float]]]:
    """All numbers, in milliseconds, by what they are and by the way."""
    found: dict[str, dict[str, list[float]]] = {}
    for way, how in WAYS.items():

        def path(url: str, how: str = how) -> str:
            return f"/functions/default/sse-proxy?url={quote(url, safe='')}{how}"

        source = Source()
        await source.start()
        numbers = {f"added, {count} clients": await added(source, path, port, count, events) for count in CLIENTS}
        numbers["stopped"] = await stopped(source, path, port, times)
        source.close()
        found[way] = numbers
    return found


def run(quick: bool) -> Result:
    """Both ways, with one client and with many."""
    events, times = (100, 20) if quick else (500, 100)
    with servers.guesthouse(**SETTINGS) as server:
        server.deploy("sse-proxy", guests.prebuilt("sse-proxy"))
        measured = asyncio.run(measure(server.port, events, times))
    tables, data = [_table(measured)], {"ms": _summary(measured)}
    return Result("proxy", tables, _figures(measured), data, _bars(measured), "ms, p99")


def _p(times: list[float], share: float) -> float:
    return percentile([int(value * 1e6) for value in times], share) / 1e3


def _table(measured: dict[str, dict[str, list[float]]]) -> Table:
    table = Table("Server-sent events through a proxy function, ms", ["", "p50", "p99", "max"])
    for way, numbers in measured.items():
        for what, times in numbers.items():
            row = [f"{statistics.median(times):.2f}", f"{_p(times, 0.99):.2f}", f"{max(times):.2f}"]
            table.rows.append([f"{what}, {way}", *row])
    return table


def _figures(measured: dict[str, dict[str, list[float]]]) -> list[Figure]:
    figures = []
    for way, numbers in measured.items():
        word = way.replace(" ", "-")
        one, many = (numbers[f"added, {count} clients"] for count in CLIENTS)
        figures.append(Figure(f"proxy-{word}-added-p99", _p(one, 0.99), MOST_ADDED_MS, "ms"))
        figures.append(Figure(f"proxy-{word}-added-p50-{CLIENTS[1]}-clients", _p(many, 0.5), MOST_ADDED_MS, "ms"))
        figures.append(Figure(f"proxy-{word}-stopped-max", max(numbers["stopped"]), MOST_STOP_MS, "ms"))
    return figures


def _summary(measured: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    return {
        way: {
            what: {"p50": statistics.median(times), "p99": _p(times, 0.99), "max": max(times)}
            for what, times in numbers.items()
        }
        for way, numbers in measured.items()
    }


def _bars(measured: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    whats = next(iter(measured.values()))
    return {what: {way: _p(numbers[what], 0.99) for way, numbers in measured.items()} for what in whats}
