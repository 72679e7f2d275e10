"""`Server`: a connection URL of Valkey or Redis taken apart, so strictly that it can only mean one server.

Promises: host and port are exactly those that will be connected to; a password shows in no text.  Must not know of
DNS or of what is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from guesthouse.net.destination import MAX_URL, Destination, parse_url
from guesthouse.net.failures import InvalidUrl, OutboundError, Prohibited

DEFAULT_PORT = 6379
SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
"""Whether a connection of that scheme is made with TLS."""

_TCP = re.compile(
    r"(?P<scheme>[a-z]+)://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^:@/?#\s]*))?@)?"
    r"(?P<host>\[[^\]/?#@]*\]|[^:@/?#\[\]]*)(?::(?P<port>[0-9]{1,5}))?(?:/(?P<database>[0-9]{0,5}))?\Z",
    re.ASCII,
)
_UNIX = re.compile(r"unix:(?://)?(?P<path>/[^/?#\x00][^?#\x00]*)\Z")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect, and as whom."""

    destination: Destination
    """Host and port; its scheme says nothing."""
    tls: bool = False
    database: int = 0
    path: str | None = None
    """A Unix socket, instead of host and port."""
    username: bytes = field(default=b"", repr=False)
    password: bytes | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        """Host and port."""
        host, port = self.destination.host, self.destination.port
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: a URL without its secrets."""
        return f"{'rediss' if self.tls else 'redis'}://{self.authority}"

    @property
    def greeting(self) -> list[tuple[bytes, ...]]:
        """The commands that a new connection begins with."""
        commands: list[tuple[bytes, ...]] = []
        if self.password is not None:
            named = (self.username,) if self.username else ()
            commands.append((b"AUTH", *named, self.password))
        if self.database:
            commands.append((b"SELECT", b"%d" % self.database))
        return commands


def parse_server(url: str) -> Server:
    """Takes a URL apart: `redis[s]://[[user]:password@]host[:port][/database]`, `valkey[s]://…` or `unix:///path`.

    Raises `InvalidUrl`, or `Prohibited` where different software would read different hosts.
    """
    unix = _UNIX.match(url)
    if unix is not None:
        return Server(Destination("unix", "localhost", 0, "/"), path=unix["path"])
    match = _TCP.match(url) if len(url) <= MAX_URL else None
    if match is None or match["scheme"] not in SCHEMES:
        raise InvalidUrl("", "the URL is not of the form redis://[user:password@]host[:port][/database]")
    try:
        destination = parse_url(f"http://{match['host']}:{match['port'] or DEFAULT_PORT}/")
    except Prohibited:
        raise
    except OutboundError as error:
        raise InvalidUrl("", str(error)) from None
    password = match["password"]
    if match["user"] and password is None:
        raise InvalidUrl("", "the URL has a user but no password")
    return Server(
        destination,
        SCHEMES[match["scheme"]],
        int(match["database"] or 0),
        None,
        _unescaped(match["user"] or ""),
        None if password is None else _unescaped(password),
    )


def _unescaped(text: str) -> bytes:
    if _ESCAPE.search(text):
        raise InvalidUrl("", "the URL holds a % that is not an escape")
    return unquote_to_bytes(text)
