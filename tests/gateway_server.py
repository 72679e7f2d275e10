"""A real gateway on a loopback port, with fakes behind it, and clients that can misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from itertools import count
from typing import Any, cast

import uvloop

from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.config import Config
from guesthouse.config_sources import load
from guesthouse.dispatch.asked import Asked, write_asked
from guesthouse.dispatch.awakeables import no_such_awakeable
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.flows import QueueState
from guesthouse.dispatch.invocations import Invocations
from guesthouse.dispatch.recordings import Recordings
from guesthouse.dispatch.waiters import Waiters
from guesthouse.durable import records
from guesthouse.errors import GuesthouseError, NotFound
from guesthouse.gateway import Gateway, Services
from guesthouse.interfaces.invocation import ResponseSink, WebRequest
from guesthouse.interfaces.web.headers import check_headers
from guesthouse.limits import Limits
from guesthouse.queue.call import Output, QueuedCall, Record, State
from guesthouse.queue.store import StoredQueue
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.registry.disposable import DisposableTokens, signing_keys
from guesthouse.registry.principal import FunctionPattern, Principal
from guesthouse.registry.registry import FunctionState
from guesthouse.storage.database import Database
from guesthouse.telemetry import FunctionLogs, Metrics

TIMEOUT = 10.0
"""No test waits longer than this for anything that should come at once."""


@dataclass
class Outcome:
    """What the gateway looks at in an outcome."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    error: GuesthouseError | None = None
    streamed: bool = False
    invocation_id: str = "invocation-1"


@dataclass
class Later:
    """An invocation that is not over at once."""

    wait: Callable[[], Awaitable[Outcome]]


Body = bytes | AsyncIterator[bytes]
Function = Callable[[WebRequest, Body, ResponseSink | None], Outcome | Later]


async def collect(body: Body) -> bytes:
    """All of a body, streamed or not."""
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body])


def echo(request: WebRequest, body: Body, sink: ResponseSink | None) -> Outcome | Later:
    """Answers with the body: at once, where it is all there."""
    if isinstance(body, bytes):
        return Outcome(body=body)

    async def run() -> Outcome:
        return Outcome(body=await collect(body))

    return Later(run)


def inspect(request: WebRequest, body: Body, sink: ResponseSink | None) -> Outcome:
    """Answers with what it was told of the request."""
    told = {
        "method": request.method,
        "path": request.path,
        "query": list(request.query),
        "headers": list(request.headers),
        "token_id": request.token_id,
    }
    return Outcome(body=json.dumps(told).encode())


@dataclass
class FakeRegistry:
    """Functions in a dict."""

    deployments: dict[tuple[str, str], Deployment] = field(default_factory=dict)

    def add(self, name: str, limits: Limits | None = None, kind: str = "web", namespace: str = "default") -> None:
        manifest = Manifest(description=f"the {name}", environment={"COLOUR": "blue"}, limits=limits or Limits())
        self.deployments[namespace, name] = Deployment(namespace, name, 1, "ab" * 32, kind, 8, 0, manifest)

    def get(self, namespace: str, name: str) -> Deployment | None:
        return self.deployments.get((namespace, name))

    def list(self, namespace: str | None = None) -> list[Deployment]:
        return [found for found in self.deployments.values() if namespace in (None, found.namespace)]

    def users(self, digest: str) -> frozenset[tuple[str, str]]:
        return frozenset(key for key, found in self.deployments.items() if found.digest == digest)

    def wasm(self, digest: str) -> bytes:
        return b"\0asm\1\0\0\0"

    def show(self, namespace: str, name: str) -> FunctionState | None:
        found = self.get(namespace, name)
        return None if found is None else FunctionState(found, found.version, None)

    def version(self, namespace: str, name: str, version: int) -> Deployment | None:
        found = self.get(namespace, name)
        return found if found is not None and found.version == version else None

    def versions(self, namespace: str, name: str) -> Sequence[Deployment]:
        return [found for found in self.deployments.values() if (found.namespace, found.name) == (namespace, name)]


@dataclass
class FakeTokens:
    """Tokens in a dict."""

    principals: dict[str, Principal] = field(default_factory=dict)

    def add(self, plain: str, *scopes: str, functions: str = "*", token_id: str | None = None) -> str:
        pattern = FunctionPattern.parse(functions)
        self.principals[plain] = Principal(plain, plain, frozenset(scopes), pattern, token_id=token_id)
        return plain

    def any(self) -> bool:
        return bool(self.principals)

    def verify(self, plain: str) -> Principal | None:
        return self.principals.get(plain)


@dataclass
class FakeRunner:
    """Runs nothing of what is queued; remembers what it was told of."""

    woken: list[tuple[tuple[str, str], int]] = field(default_factory=list)
    queues: list[QueueState] = field(default_factory=list)

    def wake(self, function: tuple[str, str], due_ms: int = 0) -> None:
        self.woken.append((function, due_ms))

    def cancel(self, id: str) -> bool:
        return False

    async def states(self) -> Sequence[QueueState]:
        return self.queues


@dataclass
class FakeDispatcher:
    """Functions in Python, by their names; remembers what it was asked."""

    draining = False
    waiting: frozenset[Any] = frozenset()
    numbers: Iterator[int] = field(default_factory=count)
    functions: dict[str, Function] = field(default_factory=dict)
    requests: list[tuple[str, WebRequest]] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    streams: bool = True

    def web_now(
        self,
        deployment: Deployment,
        request: WebRequest,
        body: Body,
        sink: ResponseSink | None = None,
        *,
        invocation_id: str = "",
    ) -> Outcome | Later:
        self.requests.append((deployment.name, request))
        answer = self.functions.get(deployment.name, echo)(request, body, sink)
        if isinstance(answer, Outcome):
            answer.headers = check_headers(answer.headers, deployment.manifest.limits.response_headers)
        return answer

    def takes_stream(self, deployment: Deployment) -> bool:
        return self.streams

    def running(self) -> Sequence[str]:
        return ()

    def new_id(self) -> str:
        return f"invocation-{next(self.numbers)}"

    async def drain(self, timeout_s: float) -> None:
        self.drained.append(timeout_s)


@dataclass
class FakeDeployer:
    """Puts what is deployed into the registry, without looking at it."""

    registry: FakeRegistry
    deployed: list[dict[str, Any]] = field(default_factory=list)
    error: GuesthouseError | None = None
    pinned: list[tuple[str, str, int | None]] = field(default_factory=list)

    async def deploy(self, name: str, wasm: bytes, *, namespace: str, **options: Any) -> Deployment:
        if self.error is not None:
            raise self.error
        self.deployed.append({"namespace": namespace, "name": name, "wasm": wasm, **options})
        self.registry.add(name, namespace=namespace)
        return self.registry.deployments[namespace, name]

    async def delete(self, name: str, *, namespace: str) -> bool:
        return self.registry.deployments.pop((namespace, name), None) is not None

    async def pin(self, name: str, version: int | None, *, namespace: str) -> FunctionState:
        self.pinned.append((namespace, name, version))
        state = self.registry.show(namespace, name)
        if state is None or version not in (None, state.latest):
            raise NotFound("there is no such version")
        return FunctionState(state.current, state.latest, version)

    async def rollback(self, name: str, *, namespace: str) -> FunctionState:
        return await self.pin(name, 1, namespace=namespace)


class Server:
    """A gateway in a thread of its own; `with Server() as server:` and then its `port`."""

    def __init__(self, settings: Mapping[str, Any] | None = None, *functions: str) -> None:
        self.config: Config = load({"listen": {"port": 0}, **(settings or {})})
        self.registry = FakeRegistry()
        self.tokens = FakeTokens()
        self.disposable = DisposableTokens(signing_keys(None))
        self.dispatcher = FakeDispatcher()
        self.deployer = FakeDeployer(self.registry)
        self.database = Database(None)
        self.queue = StoredQueue(self.database)
        self.waiters = Waiters()
        self.runner = FakeRunner()
        self.invocations = Invocations(
            self.queue,
            cast("Dispatcher", self.dispatcher),
            self.runner,
            self.waiters,
            check_callback=lambda deployment, url, allows: url,
        )
        self.metrics = Metrics()
        self.logs = FunctionLogs()
        self.gateway: Gateway
        self.port = 0
        for name in ("echo", "canary", *functions):
            self.registry.add(name)
        self._loop = uvloop.new_event_loop()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add(self, name: str, function: Function, **options: Any) -> None:
        """A function."""
        self.dispatcher.functions[name] = function
        self.registry.add(name, **options)

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._started.wait(TIMEOUT)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.stop()
            self.stop()  # a second time: does not wait
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """What SIGTERM does."""
        self._loop.call_soon_threadsafe(self.gateway.stop)

    def join(self) -> None:
        """Waits until it has stopped by itself."""
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def on_loop(self, function: Callable[[], Any]) -> Any:
        """Calls `function` on the loop's thread."""
        done: Future[Any] = Future()

        def call() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return done.result(TIMEOUT)

    def await_on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs `work` on the loop's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    def invocation(self, state: str, *, namespace: str = "default", name: str = "echo") -> str:
        """The id of an invocation of a function in this state: queued, dead or succeeded, with its output; or recorded, too."""
        return str(self.await_on_loop(self._invocation(state, namespace, name)))

    async def _invocation(self, state: str, namespace: str, name: str) -> str:
        invocation_id = self.dispatcher.new_id()
        queued_ms = SYSTEM_CLOCK.wall_ns() // 1_000_000
        await self.queue.enqueue(QueuedCall(id=invocation_id, namespace=namespace, name=name, queued_ms=queued_ms))
        while state != "queued":
            (lease,) = await self.queue.lease((namespace, name), 1)
            end = self.queue.bury if lease.call.id != invocation_id or state == "dead" else self.queue.succeed
            ended: State = "succeeded" if end == self.queue.succeed else "dead"
            record = Record(id=lease.call.id, namespace=namespace, name=name, mode="async", state=ended, status=200)
            await end(lease, record, Output(200, [("x-own", "1")], b"kept"), None)
            if lease.call.id == invocation_id:
                if state == "recorded":
                    begun = records.Body().sealed(records.Header(invocation_id, 1, "ab" * 32, "0"))
                    await self.queue.record_journal(invocation_id, [write_asked(Asked(lease.call)), begun])
                break
        return invocation_id

    def connect(self) -> socket.socket:
        """A raw connection."""
        sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own, by a well-behaved client."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, Headers(response), response.read())
        finally:
            connection.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._started.set()
            self.database.close()
            self._loop.close()

    def make_gateway(self) -> Gateway:
        """The gateway in front of the fakes; needs a running loop."""
        services = Services(
            registry=self.registry,
            tokens=self.tokens,
            dispatcher=self.dispatcher,
            invocations=self.invocations,
            recordings=Recordings(self.queue, self.invocations, cast("Any", self.registry), nothing_fits),
            awakeables=NoAwakeables(),
            deploy=self.deployer,
            metrics=self.metrics,
            logs=self.logs,
            config=self.config,
            disposable=self.disposable,
        )
        return Gateway(services)

    async def _serve(self) -> None:
        self.gateway = self.make_gateway()
        await self.gateway.serve(signals=False, started=self._on_started)

    def _on_started(self) -> None:
        self.port = self.gateway.addresses[0][1]
        self._started.set()


class NoAwakeables:
    """Nobody waits for anything."""

    def check(self, id: str) -> None:
        raise no_such_awakeable()

    async def resolve(self, id: str, payload: bytes) -> None:
        raise no_such_awakeable()

    async def reject(self, id: str, reason: str) -> None:
        raise no_such_awakeable()


async def nothing_fits(*_: object) -> None:
    """In the place of a replay."""
    raise NotImplementedError


class Headers:
    """An answer's headers, names in lower case."""

    def __init__(self, response: HTTPResponse) -> None:
        self.pairs = [(name.lower(), value) for name, value in response.getheaders()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The last part of a problem's type."""
        assert self.headers["content-type"] == "application/problem+json"
        return str(self.json["type"]).rpartition(":")[2]


def send(sock: socket.socket, data: bytes) -> None:
    """Sends what the other side still takes."""
    with suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(data)


def receive(sock: socket.socket) -> bytes:
    """The next bytes; empty at the end, however it came."""
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


def read_until(sock: socket.socket, end: bytes) -> bytes:
    """Everything up to and including `end`, or to the end of the connection."""
    data = b""
    while end not in data and (piece := receive(sock)):
        data += piece
    return data


def read_all(sock: socket.socket) -> bytes:
    """Everything to the end of the connection."""
    data = b""
    while piece := receive(sock):
        data += piece
    return data


def split_answers(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Status and body of each complete answer with a content-length (or none for 204 and 304)."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.split(b"\r\n")
        length = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(data) < length:
            return
        yield int(lines[0].split(b" ")[1]), data[:length]
        data = data[length:]


def read_answers(sock: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """The next `count` answers, or fewer if the connection ends before."""
    data = b""
    while len(found := list(split_answers(data))) < count and (piece := receive(sock)):
        data += piece
    return found


@contextmanager
def serving(settings: Mapping[str, Any] | None = None, *functions: str) -> Iterator[Server]:
    """A server for the time of a `with` block."""
    with Server(settings, *functions) as server:
        yield server
