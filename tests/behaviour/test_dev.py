"""`guesthouse dev`: a real process, a real crate, real changes to its files."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import toolchain
from command_line import guesthouse
from harness import until

LIB = """
use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

invoke!(answer);
fn answer(_: Data) -> String {
    println!("it was called");
    "one".into()
}
"""


class Developing:
    """A running `guesthouse dev --json`."""

    def __init__(self, process: subprocess.Popen[str], said: Path) -> None:
        self.process = process
        self.said = said
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.url = self.event("listening")["url"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of this kind; those before it are left out."""
        while True:
            event = self._events.get(timeout=toolchain.PATIENCE)
            assert event is not None, self.said.read_text()
            if event["event"] == kind:
                return event
            assert kind == "log" or event["event"] != "failed", (event, self.said.read_text())

    def answer(self) -> bytes:
        """What the function answers now."""
        connection = HTTPConnection(self.url.partition("://")[2], timeout=30)
        try:
            connection.request("POST", "/functions/default/made-dev")
            return connection.getresponse().read()
        finally:
            connection.close()

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@contextmanager
def developing(crate: Path, *arguments: str) -> Iterator[Developing]:
    said = crate.parent / "said"
    command = [sys.executable, "-m", "guesthouse", "dev", "--json", "--port", "0", *arguments]
    with (
        said.open("w") as errors,
        subprocess.Popen(
            command,
            cwd=crate,
            env=toolchain.environment(crate.parent),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Developing(process, said)
        finally:
            process.kill()
    assert "Traceback" not in said.read_text()


@pytest.fixture
def crate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small crate."""
    monkeypatch.chdir(tmp_path)
    assert guesthouse("new", "made-dev").status == 0
    crate = tmp_path / "made-dev"
    toolchain.pin_dependencies(crate)
    (crate / "src" / "lib.rs").write_text(LIB)
    return crate


def change(crate: Path, old: str, new: str, file: str = "src/lib.rs") -> None:
    """Saves a file as editors do: the new one takes the old one's place."""
    path = crate / file
    text = path.read_text()
    assert old in text
    saved = path.with_name("saved~")
    saved.write_text(text.replace(old, new))
    saved.rename(path)


@toolchain.needed
def test_a_change_is_built_deployed_and_answers(crate: Path) -> None:
    """A broken one is shown, and the version before goes on; logs are shown as they come; Ctrl-C ends it all."""
    with developing(crate, "--env", "A=1") as dev:
        deployed = dev.event("deployed")
        assert (deployed["name"], deployed["version"], deployed["kind"]) == ("made-dev", 1, "web")
        assert dev.answer() == b"one"
        log = dev.event("log")
        assert (log["text"], log["source"], log["function"]) == ("it was called", "stdout", "default/made-dev")

        change(crate, '"one"', '"two"')
        assert dev.event("deployed")["version"] == 2
        assert dev.answer() == b"two"

        change(crate, '"two".into()', '"two".nonsense()')
        failed = dev.event("failed")
        assert failed["detail"] == "it does not build"
        assert "nonsense" in dev.said.read_text(), "the compiler's own words"
        assert dev.answer() == b"two"
        change(crate, '"two".nonsense()', '"two".into()')
        dev.event("unchanged")

        change(crate, "cdylib", "rlib", "Cargo.toml")
        assert "crate-type" in dev.event("failed")["detail"]
        change(crate, "rlib", "cdylib", "Cargo.toml")
        dev.event("unchanged")

        (crate / "words").mkdir()
        (crate / "words" / "answer.txt").write_text("three")
        change(crate, '"two".into()', 'include_str!("../words/answer.txt").into()')
        assert dev.event("deployed")["version"] == 3
        change(crate, "three", "four", "words/answer.txt")
        assert dev.event("deployed")["version"] == 4
        assert dev.answer() == b"four"

        assert dev.interrupt() == 0
    with pytest.raises(ConnectionRefusedError):
        dev.answer()
    change(crate, "invoke!(answer);", "invoke!(nothing);")
    with developing(crate) as dev:
        dev.event("failed")
        assert dev.answer() == b"four", "the version of the last time"
        assert dev.interrupt() == 0


@toolchain.needed
def test_ctrl_c_ends_a_build_with_everything_that_it_started(crate: Path) -> None:
    """Here a build script that never ends."""
    pid = crate.parent / "pid"
    script = (
        'fn main() { std::fs::write("PID", std::process::id().to_string()).unwrap(); loop { std::thread::park() } }'
    )
    (crate / "build.rs").write_text(script.replace("PID", str(pid)))
    with developing(crate) as dev:
        until(lambda: pid.exists() and pid.read_text() != "", "the build script did not start")
        assert dev.interrupt() == 0
    number = int(pid.read_text())
    until(lambda: not running(number), "the build script goes on")


def running(pid: int) -> bool:
    """Whether a process runs (one that nobody has waited for does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@toolchain.needed
def test_what_may_not_be_deployed_is_said_and_the_server_stays(crate: Path) -> None:
    """A grant that does not exist is no reason to stop: the manifest or the source may be mended."""
    with developing(crate, "--grant", "cahce") as dev:
        assert "there is no interface 'cahce'" in dev.event("failed")["detail"]
        assert dev.interrupt() == 0


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crate, cargo, the folder."""
    said = guesthouse("dev", tmp_path)
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "guesthouse new" in said.err
    (tmp_path / "Cargo.toml").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    said = guesthouse("dev", tmp_path)
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "rustup.rs" in said.err
    assert guesthouse("dev", tmp_path / "nowhere").status == 2
