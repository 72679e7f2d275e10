"""Compiles the C programs of this folder and drives them.  Knows no host: the floor is measured without guesthouse's code."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from guesthouse._native.api import _library
from guesthouse._native.declarations import differences, size_assertions
from guesthouse._native.handle import NativeConfig

HERE = Path(__file__).resolve().parent
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
LOAD_PATIENCE_S = 90


def _compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise SystemExit("the benchmarks need a C compiler on PATH (cc, gcc or clang)")
    return found


def build_load(folder: Path) -> Path:
    """The load generator, compiled into `folder`."""
    target = folder / "load"
    subprocess.run([_compiler(), *FLAGS, str(HERE / "load.c"), "-o", str(target)], check=True)
    return target


def build_floor(folder: Path) -> Path:
    """The floor, compiled into `folder` and linked to the wheel's library, whose API is checked first."""
    problems = differences((HERE / "wasmtime_sync.h").read_text())
    if problems:
        raise SystemExit("wasmtime_sync.h does not fit the installed wasmtime:\n  " + "\n  ".join(problems))
    native = Path(_native_folder())
    sizes = folder / "sizes.h"
    sizes.write_text(f'#include "wasmtime.h"\n{size_assertions()}\n')
    library = _library()
    target = folder / "floor"
    subprocess.run(
        [_compiler(), *FLAGS, f"-I{HERE}", f"-I{native}", "-include", str(sizes), str(HERE / "floor.c"), str(library),
         f"-Wl,-rpath,{library.parent}", "-lpthread", "-o", str(target)],
        check=True,
    )  # fmt: skip
    return target


def _native_folder() -> str:
    import guesthouse._native

    return guesthouse._native.__path__[0]


class Floor:
    """The running floor program with one engine and several guests' core modules."""

    def __init__(self, program: Path, config: NativeConfig, cores: Sequence[Path]) -> None:
        numbers = [str(int(number)) for number in config[1:]]
        command = [str(program), *numbers, *map(str, cores)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, core: int, mode: str, size: int, calls: int) -> list[int]:
        """Nanoseconds of each of `calls` calls of a core with a body of `size` bytes, passed by `handle` or by `value`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{core} {mode} {size} {calls}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the floor program ended; its last words are above")
        times: list[int] = json.loads(line)["ns"]
        return times

    def __enter__(self) -> Floor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Load:
    """The load generator against one server on this machine."""

    def __init__(self, program: Path, port: int) -> None:
        self._program = program
        self._port = port

    def start(
        self,
        path: str,
        *,
        body: int = 1024,
        connections: int,
        seconds: float,
        rate: float = 0,
        status: int | str = 200,
    ) -> subprocess.Popen[str]:
        """Starts it; `rate` 0 is a closed loop, else requests per second.

        Every answer must have `status`, or one of the two in "200,429", of which the second is a refusal.
        """
        words = [path, body, connections, seconds, rate, status]
        command = [str(self._program), str(self._port), *map(str, words)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def finish(running: subprocess.Popen[str]) -> dict[str, Any]:
        """Waits for it; `answers`, `seconds`, `p50` and `p99` in µs, and `refused`, `refused_p50` and `refused_p99`."""
        said, _ = running.communicate(timeout=LOAD_PATIENCE_S)
        if running.returncode:
            raise SystemExit("the load generator failed; its last words are above")
        found: dict[str, Any] = json.loads(said)
        return found

    def run(self, path: str, **options: Any) -> dict[str, Any]:
        """`start` and `finish`."""
        return self.finish(self.start(path, **options))
