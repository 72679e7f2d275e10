"""`AwsLambdaInterface`: calls of AWS Lambda functions, both generations.

Promises: a call is made once and never repeated by the host, for nobody could tell whether the first one ran.  Must not
know what the functions do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from guesthouse.engine.values import Ok
from guesthouse.interfaces.aws.base import AwsInterface, Client, CredentialsProvider, collected, error
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.bytes import Data, discard
from guesthouse.net.aws_failures import MALFORMED, OTHER, TIMEOUT, AwsFailure

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.net.aws import AwsAnswer

LAMBDA = "momento:aws-lambda/aws-lambda@1.0.0"
LAMBDA_V1 = "momento:host/aws-lambda@1.0.0"

_FUNCTION = re.compile(r"[A-Za-z0-9_:$-]{1,256}\Z")
"""A name, a partial ARN or an ARN; it becomes part of a path."""
_CONTEXT = re.compile(r"[ -~]{0,4096}\Z")
"""Base64 of at most 3,583 bytes; it becomes a header."""

TYPES = {"request-response": "RequestResponse", "event": "Event", "dry-run": "DryRun"}


class Output(NamedTuple):
    """`record invoke-output`; the payload is `data`, or plain bytes in the older generation."""

    status_code: int
    payload: Data | None
    log_result: str | None
    executed_version: str | None


class AwsLambdaInterface(AwsInterface):
    """`aws-lambda`: invoke, granted as `aws-lambda:function`."""

    name = "aws-lambda"
    service = "lambda"
    patterns = "FUNCTION or FUNCTION*, or an ARN"
    resources = {(LAMBDA, "client"): Client, (LAMBDA_V1, "client"): Client}  # noqa: RUF012  # a ClassVar in the base class

    @host_call(LAMBDA, "[constructor]client")
    @host_call(LAMBDA_V1, "[constructor]client")
    def client(self, invocation: Invocation, credentials: CredentialsProvider) -> Client:
        """A client with these credentials."""
        return Client(credentials)

    @host_call(LAMBDA, "[method]client.invoke", Effect.WRITE)
    async def invoke(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """Calls a function and waits for it, or only asks for it."""
        return await self._invoke(invocation, client, request, old=False)

    @host_call(LAMBDA_V1, "[method]client.invoke", Effect.WRITE)
    async def invoke_old(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """The same with plain bytes."""
        return await self._invoke(invocation, client, request, old=True)

    async def _invoke(self, invocation: Invocation, client: Client, request: Any, old: bool) -> Any:
        limits = invocation.limits
        try:
            self.allow(invocation, request.function_name)
            parameters = _parameters(request)
            if request.payload is not None:
                parameters["Payload"] = await collected(request.payload, limits.lift_bytes, "the payload")
            answer = await self.call(invocation, client, "invoke", parameters)
            payload = await _payload(answer, limits.http_response_bytes)
        except AwsFailure as failure:
            discard(request.payload)
            return error(failure)
        found = answer.fields
        return Ok(
            Output(
                int(found.get("StatusCode", 0)),
                payload if old or payload is None else ("value", payload),
                found.get("LogResult"),
                found.get("ExecutedVersion"),
            )
        )


def _parameters(request: Any) -> dict[str, Any]:
    """What botocore is given; raises `AwsFailure` for what cannot be part of a request."""
    if not _FUNCTION.match(request.function_name):
        raise AwsFailure(MALFORMED, "this is not the name or ARN of a Lambda function")
    case, synchronous = request.invocation_type
    parameters = {"FunctionName": request.function_name, "InvocationType": TYPES[case]}
    if request.qualifier is not None:
        parameters["Qualifier"] = request.qualifier
    if synchronous is not None:
        if synchronous.log_type is not None:
            parameters["LogType"] = "Tail"
        if synchronous.client_context is not None:
            if not _CONTEXT.match(synchronous.client_context):
                raise AwsFailure(MALFORMED, "the client context must be base64 of at most 3583 bytes")
            parameters["ClientContext"] = synchronous.client_context
    return parameters


async def _payload(answer: AwsAnswer, limit: int) -> bytes | None:
    """All of an answer's payload, or `None` where it is empty; raises `AwsFailure`."""
    if answer.body is None:
        return None
    pieces = bytearray()
    try:
        async for piece in answer.body:
            pieces += piece
            if len(pieces) > limit:
                raise AwsFailure(OTHER, f"the function's answer is over {limit} bytes")
    except TimeoutError:
        raise AwsFailure(TIMEOUT, "lambda: the answer did not arrive in time") from None
    finally:
        answer.body.close()
    return bytes(pieces) or None
