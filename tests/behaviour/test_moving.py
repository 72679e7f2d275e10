"""docs/moving.md, docs/grants.md, docs/versions.md: what they tell people to do works, and what they name is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from command_line import built, server
from guesthouse import Host
from guesthouse.cli import cli
from guesthouse.limits import Limits
from support import ROOT

PAGES = ("moving", "grants", "versions")
TEXTS = {page: (ROOT / "docs" / f"{page}.md").read_text() for page in PAGES}


def blocks(page: str, language: str) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXTS[page], re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody has built the crate `greet`, with a `guesthouse` command."""
    module = tmp_path / "target/wasm32-wasip2/release/greet.wasm"
    module.parent.mkdir(parents=True)
    shutil.copyfile(built("greet"), module)
    command = tmp_path / "bin" / "guesthouse"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m guesthouse "$@"\n')
    command.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_function_is_moved_by_following_the_page(folder: Path) -> None:
    """Every command of it, one after the other, in one shell; the server and the build are there already."""
    left_out = ("cargo build", "guesthouse serve", "guesthouse token create")
    script = "".join(block for block in blocks("moving", "sh") if not block.startswith(left_out))
    with server(folder / "data") as running:
        script = script.replace("http://127.0.0.1:8080", running.url)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("GUESTHOUSE_")}
        variables = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "host"),
            "MOMENTO_API_KEY": "a key of theirs",
            "GUESTHOUSE_URL": running.url,
        }
        said = subprocess.run(
            ["sh", "-eu", "-c", script],
            cwd=folder,
            env={**ours, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        assert said.stdout.count('{"message":"Hello, Ada!"}') == 2, "once run, once called"
        versions = running("versions", "ls", "greet", "--json").json
        assert [version["environment"] for version in versions] == [{}, {}, {"REGION": "eu"}]
        assert versions[2]["description"] == "says hello"


def test_the_limits_on_the_page_are_the_defaults() -> None:
    """Names and numbers."""
    rows = re.findall(r"^\| `(\w+)` \| ([0-9,]+) \|", TEXTS["moving"], re.MULTILINE)
    assert len(rows) >= 7
    assert {name: int(number.replace(",", "")) for name, number in rows} == {
        name: getattr(Limits(), name) for name, _ in rows
    }


def test_every_word_for_grants_is_on_the_page_and_every_example_can_be_granted() -> None:
    """All interfaces of a host that are not everybody's; each grant that the table shows is accepted at deploy."""
    shown = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", TEXTS["grants"], re.MULTILINE)))
    with Host(slots=4) as host:
        words = {interface.name for interface in host.inner.interfaces if not interface.ambient}
        assert words == {grant.partition(":")[0] for grant in shown}
        host.deploy("greet", built("greet").read_bytes(), grants=shown)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_the_page_can_be_read(page: str) -> None:
    """Subcommands and options exist."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(guesthouse [^`]*)`", TEXTS[page])
    shown = [line.strip() for line in lines if line.strip().startswith("guesthouse ")]
    assert len(shown) >= 3
    for line in shown:
        words = shlex.split(line, comments=True)[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} <= options, line


@pytest.mark.parametrize("page", PAGES)
def test_every_page_that_is_linked_is_there(page: str) -> None:
    """Files of the project; HTTP's page is among them."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXTS[page])
    missing = [link for link in links if "://" not in link and not (ROOT / "docs" / link).exists()]
    assert missing == []


def test_the_python_on_the_page_is_an_interface_that_holds_guests_to_their_grants() -> None:
    """It is what the tests of grants use, word by word."""
    (code,) = blocks("grants", "python")
    found: dict[str, object] = {}
    exec(compile(code, "docs/grants.md", "exec"), found)
    doors = found["Doors"]
    assert isinstance(doors, type)
    with Host(slots=4, interfaces=[doors()]) as host:
        host.deploy("greet", built("greet").read_bytes(), grants=["doors:7"])
        with pytest.raises(ValueError, match="a door is a number"):
            host.deploy("greet", built("greet").read_bytes(), grants=["doors:front"])


def test_the_manifest_on_the_page_is_one(tmp_path: Path) -> None:
    """With every word that there is."""
    from guesthouse.cli.manifest import read_manifest
    from guesthouse.gateway.documents import ManifestDocument

    (text,) = blocks("versions", "toml")
    (tmp_path / "hello.toml").write_text(text)
    manifest = read_manifest(tmp_path / "hello.toml")
    assert manifest.keys() == ManifestDocument().options().keys()
    assert all(manifest.values())
