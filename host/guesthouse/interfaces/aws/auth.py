"""`AwsAuthInterface`: who a guest is at AWS, by keys of its own or by a role that the host assumes for it.

Promises: a provider that was answered has credentials; keys of the guest go nowhere but into signatures.  Must not know
what the credentials are for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest
from guesthouse.interfaces.aws.base import Client, CredentialsProvider
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.patterns import check_pattern, is_granted
from guesthouse.net.aws import Credentials, check_region
from guesthouse.net.aws_failures import UNAUTHORIZED, AwsFailure

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.net.aws import AwsClients

AUTH = "momento:aws-auth/aws-auth@1.0.0"
AUTH_V1 = "momento:host/aws-auth@1.0.0"
DDB_V1 = "momento:host/aws-ddb@1.0.0"

_KEY_ID = re.compile(r"[!-~]{1,128}\Z")
"""It becomes part of a header."""
MOST_SECRET = 1_024
"""Characters of a secret access key: AWS's own have 40."""


class AwsAuthInterface(Interface):
    """`aws-auth`: credentials for the other AWS interfaces.

    A grant may name roles, `aws-auth:arn:aws:iam::123456789012:role/reader*`; keys that the guest brings along are its
    own and need no more than any grant.
    """

    name = "aws-auth"
    resources = {  # noqa: RUF012  # a ClassVar in the base class
        (AUTH, "credentials-provider"): CredentialsProvider,
        (AUTH_V1, "credentials-provider"): CredentialsProvider,
        (DDB_V1, "client"): Client,
    }

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    def check_grant(self, pattern: str) -> None:
        """Takes the ARN of a role, or the beginning of one."""
        how = "arn:aws:iam::123456789012:role/NAME"
        check_pattern(self.name, pattern, how)
        if not pattern.startswith("arn:"):
            raise BadRequest(f"the grant {self.name}:{pattern}: write {self.name}:{how}")

    @host_call(AUTH, "provider")
    @host_call(AUTH_V1, "provider")
    async def provider(
        self, invocation: Invocation, authorization: tuple[str, Any], region: str
    ) -> Ok[CredentialsProvider] | Err[tuple[str, str]]:
        """A provider for these credentials; a role is assumed at once, so that the guest learns what stands in the way.

        What that was is observed; what the guest brought along to prove who it is reaches no journal.
        """
        case, given = authorization
        own = Credentials(given.access_key_id, given.secret_access_key) if case == "hardcoded" else None
        provider = CredentialsProvider(self._clients, region, own, "" if own is not None else given.role_arn)
        refused = await invocation.observe_later("aws-auth provider", lambda: self._refusal(invocation, provider, own))
        return Ok(provider) if refused is None else Err((UNAUTHORIZED, refused))

    async def _refusal(
        self, invocation: Invocation, provider: CredentialsProvider, own: Credentials | None
    ) -> str | None:
        """Why these credentials cannot be used."""
        try:
            await self._clients.available()
            if not check_region(provider.region):
                raise AwsFailure(UNAUTHORIZED, "this is not a region: small letters, digits and hyphens")
            if own is not None:
                _check_keys(own)
            else:
                self._check_allowed(invocation, provider.role_arn)
                await provider.credentials()
        except AwsFailure as failure:
            return str(failure)
        return None

    @host_call(DDB_V1, "[constructor]client")
    def client(self, invocation: Invocation, credentials: CredentialsProvider) -> Client:
        """A DynamoDB client of the older generation: its crates make one of each provider, whatever the guest is granted."""
        return Client(credentials)

    def _check_allowed(self, invocation: Invocation, role_arn: str) -> None:
        if not is_granted(invocation, self.name, role_arn):
            raise AwsFailure(UNAUTHORIZED, f"this function was not granted {self.name}:{role_arn}")


def _check_keys(keys: Credentials) -> None:
    if not _KEY_ID.match(keys.access_key_id):
        raise AwsFailure(UNAUTHORIZED, "the access key id must be 1 to 128 visible ASCII characters")
    if not 1 <= len(keys.secret_access_key) <= MOST_SECRET:
        raise AwsFailure(UNAUTHORIZED, f"the secret access key must be 1 to {MOST_SECRET} characters")
