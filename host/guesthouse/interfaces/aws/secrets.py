"""`AwsSecretsInterface`: values of Secrets Manager, as fresh as the guest wants them.

Promises: a staleness of zero always asks; a value that is kept is only ever answered to the function that asked for it,
with the same credentials.  Must not know how requests are signed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.aws.base import AwsInterface, Client, CredentialsProvider, error
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.limits import KiB
from guesthouse.net.aws_failures import NOT_FOUND, OTHER, AwsFailure

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.net.aws import AwsClients

SECRETS = "momento:aws-secrets/aws-secrets@1.0.0"
SECRETS_V1 = "momento:host/aws-secrets@1.0.0"

MOST_KEPT = 1_024
"""Values that are kept for all functions: 64 MiB of them, with what is asked for."""
MOST_KEPT_BYTES = 64 * KiB
"""Of one value that is kept, and of what names it: AWS's own bound; another implementation may know none."""
MOST_KEPT_OF_ONE = 64
"""Values that are kept for one function: a guest that asks for many drives out its own."""

Owner = tuple[str, str]
Key = tuple[Any, ...]


class Secret(NamedTuple):
    """`record get-secret-value-response`"""

    arn: str
    created_date_epoch_seconds: int
    name: str
    secret: tuple[str, bytes | str]
    version_id: str
    version_stages: list[str]


class Kept:
    """Values and when they were asked for, the oldest first."""

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[Owner, Key], tuple[int, Secret]] = OrderedDict()
        self._counts: Counter[Owner] = Counter()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, owner: Owner, key: Key) -> tuple[int, Secret] | None:
        """A value and its time, in nanoseconds of the monotonic clock."""
        return self._values.get((owner, key))

    def put(self, owner: Owner, key: Key, asked_ns: int, secret: Secret) -> None:
        """Keeps a value that is not too large, and forgets the oldest ones over the bounds."""
        self._forget(owner, key)
        if len(secret.secret[1]) + sum(len(part or "") for part in key) > MOST_KEPT_BYTES:
            return
        if self._counts[owner] >= MOST_KEPT_OF_ONE:
            self._forget(*next(found for found in self._values if found[0] == owner))
        elif len(self._values) >= MOST_KEPT:
            self._forget(*next(iter(self._values)))
        self._values[owner, key] = (asked_ns, secret)
        self._counts[owner] += 1

    def _forget(self, owner: Owner, key: Key) -> None:
        if self._values.pop((owner, key), None) is not None:
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]


class AwsSecretsInterface(AwsInterface):
    """`aws-secrets`: values of Secrets Manager, granted as `aws-secrets:name*`."""

    name = "aws-secrets"
    service = "secretsmanager"
    patterns = "NAME or NAME*, or an ARN"
    resources = {(SECRETS, "client"): Client, (SECRETS_V1, "client"): Client}  # noqa: RUF012  # a ClassVar in the base class

    def __init__(self, clients: AwsClients, clock: Clock) -> None:
        super().__init__(clients, clock)
        self._kept = Kept()

    @host_call(SECRETS, "[constructor]client")
    @host_call(SECRETS_V1, "[constructor]client")
    def client(self, invocation: Invocation, credentials: CredentialsProvider) -> Client:
        """A client with these credentials."""
        return Client(credentials)

    @host_call(SECRETS, "[method]client.get-secret-value", Effect.READ)
    @host_call(SECRETS_V1, "[method]client.get-secret-value", Effect.READ)
    async def get_secret_value(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """A secret; one that this function got less than `allowed-staleness-seconds` ago is answered again."""
        owner = invocation.deployment.namespace, invocation.deployment.name
        key = (*client.provider.identity, request.secret_id, request.version_id, request.version_stage)
        now = self._clock.monotonic_ns()
        try:
            self.allow(invocation, request.secret_id)
            kept = self._kept.get(owner, key)
            if kept is not None and now - kept[0] < request.allowed_staleness_seconds * 1_000_000_000:
                return Ok(kept[1])
            secret = await self._ask(invocation, client, request)
        except AwsFailure as failure:
            if failure.kind == NOT_FOUND:
                return Err((NOT_FOUND, None))
            return error(failure)
        if request.allowed_staleness_seconds or kept is not None:  # a value that nobody may get again is not kept
            self._kept.put(owner, key, now, secret)
        return Ok(secret)

    async def close(self) -> None:
        """Forgets all values."""
        self._kept = Kept()

    async def _ask(self, invocation: Invocation, client: Client, request: Any) -> Secret:
        wanted = {
            "SecretId": request.secret_id,
            "VersionId": request.version_id,
            "VersionStage": request.version_stage,
        }
        parameters = {name: value for name, value in wanted.items() if value is not None}
        answer = await self.call(invocation, client, "get_secret_value", parameters)
        return _secret(answer.fields)


def _secret(fields: dict[str, Any]) -> Secret:
    """What the service answered as the guest reads it; raises `AwsFailure` for an answer without a value."""
    if fields.get("SecretBinary") is not None:
        value: tuple[str, bytes | str] = ("secret-bytes", bytes(fields["SecretBinary"]))
    elif fields.get("SecretString") is not None:
        value = ("secret-string", str(fields["SecretString"]))
    else:
        raise AwsFailure(OTHER, "secretsmanager: the secret has no value")
    created = fields.get("CreatedDate")
    return Secret(
        str(fields.get("ARN", "")),
        0 if created is None else max(0, int(created.timestamp())),
        str(fields.get("Name", "")),
        value,
        str(fields.get("VersionId", "")),
        [str(stage) for stage in fields.get("VersionStages") or ()],
    )
