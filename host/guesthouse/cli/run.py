"""`guesthouse run`: one function of one file, in this process and without a server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guesthouse.cli.invoke import body_of
from guesthouse.cli.manifest import Manifest, manifest_options
from guesthouse.cli.options import Body, Pair, name_of, request_options
from guesthouse.cli.output import Failure, Output, duration, percentile, shown, size, with_output

if TYPE_CHECKING:
    from guesthouse.async_host import AsyncHost
    from guesthouse.dispatch.outcome import Outcome
    from guesthouse.interfaces.invocation import Headers
    from guesthouse.registry.deployment import Deployment

Pairs = tuple[tuple[str, str], ...]


@click.command(
    epilog="""\
\b
Examples:
  guesthouse run hello.wasm -d '{"name": "Ada"}'
  guesthouse run hello.wasm -d @request.json --repeat 1000
  guesthouse run cat.wasm --arg cat --arg /var/openfaas/secrets/key --secret key=@key.txt
  guesthouse run resize.wasm -d @photo.jpg --limit deadline_ms=200 --json
  guesthouse run fetch.wasm -d '{"verb": "GET", "url": "http://localhost:3000/"}' --allow 127.0.0.0/8
"""
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--path", metavar="PATH", help="What follows the function's name in the URL.")
@request_options
@manifest_options
@click.option("--secret", type=Pair(), multiple=True, help="A secret that it finds as a file; with @FILE from a file.")
@click.option("--allow", multiple=True, metavar="NETWORK", help="A network that it may reach, though it is not public.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1), help="Call it this often.")
@with_output
def run(
    output: Output,
    file: Path,
    path: str | None,
    data: bytes,
    method: str,
    header: Pairs,
    query: Pairs,
    manifest: Manifest,
    secret: Pairs,
    allow: tuple[str, ...],
    repeat: int,
) -> None:
    """Runs the function in FILE, without a server.

    It may be a web or a spawn function, or a command. The body of its answer goes to standard output; its
    log, and what it used, to standard error.
    """
    import asyncio

    headers = [(name.lower(), value) for name, value in header]
    call = Call(file, data, method.upper(), path and path.lstrip("/"), query, headers, repeat)
    secrets = {name: Body().convert(value, None, None) for name, value in secret}
    outcome, times = asyncio.run(_run(output, call, dict(manifest), secrets, allow))
    _report(output, outcome, times)


@dataclass(frozen=True, slots=True)
class Call:
    """What to run, with what, how often."""

    file: Path
    data: bytes
    method: str
    path: str | None
    query: Pairs
    headers: Sequence[tuple[str, str]]
    repeat: int


@dataclass(slots=True)
class StreamSink:
    """Takes an answer that is streamed (`interfaces.invocation.ResponseSink`)."""

    write: Callable[[bytes], object]
    headers: Headers = field(default=())
    invocation_id: str = ""

    async def start(self, status: int, headers: Headers) -> None:
        """Keeps the headers; the status is in the outcome."""
        self.headers = headers

    async def send(self, data: bytes) -> None:
        """Passes it on."""
        self.write(data)

    async def left(self) -> None:
        """It has."""


async def _run(
    output: Output, call: Call, options: dict[str, Any], secrets: dict[str, bytes], allow: tuple[str, ...]
) -> tuple[Outcome, list[int]]:
    """The first call's outcome, and the time of each in nanoseconds."""
    from guesthouse.async_host import AsyncHost
    from guesthouse.net.client import OutboundConfig
    from guesthouse.net.policy import OutboundPolicy

    policy = OutboundPolicy.of(schemes=("http", "https"), allow_addresses=allow)
    async with AsyncHost(outbound=OutboundConfig(policy), slots=64) as host:
        for name, value in secrets.items():
            await host.secrets.put("default", name, value)
        options["secrets"] = [*options["secrets"], *secrets]
        with output.working(f"compiling {call.file}"):
            deployment = await host.deploy(_name(call.file), call.file.read_bytes(), **options)
        pieces: list[bytes] = []
        sink = StreamSink(pieces.append if output.as_json else _write)
        first = await _once(host, deployment, call, sink)
        if first.streamed:
            first.headers, first.body = sink.headers, b"".join(pieces)
        times = [first.duration_ns]
        for _ in range(call.repeat - 1):
            times.append((await _once(host, deployment, call, StreamSink(len))).duration_ns)
        return first, times


async def _once(host: AsyncHost, deployment: Deployment, call: Call, sink: StreamSink) -> Outcome:
    from guesthouse.interfaces.invocation import WebRequest
    from guesthouse.registry.deployment import ANSWERING

    if deployment.kind in ANSWERING:
        request = WebRequest(call.method, call.path, call.query, call.headers)
        outcome = await host.dispatcher.web(deployment, request, call.data, sink)
        if outcome.detached is not None:
            await outcome.detached.end()
        return outcome
    if deployment.kind == "spawn":
        outcome, _ = await host.dispatcher.run_spawned(deployment, call.data, host.dispatcher.new_id(), "", 0)
        return outcome
    raise Failure(f"{call.file} is a library: call its exports from Python with `Host.call`")


def _name(file: Path) -> str:
    """The file's name if a function may have it; `run` does not mind the name."""
    from guesthouse.registry.deployment import NAME

    name = name_of(file)
    return name if NAME.match(name) else "function"


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _report(output: Output, outcome: Outcome, times: list[int]) -> None:
    failed = outcome.result != "ok" or outcome.status >= 400
    if output.as_json:
        output.result(_document(outcome, times), "")
        raise click.exceptions.Exit(failed)
    for record in outcome.logs:
        output.say(f"{record.level:<5} {record.source:<6} {shown(record.text)}")
    if outcome.error is None:
        _write(outcome.body if outcome.status else f"{outcome.result}\n".encode())
    output.say(_summary(outcome, times))
    if outcome.detached is not None:
        output.say(f"-- {outcome.detached.summary}")
    if outcome.error is not None and output.quiet:  # its log, which says so too, was not shown
        raise Failure(str(outcome.error).partition("\n")[0])
    raise click.exceptions.Exit(failed)


def _summary(outcome: Outcome, times: list[int]) -> str:
    """One line: how it ended and what it cost."""
    status = f"status {outcome.status}" if outcome.status else outcome.result
    fuel = "unknown fuel" if outcome.fuel_used is None else f"{outcome.fuel_used:,} fuel"
    head = f"-- {status}, {duration(times[0])}, {fuel}, {size(outcome.peak_memory)} of memory"
    if len(times) == 1:
        return head
    p50, p99 = (duration(percentile(times, share)) for share in (0.5, 0.99))
    return f"{head}; {len(times)} calls: p50 {p50}, p99 {p99}"


def _document(outcome: Outcome, times: list[int]) -> dict[str, Any]:
    error, detached = outcome.error, outcome.detached
    return {
        "invocation_id": outcome.invocation_id,
        "result": outcome.result,
        "status": outcome.status or None,
        "headers": [list(header) for header in outcome.headers],
        "error": None if error is None else {"type": error.problem_type, "title": error.title, "detail": str(error)},
        "detached": detached
        and {
            "result": detached.result,
            "duration_ms": detached.duration_ns / 1e6,
            "tasks": dict(detached.tasks.counts),
        },
        "fuel_used": outcome.fuel_used,
        "peak_memory_bytes": outcome.peak_memory,
        "duration_ms": times[0] / 1e6,
        "calls": len(times),
        "p50_ms": percentile(times, 0.5) / 1e6,
        "p99_ms": percentile(times, 0.99) / 1e6,
        "logs": [{"level": record.level, "source": record.source, "text": record.text} for record in outcome.logs],
    } | body_of(outcome.body)
