"""The process that compiles one module: `python -m guesthouse._native.compile CONFIG < wasm > artefact`.

A module can be made to compile for very long or into very much memory (G22), so this runs under hard limits that it sets
itself before it reads a byte of the module.  Exits with 3 and the reason on stderr where the module is not valid.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys

CPU_SECONDS = 60
"""More than a hundred times what the largest sample guest needs."""
ADDRESS_SPACE = 4 << 30
"""Compiling a guest of 4 MB takes about 300 MB."""
ARTEFACT = 256 << 20
"""Largest artefact: functions of nothing become seventy times their size, real guests four times."""
NICENESS = 10
"""Who calls functions goes before who deploys them."""
INVALID = 3
PR_SET_NO_NEW_PRIVS = 38


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main() -> int:
    """Compiles standard input to standard output."""
    _limit_process()
    from guesthouse._native.handle import EngineHandle, NativeConfig
    from guesthouse.errors import InvalidModule

    config = NativeConfig(*json.loads(sys.argv[1]))._replace(pooling=False)
    try:
        artefact = EngineHandle(config).compile(sys.stdin.buffer.read())
    except InvalidModule as error:
        print(error, file=sys.stderr)
        return INVALID
    if len(artefact) > ARTEFACT:
        print(
            f"the compiled module has {len(artefact):,} bytes, more than the {ARTEFACT:,} that are kept",
            file=sys.stderr,
        )
        return INVALID
    sys.stdout.buffer.write(artefact)
    return 0


if __name__ == "__main__":
    sys.exit(main())
