"""Durable calls accepted per second over HTTP, and how long each waits for its 202, beside the disk and beside floors."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from benchmarks import guests, servers
from benchmarks.figures import Figure
from benchmarks.floor import Load, build_load
from benchmarks.measure import percentile
from benchmarks.report import Result, Table

CONNECTIONS = (1, 32, 64)
BODY = 1024
QUICK, SLOW, BARE, SQLITE = (
    "guesthouse, function of 0 ms",
    "guesthouse, function of 1 s",
    "bare uvicorn, nothing stored",
    "SQLite alone, as many rows in a commit",
)
DRAIN_S = 60.0


@dataclass
class Rounds:
    """What one contestant came to, by the number of connections: per second, and in µs."""

    measure: Callable[[int, float], dict[str, float]]
    rates: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in CONNECTIONS})
    p50s: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in CONNECTIONS})
    p99s: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in CONNECTIONS})

    def round(self, connections: int, seconds: float) -> None:
        """One more round."""
        found = self.measure(connections, seconds)
        self.rates[connections].append(found["answers"] / found["seconds"])
        self.p50s[connections].append(found["p50"])
        self.p99s[connections].append(found["p99"])


def run(quick: bool) -> Result:
    """All contestants at all numbers of connections, interleaved, and the disk's own cost in each round."""
    rounds, seconds = (3, 0.4) if quick else (6, 0.6)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measured = _contestants(stack, folder)
        fsyncs: list[int] = []
        for contestant in measured.values():
            contestant.measure(8, 0.3)  # warms up
        for number in range(rounds):
            fsyncs += fsyncs_ns(folder, 100)
            for connections in CONNECTIONS:
                for name in _from(list(measured), number):
                    measured[name].round(connections, seconds)
    tables, data, bars = _tables(measured, fsyncs), _data(measured, fsyncs), _bars(measured, fsyncs)
    return Result("enqueue", tables, _figures(measured), data, bars, "per second, median")


def _contestants(stack: ExitStack, folder: Path) -> dict[str, Rounds]:
    program = build_load(folder)
    found = {}
    for name, milliseconds in ((QUICK, 0), (SLOW, 1000)):
        server = stack.enter_context(servers.guesthouse())
        server.deploy("guest", guests.sleeping(milliseconds) if milliseconds else guests.prebuilt("echo"))
        found[name] = Rounds(_queueing(Load(program, server.port), server if not milliseconds else None))
    bare = Load(program, stack.enter_context(servers.bare("accept")).port)
    found[BARE] = Rounds(lambda count, seconds: bare.run("/", connections=count, seconds=seconds, status=202))
    store = stack.enter_context(store_in(folder))
    found[SQLITE] = Rounds(lambda count, seconds: commits(store, count, seconds))
    return found


def _queueing(load: Load, drained: servers.Server | None) -> Callable[[int, float], dict[str, float]]:
    def measure(count: int, seconds: float) -> dict[str, float]:
        found = load.run("/async-function/guest", body=BODY, connections=count, seconds=seconds, status=202)
        if drained is not None:
            _drain(drained)
        return found

    return measure


def _drain(server: servers.Server) -> None:
    """Waits until all that was queued has run: each round begins alike."""
    end = time.monotonic() + DRAIN_S
    while time.monotonic() < end:
        _, said = server.request("GET", "/queues")
        if not any(queue["queued"] or queue["running"] for queue in json.loads(said)["queues"]):
            return
        time.sleep(0.05)
    raise SystemExit("what was queued does not end")


def _from(names: list[str], first: int) -> list[str]:
    first %= len(names)
    return names[first:] + names[:first]


# -- floors


def fsyncs_ns(folder: Path, count: int) -> list[int]:
    """Nanoseconds of writing 4 KiB at the end of a file and having them on the disk."""
    times = []
    with (folder / "fsync").open("ab", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter_ns()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter_ns() - began)
    return times


@contextmanager
def store_in(folder: Path) -> Iterator[apsw.Connection]:
    """A table to which rows are appended, and nothing else is done with."""
    connection = apsw.Connection(str(folder / "floor.db"))
    for setting in ("journal_mode = wal", "synchronous = full", "wal_autocheckpoint = 1000"):
        connection.execute(f"PRAGMA {setting}").fetchall()
    connection.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, body BLOB) STRICT")
    try:
        yield connection
    finally:
        connection.close()


def commits(connection: apsw.Connection, rows: int, seconds: float) -> dict[str, float]:
    """Transactions of so many rows, one after the other; a row waits as long as its commit takes."""
    body, times = os.urandom(BODY), []
    began = time.perf_counter_ns()
    while time.perf_counter_ns() - began < seconds * 1e9:
        start = time.perf_counter_ns()
        with connection:
            connection.executemany("INSERT INTO calls (body) VALUES (?)", [(body,)] * rows)
        times.append(time.perf_counter_ns() - start)
    took = (time.perf_counter_ns() - began) / 1e9
    return {
        "answers": len(times) * rows,
        "seconds": took,
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
    }


# -- what is shown


def _figures(measured: dict[str, Rounds]) -> list[Figure]:
    found = []
    for name, word in ((QUICK, "quick"), (SLOW, "slow")):
        for count in CONNECTIONS[1:]:
            rate = statistics.median(measured[name].rates[count])
            p99 = statistics.median(measured[name].p99s[count]) / 1e3
            found.append(Figure(f"enqueue-{word}-{count}-connections-per-second", rate, 5_000, "", False))
            found.append(Figure(f"enqueue-{word}-{count}-connections-p99", p99, 15, "ms"))
    pairs = zip(measured[SLOW].p50s[32], measured[QUICK].p50s[32], strict=True)
    found.append(
        Figure("enqueue-p50-slow-vs-quick", statistics.median(slow / quick for slow, quick in pairs), 1.2, "x")
    )
    return found


def _tables(measured: dict[str, Rounds], fsyncs: list[int]) -> list[Table]:
    p50, p99 = percentile(fsyncs, 0.5), percentile(fsyncs, 0.99)
    headings = ["", *(f"{count} conn. {what}" for count in CONNECTIONS for what in ("per s", "p50 ms", "p99 ms"))]
    title = f"POST of 1 KiB, 202 once it is on the disk; an fdatasync of 4 KiB there: {p50:.0f} µs, p99 {p99:.0f} µs"
    table = Table(title, headings)
    for name, found in measured.items():
        row = [name]
        for count in CONNECTIONS:
            row.append(f"{statistics.median(found.rates[count]):,.0f}")
            row += [f"{statistics.median(times[count]) / 1e3:.2f}" for times in (found.p50s, found.p99s)]
        table.rows.append(row)
    return [table]


def _data(measured: dict[str, Rounds], fsyncs: list[int]) -> dict[str, Any]:
    contestants = {name: {"per_second": f.rates, "p50_us": f.p50s, "p99_us": f.p99s} for name, f in measured.items()}
    return {
        "contestants": contestants,
        "fdatasync_us": {"p50": percentile(fsyncs, 0.5), "p99": percentile(fsyncs, 0.99)},
    }


def _bars(measured: dict[str, Rounds], fsyncs: list[int]) -> dict[str, dict[str, float]]:
    alone = {"fdatasync, one after the other": 1e6 / percentile(fsyncs, 0.5)}
    return {
        f"{count} connections": {
            **{name: statistics.median(found.rates[count]) for name, found in measured.items()},
            **alone,
        }
        for count in CONNECTIONS
    }
