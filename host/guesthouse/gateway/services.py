"""`Services`: all that the gateway asks of the rest of the host, as types, so that anything of that shape will do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.config import Config
from guesthouse.dispatch.flows import QueueState
from guesthouse.dispatch.invocations import Accepted, Wanted
from guesthouse.errors import GuesthouseError
from guesthouse.interfaces.cache import CacheBackend, MemoryCache
from guesthouse.interfaces.invocation import Headers, ResponseSink, WebRequest
from guesthouse.interfaces.topic import TopicBroker
from guesthouse.queue.call import Output, QueuedCall, Record
from guesthouse.queue.queue import FunctionKey, Page
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.namespaces import Namespaces
from guesthouse.registry.principal import CacheAction, TopicAction
from guesthouse.registry.registry import FunctionState
from guesthouse.registry.secrets import Secrets
from guesthouse.storage.database import Database
from guesthouse.telemetry import FunctionLogs, Metrics


class Outcome(Protocol):
    """How an invocation ended: the part of `dispatch.outcome.Outcome` that goes into an HTTP answer."""

    @property
    def invocation_id(self) -> str:
        """Goes into the answer's `x-invocation-id`."""

    @property
    def status(self) -> int:
        """The status that the guest chose, checked."""

    @property
    def headers(self) -> Headers:
        """As the guest gave them: checked, without the host's own."""

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
        *,
        invocation_id: str = "",
    ) -> Outcome | Pending:
        """Runs a web function as far as it gets without waiting; raises what keeps it from starting.

        `invocation_id` is one of `new_id`; empty: it gets one.
        """

    def new_id(self) -> str:
        """An id for an invocation."""

    @property
    def draining(self) -> bool:
        """Whether it takes no new work any more, and gives up what runs."""

    def takes_stream(self, deployment: Deployment) -> bool:
        """Whether the function can be given a body that still arrives; the older interface cannot."""

    def running(self) -> Sequence[str]:
        """Functions of the invocations that run right now, as `namespace/name`; from any thread."""

    async def drain(self, timeout_s: float) -> None:
        """Takes no new work, and returns when all work has ended or been cancelled."""


class Invocations(Protocol):
    """Takes calls for later, and knows of all that were made."""

    @property
    def most_body_bytes(self) -> int:
        """The largest body of a queued call."""

    def check(self, deployment: Deployment, body_bytes: int) -> None:
        """Raises what keeps a call of this function with a body of this size from being queued."""

    async def accept(self, deployment: Deployment, wanted: Wanted) -> Accepted:
        """Takes a call; on return it survives a crash."""

    async def find(self, id: str) -> Record:
        """What is known of an invocation; raises `UnknownInvocation`."""

    async def list(self, wanted: Page) -> tuple[Sequence[Record], str | None]:
        """Records, newest first, and where the next page begins."""

    async def output(self, id: str) -> Output | None:
        """The answer of an invocation that has ended, if it was kept."""

    async def request(self, id: str) -> QueuedCall:
        """The request of a call that is queued, running or dead."""

    async def attach(self, id: str, timeout_s: float) -> Record:
        """Waits for the end of an invocation, at most `timeout_s` seconds."""

    async def queues(self) -> Sequence[QueueState]:
        """How it stands with every function for which something is queued, running or dead."""

    async def cancel(self, id: str) -> None:
        """Ends an invocation that has not ended; raises `HasEnded`."""

    async def kill(self, id: str) -> None:
        """Ends an invocation that has not ended, with all that it called; raises `HasEnded`."""

    async def drop(self, id: str) -> None:
        """Forgets the request of a dead letter; raises `NotDead`."""

    def stop_waiting(self) -> None:
        """Lets go whoever waits for an end: the host stops."""


class Awakeables(Protocol):
    """Knows what functions wait for."""

    def check(self, id: str) -> None:
        """Raises `NoSuchAwakeable` for an id that was not made here; looks nothing up."""

    async def resolve(self, id: str, payload: bytes) -> None:
        """Completes it; raises `NoSuchAwakeable`."""

    async def reject(self, id: str, reason: str) -> None:
        """Completes it as failed; raises `NoSuchAwakeable`."""


class Registry(Protocol):
    """Knows the functions."""

    def get(self, namespace: str, name: str) -> Deployment | None:
        """The current version of a function."""

    def list(self, namespace: str | None = None) -> Sequence[Deployment]:
        """The current version of every function (of one namespace)."""

    def show(self, namespace: str, name: str) -> FunctionState | None:
        """A function with its newest and its pinned version."""

    def users(self, digest: str) -> frozenset[FunctionKey]:
        """The functions of which a version has this digest.  Reads from disk."""

    def wasm(self, digest: str) -> bytes:
        """The bytes of a digest.  Reads from disk."""

    def versions(self, namespace: str, name: str) -> Sequence[Deployment]:
        """All versions of a function, oldest first.  Reads from disk."""

    def version(self, namespace: str, name: str, version: int) -> Deployment | None:
        """One version of a function.  Reads from disk."""


class Principal(Protocol):
    """Who a token belongs to."""

    @property
    def id(self) -> str:
        """Names the token; not secret."""

    @property
    def token_id(self) -> str | None:
        """What guests may know of the token."""

    def allows(self, scope: str, namespace: str | None = None, name: str | None = None) -> bool:
        """True if the token's scope covers this; for cache and topics: anything of that namespace."""

    def allows_cache(self, action: CacheAction, namespace: str, key: bytes) -> bool:
        """True if the token covers this action on this item."""

    def allows_topic(self, action: TopicAction, namespace: str, topic: str) -> bool:
        """True if the token covers this action on this topic."""


class Tokens(Protocol):
    """Knows the tokens."""

    def any(self) -> bool:
        """True if there is any token; cheap."""

    def verify(self, plain: str) -> Principal | None:
        """Whose token this is, if it is valid now; takes as long for one that is not."""


class DisposableTokens(Protocol):
    """Knows the tokens that are kept nowhere."""

    def verify(self, token: str) -> Principal:
        """Whose token this is; raises `Unauthorized` for one that was not made here, or is over."""


class Recordings(Protocol):
    """Knows the journals of invocations."""

    async def journal(self, id: str, most: int) -> Mapping[str, Any]:
        """The entries of one, as JSON; raises `NoJournal`."""

    async def export(self, id: str, *, module: bool = True) -> bytes:
        """An invocation in one file; raises `NoJournal`."""

    async def redrive(
        self, id: str, *, from_entry: int | None = None, version: int | None = None, fail: bool = False
    ) -> None:
        """Queues a dead letter once more; raises `NotDead`, and what keeps a version from going on with it."""


class Deployer(Protocol):
    """Deploys and deletes functions."""

    async def deploy(
        self,
        name: str,
        wasm: bytes,
        *,
        namespace: str,
        **options: Any,
    ) -> Deployment:
        """Compiles, checks and stores a new version; raises `InputError` for what cannot run here.

        `options` are those of `ManifestDocument.options`.
        """

    async def delete(self, name: str, *, namespace: str) -> bool:
        """Deletes a function with all its versions; whether there was one."""

    async def pin(self, name: str, version: int | None, *, namespace: str) -> FunctionState:
        """Holds a function at one version, or lets it follow the latest again; raises `NotFound`."""

    async def rollback(self, name: str, *, namespace: str) -> FunctionState:
        """Holds a function at the version before its current one; raises `NotFound`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the gateway works with."""

    registry: Registry
    tokens: Tokens
    dispatcher: Dispatcher
    invocations: Invocations
    recordings: Recordings
    awakeables: Awakeables
    deploy: Deployer
    metrics: Metrics
    logs: FunctionLogs
    config: Config
    cache: CacheBackend = field(default_factory=lambda: MemoryCache(SYSTEM_CLOCK))
    topics: TopicBroker = field(default_factory=TopicBroker)
    secrets: Secrets = field(default_factory=lambda: Secrets(Database(None)))
    namespaces: Namespaces = field(default_factory=lambda: Namespaces(Database(None)))
    disposable: DisposableTokens | None = None
    """`None`: no token is disposable."""
    clock: Clock = SYSTEM_CLOCK
    version: str = "0"
    """Of guesthouse, for `/openapi.json`."""
