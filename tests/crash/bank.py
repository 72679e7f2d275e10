"""What durable functions charge customers at in a crash run: an API that counts keys, fails, refuses, and limits its rate.

Promises: a charge is counted before anybody is told of it; a key that was used is answered as before, and charges nothing. It
can be closed in the middle of the work: requests that come then get no answer, some of them after they were done.  Must
not know what any of it ought to have been: that is the judge's.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from aiohttp import web


class Charge(NamedTuple):
    """What a customer owes."""

    customer: str
    cents: int


@dataclass
class Account:
    """What came to the bank about one charge."""

    keys: set[str] = field(default_factory=set)
    charged: int = 0
    """How often money was taken."""
    asked: int = 0
    refused: int = 0
    """Answers that it cannot be charged, ever."""
    failed: int = 0
    """Answers that it cannot be charged now."""
    unanswered: int = 0
    overlaps: int = 0
    """Requests that came while another one for the same customer, of the same server process, was not answered."""


@dataclass(frozen=True)
class Limit:
    """Requests that are taken: so many at once after a pause, and so many per second."""

    burst: int
    rate: float


class Bank:
    """An async context manager; `generation` tells which server process is alive, `poor` who has no money left, and `flaky`
    how many requests for a customer fail before one is done."""

    def __init__(
        self,
        charges: Sequence[Charge],
        generation: Callable[[], int],
        *,
        poor: frozenset[str],
        flaky: Counter[str],
        limit: Limit,
        random: Random,
    ) -> None:
        self.charges = charges
        self.poor = poor
        self.accounts: dict[Charge, Account] = {charge: Account() for charge in charges}
        self.throttled = 0
        """Requests that were refused because too many came."""
        self.closed = asyncio.Event()
        """Set by each request that is not answered."""
        self._generation = generation
        self._flaky = flaky
        self._limit = limit
        self._tokens, self._since = float(limit.burst), 0.0
        self._random = random
        self._left: int | None = None
        self._receipts: dict[str, str] = {}
        self._alive: Counter[tuple[str, int]] = Counter()
        self._over = asyncio.Event()

    async def __aenter__(self) -> Bank:
        app = web.Application()
        app.router.add_get("/customers", self._customers)
        app.router.add_post("/charge", self._charge)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = int(self._runner.addresses[0][1])
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._runner.cleanup()

    def close_after(self, count: int) -> None:
        """After so many further charges nobody is answered."""
        self._left = count
        self.closed.clear()

    def open(self) -> None:
        """Everybody is answered."""
        self._left = None

    async def _customers(self, request: web.Request) -> web.Response:
        month = int(request.query["month"])
        found = [charge._asdict() for charge in self.charges if charge.cents // 1000 == month]
        return web.json_response(found)

    async def _charge(self, request: web.Request) -> web.Response:
        charge = Charge(**json.loads(await request.read()))
        account, place = self.accounts[charge], (charge.customer, self._generation())
        account.asked += 1
        account.keys.add(request.headers.get("Idempotency-Key", ""))
        account.overlaps += self._alive[place] > 0
        self._alive[place] += 1
        try:
            await asyncio.sleep(0)
            if self._gone():
                if self._random.random() < 0.5:
                    self._answer(charge, request.headers.get("Idempotency-Key", ""))
                account.unanswered += 1
                self.closed.set()
                await self._over.wait()
            return self._answer(charge, request.headers.get("Idempotency-Key", ""))
        finally:
            self._alive[place] -= 1

    def _gone(self) -> bool:
        if self._left is None:
            return False
        self._left -= 1
        return self._left < 0

    def _answer(self, charge: Charge, key: str) -> web.Response:
        account = self.accounts[charge]
        if not self._taken():
            self.throttled += 1
            return web.Response(status=429)
        if charge.customer in self.poor:
            account.refused += 1
            return web.Response(status=402, text=f"{charge.customer} has no money left")
        if self._flaky[charge.customer] > 0:
            self._flaky[charge.customer] -= 1
            account.failed += 1
            return web.Response(status=503)
        if key not in self._receipts:
            account.charged += 1
            self._receipts[key] = f"{charge.customer}-{charge.cents}-{sum(a.charged for a in self.accounts.values())}"
        return web.json_response({"receipt": self._receipts[key]})

    def _taken(self) -> bool:
        """Whether the rate allows one more."""
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._limit.burst, self._tokens + (now - self._since) * self._limit.rate)
        self._since = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def receipts(self) -> dict[str, str]:
        """All that were given, by key."""
        return dict(self._receipts)
