"""What the functions and callbacks of a crash run reach: a web server that remembers who came, and how often.

Promises: a run that was answered is counted before its answer leaves; what it is asked to fail, it fails.
Must not know what any of it ought to have been: that is the checker's.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from aiohttp import web


@dataclass
class Seen:
    """What reached the world on behalf of one call."""

    runs: int = 0
    first_run_ms: int = 0
    """Milliseconds since 1970-01-01 UTC."""
    overlaps: int = 0
    """Runs that began while another one of the same server process had not ended."""
    chained: list[bytes] = field(default_factory=list)
    """What a chained function was given."""
    callbacks: list[tuple[int, bytes]] = field(default_factory=list)
    """Status that they tell of, and their bodies."""


def answer_of(serial: int, body: bytes) -> bytes:
    """What `/run` answers: nobody can know it without having asked."""
    return b"run %d of %d bytes" % (serial, len(body))


class World:
    """An async context manager; `generation` tells which server process is alive."""

    def __init__(self, generation: Callable[[], int]) -> None:
        self.seen: dict[int, Seen] = {}
        self.closed = 0
        """Calls up to this serial number have ended and were judged."""
        self.late: list[int] = []
        """Those that ran all the same."""
        self._generation = generation
        self._alive: Counter[tuple[int, int]] = Counter()
        self._refused: set[int] = set()

    async def __aenter__(self) -> World:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/run/{serial}", self._run)
        app.router.add_route("*", "/chained/{serial}", self._chain)
        app.router.add_route("*", "/callback/{serial}", self._callback)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def url(self, what: str, serial: int, **query: int) -> str:
        """Of `/run`, `/chained` or `/callback`."""
        tail = f"?{urlencode(query)}" if query else ""
        return f"http://127.0.0.1:{self.port}/{what}/{serial}{tail}"

    def close(self, serial: int) -> None:
        """Forgets calls up to a serial number; whatever runs of them now runs too late."""
        self.closed = serial
        self.seen = {number: seen for number, seen in self.seen.items() if number > serial}

    def of(self, serial: int) -> Seen:
        """What was seen of a call."""
        return self.seen.setdefault(serial, Seen())

    async def _run(self, request: web.Request) -> web.Response:
        """Counts; takes `ms`; fails the first `fail` times with 503."""
        serial, body = int(request.match_info["serial"]), await request.read()
        if serial <= self.closed:
            self.late.append(serial)
        seen, place = self.of(serial), (serial, self._generation())
        seen.runs += 1
        number = seen.runs
        seen.first_run_ms = seen.first_run_ms or time.time_ns() // 1_000_000
        seen.overlaps += self._alive[place] > 0
        self._alive[place] += 1
        try:
            await asyncio.sleep(int(request.query.get("ms", "0")) / 1000)
        finally:
            self._alive[place] -= 1
            if not self._alive[place]:
                del self._alive[place]
        if number <= int(request.query.get("fail", "0")):
            return web.Response(status=503, body=b"not yet")
        return web.Response(body=answer_of(serial, body))

    async def _chain(self, request: web.Request) -> web.Response:
        serial = int(request.match_info["serial"])
        self.of(serial).chained.append(await request.read())
        return web.Response(body=b"chained %d" % serial)

    async def _callback(self, request: web.Request) -> web.Response:
        """Refuses the first one where it is asked to, as a receiver that restarts would."""
        serial, body = int(request.match_info["serial"]), await request.read()
        if "refuse" in request.query and serial not in self._refused:
            self._refused.add(serial)
            return web.Response(status=503)
        self.of(serial).callbacks.append((int(request.headers.get("x-function-status", "0")), body))
        return web.Response()
