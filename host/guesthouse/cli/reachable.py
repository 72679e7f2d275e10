"""What `guesthouse doctor` looks at over the network: the port, the Valkey servers of the configuration, the server.

Each check answers with findings within seconds and never raises.  No text holds a password or a token.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import click

from guesthouse.cli.findings import MISSING, OK, WARN, Finding

if TYPE_CHECKING:
    from guesthouse.cli.client import Client
    from guesthouse.config import Config

PING_MS = 3_000
ANSWER_SECONDS = 3.0


def port(host: str, number: int) -> Finding:
    """Whether a server could listen there."""
    if number == 0:
        return Finding("port", OK, "any free port is taken")
    where = f"port {number} of {host}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except (OSError, UnicodeError) as error:  # the latter: what cannot be the name of a host
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return Finding(
                "port", WARN, f"{where} is taken, maybe by a server that runs", "guesthouse serve --port 8081"
            )
        text = f"{where} cannot be listened on: {getattr(error, 'strerror', None) or error}"
        return Finding("port", WARN, text, "choose other ones with --host and --port")
    return Finding("port", OK, f"{where} is free")


def valkeys(config: Config) -> Iterator[Finding]:
    """The Valkey and Redis servers that the configuration names."""
    import asyncio

    ca_file = None if config.outbound.extra_ca is None else str(config.outbound.extra_ca)
    for name, url in _named(config):
        try:
            text = asyncio.run(_ping(url, ca_file))
        except Exception as error:  # a URL that is none, a server that is none, nothing there
            where = f"the server of {name} does not answer: {_first_line(error)}"
            yield Finding("valkey", MISSING, where, "start it, or correct its URL in the configuration", True)
        else:
            yield Finding("valkey", OK, f"{name}: {text}", required=True)


def _named(config: Config) -> Iterator[tuple[str, str]]:
    if config.cache.url is not None:
        yield "cache.url", config.cache.url
    for name, url in sorted(config.valkey.clusters.items()):
        yield f"valkey.clusters.{name}", url


async def _ping(url: str, ca_file: str | None) -> str:
    from guesthouse.net.resp import ErrorReply
    from guesthouse.net.valkey import ValkeyClient

    client = ValkeyClient(url, timeout_ms=PING_MS, connect_timeout_ms=PING_MS, ca_file=ca_file)
    try:
        reply = await client.command(b"PING")
    finally:
        await client.close()
    if isinstance(reply, ErrorReply):
        raise ValueError(str(reply))
    return f"{client.server.path or client.server.authority} answers"


def server(url: str) -> Iterator[Finding]:
    """The server that commands talk to, and whether it takes the token."""
    from guesthouse.cli.client import Client
    from guesthouse.cli.output import Failure

    try:
        with Client(url) as client:
            answer = client.ask("GET", "/healthz", timeout=ANSWER_SECONDS)
            if answer.text != "ok\n":
                yield Finding("server", WARN, f"what answers at {url} is no guesthouse", "set GUESTHOUSE_URL")
                return
            yield Finding("server", OK, f"{url} answers")
            yield _token(client)
    except (Failure, click.UsageError) as failure:
        yield Finding("server", WARN, failure.message, "guesthouse serve, or set GUESTHOUSE_URL")


def _token(client: Client) -> Finding:
    from guesthouse.cli.client import management_path

    given = "GUESTHOUSE_TOKEN" in os.environ
    with client.stream("GET", management_path(""), timeout=ANSWER_SECONDS) as answer:
        if answer.status_code == 401:
            text = "the server does not take the token in GUESTHOUSE_TOKEN" if given else "the server wants a token"
            fix = 'export GUESTHOUSE_TOKEN="$(guesthouse token create --quiet NAME)"    on the server\'s machine'
            return Finding("token", WARN, text, fix)
    return Finding("token", OK, "the server takes the token" if given else "the server wants no token")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:300]
