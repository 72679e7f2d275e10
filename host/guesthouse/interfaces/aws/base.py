"""What the AWS interfaces share: `CredentialsProvider` and `Client`, which guests hold handles to, grants, and the call.

Promises: what a deployment was not granted is never asked for; every call ends within the invocation's deadline; a
failure is a case of the interface's error variant.  Must not know any single service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from guesthouse.engine.values import Err
from guesthouse.errors import BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Interface
from guesthouse.interfaces.bytes import Data, collect
from guesthouse.interfaces.patterns import check_pattern, is_granted
from guesthouse.net.aws import AwsAnswer, AwsClients, AwsRequest, Credentials
from guesthouse.net.aws_failures import MALFORMED, OTHER, UNAUTHORIZED, AwsFailure

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.invocation import Invocation


class CredentialsProvider:
    """Resource `credentials-provider`: who a guest wants to be at AWS, and in which region."""

    __slots__ = ("_clients", "_hardcoded", "region", "role_arn")

    def __init__(
        self, clients: AwsClients, region: str, hardcoded: Credentials | None = None, role_arn: str = ""
    ) -> None:
        self._clients = clients
        self._hardcoded = hardcoded
        self.region = region
        self.role_arn = role_arn

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells it from others: the same for two that are allowed the same."""
        own = self._hardcoded
        secret = (self.role_arn,) if own is None else (own.access_key_id, own.secret_access_key)
        return (self.region, *secret)

    def packed(self) -> list[str]:
        """As `identity`, without anything secret."""
        own = self._hardcoded
        return [self.region, self.role_arn if own is None else own.access_key_id]

    async def credentials(self) -> Credentials:
        """What to sign with now: credentials of a role are renewed when it is time; raises `AwsFailure`."""
        if self._hardcoded is not None:
            return self._hardcoded
        return await self._clients.assume_role(self.role_arn, self.region)


class Client:
    """Resource `client` of every service: all that it has is its credentials."""

    __slots__ = ("provider",)

    def __init__(self, provider: CredentialsProvider) -> None:
        self.provider = provider

    def packed(self) -> list[str]:
        """Who it is, without anything secret: journals compare it."""
        return self.provider.packed()


class AwsInterface(Interface):
    """One service of AWS."""

    service: ClassVar[str]
    """The name that AWS gives its endpoint."""
    patterns: ClassVar[str]
    """How a pattern of its grants is written, for the error text."""

    def __init__(self, clients: AwsClients, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock

    def check_grant(self, pattern: str) -> None:
        """Takes a name, which may end with `*` for everything that begins like it."""
        check_pattern(self.name, pattern, self.patterns)

    def allow(self, invocation: Invocation, wanted: str) -> None:
        """Raises `AwsFailure` for what the deployment was not granted."""
        if not is_granted(invocation, self.name, wanted):
            raise AwsFailure(UNAUTHORIZED, f"this function was not granted {self.name}:{wanted}")

    def place(self, invocation: Invocation, function: str, args: Sequence[Any]) -> str | None:
        """The name by which services are known: `lambda.eu-central-1.amazonaws.com`."""
        client: Client = args[0]
        return f"{self.service}.{client.provider.region}.amazonaws.com"

    def cut_off(self, interface: str, function: str) -> Err[tuple[str, str | None]]:
        """A failure of no kind of its own."""
        return Err(("other", "the host ended while the call was under way; it was perhaps done"))

    async def call(
        self,
        invocation: Invocation,
        client: Client,
        operation: str,
        parameters: Mapping[str, Any],
        body: bytes | None = None,
    ) -> AwsAnswer:
        """Calls an operation as the client's credentials; raises `AwsFailure`."""
        limits, deployment = invocation.limits, invocation.deployment
        credentials = await client.provider.credentials()
        left_ms = max(0, invocation.deadline_ns - self._clock.monotonic_ns()) // 1_000_000
        request = AwsRequest(
            self.service,
            operation,
            credentials,
            client.provider.region,
            parameters,
            body,
            (deployment.namespace, deployment.name),
            min(limits.http_timeout_ms, left_ms),
            limits.http_response_bytes,
        )
        return await self._clients.call(request)


async def collected(data: Data, limit: int, what: str) -> bytes:
    """What a guest handed over, all of it; raises `AwsFailure` where it is too much or does not arrive."""
    try:
        return await collect(data, limit)
    except BodyTooLarge:
        raise AwsFailure(MALFORMED, f"{what} is over {limit} bytes") from None
    except GuesthouseError as failure:
        raise AwsFailure(OTHER, f"{what} broke off: {failure.public}") from None


def error(failure: AwsFailure, *cases: str) -> Err[tuple[str, str | None]]:
    """A failure as the case of its own name, where the WIT variant has it among `cases`, else as `other`."""
    known = failure.kind in (UNAUTHORIZED, MALFORMED, *cases)
    return Err((failure.kind if known else "other", str(failure)))
