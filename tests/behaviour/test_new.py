"""`guesthouse new`: a crate that builds, with a test that runs it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

import toolchain
from command_line import guesthouse
from guesthouse.cli import cli

FILES = {
    ".cargo/config.toml",
    ".gitignore",
    "Cargo.toml",
    "README.md",
    "rust-toolchain.toml",
    "src/lib.rs",
    "tests/guest.rs",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["web", "spawn"])
def test_a_crate_is_made_with_all_that_it_needs(folder: Path, kind: str) -> None:
    """Its name everywhere, on the published crates, no placeholder left."""
    said = guesthouse("new", "my-crate-2", "--kind", kind, "--json").json
    assert set(said["files"]) == FILES
    assert said["folder"] == str(folder / "my-crate-2")
    texts = {name: (folder / "my-crate-2" / name).read_text() for name in FILES}
    assert not [name for name, text in texts.items() if "@" in text]
    crate = tomllib.loads(texts["Cargo.toml"])
    assert crate["package"]["name"] == "my-crate-2"
    assert crate["lib"]["crate-type"] == ["cdylib"]
    assert f"momento-functions-guest-{kind}" in crate["dependencies"]
    assert "my_crate_2.wasm" in texts["tests/guest.rs"]
    assert tomllib.loads(texts["rust-toolchain.toml"])["toolchain"]["targets"] == ["wasm32-wasip2"]
    assert tomllib.loads(texts[".cargo/config.toml"])


def test_the_next_three_commands_are_said(folder: Path) -> None:
    """To standard error, for the output is what was made; `--quiet` says nothing."""
    said = guesthouse("new", "hello")
    assert said.out == "made hello/, a web function in Rust\n"
    assert said.err.splitlines() == ["next:", "  cd hello", "  cargo test", "  guesthouse dev"]
    quiet = guesthouse("new", "other", "--quiet")
    assert (quiet.out, quiet.err) == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        *("", "Hello", "hello_world", "2fast", "-x", "a--b", "a-", "é", "../up", "a/b", ".", "a" * 64, "a\n", "a b"),
        *("fn", "self", "test", "std", "core", "serde", "build", "async", "momento-functions-bytes"),
    ],
)
def test_what_cannot_name_a_function_and_a_crate_is_a_usage_error(folder: Path, name: str) -> None:
    """Characters, length, words that Rust or cargo need; nothing is made."""
    said = guesthouse("new", "--", name)
    assert said.status == 2
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("there", ["a folder", "a file", "a link"])
def test_what_exists_is_left_alone(folder: Path, there: str) -> None:
    """A folder, even an empty one, a file, a link to nowhere."""
    path = folder / "hello"
    if there == "a folder":
        path.mkdir()
    elif there == "a file":
        path.write_text("mine")
    else:
        path.symlink_to(folder / "nowhere")
    said = guesthouse("new", "hello")
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "exists already" in said.err
    assert os.listdir(folder) == ["hello"]


def test_the_readme_shows_commands_that_are_there(folder: Path) -> None:
    """Subcommands and options, of both kinds."""
    for kind in ("web", "spawn"):
        guesthouse("new", f"a-{kind}", "--kind", kind)
        text = (folder / f"a-{kind}" / "README.md").read_text()
        shown = re.findall(r"^(guesthouse .*?)(?: +#.*)?$", text, re.MULTILINE)
        assert len(shown) >= 2
        for line in shown:
            words = shlex.split(line)[1:]
            command = cli.commands[words.pop(0)]
            assert isinstance(command, click.Command)
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= options, line


@toolchain.needed
@pytest.mark.parametrize("kind", ["web", "spawn"])
def test_the_crate_builds_and_its_test_runs_the_guest(folder: Path, kind: str) -> None:
    """As its README says: `cargo test`, here in release mode, so that what both halves of it need is built once."""
    guesthouse("new", f"made-{kind}", "--kind", kind)
    crate = folder / f"made-{kind}"
    toolchain.pin_dependencies(crate)
    said = subprocess.run(
        ["cargo", "test", "--release", "--quiet"],
        cwd=crate,
        env=toolchain.environment(folder),
        capture_output=True,
        text=True,
        timeout=toolchain.PATIENCE,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.count("test result: ok. ") == 2
    assert "test result: ok. 2 passed" in said.stdout
    assert "warning" not in said.stderr
