"""What `guesthouse doctor` looks at on the machine itself: Python, the engine, memory maps, files, the data directory, Rust.

Each check answers with findings and never raises; what it looks at is an argument, so that tests can show it a machine
that lacks something.  What is reached over a network is in `reachable.py`.
"""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import guesthouse
from guesthouse.cli import reachable
from guesthouse.cli.findings import MISSING, OK, WARN, Finding
from guesthouse.cli.output import Failure, size

if TYPE_CHECKING:
    from guesthouse.config import Config

OLDEST_PYTHON = (3, 11)
FEW_SLOTS = 1_000
FEW_FILES = 1_024
LITTLE_DISK = 1 << 30
NO_DISK = 64 << 20
"""Less than that and the first deploys fail."""
SLOW_SYNC_SECONDS = 0.25
"""A deploy waits for several; a disk of today takes milliseconds."""
TOOL_SECONDS = 20
TARGETS = ("wasm32-wasip2", "wasm32-wasip1", "wasm32-unknown-unknown")
RUSTUP = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
CHECKOUT = Path(guesthouse.__file__).resolve().parents[2]
"""Where the sources are, if this is not an installation."""


def findings(data_dir: Path | None, config: Path | None, url: str) -> Iterator[Finding]:
    """All checks, in the order in which they make sense."""
    native = list(_native())
    built = all(finding.status == OK for finding in native)
    yield _python()
    yield _headers(built)
    yield _compiler(built)
    yield from native
    yield _maps()
    yield _files(resource.getrlimit(resource.RLIMIT_NOFILE))
    chosen, finding = _configuration(data_dir, config)
    yield finding
    yield from _images(chosen)
    yield from _data_directory(chosen.data_dir)
    yield reachable.port(chosen.listen.host, chosen.listen.port)
    yield from _rust()
    yield _extra("aws", "aiobotocore", "guests that use AWS services get an error")
    yield from reachable.valkeys(chosen)
    yield from reachable.server(url)


# -- Python and what is built for it


def _python() -> Finding:
    version, oldest = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", MISSING, f"{version} is too old: {oldest} is needed", _apt("python3"), True)
    return Finding("python", OK, f"{version} at {sys.executable}", required=True)


def _headers(built: bool) -> Finding:
    folder = sysconfig.get_path("include")
    if (Path(folder) / "Python.h").is_file():
        return Finding("headers", OK, "Python's C headers are there")
    return _for_building("headers", "Python's C headers are not there", _apt("python3-dev"), built)


def _compiler(built: bool, find: Callable[[str], str | None] = shutil.which) -> Finding:
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        path = find(name.partition(" ")[0]) if name else None
        if path is not None:
            return Finding("compiler", OK, path)
    return _for_building("compiler", "there is no C compiler", _apt("gcc"), built)


def _for_building(name: str, text: str, fix: str, built: bool) -> Finding:
    if built:
        return Finding(name, WARN, f"{text}: only needed to build guesthouse anew", fix)
    return Finding(name, MISSING, f"{text}: guesthouse cannot be built", fix, True)


def _native() -> Iterator[Finding]:
    """Whether the glue is built for the wasmtime that is installed, and an engine can be made with it."""
    rebuild = f"{sys.executable} -m pip install --force-reinstall --no-deps {_self()}"
    try:
        from guesthouse._native.api import WASMTIME_VERSION
        from guesthouse.engine.engine import engine_of_process
    except Exception as error:  # whatever a broken library does
        yield Finding("glue", MISSING, f"the native part does not load: {_reason(error)}", rebuild, True)
        return
    yield Finding("glue", OK, f"built for wasmtime {WASMTIME_VERSION}, which is installed", required=True)
    try:
        slots = engine_of_process().slots
    except Exception as error:
        text = f"the engine cannot reserve its address space: {_reason(error)}"
        yield Finding("engine", MISSING, text, "ulimit -v unlimited", True)
        return
    yield Finding("engine", OK, f"room for {slots:,} guests at once", required=True)


def _self() -> str:
    return f"--editable {CHECKOUT}" if (CHECKOUT / "pyproject.toml").is_file() else "guesthouse"


# -- what the kernel allows


def _maps(path: Path = Path("/proc/sys/vm/max_map_count")) -> Finding:
    try:
        count = int(path.read_text())
    except (OSError, ValueError):
        return Finding("memory maps", WARN, "the kernel does not say how many a process may have")
    try:
        from guesthouse.engine.engine import MAPS_PER_GUEST, MAPS_RESERVED
    except Exception:
        return Finding("memory maps", OK, f"vm.max_map_count is {count:,}")
    slots = max(16, (count - MAPS_RESERVED) // MAPS_PER_GUEST)
    text = f"vm.max_map_count is {count:,}: enough for {slots:,} guests at once"
    return Finding("memory maps", OK if slots >= FEW_SLOTS else WARN, text, _raise_maps(count, slots))


def _raise_maps(count: int, slots: int) -> str:
    return "" if slots >= FEW_SLOTS else "sudo sysctl -w vm.max_map_count=65530"


def _files(limits: tuple[int, int]) -> Finding:
    _, hard = limits
    if hard == resource.RLIM_INFINITY or hard > FEW_FILES:
        most = "any number of" if hard == resource.RLIM_INFINITY else f"{hard:,}"
        return Finding("open files", OK, f"a process may have {most} open files: each connection is one")
    text = f"a process may have only {hard:,} open files: each connection is one"
    return Finding("open files", WARN, text, "ulimit -Hn 65536, or LimitNOFILE=65536 in the unit of systemd")


# -- the configuration and the data directory


def _configuration(data_dir: Path | None, path: Path | None) -> tuple[Config, Finding]:
    from guesthouse.cli.settings import settings
    from guesthouse.config import FILE, Config
    from guesthouse.dispatch.deliveries import CallbackConfig
    from guesthouse.errors import BadRequest

    source = path or Path(FILE)
    try:
        chosen = settings({"data_dir": data_dir}, path)
        try:
            CallbackConfig(secret=chosen.callbacks.secret).key()
        except BadRequest as error:
            raise Failure(f"{source}: {error}") from None
    except Failure as failure:
        default = Config.model_construct()
        plain = default if data_dir is None else default.model_copy(update={"data_dir": data_dir})
        return plain, Finding("settings", MISSING, failure.message, f"correct it: {source}", True)
    text = f"{source} is fine" if source.is_file() else "no configuration file: everything has its default"
    return chosen, Finding("settings", OK, text, required=True)


def _images(chosen: Config) -> Iterator[Finding]:
    """Those of the configuration: a deploy of one that is not there is refused."""
    gone = [(image, path) for image, path in chosen.images.items() if not path.is_file()]
    for image, path in gone:
        yield Finding("images", WARN, f"{image} is {path}, which is no file", "build it, or correct [images]")
    folder = chosen.openfaas.images_dir
    if folder is not None and not folder.is_dir():
        yield Finding("images", WARN, f"openfaas.images_dir is {folder}, which is no directory", f"mkdir -p {folder}")
    elif chosen.images and not gone:
        yield Finding("images", OK, f"all {len(chosen.images)} files of [images] are there")


def _data_directory(path: Path) -> Iterator[Finding]:
    path = path.expanduser().absolute()
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    problem = _unusable(path, there)
    if problem is not None:
        yield problem
        return
    state = "is there" if path.exists() else "will be made at the first start"
    yield Finding("data", OK, f"{path} {state}", required=True)
    yield _disk(there)
    yield _sync(there)


def _unusable(path: Path, there: Path) -> Finding | None:
    """Why the data directory cannot be used, where it cannot; `there` is what exists of it."""
    if not there.is_dir():
        return Finding("data", MISSING, f"{there} is no directory", "choose another with --data-dir", True)
    if not os.access(there, os.W_OK | os.X_OK):
        fix = f"sudo install -d -m 700 -o {os.getuid()} {path}"
        return Finding("data", MISSING, f"{there} may not be written by this user", fix, True)
    if there == path and stat.S_IMODE(path.stat().st_mode) & 0o002:
        return Finding("data", MISSING, f"{path} is writable by every user", f"chmod 700 {path}", True)
    return None


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{size(free)} are free for functions, their versions and compiled code"
    if free >= LITTLE_DISK:
        return Finding("disk", OK, text)
    fix = "make room, or choose another place with --data-dir"
    return Finding("disk", MISSING if free < NO_DISK else WARN, text, fix, free < NO_DISK)


def _sync(folder: Path) -> Finding:
    """Whether what is written is on the disk once the system says so; that a deploy survives a crash rests on it."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"guesthouse")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fix = "choose a place on a local disk with --data-dir"
        return Finding("fsync", MISSING, f"writing to the disk fails: {error.strerror}", fix, True)
    taken = time.monotonic() - began
    text = f"a write is on the disk after {taken * 1e3:.1f} ms"
    slow = taken > SLOW_SYNC_SECONDS
    return Finding("fsync", WARN if slow else OK, text, "choose a faster disk with --data-dir" if slow else "")


# -- for those who write functions


def _rust(find: Callable[[str], str | None] = shutil.which) -> Iterator[Finding]:
    """Rust and its targets; nobody needs them to run functions."""
    absent = [name for name in ("rustc", "cargo") if find(name) is None]
    if absent:
        yield Finding(
            "rust", MISSING, f"no {' and no '.join(absent)}: needed to write functions, not to run them", RUSTUP
        )
        return
    version = _said("rustc", "--version")
    if version is None:
        yield Finding("rust", MISSING, "rustc does not answer", RUSTUP)
        return
    yield Finding("rust", OK, version)
    absent = [target for target in TARGETS if not _has_target(target)]
    if not absent:
        yield Finding("targets", OK, ", ".join(TARGETS))
        return
    text = f"no {', '.join(absent)}: functions cannot be built for {'it' if len(absent) == 1 else 'them'}"
    add = f"rustup target add {' '.join(absent)}"
    needed = TARGETS[0] in absent
    yield Finding("targets", MISSING if needed else WARN, text, add if find("rustup") else f"{RUSTUP}; {add}")


def _has_target(target: str) -> bool:
    folder = _said("rustc", "--print", "target-libdir", "--target", target)
    return folder is not None and any(Path(folder).glob("libstd-*.rlib"))


def _extra(name: str, module: str, without: str) -> Finding:
    if find_spec(module) is not None:
        return Finding(name, OK, f"the extra [{name}] is installed")
    return Finding(
        name,
        WARN,
        f"the extra [{name}] is not installed: {without}",
        f"{sys.executable} -m pip install 'guesthouse[{name}]'",
    )


def _said(*command: str) -> str | None:
    """The output of a tool; `None` where it fails."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def _apt(package: str) -> str:
    return f"sudo apt install {package}"


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
