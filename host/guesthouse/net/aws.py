"""`AwsClients`: calls of AWS services, signed with the caller's own credentials or with those of a role.

    answer = await clients.call(AwsRequest("logs", "put_log_events", credentials, "us-east-1", {"logGroupName": …}))

Promises: aiobotocore is imported by the first call and by nothing else; no credentials are looked for anywhere, neither
in files nor in the environment nor at a metadata service; every call ends within its timeout; every way to fail is an
`AwsFailure`.  Must not know of guests: `interfaces.aws` speaks their language.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import BadRequest
from guesthouse.limits import Limits, MiB
from guesthouse.net.aws_failures import MALFORMED, OTHER, TIMEOUT, UNAUTHORIZED, AwsFailure
from guesthouse.net.aws_roles import Assumed, Credentials, RoleCache
from guesthouse.net.slots import Owner, Slots, default_connections

if TYPE_CHECKING:
    from guesthouse.net.aws_session import AwsSession

__all__ = ["AwsAnswer", "AwsBody", "AwsClients", "AwsConfig", "AwsFailure", "AwsRequest", "Credentials"]

SERVICES = frozenset({"dynamodb", "lambda", "logs", "s3", "secretsmanager", "sts"})
"""The services that this host calls, by the names that AWS gives their endpoints."""
NEEDS_EXTRA = "this host has no AWS client: pip install 'guesthouse[aws]'"
NO_OWN_CREDENTIALS = "this host has no AWS credentials to assume roles with: set access_key_id in its section [aws]"

ID_VARIABLE, SECRET_VARIABLE, TOKEN_VARIABLE = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
"""Where AWS's own tools find credentials; read only by a host that is told to."""

_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")
"""One label of a host name: nothing a guest calls a region can lead out of the service's domain."""
_ROLE = re.compile(r"arn:[a-z0-9-]{1,32}:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}\Z", re.ASCII)
_ASSUME_TIMEOUT_MS = 10_000
_HOST: Owner = ("", "aws")
"""Who assumes roles: everybody waits for it, so it is nobody's share."""


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """How a host reaches AWS; raises `BadRequest` for an endpoint that is none."""

    credentials: Credentials | None = None
    """The host's own: they assume the roles that guests name, and do nothing else."""
    endpoint_url: str | None = None
    """Where all services are, instead of at AWS: another implementation, or a server for tests."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """The same for single services: dynamodb, lambda, logs, s3, secretsmanager, sts."""
    log_region: str = "us-east-1"
    """Where log groups are that guests name without a region."""
    connect_timeout_ms: int = 5_000
    attempts: int = 3
    """How often a call is tried in all, with growing pauses, where the service says that it may be."""
    connections: int | None = None
    """Calls at once; `None`: as many as the process's file descriptors are good for."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.endpoints) - SERVICES)
        if unknown:
            raise BadRequest(f"there is no service {unknown[0]!r}; the services are: {', '.join(sorted(SERVICES))}")
        for url in (self.endpoint_url, *self.endpoints.values()):
            if url is not None:
                _check_endpoint(url)

    @classmethod
    def of(
        cls,
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> AwsConfig:
        """A configuration from text as people write it: credentials given here, or as AWS's tools find them in `environment`.

        Raises `BadRequest` for half of them, for both kinds, and for an environment that has none.
        """
        if environment is not None:
            if access_key_id or secret_access_key:
                raise BadRequest("AWS credentials are given here or taken from the environment, not both")
            access_key_id, secret_access_key = environment.get(ID_VARIABLE), environment.get(SECRET_VARIABLE)
            session_token = environment.get(TOKEN_VARIABLE)
            if not access_key_id or not secret_access_key:
                raise BadRequest(
                    f"AWS credentials are to come from the environment: set {ID_VARIABLE} and {SECRET_VARIABLE}"
                )
        if bool(access_key_id) != bool(secret_access_key):
            raise BadRequest("AWS credentials are an access key id and a secret access key, both")
        if not access_key_id or not secret_access_key:
            return cls(None, **settings)
        return cls(Credentials(access_key_id, secret_access_key, session_token or None), **settings)

    def endpoint(self, service: str) -> str | None:
        """Where a service is, if not at AWS."""
        return self.endpoints.get(service, self.endpoint_url)


@dataclass(frozen=True, slots=True)
class AwsRequest:
    """One call of an operation; nothing in it has been checked."""

    service: str
    """As AWS names its endpoints: `s3`, `secretsmanager`."""
    operation: str
    """As botocore names its methods: `get_object`."""
    credentials: Credentials
    region: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of what the parameters would become, in the service's own JSON."""
    owner: Owner = _HOST
    """Namespace and name of the function that it is for: each has its own slots."""
    timeout_ms: int = Limits().http_timeout_ms
    response_bytes: int = 16 * MiB
    """Largest answer that is read at once; bodies that stream are their readers' to bound."""


class AwsAnswer(NamedTuple):
    """What a service answered."""

    fields: dict[str, Any]
    """As botocore reads it; empty where the request had a `body` of its own."""
    raw: bytes
    """The answer itself, where the request had a `body` of its own."""
    body: AwsBody | None
    """The body of an answer that streams; whoever gets it closes it."""


class AwsBody:
    """A body that arrives while it is read; keeps its slot until it is closed.

    Raises `TimeoutError` where it is not all there by the call's timeout, and `AwsFailure` where it breaks off.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]], close: Callable[[], None], until: float) -> None:
        """`until` is in the loop's time."""
        self._until = until
        self._read = read
        self._close: Callable[[], None] | None = close

    def __aiter__(self) -> AwsBody:
        return self

    async def __anext__(self) -> bytes:
        async with asyncio.timeout_at(self._until):
            chunk = await self._read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def close(self) -> None:
        """Lets go of the connection; may be called again."""
        close, self._close = self._close, None
        if close is not None:
            close()


class AwsClients:
    """All calls of one host to AWS; belongs to one event loop."""

    def __init__(
        self, config: AwsConfig | None = None, clock: Clock = SYSTEM_CLOCK, *, ca_file: str | None = None
    ) -> None:
        """`ca_file` (PEM) is trusted in addition to the system's certificates."""
        self.config = config or AwsConfig()
        self._ca_file = ca_file
        self.slots = Slots(self.config.connections or default_connections())
        self._roles = RoleCache(clock)
        self._session: AwsSession | None = None
        self._opening = asyncio.Lock()

    async def call(self, request: AwsRequest) -> AwsAnswer:
        """Calls an operation; raises `AwsFailure`."""
        _check(request)
        try:
            async with asyncio.timeout(request.timeout_ms / 1000):
                session = self._session or await self._open()
                await self.slots.acquire(request.owner)
                return await self._in_slot(session, request)
        except TimeoutError:
            raise AwsFailure(TIMEOUT, f"no answer from {request.service} within {request.timeout_ms} ms") from None

    async def assume_role(self, role_arn: str, region: str) -> Credentials:
        """The credentials of a role, for five minutes at least; raises `AwsFailure`."""
        own = self.config.credentials
        if not _ROLE.match(role_arn):
            raise AwsFailure(UNAUTHORIZED, "this is not the ARN of a role: arn:aws:iam::123456789012:role/NAME")
        if own is None:
            await self.available()  # the extra comes first
            raise AwsFailure(UNAUTHORIZED, NO_OWN_CREDENTIALS)
        return await self._roles.get((role_arn, region), lambda: self._assume(own, role_arn, region))

    async def available(self) -> None:
        """Raises `AwsFailure` where the extra is missing."""
        if self._session is None:
            await self._open()

    async def close(self) -> None:
        """Ends all calls and connections; may be called twice."""
        await self._roles.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self) -> AwsSession:
        async with self._opening:
            if self._session is None:
                self._session = await asyncio.to_thread(_session, self.config, self._ca_file)
            return self._session

    async def _in_slot(self, session: AwsSession, request: AwsRequest) -> AwsAnswer:
        """Calls in a slot that is held until the answer, or its body, is done with."""
        answer = None
        try:
            answer = await session.call(request, lambda: self.slots.release(request.owner))
        finally:
            if answer is None or answer.body is None:
                self.slots.release(request.owner)
        return answer

    async def _assume(self, own: Credentials, role_arn: str, region: str) -> Assumed:
        parameters = {"RoleArn": role_arn, "RoleSessionName": "guesthouse"}
        answer = await self.call(
            AwsRequest("sts", "assume_role", own, region, parameters, timeout_ms=_ASSUME_TIMEOUT_MS)
        )
        try:
            found = answer.fields["Credentials"]
            expires = int(found["Expiration"].timestamp() * 1_000_000_000)
            return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]), expires
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError):
            raise AwsFailure(OTHER, "sts: the answer to AssumeRole holds no credentials") from None


def _session(config: AwsConfig, ca_file: str | None) -> AwsSession:
    """Imports the client and loads what it needs from disk: half a second, so in a thread."""
    try:
        from guesthouse.net.aws_session import AwsSession
    except ImportError:
        raise AwsFailure(UNAUTHORIZED, NEEDS_EXTRA) from None
    return AwsSession(config, ca_file)


def _check(request: AwsRequest) -> None:
    if not _REGION.match(request.region):
        raise AwsFailure(MALFORMED, "this is not a region: small letters, digits and hyphens")
    if not request.credentials.access_key_id or not request.credentials.secret_access_key:
        raise AwsFailure(UNAUTHORIZED, "there are no AWS credentials: the access key id or the secret is empty")


def check_region(region: str) -> bool:
    """Whether a text can be a region's name."""
    return _REGION.match(region) is not None


def _check_endpoint(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or parts.username is not None or parts.query or parts.fragment:
        raise BadRequest(f"{url!r} is not an endpoint: write http://host:port or https://host")
