"""A `guesthouse serve` that is killed: how it is started, when it can be called, and the moment of its end.

Promises: whatever happens, the process is gone when the object is closed; what it printed is kept for the report.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp

from support import ROOT

PATIENCE_S = 60.0
"""No start may take longer, however busy the machine is."""


def free_port() -> int:
    """One that nobody listens on; a server keeps it over its restarts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CrashServer:
    """One data directory, and the process on it, if there is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.generation = 0
        """How many processes were started."""
        self.said = folder / "said.txt"
        self._process: asyncio.subprocess.Process | None = None
        self.started = 0.0
        """When the process was started, on the loop's clock."""

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    async def start(self) -> None:
        """Starts a process; returns before it listens."""
        command = [sys.executable, "-m", "guesthouse", "serve", "--port", str(self.port), "--data-dir", str(self.data),
                   "--config", str(self.folder / "guesthouse.toml"), "--log-level", "warning"]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GUESTHOUSE_")}
        environment["PYTHONPATH"] = str(ROOT / "host")
        self.generation += 1
        self.started = asyncio.get_running_loop().time()
        with self.said.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=said, env=environment
            )

    async def ready(self, session: aiohttp.ClientSession) -> float:
        """Waits until it says that it is ready; the seconds from its start."""
        loop = asyncio.get_running_loop()
        while True:
            self._check()
            with suppress(aiohttp.ClientError, OSError):
                async with session.get(f"{self.url}/readyz") as answer:
                    if answer.status == 200:
                        return loop.time() - self.started
            if loop.time() > self.started + PATIENCE_S:
                raise AssertionError("the server does not become ready")
            await asyncio.sleep(0.01)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Ends it, and waits for that; its status."""
        process = self._process
        assert process is not None
        with suppress(ProcessLookupError):
            process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            return await process.wait()

    async def close(self) -> None:
        """Leaves nothing behind."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    def rss(self) -> int:
        """Bytes of memory that it occupies."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    async def checkpointing(self) -> None:
        """Waits until the log is being copied into the database: nothing else writes to that file."""
        path = self.data / "guesthouse.db"
        before = path.stat().st_mtime_ns
        while path.stat().st_mtime_ns == before:
            await asyncio.sleep(0.001)

    def _check(self) -> None:
        if self._process is None or self._process.returncode is not None:
            raise AssertionError(f"the server ended by itself: {self.said.read_text()[-2000:]}")
