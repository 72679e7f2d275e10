"""`guesthouse logs`: what a function wrote and what the host said of it, from a running server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import click

from guesthouse.cli.client import Client, failure_of, management_path
from guesthouse.cli.completion import function_names
from guesthouse.cli.options import namespace_option, url_option
from guesthouse.cli.output import Output, shown, until_interrupted, with_output

LEVELS = {"debug": "bright_black", "info": None, "warn": "yellow", "error": "red"}
LINES = 100
ALL_LINES = 1_000
"""All that a server keeps of a function."""
STAMP = re.compile(r"([A-Z]{4,5}) [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}Z ")
"""How the lines of the guests' crates begin."""
ID_CHARACTERS = 8
"""How much of an invocation's id people see: ids of one server begin alike; `--invocation` takes the end of one."""


@click.command(
    epilog="""\
\b
Examples:
  guesthouse logs greet
  guesthouse logs greet -f --level warn
  guesthouse logs greet --since 15m --invocation 0000002a
  guesthouse logs greet -n 1000 --json | jq 'select(.source == "stderr")'
"""
)
@click.argument("name", shell_complete=function_names)
@namespace_option
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    help=f"How many old lines.  [default: {LINES}; all with --since or --invocation]",
)
@click.option("--level", type=click.Choice(list(LEVELS)), help="Only these and worse.")
@click.option("--since", metavar="TIME", help="Only from then on: 90s, 15m, 2h, 1d ago, or 2026-01-02T03:04:05Z.")
@click.option("--invocation", metavar="ID", help="Only of this call: its id, or the end of it.")
@url_option
@with_output
def logs(
    output: Output,
    name: str,
    namespace: str,
    follow: bool,
    lines: int | None,
    level: str | None,
    since: str | None,
    invocation: str | None,
    url: str,
) -> None:
    """Prints what a function wrote.

    That is its log, its standard output and error, and what the server has to say: why a call failed, and, while
    somebody follows, how each one ended. All of it is here, wherever the function sends its log.
    """
    if not name:
        raise click.UsageError("NAME is the name of a function")
    tail = lines if lines is not None else ALL_LINES if since or invocation else LINES
    chosen = {"tail": tail, "follow": int(follow), "level": level, "since": since, "invocation": invocation}
    query = urlencode({key: value for key, value in chosen.items() if value is not None})
    with until_interrupted():
        for record in _records(url, f"{management_path(namespace, name, 'logs')}?{query}", name):
            output.result(record, told(record))


def log_of(namespace: str, name: str, invocation: str) -> str:
    """The command that shows what one invocation wrote."""
    return f"guesthouse logs {named(namespace, name)} --invocation {invocation}"


def named(namespace: str, name: str) -> str:
    """How a command names a function: with its namespace, unless that is the one by itself."""
    usual = os.environ.get("GUESTHOUSE_NAMESPACE") or "default"
    return name if namespace == usual else f"{name} --namespace {namespace}"


def _records(url: str, path: str, name: str) -> Iterator[dict[str, Any]]:
    with Client(url) as client, client.stream("GET", path) as response:
        if not response.is_success:
            response.read()
            raise failure_of(response, name)
        for line in response.iter_lines():
            if line:  # an empty one only shows that the connection is alive
                yield json.loads(line)


def told(record: dict[str, Any]) -> str:
    """A record for people: time, level, source, the end of the invocation's id, text.

    The guests' crates begin their lines with level and time; people need to read these only once.
    """
    time = click.style(record["time"][:23] + "Z", dim=True)
    level = click.style(f"{record['level']:<5}", fg=LEVELS.get(record["level"]))
    invocation = click.style(f"{record['invocation_id'][-ID_CHARACTERS:]:<{ID_CHARACTERS}}", dim=True)
    stamp = STAMP.match(record["text"]) if record["source"] == "guest" else None
    twice = stamp is not None and stamp[1].lower() == record["level"]
    text = record["text"][stamp.end() :] if stamp is not None and twice else record["text"]
    return f"{time} {level} {record['source']:<6} {invocation} {shown(text)}"
