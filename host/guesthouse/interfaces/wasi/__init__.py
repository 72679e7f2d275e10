"""WASI for guests that need a standard library: 0.2 by interface, and preview 1 by core signature.

Clocks, randomness, arguments, environment, exit and the standard streams work; the file system is read-only and has
nothing but the secrets of the deployment; sockets are not offered.
Interfaces are answered at 0.2.12, which any 0.2.x links to.
"""

from __future__ import annotations

from guesthouse.interfaces.wasi.cli import TERMINAL_INPUT, TERMINAL_OUTPUT, Cli, TerminalInput, TerminalOutput
from guesthouse.interfaces.wasi.clocks import Clocks
from guesthouse.interfaces.wasi.filesystem import TYPES, DirectoryEntryStream, Filesystem
from guesthouse.interfaces.wasi.io import ERROR, POLL, STREAMS, InputStream, Io, IoError, OutputStream, Pollable
from guesthouse.interfaces.wasi.preview1 import Preview1
from guesthouse.interfaces.wasi.program import Program
from guesthouse.interfaces.wasi.random import Random
from guesthouse.interfaces.wasi.state import Exited
from guesthouse.interfaces.wasi.tree import Descriptor


class WasiInterface(Io, Clocks, Cli, Random, Filesystem, Preview1):
    """All of WASI that is offered: `WasiInterface(clock, sleep=asyncio.sleep, secrets=None)`."""

    name = "wasi"
    ambient = True
    local = True
    resources = {  # noqa: RUF012  # a ClassVar in the base class
        (POLL, "pollable"): Pollable,
        (ERROR, "error"): IoError,
        (STREAMS, "input-stream"): InputStream,
        (STREAMS, "output-stream"): OutputStream,
        (TERMINAL_INPUT, "terminal-input"): TerminalInput,
        (TERMINAL_OUTPUT, "terminal-output"): TerminalOutput,
        (TYPES, "descriptor"): Descriptor,
        (TYPES, "directory-entry-stream"): DirectoryEntryStream,
    }


__all__ = ["Exited", "Program", "WasiInterface"]
