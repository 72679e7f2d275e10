"""Ten times more calls than a function can take: how much good work is left, and how fast the rest is turned away."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import guests, servers
from benchmarks.figures import Figure
from benchmarks.floor import Load, build_load
from benchmarks.report import Result, Table

INFLIGHT = 16
"""Runs of a function at once."""
WAIT_MS = 20
TURNS = 20_000_000
"""Of the loop of the function that computes: some twenty milliseconds."""
TIMES = 10
MORE = 1.2
"""How many times more calls than can run keep a queue full."""
CONNECTIONS = 256
BODY = 256
QUEUED = 128
"""Calls that may wait for their turn."""
ROOM = {"GUESTHOUSE_QUEUE__MAX_CALLS": str(2 * QUEUED)}
DIRECT, QUEUE = "called directly", "queued"
KINDS = {"waits": guests.sleeping(WAIT_MS), "computes": guests.computing(TURNS)}


@dataclass
class Case:
    """One function called in one way: good calls per second at its peak and under overload, and µs until a refusal."""

    peaks: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    """Per second."""
    refused_p99s: list[float] = field(default_factory=list)

    @property
    def kept(self) -> float:
        """Good work under overload in per cent of the peak: the median over the rounds."""
        return 100 * statistics.median(loaded / peak for loaded, peak in zip(self.loaded, self.peaks, strict=True))


def run(quick: bool) -> Result:
    """Each function, directly and queued: its peak, then ten times as much, in turn."""
    rounds, seconds = (2, 1.0) if quick else (4, 1.5)
    cases = {(kind, way): Case() for kind in KINDS for way in (DIRECT, QUEUE)}
    with ExitStack() as stack:
        program = build_load(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        server = stack.enter_context(servers.guesthouse(**ROOM))
        load = Load(program, server.port)
        for kind, wasm in KINDS.items():
            server.deploy_with(kind, wasm, flow={"max_inflight": INFLIGHT, "adaptive": False})
        for _ in range(rounds):
            for kind in KINDS:
                direct = cases[kind, DIRECT]
                _directly(server, load, kind, seconds, direct)
                _queued(server, load, kind, seconds, cases[kind, QUEUE], direct.peaks[-1])
    return Result("overload", _tables(cases), _figures(cases), _data(cases), _bars(cases), "good calls/s, median")


def _directly(server: servers.Server, load: Load, kind: str, seconds: float, case: Case) -> None:
    path = f"/functions/default/{kind}"
    found = load.run(path, body=BODY, connections=INFLIGHT, seconds=seconds)
    peak = found["answers"] / found["seconds"]
    found = load.run(path, body=BODY, connections=CONNECTIONS, seconds=seconds, rate=TIMES * peak, status="200,429")
    case.peaks.append(peak)
    case.loaded.append(found["answers"] / seconds)
    _turned_away(case, found, seconds)


def _queued(server: servers.Server, load: Load, kind: str, seconds: float, case: Case, most: float) -> None:
    """Good work is what ends, not what is accepted; at the peak calls come a little faster than `most` a second."""

    def calls(rate: float) -> tuple[float, dict[str, Any]]:
        found: dict[str, Any] = {}
        options = {"connections": CONNECTIONS, "rate": rate, "status": "202,429"}
        ended = _ended(
            server,
            kind,
            lambda: found.update(load.run(f"/async-function/{kind}", body=BODY, seconds=seconds, **options)),
        )
        return ended, found

    calls(MORE * most)  # fills the queue
    peak, _ = calls(MORE * most)
    loaded, found = calls(TIMES * peak)
    case.peaks.append(peak)
    case.loaded.append(loaded)
    _turned_away(case, found, seconds)
    _drain(server)


def _turned_away(case: Case, found: dict[str, Any], seconds: float) -> None:
    case.refused.append(found["refused"] / seconds)
    case.refused_p99s.append(found["refused_p99"])


def _ended(server: servers.Server, kind: str, meanwhile: Any) -> float:
    """Calls of a function that ended well while something happened, per second."""
    before, began = _count(server, kind), time.monotonic()
    meanwhile()
    after, ended = _count(server, kind), time.monotonic()
    return (after - before) / (ended - began)


def _count(server: servers.Server, kind: str) -> float:
    _, said = server.request("GET", "/metrics")
    wanted = f'guesthouse_invocations_total{{function="default/{kind}",mode="async",outcome="ok"}}'
    return sum(float(line.split()[-1]) for line in said.decode().splitlines() if line.startswith(wanted))


def _drain(server: servers.Server) -> None:
    while any(
        queue["queued"] or queue["running"] for queue in json.loads(server.request("GET", "/queues")[1])["queues"]
    ):
        time.sleep(0.01)


# -- what is shown


def _figures(cases: dict[tuple[str, str], Case]) -> list[Figure]:
    found = []
    for (kind, way), case in cases.items():
        word = f"overload-{kind}-{'direct' if way == DIRECT else 'queued'}"
        found.append(Figure(f"{word}-goodput-of-peak", case.kept, 90, "%", False))
        found.append(Figure(f"{word}-refusal-p99", statistics.median(case.refused_p99s) / 1e3, 10, "ms"))
    return found


def _tables(cases: dict[tuple[str, str], Case]) -> list[Table]:
    headings = ["", "peak/s", f"at {TIMES} times/s", "% of peak", "refused/s", "refused p99 ms"]
    title = f"{INFLIGHT} runs at once, {QUEUED} queued; a function that waits {WAIT_MS} ms, and one that computes"
    table = Table(title, headings)
    for (kind, way), case in cases.items():
        peak, loaded = statistics.median(case.peaks), statistics.median(case.loaded)
        row = [f"{kind}, {way}", f"{peak:,.0f}", f"{loaded:,.0f}", f"{case.kept:.0f}"]
        row += [f"{statistics.median(case.refused):,.0f}", f"{statistics.median(case.refused_p99s) / 1e3:.2f}"]
        table.rows.append(row)
    return [table]


def _data(cases: dict[tuple[str, str], Case]) -> dict[str, Any]:
    return {
        "cases": {
            f"{kind}, {way}": {
                "peak_per_second": case.peaks,
                "loaded_per_second": case.loaded,
                "refused_per_second": case.refused,
                "refused_p99_us": case.refused_p99s,
            }
            for (kind, way), case in cases.items()
        }
    }


def _bars(cases: dict[tuple[str, str], Case]) -> dict[str, dict[str, float]]:
    return {
        f"{kind}, {way}": {
            "peak": statistics.median(case.peaks),
            f"{TIMES} times as much": statistics.median(case.loaded),
        }
        for (kind, way), case in cases.items()
    }
