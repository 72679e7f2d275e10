"""`Session`: one `guesthouse dev`: builds a crate, deploys what came out, shows logs, and all again at each change.

Promises: the last version that could be built goes on answering; nothing that it started outlives it.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guesthouse.cli.crate import Crate, Sources
from guesthouse.cli.logs import told
from guesthouse.cli.manifest import Manifest
from guesthouse.cli.options import name_of
from guesthouse.cli.output import Output
from guesthouse.cli.serve import url_of
from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.errors import GuesthouseError
from guesthouse.registry.deployment import ANSWERING
from guesthouse.telemetry.records import RECORDS_PER_FUNCTION, rfc3339

if TYPE_CHECKING:
    from guesthouse.async_host import AsyncHost
    from guesthouse.gateway import Gateway

NAMESPACE = "default"


class Session:
    """One `guesthouse dev`: what it has deployed, and what it says of that."""

    def __init__(self, output: Output, crate: Crate, manifest: Manifest) -> None:
        self._output = output
        self._crate = crate
        self._manifest = manifest
        self._deployed: dict[str, str] = {}
        self._read: set[str] = set()
        self._url = ""
        self._failing = False

    def listening(self, gateway: Gateway) -> None:
        """Told once the server listens."""
        self._url = url_of(*gateway.addresses[0])
        self._say("listening", f"guesthouse is at {self._url}", {"url": self._url})

    async def run(self, host: AsyncHost) -> None:
        """Builds and deploys, now and after each change, until it is cancelled."""
        sources = Sources()
        try:
            async with asyncio.TaskGroup() as readers:
                while True:
                    sources.changed.clear()
                    await sources.watch(self._crate.roots)
                    await self._turn(host, readers)
                    await sources.watch(self._crate.roots)
                    await sources.changed.wait()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            await sources.close()

    async def _turn(self, host: AsyncHost, readers: asyncio.TaskGroup) -> None:
        began = SYSTEM_CLOCK.monotonic_ns()
        guests = await self._crate.build()
        taken = f"{(SYSTEM_CLOCK.monotonic_ns() - began) / 1e9:.1f} s"
        if guests is None:
            self._failed(host, "it does not build")
        elif not guests:
            self._failed(
                host, 'cargo built no guest: Cargo.toml needs [lib] with crate-type = ["cdylib"], or a main function'
            )
        else:
            failing, self._failing = self._failing, False
            for guest in guests:
                deployed = await self._deploy(host, guest, taken, failing)
                if deployed is not None and deployed not in self._read:
                    self._read.add(deployed)
                    readers.create_task(self._follow(host, deployed))

    async def _deploy(self, host: AsyncHost, guest: Path, taken: str, failing: bool) -> str | None:
        """Deploys what was built, if it is anything new; the function's path then."""
        name, wasm = name_of(guest), await asyncio.to_thread(guest.read_bytes)
        digest = hashlib.sha256(wasm).hexdigest()
        if self._deployed.get(name) == digest:
            if failing:
                self._say("unchanged", f"{name} is again what answers", {"name": name, "digest": digest})
            return None
        try:
            deployment = await host.deploy(name, wasm, **self._manifest)
        except GuesthouseError as error:
            self._failed(host, f"{name} cannot be deployed: {error}")
            return None
        self._deployed[name] = digest
        where = f" at {self._url}/functions/{deployment.path}" if deployment.kind in ANSWERING else ""
        text = f"{name} version {deployment.version} ({deployment.kind}, built in {taken}) answers{where}"
        about = {"name": name, "version": deployment.version, "kind": deployment.kind, "digest": digest}
        self._say("deployed", text, about)
        return deployment.path

    def _failed(self, host: AsyncHost, why: str) -> None:
        """Says what is wrong, and what goes on answering nevertheless."""
        self._failing = True
        still = ", ".join(f"{found.name} version {found.version}" for found in host.registry.list(NAMESPACE))
        text = f"{why}; {still} still answers" if still else why
        self._say("failed", click.style(text, fg="red"), {"detail": why})

    async def _follow(self, host: AsyncHost, path: str) -> None:
        """Shows a function's log from the beginning (a call may have been faster than this), and as it is written."""
        async for invocation_id, (time_ns, level, source, text) in host.logs.follow(path, RECORDS_PER_FUNCTION):
            record = {"level": level, "source": source, "invocation_id": invocation_id, "text": text}
            record["time"] = rfc3339(time_ns)
            self._say("log", told(record), {"function": path, **record})

    def _say(self, event: str, text: str, document: dict[str, Any]) -> None:
        self._output.result({"event": event, **document}, text)
