"""What `valkey:PATTERN` grants: a cluster by its name, or a server by its URL.

Promises: pure decisions.  Must not know what the guest wants to do there.
"""

from __future__ import annotations

import re

from guesthouse.errors import BadRequest
from guesthouse.interfaces.patterns import covers
from guesthouse.net.failures import OutboundError
from guesthouse.net.policy import HostRule
from guesthouse.net.valkey_url import DEFAULT_PORT, SCHEMES, Server

_NAME = re.compile(r"[^\s:/*]*\*?\Z")
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?P<host>\[[^\]]*\]|[^\s:/@\[\]]+)(?::(?P<port>[0-9]{1,5}|\*))?/?\Z")


def check_pattern(pattern: str) -> None:
    """Raises `BadRequest` for a pattern that is none."""
    if "/" in pattern:
        _rule(pattern)
    elif not pattern or not _NAME.match(pattern):
        raise BadRequest(f"the grant valkey:{pattern}: write a cluster's name, with * at its end, or redis://host:port")


def grants_cluster(patterns: tuple[str, ...] | None, name: str) -> bool:
    """True where the cluster of that name may be used."""
    return covers(None if patterns is None else [pattern for pattern in patterns if "/" not in pattern], name)


def grants_server(patterns: tuple[str, ...] | None, server: Server) -> bool:
    """True where that server may be connected to."""
    if patterns is None:
        return True
    rules = [_rule(pattern) for pattern in patterns if "/" in pattern]
    return any(tls == server.tls and rule.allows(server.destination, "") for tls, rule in rules)


def _rule(pattern: str) -> tuple[bool, HostRule]:
    """Whether it is about TLS, and the host with its port."""
    match = _URL.match(pattern)
    if match is None or match["scheme"] not in SCHEMES:
        raise BadRequest(f"the grant valkey:{pattern}: a server is redis://host:port, or rediss:// with TLS")
    try:
        return SCHEMES[match["scheme"]], HostRule.parse(f"{match['host']}:{match['port'] or DEFAULT_PORT}")
    except (BadRequest, OutboundError) as error:
        raise BadRequest(f"the grant valkey:{pattern}: {error}") from None
