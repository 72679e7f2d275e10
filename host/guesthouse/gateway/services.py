"""`Services`: all that the gateway asks of the rest of the host, as types, so that anything of that shape will do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.config import Config
from guesthouse.errors import GuesthouseError
from guesthouse.interfaces.invocation import Headers, ResponseSink, WebRequest
from guesthouse.registry.deployment import Deployment
from guesthouse.telemetry import FunctionLogs, Metrics


class Outcome(Protocol):
    """How an invocation ended: the part of `dispatch.outcome.Outcome` that goes into an HTTP answer."""

    @property
    def invocation_id(self) -> str:
        """Goes into the answer's `x-invocation-id`."""

    @property
    def status(self) -> int:
        """The status that the guest chose."""

    @property
    def headers(self) -> Headers:
        """As the guest gave them, not checked yet."""

    @property
    def body(self) -> bytes:
        """The whole body, empty where it was streamed."""

    @property
    def error(self) -> GuesthouseError | None:
        """Why there is no answer."""

    @property
    def streamed(self) -> bool:
        """True when the answer left through the sink."""


class Pending(Protocol):
    """An invocation that was not over at once."""

    async def wait(self) -> Outcome:
        """Runs it to its end; cancelling the caller cancels the guest."""


class Dispatcher(Protocol):
    """Runs functions."""

    def web_now(
        self,
        deployment: Deployment,
        request: WebRequest,
        body: bytes | AsyncIterator[bytes],
        sink: ResponseSink | None = None,
    ) -> Outcome | Pending:
        """Runs a web function as far as it gets without waiting; raises what keeps it from starting."""

    def takes_stream(self, deployment: Deployment) -> bool:
        """Whether the function can be given a body that still arrives; the older interface cannot."""

    async def drain(self, timeout_s: float) -> None:
        """Takes no new work, and returns when all work has ended or been cancelled."""


class Registry(Protocol):
    """Knows the functions."""

    def get(self, namespace: str, name: str) -> Deployment | None:
        """The current version of a function."""

    def list(self, namespace: str | None = None) -> Sequence[Deployment]:
        """The current version of every function (of one namespace)."""

    def versions(self, namespace: str, name: str) -> Sequence[Deployment]:
        """All versions of a function, oldest first.  Reads from disk."""


class Principal(Protocol):
    """Who a token belongs to."""

    @property
    def token_id(self) -> str | None:
        """What guests may know of the token."""

    def allows(self, scope: str, namespace: str | None = None, name: str | None = None) -> bool:
        """True if the token's scope covers this."""


class Tokens(Protocol):
    """Knows the tokens."""

    def any(self) -> bool:
        """True if there is any token; cheap."""

    def verify(self, plain: str) -> Principal | None:
        """Whose token this is, if it is valid now; takes as long for one that is not."""


class Deployer(Protocol):
    """Deploys and deletes functions."""

    async def deploy(
        self,
        name: str,
        wasm: bytes,
        *,
        namespace: str,
        description: str,
        environment: Mapping[str, str],
        limits: Mapping[str, int],
        grants: Sequence[str] | None,
    ) -> Deployment:
        """Compiles, checks and stores a new version; raises `InputError` for what cannot run here."""

    async def delete(self, name: str, *, namespace: str) -> bool:
        """Deletes a function with all its versions; whether there was one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the gateway works with."""

    registry: Registry
    tokens: Tokens
    dispatcher: Dispatcher
    deploy: Deployer
    metrics: Metrics
    logs: FunctionLogs
    config: Config
    clock: Clock = SYSTEM_CLOCK
    version: str = "0"
    """Of guesthouse, for `/openapi.json`."""
