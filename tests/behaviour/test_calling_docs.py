"""docs/calling.md, docs/invocations.md, docs/retries.md: what they tell people to do works, and what they name is there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args

import click
import pytest

from command_line import built, server
from guesthouse import Host
from guesthouse.cli import cli
from guesthouse.gateway.routes import ROUTES
from guesthouse.gateway.schemas_invocations import INVOCATION
from guesthouse.gateway.wishes import NAMES
from guesthouse.queue.call import State
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.registry.policy import FlowPolicy, RetryPolicy
from pages import page_blocks, page_shell
from support import ROOT

PAGES = ("calling", "invocations", "retries")
TEXTS = {page: (ROOT / "docs" / f"{page}.md").read_text() for page in PAGES}


def blocks(page: str, language: str) -> list[str]:
    """The code blocks in a language."""
    return page_blocks(ROOT / "docs" / f"{page}.md", language)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_pages_works(tmp_path: Path) -> None:
    """One after the other, in one shell; the function and the server are there already."""
    shutil.copyfile(built("greet"), tmp_path / "greet.wasm")
    manifest = "\n".join(block for block in blocks("retries", "toml"))
    (tmp_path / "greet.toml").write_text(manifest)
    script = "".join(block for page in PAGES for block in blocks(page, "sh"))
    with server(tmp_path / "data") as running:
        assert running("deploy", tmp_path / "greet.wasm").status == 0
        said = page_shell(script, tmp_path, running.url)
        assert said.count('{"message":"Hello, Ada!"}') == 7
        assert "HTTP/1.1 202 Accepted" in said
        assert "greeting-18" in {found["call_id"] for found in running("invocations", "ls", "--json").json}


def test_the_python_of_the_page_works() -> None:
    """Word by word."""
    (code,) = blocks("calling", "python")
    found: dict[str, object] = {"module": built("greet").read_bytes()}
    exec(compile(code, "docs/calling.md", "exec"), found)
    assert found["answer"] == found["later"]
    assert json.loads(str(found["answer"])) == {"message": "Hello, Ada!"}


def test_the_settings_of_the_pages_are_settings_and_their_defaults() -> None:
    """Every word of the two policies; every bound of the queue that a page names."""
    policies = tomllib.loads("\n".join(blocks("retries", "toml")))
    assert policies["retry"].keys() == {field.name for field in fields(RetryPolicy)}
    assert (
        RetryPolicy(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in policies["retry"].items()}
        )
        == RetryPolicy()
    )
    assert policies["flow"].keys() == {field.name for field in fields(FlowPolicy)}
    assert policies["flow"]["adaptive"] is FlowPolicy().adaptive
    (written,) = [tomllib.loads(block)["invocations"] for block in blocks("invocations", "toml")]
    assert InvocationsConfig(**written) == InvocationsConfig()
    named = {word for page in PAGES for word in re.findall(r"`queue\.(\w+)`", TEXTS[page])}
    assert named <= {field.name for field in fields(QueueConfig)}
    assert len(named) >= 6


def test_every_state_field_header_and_route_is_on_its_page() -> None:
    """And none that there is not."""
    states = re.findall(
        r"^\| `(\w+)` \|", TEXTS["invocations"].partition("| state |")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert set(states) == set(get_args(State))
    table = TEXTS["invocations"].partition("| field | is |")[2].partition("\n\n")[0]
    known = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE))))
    assert known == INVOCATION["properties"].keys() - {"id", "namespace", "name"}
    assert all(f"| `{name}" in TEXTS["calling"] for name in NAMES.values())
    paths = {route.path.replace("{id}", "ID") for route in ROUTES if route.path.startswith("/invocations")}
    shown = {path.partition("?")[0] for path in re.findall(r"`[A-Z]+ (/invocations[^`]*)`", TEXTS["invocations"])}
    assert shown == paths


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_the_page_can_be_read(page: str) -> None:
    """Subcommands and options exist."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(guesthouse [^`]*)`", TEXTS[page])
    shown = [line.strip() for line in lines if line.strip().startswith("guesthouse ")]
    assert len(shown) >= 3
    for line in shown:
        words = shlex.split(line.partition("|")[0], comments=True)[1:]
        command: click.Command = cli
        while isinstance(command, click.Group) and words:
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("-")} <= options, line


@pytest.mark.parametrize("page", PAGES)
def test_every_page_that_is_linked_is_there(page: str) -> None:
    """Also the part of it."""
    for link, _, part in re.findall(r"\]\(([^)#]*)(#([^)]*))?\)", TEXTS[page]):
        if "://" not in link:
            target = ROOT / "docs" / (link or f"{page}.md")
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert not part or part in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, (
                part
            )


def test_the_methods_of_the_table_are_the_hosts() -> None:
    """Each of them, with its arguments."""
    calls = re.findall(r"`host\.(\w+)\(([^)]*)\)`", TEXTS["invocations"])
    assert len(calls) >= 8
    for name, _ in calls:
        assert callable(getattr(Host, name))
