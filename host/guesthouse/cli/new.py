"""`guesthouse new`: a crate of one's own, with a test that builds the guest and calls it.

The files come from `templates/`; the placeholders @NAME@ and @CRATE@ are all that is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from guesthouse.cli.output import Failure, Output, with_output
from guesthouse.registry.deployment import MAX_NAME

NAME = re.compile(r"[a-z](?:-?[a-z0-9])*\Z")
"""What can name both a function and a crate."""
WORDS = """
abstract alloc as async await become box break build const continue core crate deps do dyn else enum examples extern false
final fn for gen if impl in incremental let loop macro match mod move mut override priv proc-macro pub ref return self
serde static std struct super test trait true try type typeof unsafe unsized use virtual where while yield
"""
"""Rust's keywords, its own crates, what cargo keeps for itself, and what the templates depend on."""
TAKEN = frozenset(WORDS.split())
HIDDEN = "dot-"
"""What the names of files begin with that are hidden in the crate: packaging leaves hidden files out."""


@click.command(
    epilog="""\
\b
Examples:
  guesthouse new hello
  guesthouse new resize --kind spawn
"""
)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["web", "spawn"]),
    default="web",
    show_default=True,
    help="web: called over HTTP. spawn: started by other functions.",
)
@with_output
def new(output: Output, name: str, kind: str) -> None:
    """Makes a Rust crate NAME here, with a function and its test."""
    check(name)
    folder = Path(name)
    try:
        folder.mkdir()
    except FileExistsError:
        raise Failure(f"{folder} exists already: choose another name, or remove it") from None
    except OSError as error:
        raise Failure(f"{folder} cannot be made: {error.strerror}") from None
    templates = files("guesthouse") / "templates"
    written = [write(source, folder, name) for part in ("common", kind) for source in sorted_files(templates / part)]
    document = {"name": name, "kind": kind, "folder": str(folder.absolute()), "files": sorted(written)}
    output.done(document, f"made {name}/, a {kind} function in Rust")
    if not output.as_json:
        output.say(f"next:\n  cd {name}\n  cargo test\n  guesthouse dev")


def check(name: str) -> None:
    """Raises a usage error for what cannot name both a function and a crate."""
    if len(name) > MAX_NAME or not NAME.match(name):
        raise click.UsageError(
            f"{name!r} cannot name a function: up to {MAX_NAME} of a-z, 0-9 and single hyphens, a letter first"
        )
    if name in TAKEN or name.startswith("momento-functions"):
        raise click.UsageError(f"a crate cannot be called {name!r}: Rust, cargo or a dependency has this name")


def sorted_files(folder: Traversable, path: str = "") -> Iterator[tuple[str, Traversable]]:
    """Every file below, with its path."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        inner = f"{path}{entry.name}"
        if entry.is_dir():
            yield from sorted_files(entry, f"{inner}/")
        else:
            yield inner, entry


def write(source: tuple[str, Traversable], folder: Path, name: str) -> str:
    """Writes one file of a template; its path in the crate."""
    path, file = source
    parts = [f".{part.removeprefix(HIDDEN)}" if part.startswith(HIDDEN) else part for part in path.split("/")]
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = file.read_text("utf-8").replace("@NAME@", name).replace("@CRATE@", name.replace("-", "_"))
    target.write_text(text, "utf-8")
    return "/".join(parts)
