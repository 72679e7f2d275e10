"""Shell completion: the scripts, and the names that only the server knows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from command_line import built, guesthouse
from harness import until
from served import Served, served
from support import ROOT

NOBODY = "http://127.0.0.1:9"


def completed(words: str, url: str = NOBODY, **variables: str) -> list[str]:
    """What a shell is offered for the last of these words."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "host"),
        "GUESTHOUSE_URL": url,
        "_GUESTHOUSE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        **variables,
    }
    said = subprocess.run(
        [sys.executable, "-m", "guesthouse"], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stderr == ""
    return [line.partition(",")[2] for line in said.stdout.splitlines() if line]


def offers(words: str, url: str, *names: str, **variables: str) -> None:
    """Waits until a shell is offered these: a machine that is busy may keep the server from answering in time."""
    until(lambda: completed(words, url, **variables) == list(names), f"{words!r} did not offer {names}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("completion")) as running:
        assert running("deploy", built("echo"), built("greet"), built("headers")).status == 0
        assert running("deploy", built("echo"), "--namespace", "shop", "--name", "elsewhere").status == 0
        yield running


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_with_how_to_install_it(shell: str) -> None:
    """The script alone on standard output, so that it can be evaluated; the rest is in the help and in the JSON."""
    said = guesthouse("completion", shell)
    assert said.status == 0
    assert f"_GUESTHOUSE_COMPLETE={shell}_complete" in said.out
    assert said.err == ""
    document = guesthouse("completion", shell, "--json").json
    assert document["script"] == said.out.removesuffix("\n")
    assert f"guesthouse completion {shell}" in document["install"]
    assert guesthouse("completion", "tcsh").status == 2


def test_bash_completes_with_the_script(running: Served, tmp_path: Path) -> None:
    """As a person would see it."""
    program = tmp_path / "guesthouse"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m guesthouse "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(guesthouse completion bash)"
        COMP_WORDS=(guesthouse logs gr) COMP_CWORD=2
        _guesthouse_completion guesthouse
        printf '%s\\n' "${COMPREPLY[@]}"
        """
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "host"),
        "GUESTHOUSE_URL": running.url,
    }

    def offered() -> list[str]:
        said = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
        return said.stdout.split()

    until(lambda: offered() == ["greet"], "bash did not complete the name")


def test_commands_and_options_complete() -> None:
    """Without a server."""
    assert {"deploy", "doctor", "dev"} <= set(completed("guesthouse d"))
    assert {"invocations", "invoke", "queues", "secret"} <= set(completed("guesthouse "))
    assert completed("guesthouse invocations re") == ["redrive", "request"]
    assert completed("guesthouse invocations ls --state d") == ["dead"]
    assert "--follow" in completed("guesthouse logs --f")
    assert completed("guesthouse logs --level wa") == ["warn"]


@pytest.mark.parametrize("command", ["logs", "invoke", "rm", "rollback", "invocations ls"])
def test_names_of_functions_complete(running: Served, command: str) -> None:
    """By what the server says."""
    offers(f"guesthouse {command} ", running.url, "echo", "greet", "headers")
    offers(f"guesthouse {command} e", running.url, "echo")
    assert completed(f"guesthouse {command} x", running.url) == []


def test_names_are_those_of_the_namespace(running: Served) -> None:
    """Which an option or a variable names."""
    offers("guesthouse logs --namespace shop ", running.url, "elsewhere")
    offers("guesthouse logs ", running.url, "elsewhere", GUESTHOUSE_NAMESPACE="shop")
    offers(f"guesthouse logs --url {running.url} e", NOBODY, "echo")


def test_a_name_is_not_offered_twice(running: Served) -> None:
    """Where a command takes several."""
    offers("guesthouse rm echo ", running.url, "greet", "headers")


@pytest.mark.parametrize("url", [NOBODY, "nonsense", "ftp://x", "http://[::1", "http://no-such-host.invalid"])
def test_without_a_server_nothing_is_offered_and_nothing_said(url: str) -> None:
    """A shell waits for it: no error, no traceback."""
    assert completed("guesthouse logs ", url) == []


def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    """A second, not the time that a connection may take."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert completed("guesthouse logs ", f"http://127.0.0.1:{silent.getsockname()[1]}") == []


def test_a_server_that_drips_is_not_waited_for() -> None:
    """It may send a byte now and then for ever: the second is for the whole answer."""
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            peer, _ = listener.accept()
            with peer, suppress(ConnectionError):
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                while not left.wait(0.05):
                    peer.sendall(b" ")
            left.set()

        threading.Thread(target=drip, daemon=True).start()
        assert completed("guesthouse logs ", f"http://127.0.0.1:{listener.getsockname()[1]}") == []
        assert left.wait(30), "the command has ended, but its connection has not"


def test_a_token_is_shown_to_the_server(tmp_path: Path) -> None:
    """Without it the server says nothing."""
    made = guesthouse("token", "create", "me", "--scope", "all", "--quiet", "--data-dir", tmp_path)
    assert made.status == 0
    token = made.out.strip()
    with served(tmp_path) as running:
        assert running("deploy", built("echo"), TOKEN=token).status == 0
        assert completed("guesthouse logs ", running.url) == []
        offers("guesthouse logs ", running.url, "echo", GUESTHOUSE_TOKEN=token)
