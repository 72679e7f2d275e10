"""`AwsSession`: botocore's clients, one for each service and region, and every call with credentials of its own.

Promises: botocore reads no variable and no file of a person; whoever calls, the client is the same, and its credentials
are those of the task that calls.  The only module besides `aws_http` that knows aiobotocore: `aws` imports it with the
first call.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentialResolver, AioCredentials
from aiobotocore.session import AioSession
from botocore import exceptions
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.credentials import ReadOnlyCredentials
from botocore.parsers import ResponseParserError

from guesthouse.limits import KiB
from guesthouse.net.aws import AwsAnswer, AwsBody, AwsConfig, AwsRequest
from guesthouse.net.aws_failures import MALFORMED, OTHER, TIMEOUT, UNAUTHORIZED, AwsFailure, clean, of_service
from guesthouse.net.aws_http import AwsHttpSession, AwsTransport, as_botocore

MOST_CLIENTS = 32
"""Clients that are kept, a megabyte or two each: guests may name any region."""
CHUNK = 64 * KiB
ONCE = frozenset({"lambda"})
"""Services whose calls are not repeated when nobody knows whether the first one was carried out."""
BODIES = frozenset({"Body", "Payload"})
"""Members of answers that stream."""


@dataclass(slots=True)
class Call:
    """One call while it is under way."""

    request: AwsRequest
    raw: bytes = b""
    """The answer to a request with a body of its own."""


CALL: ContextVar[Call] = ContextVar("aws_call")
"""The call that the current task makes: botocore has no other way to hand it to a signer."""


class CallersCredentials(AioCredentials):  # type: ignore[misc]  # aiobotocore has no types
    """The credentials of whoever calls."""

    def __init__(self) -> None:
        super().__init__("", "")

    async def get_frozen_credentials(self) -> Any:
        """What the request of the current task is signed with."""
        found = CALL.get().request.credentials
        return ReadOnlyCredentials(found.access_key_id, found.secret_access_key, found.session_token)


class CallersProvider:
    """All that botocore has to look for credentials in."""

    METHOD = "guesthouse"

    async def load(self) -> CallersCredentials:
        """The credentials of whoever calls."""
        return CallersCredentials()


class AwsSession:
    """Clients of all services; made in any thread, used on one event loop."""

    def __init__(self, config: AwsConfig, ca_file: str | None = None) -> None:
        self._config = config
        tls = ssl.create_default_context()
        if ca_file is not None:
            tls.load_verify_locations(ca_file)
        transport = self._transport = AwsTransport(tls, config.connect_timeout_ms)

        class Http(AwsHttpSession):
            async def send(self, request: Any) -> Any:
                return await transport.send(request, CALL.get().request.response_bytes)

        self._http = Http
        self._session = _isolated()
        self._session.warm_up_loader_caches("sts")
        self._clients: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._making = asyncio.Lock()
        self._in_thread = threading.Lock()

    async def call(self, request: AwsRequest, done: Callable[[], None]) -> AwsAnswer:
        """Calls an operation; `done` is called once when an answer that streams is closed.  Raises `AwsFailure`."""
        call = Call(request)
        until = asyncio.get_running_loop().time() + request.timeout_ms / 1000
        token = CALL.set(call)
        try:
            client = await self._client(request.service, request.region)
            fields = await getattr(client, request.operation)(**request.parameters)
        except Exception as error:  # what a guest sends and a server answers passes through much code that is not ours
            raise _failure(error, request) from None
        finally:
            CALL.reset(token)
        for name in BODIES & fields.keys():
            return AwsAnswer(fields, b"", _body(fields.pop(name), request, done, until))
        return AwsAnswer(fields, call.raw, None)

    async def close(self) -> None:
        """Ends all connections."""
        self._clients.clear()
        await self._transport.close()

    async def _client(self, service: str, region: str) -> Any:
        key = service, region
        if key not in self._clients:
            async with self._making:
                if key not in self._clients:
                    self._clients[key] = await asyncio.to_thread(self._make, service, region)
                    while len(self._clients) > MOST_CLIENTS:
                        self._clients.popitem(last=False)  # it holds nothing: the connections are the transport's
        self._clients.move_to_end(key)
        return self._clients[key]

    def _make(self, service: str, region: str) -> Any:
        """A client: up to a tenth of a second of reading descriptions of services, so in a thread."""

        async def make() -> Any:
            config, endpoint = self._client_config(service), self._config.endpoint(service)
            return await self._session.create_client(service, region, endpoint_url=endpoint, config=config).__aenter__()

        with self._in_thread:  # whoever waited for the one before may have been cancelled, which ends no thread
            return asyncio.run(make())  # nothing in a client belongs to the loop that it was made on

    def _client_config(self, service: str) -> Any:
        own = self._config.endpoint(service) is not None
        return AioConfig(
            http_session_cls=self._http,
            proxies={},
            retries={"mode": "standard", "total_max_attempts": 1 if service in ONCE else self._config.attempts},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            account_id_endpoint_mode="disabled",
            ignore_configured_endpoint_urls=True,
            s3={
                "addressing_style": "path" if own else "auto",
                "disable_s3_express_session_auth": True,  # botocore would keep sessions by bucket, whosever they are
            },
        )


def _isolated() -> Any:
    """A session that is what this file says and nothing else: botocore would read variables and files at many places."""
    variables = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    variables["config_file"] = variables["credentials_file"] = (None, None, os.devnull, None)
    session = AioSession(session_vars=variables)
    session.register_component("credential_provider", AioCredentialResolver([CallersProvider()]))
    session.register("before-call.dynamodb", _own_body)
    session.register("before-parse.dynamodb", _keep_answer)
    return session


def _own_body(params: dict[str, Any], **_: Any) -> None:
    """Sends the JSON of the request instead of botocore's."""
    body = CALL.get().request.body
    if body is not None:
        params["body"] = body


def _keep_answer(response_dict: dict[str, Any], **_: Any) -> None:
    """Keeps the JSON of an answer, and spares botocore from reading it."""
    call = CALL.get()
    if call.request.body is not None and response_dict["status_code"] == 200:
        call.raw, response_dict["body"] = response_dict["body"], b"{}"


def _body(stream: Any, request: AwsRequest, done: Callable[[], None], until: float) -> AwsBody:
    async def read() -> bytes:
        try:
            with as_botocore(""):
                found: bytes = await stream.read(CHUNK)
        except Exception as error:
            failure = _failure(error, request)
            if failure.kind == TIMEOUT:
                raise TimeoutError from None
            raise failure from None
        return found

    def close() -> None:
        stream.close()
        done()

    return AwsBody(read, close, until)


def _failure(error: Exception, request: AwsRequest) -> AwsFailure:
    """What botocore's error means; most specific first."""
    service, secrets = request.service, request.credentials.secrets
    if isinstance(error, exceptions.ClientError):
        found = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return of_service(str(found.get("Code", "Unknown")), str(found.get("Message", "")), status, secrets)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return AwsFailure(UNAUTHORIZED, f"{service}: there are no AWS credentials")
    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return AwsFailure(TIMEOUT, f"{service}: no answer in time")
    if isinstance(error, exceptions.SSLError):
        return AwsFailure(OTHER, f"{service}: no trustworthy TLS connection")
    if isinstance(error, exceptions.EndpointConnectionError):
        return AwsFailure(OTHER, f"{service}: no connection to its endpoint")
    if isinstance(error, exceptions.HTTPClientError | OSError):
        return AwsFailure(OTHER, f"{service}: the connection ended before the answer did")
    if isinstance(error, ResponseParserError):
        return AwsFailure(OTHER, f"{service}: the answer is not what the service would say")
    if isinstance(error, exceptions.BotoCoreError):
        return AwsFailure(MALFORMED, clean(f"{service}: {error}", secrets))
    return AwsFailure(OTHER, f"{service}: the call failed ({type(error).__name__})")
