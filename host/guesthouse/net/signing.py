"""`Signer`: AWS Signature Version 4 for a request that is about to go out, with the signer of botocore.

Promises: what is signed is what is sent; nothing that a guest says gets into a header unchecked; without the extra `aws`
the refusal says so, and nothing is sent unsigned.  Must not know of sockets, nor where an assumed role's credentials
come from.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import quote, unquote_to_bytes

from guesthouse.net.aws_failures import AwsFailure
from guesthouse.net.aws_roles import Credentials
from guesthouse.net.destination import Destination
from guesthouse.net.failures import Unsigned
from guesthouse.net.headers import Headers

LARGE = 256 * 1024
"""Bodies over this many bytes are hashed in a thread: that takes milliseconds, and everybody would wait for them."""

_WORD = re.compile(r"[!-~]{1,128}\Z")
_REGION = re.compile(r"(?:s3-)?([a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2})\Z")
_GLOBAL = re.compile(r"(?:[a-z0-9-]+\.)+amazonaws\.com\Z")
_UNRESERVED = "-_.~"
_EXTRA = "needs the extra 'aws', which this host does not have: pip install 'guesthouse[aws]'"


@dataclass(frozen=True, slots=True)
class Secret:
    """A key to sign with, for one service in one region; `token` belongs to keys that expire."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    service: str
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Role:
    """A role to assume and sign as, for one service; the region is that of the URL's host."""

    role_arn: str
    service: str


AssumeRole = Callable[[str, str], Awaitable[Credentials]]
"""The credentials of a role (its ARN) for a region; raises `AwsFailure` with what stands in the way."""


class Signer:
    """Signs requests; `assume_role` is asked for the credentials of roles."""

    def __init__(self, assume_role: AssumeRole | None = None) -> None:
        self._assume_role = assume_role

    async def sign(
        self, how: Secret | Role, method: str, destination: Destination, headers: Headers, body: bytes
    ) -> tuple[Destination, list[tuple[str, str]]]:
        """The destination as it has to be requested, and the headers that go with it; raises `Unsigned`."""
        await asyncio.to_thread(_load) if _botocore is None else None
        secret = how if isinstance(how, Secret) else await self._assumed(how, destination)
        _check(secret)
        destination = replace(destination, target=_canonical(destination.target, secret.service))
        if len(body) > LARGE:
            return destination, await asyncio.to_thread(_sign, secret, method, destination, headers, body)
        return destination, _sign(secret, method, destination, headers, body)

    async def _assumed(self, role: Role, destination: Destination) -> Secret:
        if self._assume_role is None:
            raise Unsigned("authorization 'federated' is not set up on this host")
        region = region_of(destination.host)
        if region is None:
            raise Unsigned(f"the host {destination.host!r} does not say in which AWS region it is")
        try:
            found = await self._assume_role(role.role_arn, region)
        except AwsFailure as failure:
            raise Unsigned(str(failure)) from None
        return Secret(found.access_key_id, found.secret_access_key, region, role.service, found.session_token)


def region_of(host: str) -> str | None:
    """The AWS region that a host name speaks of; that of global services is us-east-1."""
    for label in reversed(host.split(".")):
        match = _REGION.match(label)
        if match is not None:
            return match[1]
    return "us-east-1" if _GLOBAL.match(host) else None


def _check(secret: Secret) -> None:
    """They become part of a header."""
    for what, value in (
        ("access key id", secret.access_key_id),
        ("region", secret.region),
        ("service", secret.service),
    ):
        if not _WORD.match(value):
            raise Unsigned(f"the {what} must be 1 to 128 visible ASCII characters")


def _canonical(target: str, service: str) -> str:
    """Path and query as the signature has them, so that no server can read them in another way than was signed.

    S3 signs the path as it is, encoded once; the others encode what was sent once more, so it may stay as it was.
    """
    path, mark, query = target.partition("?")
    if service.startswith("s3"):
        path = quote(unquote_to_bytes(path), safe="/~")
    pairs = (pair.partition("=") for pair in query.split("&"))
    return path + mark + "&".join(_encoded(name) + equals + _encoded(value) for name, equals, value in pairs)


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe=_UNRESERVED)


class _Botocore(Protocol):
    """What is used of botocore."""

    def __call__(self, secret: Secret, method: str, url: str, headers: Headers, body: bytes) -> Headers: ...


_botocore: _Botocore | None = None


def _load() -> None:
    """Imports botocore, which takes a tenth of a second; raises `Unsigned` where it is not installed."""
    global _botocore
    try:
        from botocore.auth import S3SigV4Auth, SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials as Keys
    except ImportError:
        raise Unsigned(f"signing requests {_EXTRA}") from None

    def sign(secret: Secret, method: str, url: str, headers: Headers, body: bytes) -> Sequence[tuple[str, str]]:
        request = AWSRequest(method, url, data=body)
        for name, value in headers:
            request.headers[name] = value  # adds one: botocore's headers are a message, in which names repeat
        keys = Keys(secret.access_key_id, secret.secret_access_key, secret.session_token)
        auth = S3SigV4Auth if secret.service.startswith("s3") else SigV4Auth
        auth(keys, secret.service, secret.region).add_auth(request)
        return list(request.headers.items())

    _botocore = sign


def _sign(
    secret: Secret, method: str, destination: Destination, headers: Headers, body: bytes
) -> list[tuple[str, str]]:
    assert _botocore is not None
    return list(_botocore(secret, method, destination.url, headers, body))
