"""Which addresses no guest may reach: our own tables, because `ipaddress.is_global` has been wrong more than once.

Promises: a verdict that depends on nothing but the address and the exceptions given; an IPv4 address that hides inside
an IPv6 one is judged as well.  Must not know of names, URLs or policies.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT; also metadata of some clouds
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # platform services of a cloud, from inside only
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; metadata of a cloud
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
DENIED_V6 = tuple(
    map(
        IPv6Network,
        (
            "::/96",  # unspecified, loopback, IPv4-compatible
            "::ffff:0:0/96",  # IPv4-mapped
            "::ffff:0:0:0/96",  # IPv4-translated
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",  # NAT64, local use
            "100::/64",  # discard
            "2001::/23",  # protocol assignments: Teredo (2001::/32), benchmarking, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
            "fc00::/7",  # unique local; metadata of a cloud (fd00:ec2::254)
            "fe80::/10",  # link-local
            "fec0::/10",  # site-local
            "ff00::/8",  # multicast
        ),
    )
)
GLOBAL_V6 = IPv6Network("2000::/3")
"""The only part of IPv6 that is given out for public use; everything outside is denied, named above or not."""

_V4 = tuple((int(n.network_address), int(n.netmask)) for n in DENIED_V4)
_V6 = tuple((int(n.network_address), int(n.netmask)) for n in DENIED_V6)
_GLOBAL = int(GLOBAL_V6.network_address), int(GLOBAL_V6.netmask)
_LOW_32 = 0xFFFF_FFFF
_EMBEDDING = tuple(
    (int(IPv6Network(network).network_address), int(IPv6Network(network).netmask), shift, flip)
    for network, shift, flip in (
        ("::/96", 0, 0),
        ("::ffff:0:0/96", 0, 0),
        ("::ffff:0:0:0/96", 0, 0),
        ("64:ff9b::/96", 0, 0),
        ("64:ff9b:1::/48", 0, 0),
        ("2002::/16", 80, 0),
        ("2001::/32", 0, _LOW_32),  # Teredo: the client's address, inverted
        ("2001::/32", 64, 0),  # Teredo: the server's address
    )
)
"""Networks whose addresses hold an IPv4 address: how far it lies from the right, and what it is XORed with."""


def embedded(address: IPv6Address) -> list[IPv4Address]:
    """Every IPv4 address that hides in an IPv6 address: mapped, translated, NAT64, 6to4, Teredo, ISATAP."""
    value = int(address)
    found = [
        IPv4Address(((value >> shift) & _LOW_32) ^ flip)
        for base, mask, shift, flip in _EMBEDDING
        if value & mask == base
    ]
    if (value >> 32) & 0xFCFF_FFFF == 0x0000_5EFE:  # ISATAP interface identifier, in any prefix
        found.append(IPv4Address(value & _LOW_32))
    return found


def is_denied(address: Address, exceptions: Iterable[Network] = ()) -> bool:
    """True for an address that guests may not reach, unless a network of `exceptions` holds it.

    An exception for an IPv6 network never covers what hides inside: NAT64 may be opened, 10.0.0.0/8 behind it is not.
    """
    excepted = any(address.version == network.version and address in network for network in exceptions)
    if isinstance(address, IPv4Address):
        value = int(address)
        return not excepted and any(value & mask == base for base, mask in _V4)
    value = int(address)
    if not excepted and (value & _GLOBAL[1] != _GLOBAL[0] or any(value & mask == base for base, mask in _V6)):
        return True
    if address.is_loopback or address.is_unspecified:  # no IPv4 address, though they lie in ::/96
        return False
    return any(is_denied(inner, exceptions) for inner in embedded(address))


def is_this_machine(address: Address) -> bool:
    """True when packets to `address` would not leave this machine: asks the routing table, and sends nothing."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False


def parse_address(text: str) -> Address | None:
    """The address that a resolver or a URL wrote as `text`; `None` when it is none, or one with a zone."""
    if "%" in text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None
