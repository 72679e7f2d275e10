"""`guesthouse token`: who may use a server.  Works on its data directory, whether it runs or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guesthouse.cli.options import config_options
from guesthouse.cli.output import Failure, Output, with_output
from guesthouse.cli.settings import settings
from guesthouse.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from guesthouse.registry.principal import Principal
    from guesthouse.registry.tokens import Tokens

SCOPES = ("invoke", "manage", "read", "metrics")
UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Lifetime(click.ParamType[int]):
    """`90m`, `12h`, `30d`, `4w`, in milliseconds."""

    name = "lifetime"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads number and unit."""
        match = re.fullmatch(r"([0-9]{1,6})([mhdw])", str(value))
        if match is None or not int(match[1]):
            self.fail(f"{value!r} is not a time like 90m, 12h, 30d or 4w", param, ctx)
        return int(match[1]) * UNITS[match[2]] * 1_000


@click.group()
def token() -> None:
    """Makes, lists and revokes tokens.

    This works on the data directory, whether a server runs or not. As long as there is no token, a server
    listens on loopback only and asks nobody for one. From the first one on, every request needs one.
    """


@token.command(
    epilog="""\
\b
Examples:
  guesthouse token create me --scope all
  guesthouse token create ci --scope manage --functions 'shop/*' --expires 90d
  guesthouse token create web --scope invoke --functions shop/checkout
  export GUESTHOUSE_TOKEN=$(guesthouse token create me --scope all --quiet)
"""
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([*SCOPES, "all"]),
    help="What it is good for; may be repeated.",
)
@click.option(
    "--functions",
    default="*",
    show_default=True,
    metavar="PATTERN",
    help="For which: NAMESPACE/*, NAMESPACE/PREFIX* or NAMESPACE/NAME.",
)
@click.option("--expires", type=Lifetime(), metavar="TIME", help="After how long it ends, like 12h or 30d.")
@click.option("--token-id", metavar="TEXT", help="What functions are told of who shows it.")
@config_options
@with_output
def create(
    output: Output,
    name: str,
    scopes: tuple[str, ...],
    functions: str,
    expires: int | None,
    token_id: str | None,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Makes a token called NAME and prints it, this once."""
    wanted = SCOPES if "all" in scopes else scopes
    expires_ms = None if expires is None else SYSTEM_CLOCK.wall_ns() // 1_000_000 + expires
    with _tokens(data_dir, config) as tokens:
        first = not tokens.any()
        plain = tokens.create_sync(name, scopes=wanted, functions=functions, expires_ms=expires_ms, token_id=token_id)
        principal = tokens.verify(plain)
    assert principal is not None, "a token that was just made is valid"
    output.result({"token": plain, **_document(principal)}, plain)
    if not output.as_json:
        output.say(f"this is the only time it is shown; `guesthouse token revoke {principal.id}` ends it")
        if first:
            output.say("it is the first: within a second a running server asks everybody for one")


@token.command(name="ls")
@config_options
@with_output
def list_tokens(output: Output, data_dir: Path | None, config: Path | None) -> None:
    """Lists tokens, without their secrets."""
    with _tokens(data_dir, config) as tokens:
        found = tokens.list()
    if output.as_json:
        output.result([_document(principal) for principal in found], "")
    elif found:
        columns = ("ID", "NAME", "SCOPES", "FUNCTIONS", "CREATED", "EXPIRES")
        output.table(columns, [_row(principal) for principal in found])
    else:
        output.say("there are no tokens: nobody needs one, and only this machine can reach the server")


@token.command(
    epilog="""\
\b
Example:
  guesthouse token revoke 0d1f5c2a9be34478
"""
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@config_options
@with_output
def revoke(output: Output, ids: tuple[str, ...], data_dir: Path | None, config: Path | None) -> None:
    """Makes tokens worthless; a running server notices within a second."""
    with _tokens(data_dir, config) as tokens:
        for token_id in ids:
            if not tokens.revoke_sync(token_id):
                raise Failure(f"there is no token with the id {token_id!r}: `guesthouse token ls` lists them")
            output.done({"id": token_id}, f"revoked {token_id}")


@contextmanager
def _tokens(data_dir: Path | None, config: Path | None) -> Iterator[Tokens]:
    from guesthouse.registry.tokens import Tokens
    from guesthouse.storage.database import Database
    from guesthouse.storage.directory import DataDirectory

    directory = DataDirectory(settings({"data_dir": data_dir}, config).data_dir, owner=False)
    database = Database(directory.database)
    try:
        yield Tokens(database)
    finally:
        database.close()


def _document(principal: Principal) -> dict[str, Any]:
    return {
        "id": principal.id,
        "name": principal.name,
        "scopes": sorted(principal.scopes),
        "functions": str(principal.functions),
        "token_id": principal.token_id,
        "created_at": _time(principal.created_ms),
        "expires_at": None if principal.expires_ms is None else _time(principal.expires_ms),
    }


def _row(principal: Principal) -> tuple[str, ...]:
    expires = "never" if principal.expires_ms is None else _time(principal.expires_ms)
    if principal.expires_ms is not None and principal.expires_ms * 1_000_000 <= SYSTEM_CLOCK.wall_ns():
        expires += " (over)"
    scopes = ",".join(sorted(principal.scopes))
    return principal.id, principal.name, scopes, str(principal.functions), _time(principal.created_ms), expires


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
