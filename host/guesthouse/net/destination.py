"""`Destination`: a URL taken apart so strictly that no two parsers could disagree on where it leads.

Promises: host and port are exactly those that will be connected to; anything that other software is known to read as
another host (credentials, backslashes, numbers that mean an IPv4 address, letters that are folded into others) is
refused.  Must not know of DNS or of what is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

import idna

from guesthouse.net.addresses import Address, parse_address
from guesthouse.net.failures import InvalidUrl, Prohibited

MAX_URL = 8 * 1024
"""Longest URL, in characters, as it is given and as it is requested: what servers in use accept."""
DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?\Z", re.DOTALL)
_BLANK = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(.*))?\Z", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_DOTTED_QUAD = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_V6 = re.compile(r"[0-9A-Fa-f:.]{2,45}\Z")
_LABEL = re.compile(r"(?!-)[a-z0-9_\-]{1,63}(?<!-)\Z")
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_KEPT = "!$%&'()*+,-./:;=?@[]_~"  # letters and digits too; everything else in a path or query is percent-encoded


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a URL leads: scheme and host in lower case, the host in ASCII and without a dot at its end."""

    scheme: str
    host: str
    """A name, or an IP address without brackets in its canonical form."""
    port: int
    target: str
    """Path and query, percent-encoded: what goes into the request line."""
    address: Address | None = None
    """The address, where the host is one."""

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL that is requested, without a fragment."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Destination:
    """Takes a URL apart; raises `InvalidUrl` for what is none, `Prohibited` for what tries to be two."""
    if len(text) > MAX_URL:
        raise InvalidUrl(text[:MAX_URL], f"the URL is longer than {MAX_URL} characters")
    if _BLANK.search(text):
        raise InvalidUrl(text, "the URL holds white space or control characters")
    match = _URL.match(text)
    if match is None:
        raise InvalidUrl(text, "the URL is not of the form scheme://host/path")
    scheme, authority, path, query, _ = match.groups()
    if "\\" in authority or "\\" in path or "@" in authority:
        raise Prohibited
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise Prohibited
    split = _AUTHORITY.match(authority)
    if split is None:
        raise InvalidUrl(text, "the host is not valid")
    host, address = _host(text, split[1])
    destination = Destination(scheme, host, _port(text, scheme, split[2]), _target(path, query), address)
    if len(destination.url) > MAX_URL:  # percent-encoding made it longer: it could not be taken apart once more
        raise InvalidUrl(text, f"the URL, percent-encoded, is longer than {MAX_URL} characters")
    return destination


def check_host(text: str) -> str:
    """A host in its canonical form: a name in ASCII, or an IP address; raises `Prohibited` or `ValueError`."""
    if text.startswith("["):
        return _v6(text[1:-1])
    host = text.translate(_ASCII_LOWER)
    if not host.isascii():
        host = _ascii(host)
    if host.endswith(".") and not host.endswith(".."):
        host = host[:-1]
        if _NUMBER.match(host.rpartition(".")[2]):
            raise Prohibited
    if _NUMBER.match(host.rpartition(".")[2]):  # what any parser could take for an IPv4 address has to be one
        if not _DOTTED_QUAD.match(host):
            raise Prohibited
        return str(IPv4Address(host))
    if "xn--" in host:
        host = _ascii(host)
    if not host or len(host) > 253 or not all(map(_LABEL.match, host.split("."))):
        raise ValueError("the host is not a valid name")
    return host


@lru_cache(maxsize=1024)
def _checked_host(text: str) -> tuple[str, Address | None]:
    host = check_host(text)
    return host, parse_address(host)


def _host(url: str, text: str) -> tuple[str, Address | None]:
    if not text:
        raise InvalidUrl(url, "the URL has no host")
    try:
        return _checked_host(text)
    except Prohibited:
        raise
    except ValueError:
        raise InvalidUrl(url, "the host is not a valid name") from None


def _ascii(host: str) -> str:
    """IDNA 2008 without any mapping: a letter that would be folded into another one is refused, not folded."""
    try:
        return idna.encode(host, strict=True, std3_rules=False).decode("ascii")
    except UnicodeError:
        raise Prohibited from None


def _v6(text: str) -> str:
    if not _V6.match(text):
        raise Prohibited if "%" in text else ValueError("not an IPv6 address")
    return str(IPv6Address(text))


def _port(url: str, scheme: str, text: str | None) -> int:
    if text is None:
        return DEFAULT_PORTS[scheme]
    if not _PORT.match(text) or not 0 < int(text) < 65536:
        raise InvalidUrl(url, "the port is not a number from 1 to 65535")
    return int(text)


def _target(path: str, query: str | None) -> str:
    return quote(f"{path or '/'}{query or ''}", safe=_KEPT)
