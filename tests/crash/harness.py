"""A lane of a crash run: a data directory whose server is killed at chosen moments, and judged now and then.

Promises: the n-th kill of a seed is planned the same way each time; a lane leaves no process behind.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from crash.calls import POLICY, Call, Maker, call_id
from crash.checker import History, judge
from crash.load import Load
from crash.server import CrashServer
from crash.world import World
from support import guest

MOMENTS = {"random": 50, "acknowledgement": 15, "start": 20, "checkpoint": 15}
"""When a server is killed, in relation to each other."""
LOAD_S = 0.4
"""The longest that a server works before it is killed."""
START_S = 0.8
"""The longest that a server is given which is killed while it starts."""
PATIENCE_S = 120.0
"""How long everything that was queued may take to end."""
PAGE = 1_000

SETTINGS = """
public_urls = ["{url}"]
[outbound]
schemes = ["http"]
allow_addresses = ["127.0.0.0/8"]
[callbacks]
min_wait_seconds = 0.05
max_wait_seconds = 0.5
"""


@dataclass
class Report:
    """What a run came to."""

    kills: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    acknowledged: int = 0
    states: Counter[str] = field(default_factory=Counter)
    ready_s: list[float] = field(default_factory=list)
    """From the start of each process that was not killed while it started: until it was ready,"""
    first_s: list[float] = field(default_factory=list)
    """and until it acknowledged a call."""
    rss: list[int] = field(default_factory=list)
    """Of the process that was judged, each time, when it was idle."""
    faults: list[str] = field(default_factory=list)


class Lane:
    """One server and its clients."""

    def __init__(self, folder: Path, seed: int, report: Report, *, politely: bool = False) -> None:
        self._seed = seed
        self._politely = politely
        self._report = report
        self.server = CrashServer(folder)
        self._kills_ms: list[int] = []
        self._planned = 0
        self._timed = 0
        """Which process was timed last: one that has settled is not new any more."""
        self._world = World(lambda: self.server.generation)
        self._since_ms = 0

    async def run(self, kills: int, settle_every: int) -> None:
        """Kills the server that often, and judges after each `settle_every` kills and at the end."""
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(limit=32)
        async with self._world, aiohttp.ClientSession(timeout=timeout, connector=connector) as self._session:
            public = self.server.url
            (self.server.folder / "guesthouse.toml").write_text(SETTINGS.format(url=public))
            self._load = Load(self.server, self._session, Maker(self._seed, self._world, public))
            try:
                await self._first()
                for number in range(1, kills + 1):
                    await self._kill()
                    await self.server.start()
                    if number % settle_every == 0 or number == kills:
                        await self._settle()
            finally:
                await self._load.end()
                await self.server.close()

    async def _first(self) -> None:
        """The first process, to which the functions are deployed."""
        await self.server.start()
        await self.server.ready(self._session)
        for name in ("echo", "proxy", "start", "fill"):
            document = {"inline_wasm": b64encode(guest(name)).decode(), "retry": POLICY}
            place = f"{self.server.url}/functions/manage/default/{name}"
            async with self._session.put(place, json=document) as answer:
                assert answer.status == 204, await answer.text()

    async def _kill(self) -> None:
        """One kill, of a process that was started just now."""
        self._planned += 1
        plan = Random(f"{self._seed}-kill-{self._planned}")
        (moment,) = plan.choices(list(MOMENTS), list(MOMENTS.values()))
        wait = plan.random()
        if self._politely and moment == "start":
            moment = "random"  # before it has its handler, a signal just ends a process
        if moment == "start":
            await asyncio.sleep(max(0, wait * START_S - (self._now() - self.server.started)))
        else:
            await self._up()
            self._load.begin()
            if not await self._moment(moment, wait):
                moment = "random"
        if self._politely:
            await self._ask_to_end()
        else:
            await self.server.kill()
            self._kills_ms.append(time.time_ns() // 1_000_000)
        await self._load.end()
        self._report.kills[moment] += 1

    async def _ask_to_end(self) -> None:
        """As a service manager does, while the clients go on."""
        status = await self.server.kill(signal.SIGTERM)
        if status != 0:
            self._report.faults.append(f"lane {self._seed}: asked to end, the server ended with status {status}")

    async def _moment(self, moment: str, wait: float) -> bool:
        """Waits for the moment of a kill; false where it does not come."""
        if moment == "random":
            await asyncio.sleep(wait * LOAD_S)
            return True
        await asyncio.sleep(wait * LOAD_S / 2)
        self._load.acknowledged.clear()
        happens = self._load.acknowledged.wait() if moment == "acknowledgement" else self.server.checkpointing()
        with suppress(TimeoutError):
            await asyncio.wait_for(happens, LOAD_S)
            return True
        return False

    async def _up(self) -> None:
        """The server is ready and has acknowledged a call, which took as long as it took when it is new."""
        ready_s = await self.server.ready(self._session)
        headers = {"X-Call-Id": "up"}
        async with self._session.post(f"{self.server.url}/async-function/echo", data=b"up", headers=headers) as answer:
            assert answer.status == 202, await answer.text()
        if self._timed != self.server.generation:
            self._timed = self.server.generation
            self._report.ready_s.append(ready_s)
            self._report.first_s.append(self._now() - self.server.started)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- judging

    async def _settle(self) -> None:
        """Waits until nothing is left to do, and judges."""
        await self._up()
        await self._load.finish()
        await self._cancel_forgotten()
        await self._drained()
        calls, self._load.calls = self._load.calls, []
        history = await self._history(calls)
        await self._called_back(history)
        verdict = judge(history, lambda call: call_id(self._seed, call.serial))
        self._note(
            calls, [*verdict.faults, *self._load.faults, *(f"call {late} ran late" for late in self._world.late)]
        )
        self._report.states += verdict.states
        self._report.rss.append(self.server.rss())
        self._load.faults.clear()
        self._world.late.clear()
        self._world.close(max((call.serial for call in calls), default=self._world.closed))
        self._since_ms = time.time_ns() // 1_000_000

    def _note(self, calls: list[Call], faults: Iterable[str]) -> None:
        self._report.sent += sum(call.sent for call in calls)
        self._report.acknowledged += sum(bool(call.ids or call.answers) for call in calls)
        self._report.faults += [f"lane {self._seed}, after {self._planned} kills: {fault}" for fault in faults]

    async def _cancel_forgotten(self) -> None:
        """Calls for later than this run, whose acknowledgement was cut off: their clients do not know their ids."""
        far = {call_id(self._seed, call.serial) for call in self._load.calls if call.kind == "cancel-far"}
        for record in await self._records(state="queued"):
            if record["call_id"] in far:
                async with self._session.delete(f"{self.server.url}/async-function/{record['id']}") as answer:
                    assert answer.status == 202, await answer.text()

    async def _drained(self) -> None:
        """Nothing is queued and nothing runs."""
        end = self._now() + PATIENCE_S
        while busy := [queue for queue in await self._json("/queues", "queues") if queue["queued"] or queue["running"]]:
            assert self._now() < end, f"seed {self._seed}: these do not end: {busy}"
            await asyncio.sleep(0.02)

    async def _called_back(self, history: History) -> None:
        """Callbacks of calls that have ended are delivered before long."""
        ended = {name for name, records in history.records.items() if records}
        owed = [c.serial for c in history.calls if c.callback and call_id(self._seed, c.serial) in ended]
        end = self._now() + PATIENCE_S
        while self._now() < end and not all(self._world.of(serial).callbacks for serial in owed):
            await asyncio.sleep(0.02)

    async def _history(self, calls: list[Call]) -> History:
        records: dict[str, list[dict[str, Any]]] = {}
        spawned = []
        for record in await self._records(since=datetime.fromtimestamp(self._since_ms / 1000, UTC).isoformat()):
            if record["mode"] == "spawn":
                spawned.append(record)
            elif record.get("parent"):
                records.setdefault(f"of {record['parent']}", []).append(record)
            else:
                records.setdefault(record["call_id"], []).append(record)
        ids = [
            r["id"] for found in records.values() for r in found if r["state"] == "succeeded" and r["call_id"] != "up"
        ]
        outputs: dict[str, bytes] = {}
        for at in range(0, len(ids), 16):
            some = ids[at : at + 16]
            outputs.update(zip(some, await asyncio.gather(*map(self._output, some)), strict=True))
        return History(calls, records, spawned, outputs, self._world.of, self._kills_ms, self._politely)

    async def _records(self, **filters: str) -> list[dict[str, Any]]:
        """All pages of `GET /invocations`."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            query = {**filters, "limit": str(PAGE), **({"after": after} if after else {})}
            async with self._session.get(f"{self.server.url}/invocations", params=query) as answer:
                assert answer.status == 200, await answer.text()
                page = json.loads(await answer.read())
            found += page["invocations"]
            if not (after := page.get("next")):
                return found

    async def _output(self, id: str) -> bytes:
        async with self._session.get(f"{self.server.url}/invocations/{id}/output") as answer:
            body = await answer.read()
            return body if answer.status == 200 else b"%d: %s" % (answer.status, body)

    async def _json(self, path: str, key: str) -> list[dict[str, Any]]:
        async with self._session.get(self.server.url + path) as answer:
            assert answer.status == 200, await answer.text()
            found: list[dict[str, Any]] = json.loads(await answer.read())[key]
            return found


async def crash(
    folder: Path, *, seed: int, kills: int, lanes: int = 2, settle_every: int = 25, politely: bool = False
) -> Report:
    """A whole run: lanes beside each other, which share the kills; `politely` asks servers to end instead."""
    report = Report()
    shares = [kills // lanes + (number < kills % lanes) for number in range(lanes)]
    async with asyncio.TaskGroup() as group:
        for number, share in enumerate(shares):
            place = folder / f"lane-{number}"
            place.mkdir()
            group.create_task(Lane(place, seed + number, report, politely=politely).run(share, settle_every))
    return report
