"""The command line as tests use it: commands in this process, and real servers beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from guesthouse.cli import cli
from support import GUESTS, ROOT, manifest


class Said:
    """What a command answered."""

    def __init__(self, result) -> None:
        self.status: int = result.exit_code
        self.body: bytes = result.stdout_bytes
        self.out: str = result.stdout_bytes.decode(errors="replace")
        self.err: str = result.stderr

    @property
    def json(self):
        return json.loads(self.out)


def guesthouse(*arguments: object, data: bytes | None = None, **variables: str) -> Said:
    """Runs a command; `variables` are those of ours, without their prefix."""
    ours = {name: None for name in os.environ if name.startswith("GUESTHOUSE_")}
    environment = {**ours, **{f"GUESTHOUSE_{name}": value for name, value in variables.items()}}
    result = CliRunner(env=environment).invoke(
        cli, [str(argument) for argument in arguments], input=data, prog_name="guesthouse"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result)


def built(name: str, form: str = "wasip2") -> Path:
    """The file of a built guest."""
    return GUESTS / manifest()[name, form]["file"]


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], said: dict[str, str]) -> None:
        self.process = process
        self.url = said["url"]
        self.data_dir = said["data_dir"]

    def __call__(self, *arguments: object, data: bytes | None = None, **variables: str) -> Said:
        """Runs a command against this server."""
        return guesthouse(*arguments, data=data, URL=self.url, **variables)

    def stop(self) -> int:
        """Ends it as a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def serve(*arguments: object) -> subprocess.Popen[str]:
    """Starts `guesthouse serve` on a free port."""
    command = [sys.executable, "-m", "guesthouse", "serve", "--json", "--port", "0", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GUESTHOUSE_")}
    environment["PYTHONPATH"] = str(ROOT / "host")
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT / "tests"
    )


@contextmanager
def server(data_dir: Path, *arguments: object) -> Iterator[Server]:
    """A server that runs."""
    with serve("--data-dir", data_dir, "--log-level", "warning", *arguments) as process:
        try:
            assert process.stdout is not None
            yield Server(process, json.loads(process.stdout.readline()))
        finally:
            process.kill()
