"""`AwsS3Interface`: whole objects of S3, both generations, `momento:aws-s3` 1.0.0 and 1.1.0.

Promises: an object that is not there is no error; a body streams to the guest that reads it and is never longer than
the function's limit.  Must not know how requests are signed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from guesthouse.engine.values import Ok
from guesthouse.errors import BadRequest
from guesthouse.interfaces.aws.base import AwsInterface, Client, CredentialsProvider, collected, error
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.bytes import Buffer, Data, discard, peek
from guesthouse.limits import KiB
from guesthouse.net.aws_failures import MALFORMED, NOT_FOUND, OTHER, THROTTLED, TIMEOUT, UNAUTHORIZED, AwsFailure

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.net.aws import AwsAnswer, AwsBody

S3_1_0 = "momento:aws-s3/aws-s3@1.0.0"
S3_1_1 = "momento:aws-s3/aws-s3@1.1.0"
S3_V1 = "momento:host/aws-s3@1.0.0"

AT_ONCE = 256 * KiB
"""Bodies up to this size are there before the guest sees them: a failure in the middle is then an error of the call."""
MOST_METADATA = 64
"""Metadata entries of one object: S3 takes 2 KiB of them in all."""

MOST_KEY_BYTES = 1_024
"""Of one object's key: S3's own bound."""

_BUCKET = re.compile(r"(?:(?!\.\.?\Z)[A-Za-z0-9._-]{1,255}|arn:[A-Za-z0-9:/._-]{1,500})\Z")
"""A name, old ones with capitals too, or the ARN of an access point; it becomes part of a host name or path."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}\Z")
_VALUE = re.compile(r"[ -~]{0,2048}\Z")
_DOTS = re.compile(r"(?:^|[/\\])\.\.?(?:[/\\]|\Z)")

Pairs = list[tuple[str, str]]


class PutOutput(NamedTuple):
    """`record put-object-output`"""

    expiration: str | None
    etag: str | None
    version_id: str | None


class GetOutput(NamedTuple):
    """`record get-object-output` of the newer generation."""

    body: Data | None
    etag: str | None = None
    version_id: str | None = None
    expiration: str | None = None
    metadata: Pairs = []  # noqa: RUF012  # lowered, never changed


class OldGetOutput(NamedTuple):
    """`record get-object-output` of the older generation."""

    body: bytes | None
    etag: str | None = None
    version_id: str | None = None
    expiration: str | None = None


class ExtendedGetOutput(NamedTuple):
    """`record get-object-output-extended`"""

    body: bytes | None
    etag: str | None = None
    version_id: str | None = None
    expiration: str | None = None
    content_type: str | None = None


class AwsS3Interface(AwsInterface):
    """`aws-s3`: put and get of objects, granted as `aws-s3:bucket/prefix*`."""

    name = "aws-s3"
    service = "s3"
    patterns = "BUCKET/KEY or BUCKET/PREFIX*"
    resources = {  # noqa: RUF012  # a ClassVar in the base class
        (S3_1_0, "client"): Client,
        (S3_1_1, "client"): Client,
        (S3_V1, "client"): Client,
    }

    def check_grant(self, pattern: str) -> None:
        """Takes a bucket and a key, or the beginning of one."""
        super().check_grant(pattern)
        if "/" not in pattern:
            raise BadRequest(f"the grant {self.name}:{pattern}: write {self.name}:{pattern.rstrip('*')}/*")

    @host_call(S3_1_0, "[constructor]client")
    @host_call(S3_1_1, "[constructor]client")
    @host_call(S3_V1, "[constructor]client")
    def client(self, invocation: Invocation, credentials: CredentialsProvider) -> Client:
        """A client with these credentials."""
        return Client(credentials)

    @host_call(S3_1_0, "[method]client.put", Effect.WRITE)
    async def put_1_0(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """Stores an object."""
        return await self._put(invocation, client, request, request.metadata)

    @host_call(S3_1_1, "[method]client.put", Effect.WRITE)
    async def put_1_1(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """Stores an object; `throttled` is told apart."""
        return await self._put(invocation, client, request, request.metadata, cases=(THROTTLED,))

    @host_call(S3_V1, "[method]client.put", Effect.WRITE)
    async def put_old(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """Stores an object without metadata."""
        return await self._put(invocation, client, request, [])

    @host_call(S3_V1, "[method]client.put-extended", Effect.WRITE)
    async def put_extended(self, invocation: Invocation, client: Client, request: Any, options: Any) -> Any:
        """Stores an object with its content type and encoding."""
        return await self._put(invocation, client, request, [], options)

    @host_call(S3_1_0, "[method]client.get", Effect.READ)
    async def get_1_0(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """An object, or none."""
        return await self._get(invocation, client, request)

    @host_call(S3_1_1, "[method]client.get", Effect.READ)
    async def get_1_1(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """An object, or none; `throttled` is told apart."""
        return await self._get(invocation, client, request, THROTTLED)

    @host_call(S3_V1, "[method]client.get", Effect.READ)
    async def get_old(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """An object, or none, all of it at once."""
        return await self._get_old(invocation, client, request, OldGetOutput)

    @host_call(S3_V1, "[method]client.get-extended", Effect.READ)
    async def get_extended(self, invocation: Invocation, client: Client, request: Any, options: Any) -> Any:
        """An object, or none, all of it at once, with its content type; S3 has no use for the options here."""
        return await self._get_old(invocation, client, request, ExtendedGetOutput)

    async def _put(
        self,
        invocation: Invocation,
        client: Client,
        request: Any,
        metadata: Pairs,
        options: Any = None,
        cases: tuple[str, ...] = (),
    ) -> Any:
        try:
            self._allow(invocation, request)
            parameters = {"Bucket": request.bucket, "Key": request.key, **_described(metadata, options)}
            parameters["Body"] = await collected(request.body, invocation.limits.lift_bytes, "the object")
            answer = await self.call(invocation, client, "put_object", parameters)
        except AwsFailure as failure:
            discard(request.body)
            return error(failure, *cases)
        found = answer.fields
        return Ok(PutOutput(_text(found, "Expiration"), _text(found, "ETag"), _text(found, "VersionId")))

    async def _get(self, invocation: Invocation, client: Client, request: Any, *cases: str) -> Any:
        limit = invocation.limits.http_response_bytes
        try:
            answer = await self._ask(invocation, client, request, limit)
            if answer is None:
                return Ok(GetOutput(None))
            body = await _data(answer, limit, AT_ONCE)
        except AwsFailure as failure:
            return error(failure, *cases)
        metadata = [(str(name), str(value)) for name, value in (answer.fields.get("Metadata") or {}).items()]
        return Ok(GetOutput(body, *_about(answer), metadata))

    async def _get_old(
        self,
        invocation: Invocation,
        client: Client,
        request: Any,
        output: type[OldGetOutput] | type[ExtendedGetOutput],
    ) -> Any:
        limit = invocation.limits.http_response_bytes
        try:
            answer = await self._ask(invocation, client, request, limit)
            if answer is None:
                return Ok(output(None))
            body = peek(await _data(answer, limit, limit + 1))
        except AwsFailure as failure:
            return error(failure)
        if output is ExtendedGetOutput:
            return Ok(output(body, *_about(answer), _text(answer.fields, "ContentType")))
        return Ok(output(body, *_about(answer)))

    async def _ask(self, invocation: Invocation, client: Client, request: Any, limit: int) -> AwsAnswer | None:
        """The answer of S3, or `None` where there is no such object; raises `AwsFailure`."""
        self._allow(invocation, request)
        try:
            answer = await self.call(invocation, client, "get_object", {"Bucket": request.bucket, "Key": request.key})
        except AwsFailure as failure:
            if failure.kind == NOT_FOUND:
                return None
            raise
        length = answer.fields.get("ContentLength")
        if isinstance(length, int) and length > limit:
            _close(answer)
            raise AwsFailure(OTHER, f"the object is over {limit} bytes")
        return answer

    def _allow(self, invocation: Invocation, request: Any) -> None:
        if not _BUCKET.match(request.bucket) or not 1 <= len(request.key.encode()) <= MOST_KEY_BYTES:
            raise AwsFailure(MALFORMED, "this is not the name of a bucket, or not a key of 1 to 1024 bytes")
        self.allow(invocation, f"{request.bucket}/{request.key}")
        restricted = invocation.deployment.manifest.granted(self.name) is not None
        if restricted and _DOTS.search(request.key):  # not every server behind an endpoint keeps them as they are
            raise AwsFailure(UNAUTHORIZED, "a key with . or .. in its path is in no prefix that was granted")


def _described(metadata: Pairs, options: Any) -> dict[str, Any]:
    """What a request says about its object; raises `AwsFailure` for what cannot be a header."""
    found: dict[str, Any] = {}
    if len(metadata) > MOST_METADATA:
        raise AwsFailure(MALFORMED, f"an object can have {MOST_METADATA} metadata entries")
    if metadata:
        found["Metadata"] = _merged(metadata)
    if options is not None:
        for parameter, value in (("ContentType", options.content_type), ("ContentEncoding", options.content_encoding)):
            if value is not None:
                if not _VALUE.match(value):
                    raise AwsFailure(MALFORMED, "content type and encoding must be visible ASCII")
                found[parameter] = value
    return found


def _merged(metadata: Pairs) -> dict[str, str]:
    """Entries of one name become one with all values, as S3 itself does with headers that repeat."""
    merged: dict[str, str] = {}
    for name, value in metadata:
        if not _TOKEN.match(name) or not _VALUE.match(value):
            raise AwsFailure(MALFORMED, "metadata must be header names and visible ASCII values")
        key = name.lower()
        merged[key] = f"{merged[key]},{value}" if key in merged else value
    return merged


async def _data(answer: AwsAnswer, limit: int, at_once: int) -> Data:
    """The body of an answer: there where it is smaller than `at_once`, else as it arrives; raises `AwsFailure`."""
    source = answer.body
    if source is None:
        return "value", b""
    first = bytearray()
    try:
        async for chunk in source:
            first += chunk
            if len(first) > limit:
                raise AwsFailure(OTHER, f"the object is over {limit} bytes")
            if len(first) >= at_once:
                return "buffer", Buffer(bytes(first), source, limit=limit - len(first), on_close=source.close)
    except TimeoutError:
        source.close()
        raise AwsFailure(TIMEOUT, "s3: the object did not arrive in time") from None
    except BaseException:
        source.close()
        raise
    source.close()
    return "buffer", Buffer(bytes(first))


def _about(answer: AwsAnswer) -> tuple[str | None, str | None, str | None]:
    found = answer.fields
    return _text(found, "ETag"), _text(found, "VersionId"), _text(found, "Expiration")


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return None if value is None else str(value)


def _close(answer: AwsAnswer) -> None:
    body: AwsBody | None = answer.body
    if body is not None:
        body.close()
