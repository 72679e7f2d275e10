"""`Engine`: compiles modules in a limited child process and holds the one pool in which all instances live.

There is one engine in a process, made after any fork: its pool reserves tens of tebibytes of addresses.  All engines have
the same settings but for their pool's size, so that an artefact fits each of them; `fingerprint` names those settings.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

from guesthouse._native.api import WASMTIME_VERSION
from guesthouse._native.compile import CPU_SECONDS, INVALID
from guesthouse._native.handle import EngineHandle, ModuleHandle, NativeConfig
from guesthouse.errors import HostError, InvalidModule
from guesthouse.limits import MAX_MEMORY, KiB, MiB

MAPS_PER_GUEST = 6
"""Memory maps that one suspended guest holds: its memory's, its table's and its fiber's, with their guards."""
MAPS_RESERVED = 8_192
"""Maps that are left to everything else in the process: libraries, threads, compiled modules, the allocator."""
MOST_SLOTS = 10_000
"""Above this the pool's own bookkeeping slows every call down."""


def slots_of_machine() -> int:
    """How many guests can be alive at once on this machine: the kernel's limit on memory maps decides."""
    try:
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return 1_000
    return max(16, min(MOST_SLOTS, (limit - MAPS_RESERVED) // MAPS_PER_GUEST))


CONFIG = NativeConfig(
    pooling=True,
    slots=0,  # of the machine
    warm_slots=100,
    decommit_batch=1,  # with more, the memory of so many guests less one stays for ever: up to 128 MiB each
    keep_resident=128 * KiB,
    max_memory=MAX_MEMORY,
    table_elements=20_000,
    stack=512 * KiB,
    memory_reservation=4 << 30,
    memory_guard=32 * MiB,
    tick_us=1_000,
)
"""The settings of every engine, by measurement (ARCHITECTURE.md); an artefact fits only engines with the same."""


class Engine:
    """The process's engine: get it from `engine_of_process`.

    Raises `HostError` when used in a process forked from the one that made it.
    """

    def __init__(self) -> None:
        self._config = CONFIG._replace(slots=slots_of_machine())
        self.slots = self._config.slots
        self._handle = EngineHandle(self._config)
        self._process = os.getpid()
        settings = [WASMTIME_VERSION, platform.machine(), *self._config[5:]]
        self.fingerprint = json.dumps(settings).encode()
        """Names what an artefact must have been compiled for."""

    @property
    def handle(self) -> EngineHandle:
        """The native engine."""
        if os.getpid() != self._process:
            raise HostError("the engine was made before a fork; make the Host in the child process instead")
        return self._handle

    def compile(self, core: bytes) -> bytes:
        """The artefact of a core module, made by a child process with bounded time and memory; blocks.

        Raises `InvalidModule` with the library's words, or when the limits of the child ended it.
        """
        command = [sys.executable, "-m", "guesthouse._native.compile", json.dumps(self._config)]
        root = str(Path(__file__).parents[2])
        environment = {"PYTHONPATH": root, "PATH": os.defpath}
        try:
            child = subprocess.run(
                command, input=core, capture_output=True, env=environment, timeout=2 * CPU_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise InvalidModule(f"the module takes more than {2 * CPU_SECONDS} s to compile") from None
        if child.returncode == 0:
            return child.stdout
        said = child.stderr.decode(errors="replace").strip()
        if child.returncode == INVALID:
            raise InvalidModule(said)
        if child.returncode < 0:
            raise InvalidModule(
                f"compiling the module took more than {CPU_SECONDS} s or 4 GiB (signal {-child.returncode})"
            )
        raise HostError(f"the compiling process failed: {said[-500:]}")

    def load(self, artefact: bytes) -> ModuleHandle:
        """The module of an artefact that `compile` made (callers check its MAC before)."""
        return self.handle.load(artefact)


_lock = threading.Lock()
_engine: Engine | None = None


def engine_of_process() -> Engine:
    """The one engine of this process, made when it is first needed."""
    global _engine
    with _lock:
        if _engine is None or _engine._process != os.getpid():
            _engine = Engine()
        return _engine
