"""`guesthouse dev`: serves a crate's functions while they are written: built, deployed and shown at each change.

Promises: the last version that could be built goes on answering until there is a better one; what the compiler and the
functions say is shown as they say it; Ctrl-C ends everything that was started.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from guesthouse.cli.manifest import Manifest, manifest_options
from guesthouse.cli.output import Failure, Output, with_output
from guesthouse.cli.settings import settings
from guesthouse.errors import Unavailable

TARGETS = ("wasm32-wasip2", "wasm32-wasip1", "wasm32-unknown-unknown")
DRAIN_SECONDS = 2.0


@click.command(
    epilog="""\
\b
Examples:
  guesthouse dev
  guesthouse dev hello --port 9000 --env REGION=eu
  guesthouse dev --manifest hello.toml --json
"""
)
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.  [default: 8080]")
@click.option(
    "--target", type=click.Choice(TARGETS), default=TARGETS[0], show_default=True, help="What cargo builds for."
)
@manifest_options
@with_output
def dev(output: Output, folder: Path, port: int | None, target: str, manifest: Manifest) -> None:
    """Serves the crate in FOLDER and deploys it anew at each change.

    Calls go to http://127.0.0.1:8080/functions/default/NAME. While a build fails the version before goes on
    answering. State is kept in FOLDER/.guesthouse.
    """
    folder = folder.resolve()
    if not (folder / "Cargo.toml").is_file():
        raise Failure(f"{folder} has no Cargo.toml: `guesthouse new NAME` makes a crate")
    if shutil.which("cargo") is None:
        raise Failure("cargo is not on PATH: install Rust from https://rustup.rs")
    from guesthouse.cli.crate import Crate
    from guesthouse.cli.serve import run_server
    from guesthouse.cli.session import Session

    session = Session(output, Crate(folder, target), manifest)
    flags = {
        "listen": {"host": "127.0.0.1", "port": port},
        "data_dir": _state(folder),
        "log_level": "warning",
        "drain_seconds": DRAIN_SECONDS,
    }
    config = folder / "guesthouse.toml"
    chosen = settings(flags, config if config.is_file() else None)
    try:
        run_server(chosen, session.listening, session.run)
    except Unavailable as error:
        message = f"{error}: choose another with --port"
        raise Failure(message, {"type": error.problem_type, "detail": message}) from None


def _state(folder: Path) -> Path:
    """Where the state is, hidden from git."""
    from guesthouse.cli.crate import OWN_FOLDER

    state = folder / OWN_FOLDER
    state.mkdir(mode=0o700, exist_ok=True)
    (state / ".gitignore").write_text("*\n")
    return state
