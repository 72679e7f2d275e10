"""`guesthouse ls` and `rm`: the functions of a running server."""

from __future__ import annotations

from typing import Any

import click

from guesthouse.cli.client import Client, management_path
from guesthouse.cli.completion import function_names
from guesthouse.cli.options import namespace_option, url_option
from guesthouse.cli.output import Output, kind, moment, size, with_output


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
        f"{function['version']} (pinned)" if function["pinned"] is not None else str(function["version"]),
        kind(function),
        size(function["size"]),
        moment(function["created_at"]),
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
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=function_names)
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
