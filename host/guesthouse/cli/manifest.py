"""What a person says about a function when deploying it: options of the command line on top of a manifest file.

A manifest has the words of the HTTP interface, in TOML or in JSON.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from guesthouse.cli.options import Limit, Pair
from guesthouse.cli.output import Failure
from guesthouse.errors import BadRequest

MOST_BYTES = 1 << 20
"""Of a manifest file: far above what the host would take of it."""

Manifest = dict[str, Any]
"""The arguments of a deploy: description, environment, limits, grants, topics."""


def manifest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command `--env`, `--limit`, `--grant`, `--arg` and `--manifest`, and their sum as `manifest`."""

    @click.option("--env", type=Pair(), multiple=True, help="An environment variable.")
    @click.option("--limit", type=Limit(), multiple=True, help="A limit, like deadline_ms=200.")
    @click.option(
        "--grant",
        multiple=True,
        metavar="INTERFACE[:PATTERN]",
        help="What it may use, like cache or http:https://api.example.com; without any, the host's default.",
    )
    @click.option(
        "--arg",
        multiple=True,
        metavar="TEXT",
        help="For a command: its name as it sees it, then its arguments, each with --arg; by default the function's name.",
    )
    @click.option(
        "--manifest",
        "manifest_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="All of this in a TOML or JSON file; options come on top of it.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        env: tuple[tuple[str, str], ...],
        limit: tuple[tuple[str, int], ...],
        grant: tuple[str, ...],
        arg: tuple[str, ...],
        manifest_file: Path | None,
        **options: Any,
    ) -> Any:
        manifest = EMPTY if manifest_file is None else read_manifest(manifest_file)
        options["manifest"] = {
            **manifest,
            "environment": {**manifest["environment"], **dict(env)},
            "limits": {**manifest["limits"], **dict(limit)},
            "grants": [*(manifest["grants"] or ()), *grant] if grant else manifest["grants"],
            "topics": list(manifest["topics"]),
            "arguments": [*(arg or manifest["arguments"])],
            "secrets": list(manifest["secrets"]),
            "durable": manifest["durable"],
        }
        return command(*args, **options)

    return wrapped


EMPTY: Manifest = {
    "description": "",
    "environment": {},
    "limits": {},
    "grants": None,
    "topics": [],
    "arguments": [],
    "secrets": [],
    "durable": False,
}
"""What every manifest has; a file may say more (see `ManifestDocument`)."""


def read_manifest(path: Path) -> Manifest:
    """What a manifest file says; a mistake in it is a usage error that names the place."""
    try:
        return _parse(path)
    except OSError as error:
        message = f"{path}: {error.strerror}"
    except (BadRequest, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path}: {str(error) or 'nested too deeply'}"
    raise Failure(message, {"type": BadRequest.problem_type, "detail": message}, exit_code=2)


def _parse(path: Path) -> Manifest:
    from guesthouse.gateway.documents import ManifestDocument, parse, validate

    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadRequest(f"over {MOST_BYTES} bytes")
    if path.suffix == ".json":
        return parse(content, ManifestDocument).options()
    return validate(tomllib.loads(content.decode()), ManifestDocument).options()
