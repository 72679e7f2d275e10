"""A real Valkey or Redis server on loopback for tests, and where to get one without installing anything.

Promises: found on PATH, else in `.cache/`, else fetched there as Debian's package by `apt-get download`, which needs no
root; it keeps nothing on disk and dies with the test run.  Where it cannot be had, tests are skipped and say why.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[1] / ".cache" / "valkey"
NAMES = ("valkey", "redis")
PATIENCE = 30


class Unavailable(Exception):
    """There is no server on this machine, and none could be fetched."""


class ValkeyServer:
    """A server process; `kill` and `start` it again as often as a test likes: the port stays."""

    def __init__(self, *arguments: str) -> None:
        """`arguments` are options of the server, like `--requirepass secret`."""
        self._program, self._libraries = find_server()
        self._arguments = arguments
        self._folder = tempfile.TemporaryDirectory(prefix="valkey-")
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = Path(self._folder.name) / "socket"
        self.port = 0
        atexit.register(self.close)
        for _ in range(3):  # somebody else may take the port meanwhile
            self.port = _free_port()
            if self.start():
                return
        raise AssertionError(f"{self._program} does not start")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> bool:
        """Starts it and waits until it answers; whether it does."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--save", ""]
        options += ["--appendonly", "no", "--dir", self._folder.name, "--loglevel", "warning", *self._arguments]
        dies_with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self._process = subprocess.Popen(
            [*dies_with_us, self._program, *options],
            env={**os.environ, "LD_LIBRARY_PATH": self._libraries},
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.005)
        self.kill()
        return False

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Ends it for good; may be called twice."""
        atexit.unregister(self.close)
        self.kill()
        self._folder.cleanup()

    def ask(self, *command: str) -> bytes:
        """The beginning of the reply to one command, as it came over the wire."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            parts = [argument.encode() for argument in command]
            request = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
            connection.sendall(b"*%d\r\n%b" % (len(parts), request))
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            return self.ask("PING")[:1] in (b"+", b"-")  # an error asks for a password
        except OSError:
            return False


@pytest.fixture(scope="session")
def valkey_process() -> Iterator[ValkeyServer]:
    """One server for the whole run."""
    server = _server()
    yield server
    server.close()


@pytest.fixture
def valkey_server(valkey_process: ValkeyServer) -> ValkeyServer:
    """A server without any data."""
    assert valkey_process.ask("FLUSHALL") == b"+OK\r\n"
    return valkey_process


@pytest.fixture
def own_valkey_server() -> Iterator[ValkeyServer]:
    """A server that a test may kill."""
    server = _server()
    yield server
    server.close()


def _server() -> ValkeyServer:
    try:
        return ValkeyServer()
    except Unavailable as error:
        pytest.skip(f"no Valkey or Redis server: {error}")


def find_server() -> tuple[str, str]:
    """The server program, and the folders with the libraries that it needs; raises `Unavailable`."""
    found = _search()
    if isinstance(found, Unavailable):
        raise found
    return found


@cache
def _search() -> tuple[str, str] | Unavailable:
    """Looks once: where apt has to be asked in vain, that takes long."""
    try:
        return _find()
    except Unavailable as error:
        return error


def _find() -> tuple[str, str]:
    for name in NAMES:
        program = shutil.which(f"{name}-server")
        if program is not None:
            return program, os.environ.get("LD_LIBRARY_PATH", "")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = CACHE / "root"
        if not root.is_dir():
            fetch(root)
    return _inside(root)


def fetch(root: Path) -> None:
    """Unpacks Debian's package into `root`, which appears only when all is there; raises `Unavailable`."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"none on PATH or in {CACHE}, and {tool} is missing, so none can be fetched")
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        debs, unpacked = Path(folder) / "debs", Path(folder) / "root"
        debs.mkdir()
        unpacked.mkdir()
        _download(debs)
        for deb in debs.glob("*.deb"):
            _run("dpkg-deb", "-x", str(deb), str(unpacked))
        _inside(unpacked)
        unpacked.rename(root)


def _inside(root: Path) -> tuple[str, str]:
    for name in NAMES:
        program = root / "usr" / "bin" / f"{name}-server"
        if program.exists():
            return str(program), ":".join(sorted({str(found.parent) for found in root.rglob("lib*.so*")}))
    raise Unavailable(f"{root} holds no server")


def _download(folder: Path) -> None:
    """The packages, from the machine's package lists, or from lists of our own where it has none."""
    try:
        _download_with(folder, [])
    except Unavailable:
        state = folder / "apt"
        options = [f"-oDir::State::lists={state}/lists", f"-oDir::Cache={state}"]
        (state / "lists" / "partial").mkdir(parents=True)
        (state / "archives" / "partial").mkdir(parents=True)
        _run("apt-get", *options, "update")
        _download_with(folder, options)


def _download_with(folder: Path, options: list[str]) -> None:
    for name in NAMES:
        found = _run("apt-cache", *options, "depends", f"{name}-server", f"{name}-tools", check=False)
        needed = [line.split()[-1] for line in found.splitlines() if line.strip().startswith("Depends: lib")]
        if needed:
            packages = [f"{name}-server", f"{name}-tools", *{package for package in needed if package != "libc6"}]
            _run("apt-get", *options, "download", *packages, folder=folder)
            return
    raise Unavailable("none on PATH, and apt knows no package of one")


def _run(*command: str, folder: Path | None = None, check: bool = True) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if check and done.returncode:
        raise Unavailable(f"{' '.join(command[:1])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
