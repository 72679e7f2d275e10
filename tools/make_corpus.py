#!/usr/bin/env python3
"""Writes the journals of this version that all later versions have to understand: `tools/make_corpus.py`, once for a release.

    tools/make_corpus.py [FOLDER]      by default tests/corpus; what is there of this version is replaced

Durable functions are run on a host of their own: some to their end, some until they wait, some until they fail.  Each is
exported (`guesthouse invocations export`) into FOLDER/VERSION, beside the modules that ran; `manifest.json` says what each
is of, from which sources and by which toolchain its module was built, and how its replay has to end.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import lzma
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "host"))

from guesthouse import AsyncHost, OutboundConfig, OutboundPolicy, __version__  # noqa: E402
from guesthouse.dispatch.recordings import NoJournal  # noqa: E402
from guesthouse.interfaces.cache import CacheConfig  # noqa: E402
from guesthouse.queue.call import Record  # noqa: E402
from guesthouse.queue.config import InvocationsConfig  # noqa: E402
from guesthouse.queue.queue import UnknownInvocation  # noqa: E402

PREBUILT = ROOT / "guests" / "prebuilt"
CORPUS = ROOT / "tests" / "corpus"
PATIENCE_S = 30.0
HOUR_MS = 3_600_000
PAUSE_S = 0.2
"""Between two pieces of a body, so that whoever reads it has to wait."""
RETRY = {"attempts": 2, "min_wait_ms": 1, "max_wait_ms": 2}
DURABLE = {"grace_ms": 0}


@dataclass(frozen=True)
class Case:
    """One invocation of the corpus."""

    name: str
    guest: str
    form: str
    body: bytes
    state: str
    """In which it is exported."""
    key: str | None = None
    durable: bool = True
    """False: it is called directly, and recorded by the flight recorder."""


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one."""

    name: str
    file: str
    guest: str
    form: str
    module: str
    """SHA-256 of what ran."""
    source_digest: str
    state: str
    result: str
    status: int
    entries: int
    """Recorded calls of its journal."""


def cases(url: str) -> list[Case]:
    """All; `url` is that of a server that answers every request with its method and path, `/stream` twice."""

    def script(*operations: Any) -> bytes:
        return json.dumps(operations).encode()

    def http(path: str) -> dict[str, Any]:
        return {"http": {"url": f"{url}/{path}", "verb": "POST", "body": "x" * 2_000}}

    def call(payload: list[Any], **more: Any) -> dict[str, Any]:
        return {"call": {"function": "durable-probe", "payload": payload, **more}}

    fails = {"fail": {"failure": {"message": "no", "code": 409, "metadata": [["a", "b"]]}}}
    step = {
        "name": "s",
        "ends": [{"temporary": "not yet"}, "ok"],
        "min_wait_ms": 1,
        "max_wait_ms": 1,
        "do": [http("s")],
    }
    reads = ["clock", "random", {"env": "COLOUR"}, "current", "my_id", {"request": "x-colour"}]
    waits = [{"sleep": 1}, {"wait": {"of": 0}}, "awakeable", {"wait": {"of": 1, "timeout_ms": 1}}]
    own = ["awakeable", {"resolve": {"id": "$id:0", "payload": [1]}}, {"reject": {"id": "$id:0", "reason": "late"}}]
    together = [
        *(call([{"value": n}]) for n in range(3)), call([fails]), {"gather": {"of": [0, 1], "then": "wait-for-all"}},
        {"select": {"of": [2, 3], "first": "to-succeed"}}, {"wait": {"of": 3}}, {"wait": {"of": 2}},
        {"send": {"function": "durable-probe", "payload": [], "delay_ms": HOUR_MS}}, {"cancel": "$sent"},
    ]  # fmt: skip
    state = [{"set": ["a", [1, 2]]}, {"get": "a"}, "names", {"clear": "a"}, {"set": ["b", "x" * 5_000]}, "clear_all"]
    forever = [{"sleep": 90 * 24 * HOUR_MS}, {"wait": {"of": 0}}]
    again = {"if_attempt": [1, [{"fail": {"temporary": "again"}}]]}
    steps: list[Any] = [{"send": {"verb": "POST", "url": f"{url}/{n}", "body": "y" * n}} for n in range(3)]
    steps += [{"read": [1, 3]}, {"all": 0}, {"drop": 2}]
    stream = [{"send": {"verb": "POST", "url": f"{url}/stream", "body": ""}}, {"read": [0, 10]}, {"all": 0}]
    probe = "durable-probe"
    found = [
        *(Case(f"reads-{form}", probe, form, script(*reads), "succeeded") for form in ("wasip2", "wasip1")),
        Case("waits", probe, "wasip2", script(*waits), "succeeded"),
        Case("awakeable", probe, "wasip2", script(*own, {"wait": {"of": 0}}), "succeeded"),
        Case("together", probe, "wasip2", script(*together), "succeeded"),
        Case("http", probe, "wasip2", script(http("a"), *[http("b")] * 3, {"http": {"url": "http://127.0.0.1:1"}}), "succeeded"),
        Case("step", probe, "wasip2", script({"run": step}, {"run": {**step, "ends": [{"terminal": "no"}]}}), "succeeded"),
        Case("state", probe, "wasip2", script(*state), "succeeded", key="k"),
        Case("retried", probe, "wasip2", script({"set": ["a", 1]}, "random", again, "random"), "succeeded", key="r"),
        Case("long", probe, "wasip2", script({"repeat": [2_000, ["clock"]]}), "succeeded"),
        Case("suspended", probe, "wasip2", script(http("a"), {"print": "a line"}, *forever), "suspended"),
        Case("suspended-call", probe, "wasip1", script(call(forever), {"wait": {"of": 0}}), "suspended"),
        Case("suspended-step", probe, "wasip2", script({"run": {**step, "ends": [{"throttled": HOUR_MS}]}}), "suspended"),
        Case("trapped", probe, "wasip2", script({"set": ["a", 1]}, "clock", "trap"), "dead", key="t"),
        Case("failed", probe, "wasip2", script(http("a"), fails), "failed"),
        Case("approval", "approval", "wasip2", json.dumps({"what": "tea", "tell": f"{url}/tell"}).encode(), "suspended"),
        Case("http-calls", "http-calls", "wasip2", json.dumps(steps).encode(), "succeeded"),
        Case("streamed", "http-calls", "wasip2", json.dumps(stream).encode(), "succeeded"),
        Case("flight", "http-calls", "wasip2", json.dumps(stream).encode(), "succeeded", durable=False),
        Case("printed", probe, "wasip1", script({"print": "a line"}, http("a"), {"print": "another"}), "succeeded"),
        Case("cache-recent", "cache-recent", "wasip2", b"a text", "succeeded"),
    ]  # fmt: skip
    assert len({case.name for case in found}) == len(found)
    return found


# -- running


@contextmanager
def origin() -> Iterator[str]:
    """A server that answers every request with its method and path, for guests to ask; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"] or 0))
            said = f"{self.command} {self.path}".encode()
            self.send_response(200)
            if self.path == "/stream":
                self._stream(said)
                return
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def _stream(self, said: bytes) -> None:
            """Twice the text, in pieces that arrive one after the other."""
            self.send_header("connection", "close")
            self.end_headers()
            for _ in range(2):
                self.wfile.write(said)
                self.wfile.flush()
                time.sleep(PAUSE_S)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def built() -> dict[tuple[str, str], dict[str, Any]]:
    """The entries of the guests' manifest by name and form."""
    return {(entry["name"], entry["form"]): entry for entry in guests_manifest()["guests"]}


def guests_manifest() -> dict[str, Any]:
    """What guests/build.py has written down."""
    found: dict[str, Any] = json.loads((PREBUILT / "manifest.json").read_text())
    return found


async def run(host: AsyncHost, case: Case) -> Record:
    """Has a case run into its state; what is known of it."""
    wasm = (PREBUILT / built()[case.guest, case.form]["file"]).read_bytes()
    name = case.guest if case.guest == "durable-probe" else case.name
    durable = DURABLE if case.durable else False
    await host.deploy(name, wasm, durable=durable, retry=RETRY, environment={"COLOUR": "blue"})
    if case.durable:
        call = await host.enqueue(name, case.body, headers=[("x-colour", "red")], key=case.key)
    else:
        call = (await host.invoke(name, case.body)).invocation_id
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with suppress(UnknownInvocation, NoJournal):  # what was called directly is written down a little later
            record = await host.invocation(call)
            if record.state == case.state and (await host.journal(call))["count"]:
                return record
        await asyncio.sleep(0.005)
    raise SystemExit(f"{case.name} is not {case.state}: {await host.invocation(call)}")


async def make(folder: Path) -> list[Entry]:
    """Writes all exports and modules; what the manifest says of them."""
    outbound = OutboundConfig(OutboundPolicy.of(schemes=("http",), allow_addresses=("127.0.0.0/8",)))
    found = []
    with origin() as url, tempfile.TemporaryDirectory() as data:
        async with AsyncHost(
            data,
            outbound=outbound,
            cache=CacheConfig(persist=True),
            invocations=InvocationsConfig(flight="all"),
            keep_versions=100,
        ) as host:
            for case in cases(url):
                found.append(await export(host, case, await run(host, case), folder))
    return found


async def export(host: AsyncHost, case: Case, record: Record, folder: Path) -> Entry:
    """Writes one, without its module, which is written once for all that it ran in."""
    guest = built()[case.guest, case.form]
    wasm = (PREBUILT / guest["file"]).read_bytes()
    digest = hashlib.sha256(wasm).hexdigest()
    assert digest == record.digest
    module = folder / f"{digest}.wasm.xz"
    if not module.exists():
        module.write_bytes(lzma.compress(wasm, preset=9))
    file = folder / f"{case.name}.guesthouse"
    file.write_bytes(await host.recordings.export(record.id, module=False))
    listed = await host.journal(record.id)
    return Entry(
        case.name, file.name, case.guest, case.form, digest, guest["source_digest"], record.state, record.result,
        record.status, listed["count"],
    )  # fmt: skip


def main(place: str = str(CORPUS)) -> None:
    """Replaces what is there of this version."""
    with tempfile.TemporaryDirectory() as made:
        entries = asyncio.run(make(Path(made)))
        toolchain = guests_manifest()["toolchain"]
        manifest = {"version": __version__, "toolchain": toolchain, "journals": [asdict(entry) for entry in entries]}
        (Path(made) / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        folder = Path(place) / __version__
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made, folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{len(entries)} journals, {size >> 10} KiB in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
