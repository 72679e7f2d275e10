"""Requests per second over HTTP: the echo function in a fresh instance each, beside a bare uvicorn echo, interleaved."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import guests, servers
from benchmarks.figures import Figure
from benchmarks.floor import Load, build_load
from benchmarks.report import Result, Table

CONNECTIONS = (1, 32)
BARE, PLAIN, SMALL = (
    "bare uvicorn",
    "guesthouse, echo as people build it",
    "guesthouse, echo with the template's link flags",
)


@dataclass
class Server:
    """A server's address, and what its rounds came to."""

    load: Load
    path: str
    rates: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in CONNECTIONS})
    p99s: dict[int, list[float]] = field(default_factory=lambda: {count: [] for count in CONNECTIONS})

    def round(self, connections: int, seconds: float) -> None:
        """One more round."""
        found = self.load.run(self.path, connections=connections, seconds=seconds)
        self.rates[connections].append(found["answers"] / found["seconds"])
        self.p99s[connections].append(found["p99"])

    def share(self, other: Server, connections: int) -> float:
        """Its requests per second in per cent of the other's: the median over the rounds."""
        pairs = zip(self.rates[connections], other.rates[connections], strict=True)
        return 100 * statistics.median(mine / theirs for mine, theirs in pairs)


def run(quick: bool) -> Result:
    """All servers at all numbers of connections, interleaved."""
    rounds, seconds = (4, 0.4) if quick else (14, 0.7)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = build_load(folder)
        bare, ours = stack.enter_context(servers.bare()), stack.enter_context(servers.guesthouse())
        ours.deploy("plain", guests.prebuilt("echo"))
        ours.deploy("small", guests.prebuilt("echo", "wasip2-small-stack"))
        measured = {
            BARE: Server(Load(program, bare.port), "/"),
            PLAIN: Server(Load(program, ours.port), "/functions/default/plain"),
            SMALL: Server(Load(program, ours.port), "/functions/default/small"),
        }
        for server in measured.values():
            server.load.run(server.path, connections=8, seconds=0.3)  # warms up
        for number in range(rounds):
            for connections in CONNECTIONS:
                for name in _from(list(measured), number):
                    measured[name].round(connections, seconds)
    return Result("http", _tables(measured), _figures(measured), _data(measured), _bars(measured), "requests/s, median")


def _from(names: list[str], first: int) -> list[str]:
    first %= len(names)
    return names[first:] + names[:first]


def _figures(measured: dict[str, Server]) -> list[Figure]:
    goals = {PLAIN: ("plain", 40), SMALL: ("template", 50)}
    return [
        Figure(
            f"http-{word}-{count}-connections-vs-bare", measured[name].share(measured[BARE], count), goal, "%", False
        )
        for name, (word, goal) in goals.items()
        for count in CONNECTIONS
    ]


def _tables(measured: dict[str, Server]) -> list[Table]:
    headings = ["", *(f"{count} conn. {what}" for count in CONNECTIONS for what in ("req/s", "p99 µs", "% of bare"))]
    table = Table("POST 1 KiB, keep-alive, one server process", headings)
    for name, server in measured.items():
        row = [name]
        for count in CONNECTIONS:
            rate, p99 = statistics.median(server.rates[count]), statistics.median(server.p99s[count])
            row += [f"{rate:,.0f}", f"{p99:.0f}", f"{server.share(measured[BARE], count):.0f}"]
        table.rows.append(row)
    return [table]


def _data(measured: dict[str, Server]) -> dict[str, Any]:
    return {"servers": {name: {"requests_per_second": s.rates, "p99_us": s.p99s} for name, s in measured.items()}}


def _bars(measured: dict[str, Server]) -> dict[str, dict[str, float]]:
    return {
        f"{count} connections": {name: statistics.median(server.rates[count]) for name, server in measured.items()}
        for count in CONNECTIONS
    }
