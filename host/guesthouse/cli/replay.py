"""`guesthouse replay`: one recorded invocation once more, in this process and without any network or store of its own."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from guesthouse.cli.client import Client
from guesthouse.cli.options import Pair, url_option
from guesthouse.cli.output import Output, with_output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guesthouse.async_host import AsyncHost
    from guesthouse.dispatch.replayed import Replayed

SLOTS = 16
"""Guests that may be alive at once here: one is, and its predecessor may not have been cleared away."""


class Change(Pair):
    """`N=JSON`, as a number and a value."""

    def __init__(self) -> None:
        super().__init__(metavar="N=JSON")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads both."""
        number, text = super().convert(value, param, ctx)
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            self.fail(f"{number!r} is not the number of a call", param, ctx)
        try:
            return int(number), json.loads(text)
        except (ValueError, RecursionError):
            self.fail(f'{text!r} is not JSON: text needs quotes of its own, as in \'4={{"ok": "text"}}\'', param, ctx)


@click.command(
    epilog="""\
\b
Examples:
  guesthouse replay 5f0c2c3d9a8b7e6f00000000002a
  guesthouse replay 5f0c2c3d9a8b7e6f00000000002a.guesthouse --until 7
  guesthouse replay failed.guesthouse --set '3={"err": "not-found"}'
  guesthouse replay failed.guesthouse --json | jq '.steps[] | select(.effect == "write")'
"""
)
@click.argument("target", metavar="ID|FILE")
@click.option(
    "--until", type=click.IntRange(0), metavar="N", help="Stop before recorded call N, and show where that is."
)
@click.option(
    "--set",
    "changes",
    type=Change(),
    multiple=True,
    help="What if recorded call N had come to this?  As JSON, as shown.",
)
@click.option("--all", "every", is_flag=True, help="Show each call that is not recorded, too.")
@url_option
@with_output
def replay(
    output: Output, target: str, until: int | None, changes: tuple[tuple[int, Any], ...], every: bool, url: str
) -> None:
    """Runs an invocation again from its journal.

    ID is one on a server: a call of a durable function, or one that the flight recorder has kept. FILE is what
    `guesthouse invocations export` wrote. The same module is given the same answers; nothing is sent anywhere,
    and nothing is read but the journal. The exit status is 1 where it does not come to the same end.
    """
    import asyncio

    data = read_target(target, url)
    with output.working("compiling and replaying"):
        found = asyncio.run(_replay(data, until, dict(changes)))
    if output.as_json:
        output.result(found.document(), "")
    else:
        show(found, every)
    raise click.exceptions.Exit(found.verdict in ("otherwise", "diverged"))


def read_target(target: str, url: str) -> bytes:
    """The export that an id or the name of a file stands for."""
    file = Path(target)
    if file.is_file():
        return file.read_bytes()
    if file.suffix or len(file.parts) > 1:
        raise click.UsageError(f"there is no file {target}")
    with Client(url) as client:
        return client.ask("GET", f"/invocations/{quote(target, safe='')}/export").content


@asynccontextmanager
async def isolated() -> AsyncIterator[AsyncHost]:
    """A host without a network, a disk or anything in it."""
    from guesthouse.async_host import AsyncHost
    from guesthouse.net.client import OutboundConfig
    from guesthouse.net.policy import OutboundPolicy

    async with AsyncHost(outbound=OutboundConfig(OutboundPolicy.of(hosts=())), slots=SLOTS) as host:
        yield host


async def _replay(data: bytes, until: int | None, changes: dict[int, Any]) -> Replayed:
    async with isolated() as host:
        return await host.replay(data, until=until, changes=changes)


def show(found: Replayed, every: bool) -> None:
    """Prints a replay for people."""
    from guesthouse.cli.output import console
    from guesthouse.cli.timeline import timeline

    screen = console(sys.stdout)
    for line in timeline(found, screen.width, every=every):
        screen.print(line)
