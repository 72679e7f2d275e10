"""`guesthouse queues`: what waits to be run on a server."""

from __future__ import annotations

from typing import Any

import click

from guesthouse.cli.client import Client, that_it_may_read
from guesthouse.cli.options import url_option
from guesthouse.cli.output import Output, with_output


@click.command(
    epilog="""\
\b
Examples:
  guesthouse queues
  guesthouse queues --json | jq '.[] | select(.dead > 0)'
"""
)
@url_option
@with_output
def queues(output: Output, url: str) -> None:
    """Lists the queues of functions: what waits, what runs, what is suspended, what was given up."""
    with Client(url) as client:
        found = client.ask("GET", "/queues").json()["queues"]
    if output.as_json:
        output.result(found, "")
    elif found:
        output.table(
            ("FUNCTION", "QUEUED", "OLDEST", "RUNNING", "SUSPENDED", "LIMIT", "DEAD", ""),
            [_row(queue) for queue in found],
        )
        if any(queue["dead"] for queue in found):
            output.say("dead letters: `guesthouse invocations ls --state dead` lists them")
    else:
        output.say(f"all queues{that_it_may_read()} are empty")


def _row(queue: dict[str, Any]) -> tuple[str, ...]:
    oldest = queue["oldest_seconds"]
    return (
        f"{queue['namespace']}/{queue['name']}",
        str(queue["queued"]),
        "" if oldest is None else f"{oldest:.0f} s",
        str(queue["running"]),
        str(queue["suspended"]),
        str(queue["limit"]),
        str(queue["dead"]),
        f"paused for {queue['paused_seconds']:.0f} s, as it asked" if queue["paused_seconds"] else "",
    )
