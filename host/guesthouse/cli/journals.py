"""`guesthouse invocations journal`, `export` and `redrive`: what was recorded of an invocation, and what to do with that."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from guesthouse.cli.client import Client
from guesthouse.cli.invocations import each_of, path_of
from guesthouse.cli.options import url_option
from guesthouse.cli.output import Failure, Output, shown, size, with_output

SUFFIX = ".guesthouse"


@click.command(
    epilog="""\
\b
Example:
  guesthouse invocations journal 5f0c2c3d9a8b7e6f00000000002a
"""
)
@click.argument("id")
@url_option
@with_output
def journal(output: Output, id: str, url: str) -> None:
    """Lists what an invocation has done so far: each recorded call, with its size.

    It may run, wait or have ended. What was said in the calls is not shown: `guesthouse replay` does that.
    """
    with Client(url) as client:
        found = client.ask("GET", path_of(id, "journal")).json()
    if output.as_json:
        output.result(found, "")
        return
    output.table(("CALL", "WHAT", "FUNCTION", "SIZE"), [_row(entry) for entry in found["entries"]])
    left = f", {found['not_shown']} more are not shown" if found["not_shown"] else ""
    output.say(f"{found['count']} calls, {size(found['bytes'])} in {found['segments']} segments{left}")
    output.say(f"all that was said: `guesthouse replay {shown(id)}`")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    name = f"{entry['interface']}#{entry['function']}" if entry["interface"] else entry["function"]
    return str(entry["number"]), entry["what"], name, size(entry["bytes"])


@click.command(
    epilog="""\
\b
Examples:
  guesthouse invocations export 5f0c2c3d9a8b7e6f00000000002a
  guesthouse invocations export 5f0c2c3d9a8b7e6f00000000002a -o failed.guesthouse && guesthouse replay failed.guesthouse
"""
)
@click.argument("id")
@click.option(
    "-o", "--output", "file", metavar="FILE", help="Where to write it; - for standard output.  [default: ID.guesthouse]"
)
@url_option
@with_output
def export(output: Output, id: str, file: str | None, url: str) -> None:
    """Writes an invocation into one file: its request, its journal and its module.

    With that it can be replayed anywhere. The file has everything that the function was given: the caller's
    credentials, values of the environment, answers of other servers. The token needs the scope `manage`.
    """
    name = file or f"{Path(id).name}{SUFFIX}"
    with output.working(f"fetching {id}"), Client(url) as client:
        data = client.ask("GET", path_of(id, "export")).content
    if name == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        _write(Path(name), data)
    except OSError as error:
        raise Failure(f"{name}: {error.strerror}") from None
    output.done({"id": id, "file": name, "bytes": len(data)}, shown(name))
    output.say(f"{size(len(data))}; it has everything that the function was given: `guesthouse replay {shown(name)}`")


def _write(path: Path, data: bytes) -> None:
    """For its owner only: there are credentials in it."""
    path.touch(mode=0o600)
    path.write_bytes(data)


@click.command(
    epilog="""\
\b
Examples:
  guesthouse invocations redrive 5f0c2c3d9a8b7e6f00000000002a
  guesthouse invocations redrive 5f0c2c3d9a8b7e6f00000000002a --from 7 --version 4
  guesthouse invocations ls --state dead --json | jq -r '.[].id' | xargs guesthouse invocations redrive
"""
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--from",
    "first",
    type=click.IntRange(0),
    metavar="N",
    help="Keep what is recorded before call N, do the rest anew.",
)
@click.option("--version", type=click.IntRange(1), metavar="V", help="Go on on this version of the function.")
@click.option("--fail", is_flag=True, help="Let the function see the request as failed that was perhaps sent.")
@url_option
@with_output
def redrive(output: Output, ids: tuple[str, ...], first: int | None, version: int | None, fail: bool, url: str) -> None:
    """Queues dead letters once more, with all their attempts.

    A durable one goes on where it was: what it has done stays done. With --version it does so on another
    version, if that comes to the same calls: the server replays the journal first, and refuses where it differs.
    """
    chosen = {"from": first, "version": version, "fail": "true" if fail else None}
    query = urlencode({name: value for name, value in chosen.items() if value is not None})
    each_of(output, url, ids, "POST", f"redrive{f'?{query}' if query else ''}", "queued")
