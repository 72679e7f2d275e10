"""A lane of durable functions under kills: customers are found, each is charged, and nobody is charged twice.

Promises: the n-th kill of a seed is planned the same way each time; a lane leaves no process behind.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from crash.bank import Bank, Charge, Limit
from crash.server import CrashServer
from support import guest

MOMENTS = {"request": 60, "random": 20, "start": 20}
"""When a server is killed, in relation to each other: when some charges were answered and one was not, at any time while it
works, and while it starts."""
MONTHS = 2
CUSTOMERS_PER_KILL = 2
LEAST_CUSTOMERS = 12
LOAD_S, START_S = 0.3, 0.8
PATIENCE_S = 180.0
RETRY = {"attempts": 100, "min_wait_ms": 20, "max_wait_ms": 200}
KEPT = {"rate": 60, "burst": 10, "max_inflight": 10}
"""The flow of a deployment that keeps within the bank's limit by itself; without it, the bank throttles."""
LIMIT = Limit(burst=40, rate=80.0)
TIGHT = Limit(burst=10, rate=40.0)

SETTINGS = """
[outbound]
schemes = ["http"]
allow_addresses = ["127.0.0.0/8"]
"""


@dataclass
class ChargeReport:
    """What a run came to."""

    kills: Counter[str] = field(default_factory=Counter)
    customers: int = 0
    charged: int = 0
    refused: int = 0
    requests: int = 0
    unanswered: int = 0
    throttled: int = 0
    ambiguous: int = 0
    faults: list[str] = field(default_factory=list)


class ChargeLane:
    """One server whose functions charge; `keeps` says whether its deployment keeps within the bank's rate by itself."""

    def __init__(self, folder: Path, seed: int, report: ChargeReport, kills: int, *, keeps: bool) -> None:
        self._random = Random(f"{seed}-charges")
        self._seed = seed
        self._report = report
        self._kills = kills
        self._keeps = keeps
        self.server = CrashServer(folder)
        count = max(LEAST_CUSTOMERS, CUSTOMERS_PER_KILL * kills // MONTHS)
        names = [f"customer-{number}" for number in range(count)]
        self._charges = [
            Charge(name, month * 1000 + at) for month in range(1, MONTHS + 1) for at, name in enumerate(names)
        ]
        self._bank = Bank(
            self._charges,
            lambda: self.server.generation,
            poor=frozenset(self._random.sample(names, count // 6)),
            flaky=Counter({name: self._random.randint(1, 3) for name in self._random.sample(names, count // 3)}),
            limit=LIMIT if keeps else TIGHT,
            random=self._random,
        )

    async def run(self) -> None:
        """Begins the work, kills the server that often in its middle, and judges."""
        (self.server.folder / "guesthouse.toml").write_text(SETTINGS)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with self._bank, aiohttp.ClientSession(timeout=timeout) as self._session:
            try:
                await self.server.start()
                await self._deploy()
                calls = [await self._enqueue(month) for month in range(1, MONTHS + 1)]
                for number in range(self._kills):
                    await self._kill(number)
                    await self.server.start()
                self._bank.open()
                await self.server.ready(self._session)
                await self._judge([await self._ended(call) for call in calls])
            finally:
                await self.server.close()

    async def _deploy(self) -> None:
        await self.server.ready(self._session)
        environment = {"CUSTOMERS_API": f"{self._bank.url}/customers", "CHARGE_API": f"{self._bank.url}/charge"}
        for name in ("find-customers", "charge"):
            document = {
                "inline_wasm": b64encode(guest(name)).decode(),
                "environment": environment,
                "durable": {"grace_ms": 0},
                "retry": RETRY,
                "flow": KEPT if self._keeps and name == "charge" else {},
            }
            place = f"{self.server.url}/functions/manage/default/{name}"
            async with self._session.put(place, json=document) as answer:
                assert answer.status == 204, await answer.text()

    async def _enqueue(self, month: int) -> str:
        body = json.dumps({"month": str(month)})
        async with self._session.post(f"{self.server.url}/async-function/find-customers", data=body) as answer:
            assert answer.status == 202, await answer.text()
            return answer.headers["Location"].removeprefix("/invocations/")

    async def _kill(self, number: int) -> None:
        plan = Random(f"{self._seed}-charge-kill-{number}")
        (moment,) = plan.choices(list(MOMENTS), list(MOMENTS.values()))
        if number == 0 and moment == "start":
            moment = "request"
        self._bank.close_after(plan.randint(0, 2 * CUSTOMERS_PER_KILL))
        if moment == "start":
            await asyncio.sleep(plan.random() * START_S)
        else:
            await self.server.ready(self._session)
            if moment == "random":
                await asyncio.sleep(plan.random() * LOAD_S)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._bank.closed.wait(), 5 * LOAD_S)
        await self.server.kill()
        self._report.kills[moment] += 1

    async def _ended(self, call: str) -> tuple[dict[str, Any], bytes]:
        """The record and the answer of a call that was found to have ended."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            async with self._session.get(f"{self.server.url}/invocations/{call}") as answer:
                record: dict[str, Any] = await answer.json()
            if record["state"] not in ("queued", "running", "suspended"):
                break
            if asyncio.get_running_loop().time() > end:
                self._fault(f"{call} does not end: {record}")
                break
            await asyncio.sleep(0.05)
        async with self._session.get(f"{self.server.url}/invocations/{call}/output") as answer:
            return record, await answer.read()

    # -- judging

    def _fault(self, what: str) -> None:
        self._report.faults.append(f"lane {self._seed}: {what}")

    async def _judge(self, ended: list[tuple[dict[str, Any], bytes]]) -> None:
        for month, (record, output) in enumerate(ended, 1):
            if record["state"] != "succeeded":
                self._fault(f"month {month} ended as {record}")
            else:
                self._judge_report(month, json.loads(output))
        for charge, account in self._bank.accounts.items():
            self._judge_account(charge)
            self._report.requests += account.asked
            self._report.unanswered += account.unanswered
        if self._keeps and self._bank.throttled:
            self._fault(f"the rate of the bank was not kept: {self._bank.throttled} requests were too many")
        self._report.customers += len(self._charges)
        self._report.throttled += self._bank.throttled
        self._report.ambiguous += await self._ambiguous()

    def _judge_account(self, charge: Charge) -> None:
        account = self._bank.accounts[charge]
        poor = charge.customer in self._bank.poor
        self._report.charged += account.charged
        self._report.refused += poor
        if account.charged != (0 if poor else 1):
            self._fault(f"{charge} was charged {account.charged} times: {account}")
        if len(account.keys) != 1 or "" in account.keys:
            self._fault(f"{charge} came with the keys {account.keys}")
        if account.overlaps:
            self._fault(f"{charge}: two requests of one customer were under way at once")
        if poor and account.refused > 1 + self._report.kills.total():
            self._fault(f"{charge} was refused for good {account.refused} times")

    def _judge_report(self, month: int, said: dict[str, list[list[str]]]) -> None:
        """Everybody stands in the answer, in the order in which the customers were listed, with the receipt that was given."""
        owed = [charge for charge in self._charges if charge.cents // 1000 == month]
        receipts = set(self._bank.receipts().values())
        charged = [charge.customer for charge in owed if charge.customer not in self._bank.poor]
        failed = [[c.customer, f"{c.customer} has no money left"] for c in owed if c.customer in self._bank.poor]
        if [name for name, _ in said["charged"]] != charged:
            self._fault(f"month {month}: it says that it charged {said['charged']}")
        if said["failed"] != failed:
            self._fault(f"month {month}: it says that these failed: {said['failed']}")
        unknown = [found for found in said["charged"] if found[1] not in receipts]
        if unknown:
            self._fault(f"month {month}: nobody gave the receipts {unknown}")

    async def _ambiguous(self) -> int:
        """Requests of the last process that were repeated because nobody knew what became of them."""
        async with self._session.get(f"{self.server.url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        found = [line for line in lines if line.startswith("guesthouse_durable_ambiguous_total{")]
        return sum(int(float(line.rpartition(" ")[2])) for line in found)


async def charge(folder: Path, *, seed: int, kills: int, lanes: int = 2) -> ChargeReport:
    """A whole run: lanes beside each other, which share the kills; every other one keeps within the rate by itself."""
    report = ChargeReport()
    shares = [kills // lanes + (number < kills % lanes) for number in range(lanes)]
    async with asyncio.TaskGroup() as group:
        for number, share in enumerate(shares):
            place = folder / f"charges-{number}"
            place.mkdir()
            lane = ChargeLane(place, seed + number, report, share, keeps=number % 2 == 0)
            group.create_task(lane.run())
    return report
