"""`Crate` builds guests with cargo; `Sources` tells when what they are built from has changed.

Promises: what the compiler says goes to standard error as it is said; a build that is cancelled leaves no process
behind; writing to the target folder is no change.  Knows nothing of hosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from watchfiles import DefaultFilter, awatch
from watchfiles.filters import BaseFilter

from guesthouse.errors import HostError

OWN_FOLDER = ".guesthouse"
LEFT_OUT = frozenset({"target", OWN_FOLDER, ".git", "Cargo.lock"})
"""What building and serving write themselves."""
NO_SOURCES = LEFT_OUT.union(DefaultFilter.ignore_dirs)
"""Folders of a crate that are not watched: large ones of other tools too."""
LONGEST_LINE = 64 << 20
"""Bytes of one message of cargo: it names every file of a crate."""
BUILT = frozenset({"cdylib", "bin"})
"""Types of crates that become guests: functions, and commands."""
LOCAL = "path+file://"
"""What the ids of packages begin with whose sources are here."""


class Crate:
    """The Rust crate (or workspace) in `folder`."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        self.roots = {folder}
        """Folders of all packages that it is built from and whose sources are here: path dependencies too."""
        self._target = target

    async def build(self) -> list[Path] | None:
        """The guests that cargo built; `None` where it did not, and has said why.  Raises `HostError` without a cargo."""
        process = await self._start()
        guests: list[Path] = []
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                if line.startswith(b"{"):
                    guests += self._read(json.loads(line))
            return None if await process.wait() else guests
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        command = ("cargo", "build", "--release", "--target", self._target)
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                "--message-format=json-render-diagnostics",
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                start_new_session=True,  # so that the compilers go with it, and a Ctrl-C reaches us first
            )
        except OSError as error:
            raise HostError(f"cargo cannot be started: {error}") from None

    def _read(self, message: dict[str, Any]) -> list[Path]:
        """The guests of one of cargo's messages."""
        if message.get("reason") != "compiler-artifact" or not message["package_id"].startswith(LOCAL):
            return []
        self.roots.add(Path(message["manifest_path"]).parent)
        if not BUILT.intersection(message["target"]["crate_types"]):
            return []
        return [Path(name) for name in message["filenames"] if name.endswith(".wasm")]


class Sources:
    """Watches the folders of crates."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._watched: tuple[frozenset[Path], frozenset[Path]] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def watch(self, roots: set[Path]) -> None:
        """Watches these from now on, without what is written while building; cheap where nothing is new.

        Raises `HostError` where the system does not let us.
        """
        try:
            for task in self._tasks:
                if task.done():
                    task.result()
            await self._watch(roots)
        except OSError as error:
            raise HostError(f"the sources cannot be watched: {error}") from None

    async def _watch(self, roots: set[Path]) -> None:
        inner = frozenset(entry for root in roots for entry in root.iterdir() if _is_sources(entry))
        wanted = frozenset(roots), inner
        if wanted == self._watched:
            return
        first = self._watched is None
        await self.close()
        self._watched = wanted
        self._tasks = [
            asyncio.create_task(self._follow(folders, recursive))
            for folders, recursive in zip(wanted, (False, True), strict=True)
            if folders
        ]
        await asyncio.sleep(0)  # they watch from their first step on
        if not first:  # who knows what happened between
            self.changed.set()

    async def close(self) -> None:
        """Watches no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _follow(self, folders: frozenset[Path], recursive: bool) -> None:
        try:
            async for _ in awatch(*folders, watch_filter=_Filter(), recursive=recursive):
                self.changed.set()
        finally:
            self.changed.set()  # the next `watch` finds out why


class _Filter(BaseFilter):
    """Leaves out what editors and builds write; folders are not looked at, for those watched were chosen."""

    ignore_entity_patterns = (*DefaultFilter.ignore_entity_patterns, *(f"^{name}$" for name in sorted(LEFT_OUT)))


def _is_sources(entry: Path) -> bool:
    return entry.name not in NO_SOURCES and entry.is_dir()
