"""Completing what durable functions wait for."""

from __future__ import annotations

from urllib.parse import quote

import click

from guesthouse.cli.client import Client
from guesthouse.cli.options import Body, url_option
from guesthouse.cli.output import Output, with_output


@click.group()
def awakeable() -> None:
    """Completes awakeables: what functions wait for until somebody says that it has come.

    A function gives the id of one to whoever is to complete it; that is all that it takes, no token. The first
    completion counts.
    """


@awakeable.command(
    epilog="""\
\b
Examples:
  guesthouse awakeable resolve sign_1jlFOSvvTWVnrZT_57ArN3w -d '{"by": "Ada"}'
  guesthouse awakeable resolve sign_1jlFOSvvTWVnrZT_57ArN3w -d @answer.json
  guesthouse awakeable resolve sign_1jlFOSvvTWVnrZT_57ArN3w
"""
)
@click.argument("id")
@click.option("-d", "--data", type=Body(), default=b"", help="What it comes to.")
@url_option
@with_output
def resolve(output: Output, id: str, data: bytes, url: str) -> None:
    """Completes one, with a value or without."""
    _complete(output, url, id, "resolve", data, "resolved")


@awakeable.command(
    epilog="""\
\b
Example:
  guesthouse awakeable reject sign_1jlFOSvvTWVnrZT_57ArN3w "too expensive"
"""
)
@click.argument("id")
@click.argument("reason")
@url_option
@with_output
def reject(output: Output, id: str, reason: str, url: str) -> None:
    """Completes one as failed, for a reason."""
    _complete(output, url, id, "reject", reason.encode(), "rejected")


def _complete(output: Output, url: str, id: str, verb: str, body: bytes, done: str) -> None:
    with Client(url) as client:
        client.ask("POST", f"/restate/awakeables/{quote(id, safe='')}/{verb}", content=body)
    output.done({"id": id, "done": done}, f"{done} {id}")
