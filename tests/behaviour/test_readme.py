"""README.md: its Python runs and prints what it says, and what it names is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest

from command_line import built
from guesthouse.cli import cli
from support import ROOT

TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "code", blocks("python"), ids=lambda code: f"line {TEXT[: TEXT.index(code)].count(chr(10)) + 1}"
)
def test_a_python_example_prints_what_it_says(tmp_path, code):
    """Each `print` with a comment prints that comment."""
    (tmp_path / "hello.wasm").write_bytes(built("greet").read_bytes())
    (tmp_path / "calculator.wasm").write_bytes(built("calculator").read_bytes())
    wit = ROOT / "guests/examples/calculator/wit/calculator.wit"
    (tmp_path / "calculator.wit").write_text(wit.read_text())
    command = [sys.executable, "-W", "error", "-c", code]
    said = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "host")}, capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stderr
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert promised
    assert said.stdout.splitlines() == promised


def test_every_path_that_it_names_is_there():
    """In the texts and tables, and in commands."""
    named = set(re.findall(r"(?:abi|benchmarks|guests|host|tests|tools)/[\w./-]*\w", TEXT))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_make_target_that_it_names_is_there():
    """As the Makefile lists them."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b(?=[ `])", TEXT)) - {"and"} <= targets


def test_every_command_that_it_shows_can_be_read():
    """Subcommands and options exist."""
    shown = [line for block in blocks("sh") for line in block.splitlines()]
    shown += re.findall(r"`(guesthouse [^`]*)`", TEXT)
    parsed = 0
    for line in shown:
        words = shlex.split(line.partition("guesthouse ")[2]) if "guesthouse " in line else []
        if not words or words[0].startswith("-"):
            continue
        command: click.Command = cli
        while isinstance(command, click.Group) and words:
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} <= options, line
        parsed += 1
    assert parsed >= 6
