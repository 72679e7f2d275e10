"""How requests of the AWS client reach the network: `AwsTransport`, in place of aiobotocore's own HTTP session.

Promises: no proxy, no redirect, no cookie, no compression; never a socket to a link-local address, where metadata
services are; answers that are read at once are bounded.  Must not know what the requests are for.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any, ClassVar

import aiohttp
from aiobotocore.awsrequest import AioAWSResponse
from botocore import exceptions
from multidict import CIMultiDict
from yarl import URL

from guesthouse.limits import KiB
from guesthouse.net.addresses import embedded, parse_address
from guesthouse.net.client import Body

IDLE_SECONDS = 15.0
"""How long a connection is kept for the next call."""
READ_TIMEOUT_SECONDS = 60.0
"""Longest silence of a server in the middle of an answer; the caller's own timeout is usually shorter."""
MOST_ERROR_BYTES = 64 * KiB
"""Of an answer that is an error: those of AWS have some hundreds."""
MAX_LINE = 32 * KiB

LINK_LOCAL = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"), IPv6Network("fd00:ec2::/32"))
"""Metadata services, in every form: credentials of the machine are nobody's to use."""


class AwsTransport:
    """The connections of one host to AWS; belongs to one event loop."""

    def __init__(self, tls: ssl.SSLContext, connect_timeout_ms: int) -> None:
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout_ms / 1000, sock_read=READ_TIMEOUT_SECONDS
        )
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Any, limit: int) -> Any:
        """The answer to a request that botocore has signed: read, up to `limit` bytes, unless it is one that streams."""
        with as_botocore(request.url):
            response = await self._request(request)
            answer = AioAWSResponse(str(response.url), response.status, _headers(response), response)
            if request.stream_output and response.status < 300:
                return answer
            try:
                answer._content = await _read(
                    response, limit if response.status < 300 else min(limit, MOST_ERROR_BYTES)
                )
            except BaseException:
                response.close()
                raise
            return answer

    async def close(self) -> None:
        """Ends all connections; may be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _request(self, request: Any) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        body = _bytes(request.body)
        return await session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=_fields(request.headers),
            data=Body(body) if body else None,
            allow_redirects=False,
        )

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._tls, limit=0, keepalive_timeout=IDLE_SECONDS, socket_factory=no_metadata_socket
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Content-Type",),
            timeout=self._timeout,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
        )
        return self._session


class AwsHttpSession:
    """What aiobotocore makes one of for each client: all of them share the `transport` of their host."""

    transport: ClassVar[AwsTransport]

    def __init__(self, **settings: Any) -> None:
        """Takes aiobotocore's settings; the transport has its own."""

    async def __aenter__(self) -> AwsHttpSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        """The transport outlives it."""

    async def send(self, request: Any) -> Any:
        """The answer to a request; see `AwsTransport.send`, which the class that is derived for a transport calls."""
        raise NotImplementedError

    async def close(self) -> None:
        """The transport outlives it."""


def no_metadata_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    """A socket for any address but those of metadata services; raises `PermissionError` for them."""
    family, kind, proto, _, (text, *_) = addr_info
    address = parse_address(text.partition("%")[0])
    inside = [address, *(embedded(address) if isinstance(address, IPv6Address) else ())]
    if address is None or any(one in network for one in inside for network in LINK_LOCAL if one is not None):
        raise PermissionError("destination prohibited")
    return socket.socket(family, kind, proto)


def _bytes(body: Any) -> bytes:
    """The body of a request, which botocore keeps as what it was given, or as a file."""
    found = body.read() if hasattr(body, "read") else body or b""
    return found.encode() if isinstance(found, str) else bytes(found)


def _fields(headers: Any) -> CIMultiDict[str]:
    fields: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        if name.lower() != "expect":  # it would have to be waited for, and is not signed
            fields[name] = text
    fields["Accept-Encoding"] = "identity"
    return fields


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in response.raw_headers}


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    pieces = bytearray()
    async for piece in response.content.iter_any():
        pieces += piece
        if len(pieces) > limit:
            raise exceptions.HTTPClientError(error="the answer is too large")
    return bytes(pieces)


@contextmanager
def as_botocore(url: str) -> Iterator[None]:
    """Raises what botocore decides by whether to try again."""
    try:
        yield
    except TimeoutError as error:
        connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
        kind = exceptions.ConnectTimeoutError if connecting else exceptions.ReadTimeoutError
        raise kind(endpoint_url=url, error="timed out") from None
    except (aiohttp.ClientSSLError, ssl.SSLError):
        raise exceptions.SSLError(endpoint_url=url, error="no trustworthy TLS connection") from None
    except aiohttp.ClientConnectorError:
        raise exceptions.EndpointConnectionError(endpoint_url=url, error="nobody there") from None
    except (aiohttp.ClientError, OSError):
        raise exceptions.ConnectionClosedError(endpoint_url=url, error="the connection ended") from None
