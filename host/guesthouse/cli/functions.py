"""`guesthouse ls`, `logs` and `rm`: the functions of a running server."""

from __future__ import annotations

import json
from typing import Any

import click

from guesthouse.cli.client import Client, failure_of, management_path
from guesthouse.cli.options import namespace_option, url_option
from guesthouse.cli.output import Output, shown, size, with_output

LEVELS = {"debug": "bright_black", "warn": "yellow", "error": "red"}


@click.command(
    epilog="""\
\b
Examples:
  guesthouse ls
  guesthouse ls --namespace shop --json | jq -r '.[].name'
"""
)
@click.option("--namespace", metavar="NAME", help="Only this namespace's.")
@url_option
@with_output
def ls(output: Output, namespace: str | None, url: str) -> None:
    """Lists functions."""
    with Client(url) as client:
        found = client.ask("GET", management_path(namespace or "")).json()["functions"]
    if output.as_json:
        output.result(found, "")
    elif found:
        columns = ("FUNCTION", "VERSION", "KIND", "SIZE", "DEPLOYED", "DESCRIPTION")
        output.table(columns, [_row(function) for function in found])
    else:
        output.say("there are no functions: `guesthouse deploy FILE` makes one")


def _row(function: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{function['namespace']}/{function['name']}",
        str(function["version"]),
        function["kind"],
        size(function["size"]),
        function["created_at"].partition(".")[0].replace("T", " "),
        function["description"],
    )


@click.command(
    epilog="""\
\b
Examples:
  guesthouse rm greet
  guesthouse rm api worker --namespace shop
"""
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@namespace_option
@url_option
@with_output
def rm(output: Output, names: tuple[str, ...], namespace: str, url: str) -> None:
    """Deletes functions.

    All versions go; calls that run end on theirs.
    """
    with Client(url) as client:
        for name in names:
            client.ask("DELETE", management_path(namespace, name))
            output.done({"namespace": namespace, "name": name}, f"deleted {namespace}/{name}")


@click.command(
    epilog="""\
\b
Examples:
  guesthouse logs greet
  guesthouse logs greet -f
  guesthouse logs greet -n 1000 --json | jq 'select(.level == "error")'
"""
)
@click.argument("name")
@namespace_option
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines as they come.")
@click.option("-n", "--lines", default=100, show_default=True, type=click.IntRange(0), help="How many old lines.")
@url_option
@with_output
def logs(output: Output, name: str, namespace: str, follow: bool, lines: int, url: str) -> None:
    """Prints what a function wrote.

    That is its log, its standard output and error, and why it failed.
    """
    path = f"{management_path(namespace, name, 'logs')}?tail={lines}&follow={follow:d}"
    with Client(url) as client, client.stream("GET", path) as response:
        if not response.is_success:
            response.read()
            raise failure_of(response, name)
        for line in response.iter_lines():
            if line:  # an empty one only shows that the connection is alive
                output.result(record := json.loads(line), _told(record))


def _told(record: dict[str, str]) -> str:
    time = click.style(record["time"][:23] + "Z", dim=True)
    level = click.style(f"{record['level']:<5}", fg=LEVELS.get(record["level"]))
    return f"{time} {level} {record['source']:<6} {shown(record['text'])}"
