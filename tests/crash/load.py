"""Clients of a crash run: each sends one call after the other, over connections that break when the server is killed.

Promises: every answer is noted before the next call is sent; an answer counts only once it has arrived whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

import aiohttp

from crash.calls import Call, Maker
from crash.server import CrashServer

CLIENTS = 6
PAUSE_S = 0.02
"""The longest pause of a client between two calls."""
REFUSALS = frozenset({429, 503, 507})
"""Statuses that turn a call away without having taken it."""


class Load:
    """The clients of one server, between `begin` and `end` of each of its processes."""

    def __init__(self, server: CrashServer, session: aiohttp.ClientSession, maker: Maker) -> None:
        self._server = server
        self._session = session
        self._maker = maker
        self._tasks: list[asyncio.Task[None]] = []
        self.calls: list[Call] = []
        """All that were sent, until somebody takes them."""
        self.unsettled: list[Call] = []
        """Calls whose client has not got what it wants, and will ask again when the server is there."""
        self.faults: list[str] = []
        """Answers that no server may give."""
        self.acknowledged = asyncio.Event()
        """Set at each acknowledgement."""

    def begin(self) -> None:
        """Starts the clients."""
        again, self.unsettled = self.unsettled, []
        self._tasks = [asyncio.create_task(self._client(number, again)) for number in range(CLIENTS)]

    async def end(self) -> None:
        """Ends them; a request under way may still be answered."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        self._tasks = []

    async def finish(self) -> None:
        """With a server that lives: every client gets an answer to all that it asked for."""
        again, self.unsettled = self.unsettled, []
        for call in again:
            await self._settle(call)
        if self.unsettled:
            self.faults.append(f"call {self.unsettled[0].serial} is not answered by a server that lives")
            self.unsettled = []

    async def _client(self, number: int, again: list[Call]) -> None:
        pauses = Random(f"{self._maker.seed}-{number}-{self._server.generation}")
        while True:
            await self._settle(again.pop() if again else self._new())
            await asyncio.sleep(pauses.uniform(0, PAUSE_S))

    def _new(self) -> Call:
        call = self._maker.next(self._server.generation)
        call.began_ms = time.time_ns() // 1_000_000
        self.calls.append(call)
        return call

    async def _settle(self, call: Call) -> None:
        """Sends what a client still wants to send for a call, until the server is gone."""
        try:
            while (step := self._wants(call)) is not None:
                await step(call)
        except (aiohttp.ClientError, OSError, asyncio.CancelledError) as error:
            if self._wants(call) is not None:
                self.unsettled.append(call)
            if isinstance(error, asyncio.CancelledError):
                raise
            await asyncio.sleep(0.005)  # no busy loop until the clients are ended

    def _wants(self, call: Call) -> Callable[[Call], Awaitable[None]] | None:
        """What its client does next: with a key it asks until all repeats are answered, a cancel until it is acknowledged."""
        answered = len(call.ids) + len(call.answers)
        if call.refused:
            return None
        if not call.sent or ("Idempotency-Key" in call.headers and answered < call.repeats):
            return self._send
        return self._cancel if call.cancelling and call.ids and not call.cancelled else None

    async def _send(self, call: Call) -> None:
        call.sent += 1
        async with self._session.post(
            self._server.url + call.method_path, data=call.body, headers=call.headers
        ) as answer:
            body = await answer.read()
        place = answer.headers.get("Location", "")
        if answer.status == 202 and place.startswith("/invocations/"):
            call.ids.append(place.removeprefix("/invocations/"))
            self.acknowledged.set()
        elif call.kind == "spawn" and answer.status == 202:
            call.answers.append(body)
            self.acknowledged.set()
        elif answer.status in REFUSALS:
            call.refused.append(answer.status)
        elif call.kind == "once":
            call.answers.append(b"%d " % answer.status + body)
        else:
            call.refused.append(answer.status)
            self.faults.append(f"call {call.serial} ({call.kind}) was answered {answer.status}: {body[:200]!r}")

    async def _cancel(self, call: Call) -> None:
        async with self._session.delete(f"{self._server.url}/async-function/{call.ids[0]}") as answer:
            body = await answer.read()
        if answer.status == 503:
            await asyncio.sleep(0.01)  # it is just beginning or ending, says the server: it is asked again
            return
        call.cancelled = True
        if answer.status not in (202, 404, 409):
            self.faults.append(f"cancelling {call.serial} was answered {answer.status}: {body[:200]!r}")
