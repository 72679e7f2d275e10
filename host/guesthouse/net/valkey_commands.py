"""Which commands may be sent over a connection that others use as well.

Promises: after commands that passed `check` a connection is as it was, or `check` has said that it is not.  Must not
know of connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guesthouse.net.failures import LimitReached, OutboundError

MOST_PARTS = 65_536
"""Commands and arguments of one request: each costs the host a part of a microsecond in one go."""

TRANSACTION = frozenset({b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH", b"SELECT"})
"""They change the connection for the commands that follow: useful in a pipeline, on a connection of its own."""
REFUSED = frozenset(
    b"AUTH HELLO RESET QUIT CLIENT ASKING READONLY READWRITE MONITOR SYNC PSYNC REPLCONF "
    b"SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE".split()
)
"""They change who or what the connection is, or are not answered by exactly one reply."""


class CommandRefused(OutboundError):
    """A command that cannot be sent over a connection which others use as well."""


def check(commands: Iterable[Sequence[bytes]]) -> bool:
    """True where the commands need a connection of their own; raises `CommandRefused` or `LimitReached`."""
    parts, single, transaction = 0, b"", False
    for count, command in enumerate(commands):
        parts += len(command) + 1
        name = command[0].upper() if command else b""
        if name in REFUSED or (name == b"SCRIPT" and len(command) > 1 and command[1].upper() == b"DEBUG"):
            raise CommandRefused(
                f"{_text(name)} is not available: connections are shared, and have one reply a command"
            )
        if not name:
            raise CommandRefused("a command without a name")
        transaction = transaction or name in TRANSACTION
        single = b"" if count else name
    if parts > MOST_PARTS:
        raise LimitReached(f"limit exceeded: at most {MOST_PARTS} commands and arguments at once")
    if single in TRANSACTION:
        raise CommandRefused(f"{_text(single)} alone is not available: connections are shared; send it in one pipe")
    return transaction


def _text(name: bytes) -> str:
    return name.decode("ascii", "replace")
