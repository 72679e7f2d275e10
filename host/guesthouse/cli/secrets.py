"""`guesthouse secret`: the secrets of a running server, which command guests find as files."""

from __future__ import annotations

import sys
from base64 import b64encode
from typing import BinaryIO
from urllib.parse import quote

import click

from guesthouse.cli.client import Client
from guesthouse.cli.options import namespace_option, url_option
from guesthouse.cli.output import Failure, Output, with_output

PATH = "/system/secrets"


@click.group()
def secret() -> None:
    """Sets, lists and deletes secrets.

    A function that was deployed with --secret NAME finds the secret NAME of its namespace as a file. Nothing
    shows its value again.
    """


@secret.command(
    name="set",
    epilog="""\
\b
Examples:
  guesthouse secret set api-key < key.txt
  guesthouse secret set api-key --file key.txt --namespace shop
  openssl rand -hex 32 | guesthouse secret set signing-key
""",
)
@click.argument("name")
@namespace_option
@click.option(
    "--file", type=click.File("rb"), default=None, metavar="FILE", help="Where its value is.  [default: stdin]"
)
@url_option
@with_output
def set_secret(output: Output, name: str, namespace: str, file: BinaryIO | None, url: str) -> None:
    """Sets the secret NAME to what stands on standard input, or in a file, byte by byte.

    It is never an argument: those can be seen by everybody on the machine. Functions have the new value from
    their next call on.
    """
    from guesthouse.registry.secrets import MAX_SECRET_BYTES

    if file is None and sys.stdin.isatty():
        raise click.UsageError("give the value on standard input, or with --file")
    value = (file or sys.stdin.buffer).read(MAX_SECRET_BYTES + 1)
    if not value or len(value) > MAX_SECRET_BYTES:
        raise Failure(f"a secret has 1 to {MAX_SECRET_BYTES} bytes", {})
    document = {"name": name, "namespace": namespace, "rawValue": b64encode(value).decode()}
    with Client(url) as client:
        known = name in _names(client, namespace)
        client.ask("PUT" if known else "POST", PATH, json=document)
    output.done({"namespace": namespace, "name": name}, f"{'changed' if known else 'made'} {namespace}/{name}")


@secret.command(name="ls")
@namespace_option
@url_option
@with_output
def list_secrets(output: Output, namespace: str, url: str) -> None:
    """Lists the names of secrets."""
    with Client(url) as client:
        names = _names(client, namespace)
    if output.as_json or names:
        output.result(names, "\n".join(names))
    else:
        output.say(f"there are no secrets in {namespace}: `guesthouse secret set NAME` makes one")


@secret.command(
    epilog="""\
\b
Example:
  guesthouse secret rm api-key
"""
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@namespace_option
@url_option
@with_output
def rm(output: Output, names: tuple[str, ...], namespace: str, url: str) -> None:
    """Deletes secrets; functions that want them can still be called, and do not find them."""
    with Client(url) as client:
        for name in names:
            client.ask("DELETE", PATH, json={"name": name, "namespace": namespace})
            output.done({"namespace": namespace, "name": name}, f"deleted {namespace}/{name}")


def _names(client: Client, namespace: str) -> list[str]:
    return [found["name"] for found in client.ask("GET", f"{PATH}?namespace={quote(namespace, safe='')}").json()]
