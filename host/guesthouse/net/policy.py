"""`OutboundPolicy`: where guests may send requests to, decided first by name and then by every address behind it.

Promises: pure decisions on frozen data.  A name that passes `check` is not yet allowed: each of its addresses has to
pass `allows` as well, before any socket is opened.  Must not open sockets or resolve names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_network

from guesthouse.errors import BadRequest
from guesthouse.net.addresses import Address, Network, embedded, is_denied, is_this_machine, parse_address
from guesthouse.net.destination import DEFAULT_PORTS, Destination, check_host, parse_url
from guesthouse.net.failures import OutboundError, Prohibited, Ungranted

_RULE = re.compile(
    r"(?:(?P<methods>[A-Z]+(?:,[A-Z]+)*) )?(?:(?P<scheme>https?)://)?"
    r"(?P<host>\*|\[[^\]]+\]|(?:\*\.)?[^\s/:*@\[\]]+)(?::(?P<port>\*|[0-9]{1,5}))?\Z"
)
_INSIDE = re.compile(
    r"(?:[^.]+|(?:.*\.)?(?:localhost|localdomain|local|internal|intranet|lan|home|corp|private)|(?:.*\.)?home\.arpa)\Z"
)
"""Names that mean something only inside a network: those without a dot, and top-level domains that are not public."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """One allowed host: `api.example.com`, `*.example.com` (its subdomains), `*` (all), and what may be done there."""

    host: str
    scheme: str | None = None
    """`None`: either."""
    port: int | None = None
    """`None`: the scheme's own; 0: any."""
    methods: frozenset[str] | None = None
    """`None`: any."""

    @classmethod
    def parse(cls, text: str) -> HostRule:
        """A rule from `[METHOD,METHOD ][scheme://]host[:port]`, the port a number or `*`; raises `BadRequest`."""
        match = _RULE.match(text)
        if match is None:
            raise BadRequest(f"{text!r} is not an allowed host: write [METHODS ][https://]host[:port]")
        methods, scheme, host, port = match.group("methods", "scheme", "host", "port")
        wildcard = "*." if host.startswith("*.") else ""
        try:
            name = host if host == "*" else wildcard + check_host(host[len(wildcard) :])
        except ValueError as error:  # Prohibited is one too
            raise BadRequest(f"{text!r} is not an allowed host: {error}") from None
        number = None if port is None else 0 if port == "*" else int(port)
        if number is not None and (number > 65535 or port == "0"):
            raise BadRequest(f"{text!r} is not an allowed host: the port is not a number from 1 to 65535")
        return cls(name, scheme, number, frozenset(methods.split(",")) if methods else None)

    def allows(self, destination: Destination, method: str) -> bool:
        """True when this rule is for that host, port, scheme and method."""
        if self.host.startswith("*."):
            named = destination.host.endswith(self.host[1:]) and destination.address is None
        else:
            named = self.host in ("*", destination.host)
        port = DEFAULT_PORTS[destination.scheme] if self.port is None else self.port
        return (
            named
            and port in (0, destination.port)
            and self.scheme in (None, destination.scheme)
            and (self.methods is None or method.upper() in self.methods)
        )


@lru_cache(maxsize=1024)
def parse_rules(patterns: tuple[str, ...]) -> tuple[HostRule, ...]:
    """The rules of a deployment's grants; raises `BadRequest`."""
    return tuple(map(HostRule.parse, patterns))


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """Where guests may send requests to; made from text with `OutboundPolicy.of`."""

    schemes: frozenset[str] = frozenset({"https"})
    """Schemes of hosts that no rule with a scheme of its own names."""
    hosts: tuple[HostRule, ...] | None = None
    """`None`: any host with a public name or address."""
    allow_addresses: tuple[Network, ...] = ()
    """Networks that may be reached although they are not public."""
    overrides: tuple[tuple[str, Address], ...] = ()
    """Hosts whose address is given here instead of by DNS, and may be any: for development and tests."""
    listeners: frozenset[tuple[Address, int]] = frozenset()
    """Where this host itself listens: never reached, whatever is allowed; an unspecified address means all of ours."""

    @classmethod
    def of(
        cls,
        *,
        schemes: Iterable[str] = ("https",),
        hosts: Iterable[str] | None = None,
        allow_addresses: Iterable[str] = (),
        overrides: Mapping[str, str] | None = None,
        listeners: Iterable[tuple[str, int]] = (),
    ) -> OutboundPolicy:
        """A policy from text as people configure it; raises `BadRequest` that quotes what is wrong."""
        chosen = frozenset(schemes)
        if not chosen <= DEFAULT_PORTS.keys():
            raise BadRequest(f"schemes can be http and https, not {', '.join(sorted(chosen))!r}")
        return cls(
            chosen,
            None if hosts is None else tuple(HostRule.parse(host) for host in hosts),
            tuple(_network(text) for text in allow_addresses),
            tuple((_override(host), _address(address)) for host, address in (overrides or {}).items()),
            frozenset((_address(address), port) for address, port in listeners),
        )

    @property
    def reach(self) -> tuple[object, ...]:
        """All that decides on addresses: connections made under one reach are not used under another."""
        return self.allow_addresses, self.overrides, self.listeners

    def check(self, url: str, method: str, granted: Iterable[HostRule] | None = None) -> Destination:
        """Where `url` leads, if that may be asked for; raises `InvalidUrl`, `Ungranted` or `Prohibited`.

        `granted` rules narrow this policy, and never widen it.  The addresses of a destination that is a name still
        have to be checked, by `allows`.
        """
        destination = parse_url(url)
        if granted is not None and not any(rule.allows(destination, method) for rule in granted):
            raise Ungranted(method, f"{destination.scheme}://{destination.authority}")
        if not self._allows_name(destination, method):
            raise Prohibited
        if destination.address is not None and not self.allows(destination.address, destination.port):
            raise Prohibited
        return destination

    def override(self, host: str) -> Address | None:
        """The address that the configuration gives a host."""
        for name, address in self.overrides:
            if name == host:
                return address
        return None

    def allows(self, address: Address, port: int, host: str | None = None) -> bool:
        """True when a socket may be connected to this address, for this host where it is a name."""
        if self._is_own(address, port):
            return False
        if host is not None and self.override(host) == address:
            return True
        return not is_denied(address, self.allow_addresses)

    def _allows_name(self, destination: Destination, method: str) -> bool:
        if self.hosts is not None:
            return any(
                rule.allows(destination, method) and (rule.scheme is not None or destination.scheme in self.schemes)
                for rule in self.hosts
            )
        if destination.scheme not in self.schemes:
            return False
        opened = self.allow_addresses or destination.address is not None or self.override(destination.host) is not None
        return bool(opened) or not _INSIDE.match(destination.host)

    def _is_own(self, address: Address, port: int) -> bool:
        for listener, own_port in self.listeners:
            if own_port != port:
                continue
            same: list[Address] = [address]
            if isinstance(address, IPv6Address):
                same.extend(embedded(address))
            if listener in same or (listener.is_unspecified and any(map(is_this_machine, same))):
                return True
        return False


PUBLIC = OutboundPolicy.of(schemes=("http", "https"))
"""What a host on loopback begins with: every public name and address, nothing inside."""


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise BadRequest(f"{text!r} is not a network: {error}") from None


def _address(text: str) -> Address:
    address = parse_address(text)
    if address is None:
        raise BadRequest(f"{text!r} is not an IP address")
    return address


def _override(text: str) -> str:
    try:
        host = check_host(text)
    except (OutboundError, ValueError):
        host = ""
    if not host or parse_address(host) is not None:
        raise BadRequest(f"{text!r} is not a host name")
    return host
