#!/usr/bin/env python3
"""Deploys every example guest to a real server, calls each over HTTP and checks every answer: `make demo`.

    tools/demo.py [GUEST...]      all of them, or these; a guest that starts another one needs that one too

A guest in the list brings along what is shown by means of it of queued calls, schedules and OpenFaaS's interface.

One line for each guest in each form: how it was answered, how long the first call took and how long the calls after it,
on one connection that stays open.  The times are those of this client, Python's own, with all of HTTP in them.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlencode

from demo_later import ABILITIES, IMAGE, Stage
from demo_stories import CUSTOMERS, EVENTS, KEY, PAGE, RECEIPT, Answer, Call, Story, Wrong, stories
from rich.console import Console

from guesthouse import Host, Ok
from guesthouse.cli.output import percentile

ROOT = Path(__file__).resolve().parents[1]
PREBUILT = Path(os.environ.get("TEST_GUESTS", ROOT / "guests" / "prebuilt"))
FORMS = ("wasip2", "wasip1")
"""In these every guest is shown, each in a namespace of that name; in the third form, those of `ALSO`."""
ALSO = {("echo", "unknown-unknown"), ("greet", "unknown-unknown")}
CALLS = int(os.environ.get("DEMO_CALLS", "1000"))
DURABLE_CALLS = 100
"""Of each durable function at most: each call is several writes to the disk."""
PATIENCE_S = 20.0


class Server:
    """`guesthouse serve` in a process of its own, and one connection to it."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Sends a request and waits for the whole answer."""
        self._connection.request(method, path, body, headers or {})
        response = self._connection.getresponse()
        return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())

    def call(self, namespace: str, call: Call) -> tuple[Answer, float]:
        """Calls a function; its answer, if that is right, and the time in milliseconds."""
        path = f"/functions/{namespace}/{call.path}"
        began = time.perf_counter()
        answer = self.send(call.method, path, call.body, call.headers)
        took = (time.perf_counter() - began) * 1000
        if not call.right(answer):
            raise Wrong(f"{call.method} {path} was answered {answer.status} {answer.body[:200]!r}")
        return answer, took

    def deploy(self, namespace: str, name: str, wasm: bytes, story: Story | None, environment: dict[str, str]) -> None:
        """Deploys a function under its own name."""
        headers = {"content-type": "application/wasm"}
        query = [("environment", f"{word}={value}") for word, value in environment.items()]
        if story is not None:
            query += [("topics", topic) for topic in story.topics] + [("arguments", word) for word in story.arguments]
            query += [("durable", "true")] if story.durable else []
        answer = self.send("PUT", f"/functions/manage/{namespace}/{name}?{urlencode(query)}", wasm, headers)
        if answer.status != 204:
            raise Wrong(f"the deploy of {namespace}/{name} was answered {answer.status} {answer.body.decode()}")

    def spawned(self, function: str) -> dict[str, int]:
        """How many runs of a spawn function have ended, by outcome."""
        text = self.send("GET", "/metrics").body.decode()
        labels = rf'function="{function}",mode="spawn",outcome="(\w+)"'
        found = re.findall(rf"^guesthouse_invocations_total{{{labels}}} ([0-9.e+]+)$", text, re.MULTILINE)
        return {outcome: int(float(count)) for outcome, count in found}


def until(done: Callable[[], Any], what: str) -> Any:
    """Asks until the answer is yes; raises `Wrong` when it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := done()):
        if time.monotonic() > deadline:
            raise Wrong(f"{what} did not happen within {PATIENCE_S:.0f} s")
        time.sleep(0.01)
    return answer


@dataclass(frozen=True)
class Upstream:
    """A server for the guests to fetch from, and for callbacks to go to."""

    url: str
    delivered: SimpleQueue[tuple[dict[str, str], bytes]]
    """Headers and bodies of the callbacks."""
    host: list[str]
    """URL of the server under demonstration, as soon as there is one: whoever is asked there agrees."""


def environment_for(upstream_url: str) -> dict[str, str]:
    """What every guest finds in its environment."""
    apis = {"CHARGE_API": f"{upstream_url}/charge", "CUSTOMERS_API": f"{upstream_url}/customers"}
    return {"GREETING": "hello", "destination": "http://example.com/", **apis}


def approve(host: str, asked: dict[str, str]) -> None:
    """Says yes, as a person would with a browser."""
    connection = http.client.HTTPConnection(host.removeprefix("http://"), timeout=PATIENCE_S)
    path = f"/restate/awakeables/{asked['awakeable']}/resolve"
    connection.request("POST", path, b'{"by": "Ada"}', {"content-type": "application/json"})
    connection.getresponse().read()
    connection.close()


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Serves."""
    delivered: SimpleQueue[tuple[dict[str, str], bytes]] = SimpleQueue()
    failing = iter([503])
    host: list[str] = []
    pages = {"/customers": json.dumps(CUSTOMERS).encode()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a second packet would wait 40 ms for the first one's acknowledgement

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            self._answer_events() if path == "/events" else self._answer(pages.get(path, PAGE))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/callback":
                delivered.put(({name.lower(): value for name, value in self.headers.items()}, body))
            elif self.path == "/approve":
                approve(host[0], json.loads(body))
            elif self.path == "/charge":
                body = json.dumps({"receipt": RECEIPT}).encode()
            self._answer(body, next(failing, 200) if self.path == "/flaky" else 200)

        def _answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _answer_events(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in (*EVENTS, b""):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Upstream(f"http://127.0.0.1:{server.server_port}", delivered, host)
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def server_for(upstream_url: str) -> Iterator[Server]:
    """A server with an empty data directory, whose guests may reach one address."""
    with tempfile.TemporaryDirectory(prefix="guesthouse-demo-") as folder:
        config = Path(folder, "guesthouse.toml")
        outbound = (
            "[outbound]",
            'schemes = ["http"]',
            f'hosts = ["{upstream_url}"]',
            'allow_addresses = ["127.0.0.1"]',
            "[images]",
            f'"{IMAGE}" = "{PREBUILT / "toolbox.wasip1.wasm"}"',
        )
        config.write_text("\n".join(outbound))
        command = [sys.executable, "-m", "guesthouse", "serve", "--json", "--port", "0", "--log-level", "error"]
        command += ["--config", str(config), "--data-dir", f"{folder}/data"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GUESTHOUSE_")}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise Wrong("the server did not start")
            yield Server(process, json.loads(line)["url"])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for_runs(server: Server, function: str, before: dict[str, int], expected: int) -> str:
    """Waits until that many more runs of a spawn function have ended, and counts how."""

    def ended() -> dict[str, int] | None:
        now = server.spawned(function)
        new = {outcome: count - before.get(outcome, 0) for outcome, count in now.items()}
        return new if sum(new.values()) >= expected else None

    outcomes = until(ended, f"the end of {expected} runs of {function}")
    if {outcome for outcome, count in outcomes.items() if count} != {"ok"}:
        raise Wrong(f"the runs of {function} ended like this: {outcomes}")
    return f"{expected:,} runs ended ok"


@dataclass(frozen=True)
class Shown:
    """What became of one guest in one form."""

    status: str
    first_ms: float
    then_ms: list[float]
    note: str


def show(server: Server, namespace: str, name: str, story: Story) -> Shown:
    """Plays a story."""
    spawns = f"{namespace}/{story.spawns}"
    before = server.spawned(spawns) if story.spawns else {}
    answer, first = server.call(namespace, story.first)
    then = story.then or story.first
    if then.path == f"read-through/{KEY}":
        path = f"/functions/{namespace}/{then.path}"
        until(lambda: server.send("GET", path).status == 200, "the filling of the cache")
    times = []
    calls = min(CALLS, DURABLE_CALLS) if story.durable else CALLS
    for _ in range(calls):
        answer, took = server.call(namespace, then)
        times.append(took)
    notes = [story.note] if story.note else []
    notes += [f"durable, {calls} calls"] if story.durable else []
    notes += [wait_for_runs(server, spawns, before, calls + 1)] if story.spawns else []
    notes += [story.after(server.send, namespace, answer)] if story.after else []
    return Shown(str(answer.status), first, times, ", ".join(notes))


def show_calculator(wasm: bytes) -> Shown:
    """Calls a library in this process; its host is a Python class that answers its own WIT interface."""
    office = runpy.run_path(str(ROOT / "guests" / "hosts" / "calculator.py"))["Office"]()
    with Host(interfaces=[office]) as host:
        host.deploy("calculator", wasm)
        times = []
        for _ in range(CALLS + 1):
            began = time.perf_counter()
            answer = host.call("calculator", "convert", 10.0, "USD")
            times.append((time.perf_counter() - began) * 1000)
            if answer != Ok(5.0):
                raise Wrong(f"calculator answered {answer}")
        receipt = host.call("calculator", "print-receipt", [("tea", 2.5)], None)
        if receipt.lines != ["receipt", "tea 2.50", "total 2.50"]:
            raise Wrong(f"calculator printed {receipt.lines}")
    return Shown("ok", times[0], times[1:], "in this process, each calls a Python function")


def guests() -> list[tuple[str, str, bytes]]:
    """Name, form and bytes of everything that is shown, the manifest's word for what there is."""
    entries = json.loads((PREBUILT / "manifest.json").read_text())["guests"]
    shown = {folder.name for folder in (ROOT / "guests" / "examples").iterdir()} | set(stories(""))
    return [
        (entry["name"], entry["form"], (PREBUILT / entry["file"]).read_bytes())
        for form in (*FORMS, "unknown-unknown")
        for entry in entries
        if entry["form"] == form and entry["name"] in shown and (form in FORMS or (entry["name"], form) in ALSO)
    ]


def built(name: str) -> bytes:
    """The component of a guest."""
    return (PREBUILT / f"{name}.wasip2.wasm").read_bytes()


def line(console: Console, name: str, form: str, shown: Shown) -> None:
    """One guest, one line."""
    p50, p99 = (percentile(shown.then_ms, share) for share in (0.5, 0.99))
    figures = f"{shown.first_ms:8.2f} {p50:8.3f} {p99:8.3f}"
    console.print(f"[green]✓[/] {name:<17} {form:<16} {shown.status:>6} {figures}  [dim]{shown.note}[/]")


def show_abilities(console: Console, stage: Stage, names: list[str]) -> tuple[int, int]:
    """What goes on while nobody waits, one line each: how many went well, of how many."""
    shown = {title: how for title, (how, guests) in ABILITIES.items() if not names or set(guests) <= {*names, "panic"}}
    well = 0
    for title, how in shown.items():
        try:
            console.print(f"[green]✓[/] {title:<21} [dim]{how(stage)}[/]")
        except Exception as error:
            console.print(f"[red]✗[/] {title:<21}", f"{error!r}", markup=True)
        else:
            well += 1
    return well, len(shown)


def main(names: list[str]) -> int:
    """The exit status."""
    console = Console(highlight=False, soft_wrap=True)
    answered, everything = 0, [guest for guest in guests() if not names or guest[0] in names]
    with upstream() as other, server_for(other.url) as server:
        playable, environment = stories(other.url), environment_for(other.url)
        other.host.append(server.url)
        began = time.monotonic()
        with console.status("deploying"):
            for name, form, wasm in everything:
                if name != "calculator":
                    server.deploy(form, name, wasm, playable.get(name), environment)
        took = time.monotonic() - began
        console.print(f"guesthouse is at {server.url}; deployed {len(everything)} guests in {took:.1f} s")
        head = f"  {'guest':<17} {'form':<16} status first ms   p50 ms   p99 ms  of {CALLS:,} calls after the first"
        console.print(f"[bold]{head}[/]")
        for name, form, wasm in everything:
            try:
                shown = show_calculator(wasm) if name == "calculator" else show(server, form, name, playable[name])
            except Exception as error:
                reason = "there is no story for it in tools/demo.py" if isinstance(error, KeyError) else f"{error!r}"
                console.print(f"[red]✗[/] {name:<17} {form:<16}", reason, markup=True)
            else:
                answered += 1
                line(console, name, form, shown)
        stage = Stage(server.send, built, other.url, other.delivered)
        well, abilities = show_abilities(console, stage, names)
    console.print(f"demo: {answered} of {len(everything)} guests answered, {well} of {abilities} abilities shown")
    return 0 if everything and (answered, well) == (len(everything), abilities) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
