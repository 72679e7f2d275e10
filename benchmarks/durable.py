"""Durable functions: what a suspended one costs, how fast they resume and are replayed, and what a recorded step adds.

Each part runs in a process of its own (`benchmarks/durable_parts.py`), so that memory is counted from a clean start; the
disk's own cost is measured in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.durable_guests import EACH
from benchmarks.durable_parts import CONCURRENT
from benchmarks.enqueue import commits, fsyncs_ns, store_in
from benchmarks.figures import Figure
from benchmarks.measure import percentile
from benchmarks.report import Result, Table

MOST_EACH = 2048
"""Bytes of memory that a suspended invocation may keep."""
RESUMED, REPLAYED, STEP_US = 1_000, 100_000, 100


def run(quick: bool) -> Result:
    """All parts, one after another."""
    suspended = part("suspended", 10_000 if quick else 100_000)
    timers = part("timers", 2_000 if quick else 10_000)
    each, rounds = (50, 3) if quick else (200, 5)
    steps = {what: part("steps", what, each, rounds) for what in EACH}
    # An entry that is on the disk before the next one begins takes its time to be made.
    entries = {"read": 50_000 if quick else 100_000, "cache set": 2_000 if quick else 10_000}
    replays = {what: part("replay", what, count, rounds) for what, count in entries.items()}
    floor = disk()
    found = {"suspended": suspended, "timers": timers, "steps": steps, "replays": replays, "disk_us": floor}
    return Result("durable", tables(found), figures(found), found, bars(found), "median")


def part(*words: object) -> dict[str, Any]:
    """What a part prints."""
    search = os.pathsep.join([str(servers.ROOT), str(servers.ROOT / "host")])
    command = [sys.executable, "-m", "benchmarks.durable_parts", *map(str, words)]
    child = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": search}, check=False)
    if child.returncode:
        raise SystemExit(f"the part {words!r} failed; its last words are above")
    found: dict[str, Any] = json.loads(child.stdout)
    return found


def disk() -> dict[str, float]:
    """µs of an fdatasync, and of a row where SQLite alone commits as many at once as there are invocations."""
    with tempfile.TemporaryDirectory() as folder:
        synced = fsyncs_ns(Path(folder), 200)
        with store_in(Path(folder)) as connection:
            made = commits(connection, CONCURRENT, 0.5)
    return {"fdatasync": percentile(synced, 0.5), "sqlite_row": made["seconds"] / made["answers"] * 1e6}


# -- what is shown


def figures(found: dict[str, Any]) -> list[Figure]:
    """The promised numbers."""
    suspended, timers = found["suspended"], found["timers"]
    kept = [
        Figure(f"durable-suspended-{word}", suspended[f"{word}_each"], MOST_EACH, " bytes") for word in ("rss", "uss")
    ]
    resumed = [
        Figure("durable-resumed-by-awakeables-per-second", suspended["resumed_per_second"], RESUMED, "", False),
        Figure("durable-resumed-by-timers-per-second", timers["resumed_per_second"], RESUMED, "", False),
    ]
    steps = [
        Figure(f"durable-{what.replace(' ', '-')}-64-concurrent", added(step), STEP_US, "µs")
        for what, step in found["steps"].items()
    ]
    replays = [
        Figure(
            f"durable-replay-{what.replace(' ', '-')}-per-second",
            statistics.median(replay["per_second"]),
            REPLAYED,
            "",
            False,
        )
        for what, replay in found["replays"].items()
    ]
    return [*kept, *resumed, *steps, *replays]


def added(step: dict[str, Any]) -> float:
    """µs that being recorded adds to a call: the median over the rounds.  A step of a function that is not durable is nothing."""
    pairs = zip(step["us"], step["plain_us"], strict=True)
    return float(statistics.median(us - (plain if step["what"] != "step" else 0.0) for us, plain in pairs))


def tables(found: dict[str, Any]) -> list[Table]:
    """For people."""
    suspended, timers, floor = found["suspended"], found["timers"], found["disk_us"]
    memory = Table(
        f"{suspended['count']:,} invocations suspended on awakeables, {timers['count']:,} on timers that end at one moment",
        ["", "bytes each (RSS)", "(USS)", "suspended per s", "completed per s", "resumed and ended per s"],
    )
    numbers = [suspended[name] for name in ("rss_each", "uss_each", "suspended_per_second", "resolved_per_second")]
    memory.rows.append(["awakeables", *(f"{n:,.0f}" for n in (*numbers, suspended["resumed_per_second"]))])
    memory.rows.append(["timers", "", "", "", "", f"{timers['resumed_per_second']:,.0f}"])
    cost = Table(
        f"What a recorded call adds, {CONCURRENT} invocations beside each other; here an fdatasync takes "
        f"{floor['fdatasync']:.0f} µs, and a row of SQLite alone {floor['sqlite_row']:.0f} µs, {CONCURRENT} in a commit",
        ["", "added µs", "durable µs", "best round", "worst round", "not durable µs"],
    )
    for what, step in found["steps"].items():
        us = step["us"]
        shown = (added(step), statistics.median(us), min(us), max(us), statistics.median(step["plain_us"]))
        cost.rows.append([what, *(f"{n:.1f}" for n in shown)])
    replayed = Table("Entries that a guest is fed in a second, in its replay", ["", "entries", "per second"])
    for what, replay in found["replays"].items():
        replayed.rows.append([what, f"{replay['entries']:,}", f"{statistics.median(replay['per_second']):,.0f}"])
    return [memory, cost, replayed]


def bars(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """For the plot."""
    suspended, timers, floor = found["suspended"], found["timers"], found["disk_us"]
    return {
        f"bytes of memory of each of {suspended['count']:,} suspended invocations": {
            "RSS": suspended["rss_each"], "USS": suspended["uss_each"], "promised": MOST_EACH,
        },
        "invocations per second": {
            "suspended": suspended["suspended_per_second"], "resumed by awakeables": suspended["resumed_per_second"],
            "resumed by timers": timers["resumed_per_second"], "promised": RESUMED,
        },
        f"a recorded call, {CONCURRENT} invocations beside each other, µs": {
            **{f"{what}, added": added(step) for what, step in found["steps"].items()},
            "cache set, not durable": statistics.median(found["steps"]["cache set"]["plain_us"]),
            "SQLite alone, a row": floor["sqlite_row"], "promised": STEP_US,
        },
        "replayed entries per second": {
            **{what: statistics.median(replay["per_second"]) for what, replay in found["replays"].items()},
            "promised": REPLAYED,
        },
    }  # fmt: skip
