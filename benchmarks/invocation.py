"""What one call costs in process: our layers and forms beside the C floor, wasmtime-py and Extism, interleaved in one run.

Every call of ours, of the floor's and of wasmtime-py's has a fresh store and instance under fuel, epochs and a limiter.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import busy, guests, ours, peers
from benchmarks.figures import Figure
from benchmarks.floor import Floor, build_floor
from benchmarks.measure import Contestant, Run, interleave, timed
from benchmarks.report import Result, Table
from guesthouse.async_host import AsyncHost
from guesthouse.engine.engine import CONFIG, slots_of_machine
from guesthouse.engine.unbundle import unbundle
from guesthouse.host import Host

SIZES = {"1 KiB": 1 << 10, "64 KiB": 1 << 16, "1 MiB": 1 << 20}
PLAIN, SMALL, COPY = "wasip2", "wasip2-small-stack", "copy"
ALONE_CALLS = 500
"""Extism's timer thread makes calls of a reused plug-in cost either 12 or 37 µs for a while: it gets rounds of its own, so that
it is compared at its best."""
FUNCTIONS = (*guests.FORMS, COPY)
FLOOR, ENGINE, HOST, ASYNC = "C floor", "engine layer", "Host.invoke", "AsyncHost.invoke"
FLOOR_VALUE, ENGINE_VALUE = "C floor, by value", "engine layer, by value"
WASMTIME, REUSED, FRESH = "wasmtime-py, fresh", "Extism, reused", "Extism, fresh"
REUSED_COPY, FRESH_COPY = "Extism, reused, copying", "Extism, fresh, copying"


@dataclass(frozen=True)
class Bench:
    """Everything that is made once and measured in every round."""

    floor: Floor
    host: Host
    async_host: AsyncHost
    loop: asyncio.AbstractEventLoop
    peers: dict[str, Callable[[bytes], bytes]]


def wasm_of(function: str) -> bytes:
    """The guest behind one of `FUNCTIONS`."""
    return guests.copying_echo() if function == COPY else guests.prebuilt("echo", function)


@contextmanager
def prepared() -> Iterator[Bench]:
    """All contestants, ready to be called."""
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        cores = []
        for function in FUNCTIONS:
            cores.append(folder / f"{function}.wasm")
            cores[-1].write_bytes(unbundle(wasm_of(function)).core)
        config = CONFIG._replace(slots=slots_of_machine())
        with Floor(build_floor(folder), config, cores) as floor, Host() as host:
            async_host = loop.run_until_complete(_deploy(host))
            yield Bench(floor, host, async_host, loop, _peers())
            loop.run_until_complete(async_host.close())
    loop.close()


async def _deploy(host: Host) -> AsyncHost:
    async_host = await AsyncHost().__aenter__()
    for function in FUNCTIONS:
        host.deploy(function, wasm_of(function))
        await async_host.deploy(function, wasm_of(function))
    return async_host


def _peers() -> dict[str, Callable[[bytes], bytes]]:
    return {
        WASMTIME: peers.WasmtimePy(unbundle(guests.prebuilt("echo")).core).call,
        REUSED: peers.ExtismReused(peers.EXTISM_HANDS_BACK).call,
        FRESH: peers.ExtismFresh(peers.EXTISM_HANDS_BACK).call,
        REUSED_COPY: peers.ExtismReused(peers.EXTISM_COPIES).call,
        FRESH_COPY: peers.ExtismFresh(peers.EXTISM_COPIES).call,
    }


def contestants(bench: Bench, function: str, size: int, calls: int) -> dict[str, Contestant]:
    """Every way of calling one function with a body of `size` bytes."""
    core, body = FUNCTIONS.index(function), bytes(97 + i % 26 for i in range(size))
    engine = ours.EngineLayer(bench.host, function, bench.loop)
    outcome = bench.host.invoke(function, body).unwrap()
    assert (outcome.status, outcome.body) == (200, body), "the function is no echo"
    runs: dict[str, Run] = {
        FLOOR: partial(bench.floor.run, core, "handle", size),
        ENGINE: timed(engine.by_handle(body)),
        HOST: timed(lambda: bench.host.invoke(function, body)),
        ASYNC: ours.awaited(bench.loop, bench.async_host, function, body),
    }
    if function == PLAIN:
        runs[FLOOR_VALUE] = partial(bench.floor.run, core, "value", size)
        runs[ENGINE_VALUE] = timed(engine.by_value(body))
    if function == SMALL:
        runs.update({name: timed(partial(call, body)) for name, call in bench.peers.items()})
    return {name: Contestant(name, run, calls) for name, run in runs.items()}


def run(quick: bool) -> Result:
    """All functions at all sizes, and the calls beside a busy thread."""
    rounds, calls = (8, 40) if quick else (30, 60)
    measured: dict[str, dict[str, dict[str, Contestant]]] = {}
    with prepared() as bench:
        reused = Contestant(REUSED, timed(partial(bench.peers[REUSED], b"x" * 1024)), ALONE_CALLS)
        interleave([reused], rounds)
        for function in FUNCTIONS:
            for label, size in SIZES.items():
                if function not in (PLAIN, SMALL, COPY) and size > 1 << 10:
                    continue  # the body's size is the handle's business, not the form's
                group = contestants(bench, function, size, calls if size < 1 << 20 else calls // 4)
                interleave(list(group.values()), rounds)
                measured.setdefault(function, {})[label] = group
        beside = busy.measure(lambda: bench.host.invoke(PLAIN, b"x" * 1024), rounds * 60)
    tables = [*_tables(measured), _busy_table(beside)]
    return Result(
        "invocation", tables, _figures(measured, beside, reused.best), _data(measured, beside), _plot(measured)
    )


# -- what came of it

Groups = dict[str, dict[str, dict[str, Contestant]]]


def _tables(measured: Groups) -> list[Table]:
    tables = []
    for function, sizes in measured.items():
        headings = [f"{size} {what}" for size in sizes for what in ("p50", "p99", "x floor")]
        table = Table(f"echo, {function}: µs for one call", ["", *headings])
        for name in next(iter(sizes.values())):
            row = [name]
            for group in sizes.values():
                one = group[name]
                row += [f"{one.p50:.1f}", f"{one.p99:.1f}", f"{one.ratio(group[FLOOR]):.2f}"]
            table.rows.append(row)
        tables.append(table)
    return tables


def _busy_table(beside: dict[str, dict[str, float]]) -> Table:
    table = Table(
        "Host.invoke beside a thread that computes in Python: µs", ["switch interval of, loop", "p50", "p99", "max"]
    )
    for name, found in beside.items():
        table.rows.append([name, *(f"{found[what]:.0f}" for what in ("p50", "p99", "max"))])
    return table


def _figures(measured: Groups, beside: dict[str, dict[str, float]], reused_best: float) -> list[Figure]:
    small, large = measured[PLAIN]["1 KiB"], measured[COPY]["1 MiB"]
    by_value, template = measured[PLAIN]["1 MiB"], measured[SMALL]["1 KiB"]
    floor, ours_best = small[FLOOR], template[HOST].best
    reused_best = min(reused_best, template[REUSED].best, template[REUSED_COPY].best)
    return [
        Figure("engine-1KiB-vs-floor", small[ENGINE].ratio(floor), 1.4, "x"),
        Figure("host-invoke-1KiB-vs-floor", small[HOST].ratio(floor), 1.6, "x"),
        Figure("async-invoke-1KiB-vs-floor", small[ASYNC].ratio(floor), 2.0, "x"),
        Figure("engine-1MiB-by-value-vs-floor", by_value[ENGINE_VALUE].ratio(by_value[FLOOR_VALUE]), 1.3, "x"),
        Figure("engine-1MiB-copying-vs-floor", large[ENGINE].ratio(large[FLOOR]), 1.3, "x"),
        Figure("host-invoke-1MiB-copying-vs-floor", large[HOST].ratio(large[FLOOR]), 1.3, "x"),
        Figure("async-invoke-1MiB-copying-vs-floor", large[ASYNC].ratio(large[FLOOR]), 1.3, "x"),
        Figure("extism-reused-vs-template-host-invoke", reused_best / ours_best, 1.0, "x", at_most=False),
        Figure("extism-fresh-vs-template-host-invoke", template[FRESH].best / ours_best, 8.0, "x", at_most=False),
        Figure(
            "wasmtime-py-fresh-vs-template-host-invoke", template[WASMTIME].best / ours_best, 8.0, "x", at_most=False
        ),
        Figure("busy-thread-p99", beside["serve, closed"]["p99"] / 1e3, 2.0, "ms"),
    ]


def _data(measured: Groups, beside: dict[str, dict[str, float]]) -> dict[str, Any]:
    calls = {
        function: {
            size: {
                name: {"p50_us": one.p50, "p99_us": one.p99, "vs_floor": one.ratio(group[FLOOR])}
                for name, one in group.items()
            }
            for size, group in sizes.items()
        }
        for function, sizes in measured.items()
    }
    return {"calls": calls, "busy_thread_us": beside}


def _plot(measured: Groups) -> dict[str, dict[str, float]]:
    plain, template = measured[PLAIN]["1 KiB"], measured[SMALL]["1 KiB"]
    return {
        "as people build it": {name: one.p50 for name, one in plain.items()},
        "with the template's link flags, and peers": {name: one.p50 for name, one in template.items()},
    }
