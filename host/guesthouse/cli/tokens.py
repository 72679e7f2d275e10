"""`guesthouse token`: who may use a server.  Works on its data directory, whether it runs or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from guesthouse.cli.options import config_options
from guesthouse.cli.output import Failure, Output, with_output
from guesthouse.cli.settings import settings
from guesthouse.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from guesthouse.config import Config
    from guesthouse.registry.principal import Principal
    from guesthouse.registry.signing import SigningKeys
    from guesthouse.registry.tokens import Tokens

SCOPES = ("invoke", "manage", "read", "metrics", "cache-read", "cache-write", "topic-publish", "topic-subscribe")
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Lifetime(click.ParamType[int]):
    """`30s`, `90m`, `12h`, `30d`, `4w`, in milliseconds."""

    name = "lifetime"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads number and unit."""
        match = re.fullmatch(r"([0-9]{1,6})([smhdw])", str(value))
        if match is None or not int(match[1]):
            self.fail(f"{value!r} is not a time like 30s, 90m, 12h, 30d or 4w", param, ctx)
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
  guesthouse token create app --scope cache-read --scope topic-subscribe --functions 'shop/*'
  guesthouse token create --disposable --permissions rights.json --valid-for 1h
  export GUESTHOUSE_TOKEN=$(guesthouse token create me --scope all --quiet)
"""
)
@click.argument("name", default="")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([*SCOPES, "all"]),
    help="What it is good for; may be repeated.",
)
@click.option(
    "--functions",
    default="*",
    show_default=True,
    metavar="PATTERN",
    help="For which: NAMESPACE/*, NAMESPACE/PREFIX* or NAMESPACE/NAME. Cache and topics need a whole namespace.",
)
@click.option("--expires", type=Lifetime(), metavar="TIME", help="After how long it ends, like 12h or 30d.")
@click.option("--token-id", metavar="TEXT", help="What functions are told of who shows it.")
@click.option(
    "--disposable", is_flag=True, help="Make one that is signed, not kept: it cannot be listed or revoked alone."
)
@click.option(
    "--permissions", type=click.File("rb"), metavar="FILE", help="Rights of a disposable token, as JSON; - reads stdin."
)
@click.option("--valid-for", type=Lifetime(), metavar="TIME", help="Life of a disposable token, like 90s or 1h.")
@config_options
@with_output
def create(
    output: Output,
    name: str,
    scopes: tuple[str, ...],
    functions: str,
    expires: int | None,
    token_id: str | None,
    disposable: bool,
    permissions: BinaryIO | None,
    valid_for: int | None,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Makes a token called NAME and prints it, this once.

    A disposable token has no name: it has the permissions that functions write into theirs, and ends soon.
    """
    if disposable:
        if name or scopes or functions != "*" or expires is not None or permissions is None or valid_for is None:
            raise click.UsageError(
                "a disposable token has --permissions, --valid-for and perhaps a --token-id; no more"
            )
        _create_disposable(output, permissions, valid_for, token_id, settings({"data_dir": data_dir}, config))
        return
    if not name or not scopes or permissions is not None or valid_for is not None:
        raise click.UsageError("a token needs NAME and --scope; --permissions and --valid-for are for --disposable")
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


def _create_disposable(
    output: Output, permissions: BinaryIO, valid_for: int, token_id: str | None, config: Config
) -> None:
    from guesthouse.registry.disposable import DisposableTokens
    from guesthouse.registry.permissions import MOST_TEXT_BYTES, Permissions

    wanted = Permissions.parse(permissions.read(MOST_TEXT_BYTES + 1))
    tokens = DisposableTokens(_keys(config.data_dir), longest_seconds=config.tokens.longest_seconds)
    plain, valid_until = tokens.generate(valid_for // 1_000, wanted, token_id)
    document = {"token": plain, "token_id": token_id, "expires_at": _time(valid_until * 1_000)}
    output.result(document, plain)


@token.command(
    name="rotate-key",
    epilog="""\
\b
Examples:
  guesthouse token rotate-key
  guesthouse token rotate-key --revoke     # a disposable token has got into wrong hands
""",
)
@click.option("--revoke", is_flag=True, help="Make every disposable token worthless at once.")
@config_options
@with_output
def rotate_key(output: Output, revoke: bool, data_dir: Path | None, config: Path | None) -> None:
    """Signs disposable tokens with a new key from now on; a running server notices within a second.

    Tokens that were signed before stay valid until they end, unless --revoke is given. Other tokens do not
    depend on the key.
    """
    key = _keys(settings({"data_dir": data_dir}, config).data_dir).rotate(revoke=revoke)
    before = "all that were signed before are worthless" if revoke else "those signed before stay valid until they end"
    output.done({"id": key.id.hex(), "revoked": revoke}, f"disposable tokens are signed with a new key; {before}")


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


def _keys(data_dir: Path) -> SigningKeys:
    from guesthouse.registry.disposable import signing_keys
    from guesthouse.storage.directory import DataDirectory

    return signing_keys(DataDirectory(data_dir, owner=False).path, owner=False)


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
