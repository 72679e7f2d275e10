"""`AsyncHost`: where all parts meet; the library's front door for asyncio.

    async with AsyncHost() as host:
        await host.deploy("greet", Path("greet.wasm").read_bytes())
        print((await host.invoke("greet", b'{"name": "Ada"}')).text)

Without a data directory everything is kept in memory; with one, functions survive the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from guesthouse import __version__
from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.awakeables import awakeable_ids
from guesthouse.dispatch.backlog import Backlog
from guesthouse.dispatch.collector import Collector
from guesthouse.dispatch.deliveries import CallbackConfig
from guesthouse.dispatch.deployer import Deployer, Inspection
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.recordings import Recordings
from guesthouse.dispatch.replay import Replays
from guesthouse.dispatch.spawner import LateSpawner
from guesthouse.dispatch.triggers import Triggers
from guesthouse.dispatch.workflows import Workflows
from guesthouse.engine.engine import engine_of_process
from guesthouse.engine.linker import Linker
from guesthouse.engine.pool import InstancePool
from guesthouse.errors import Draining, HostError, NotFound
from guesthouse.host_calls import AsyncCalls
from guesthouse.host_gauges import observe_host
from guesthouse.host_versions import AsyncVersions
from guesthouse.interfaces import abi_with, standard
from guesthouse.interfaces.base import Interface
from guesthouse.interfaces.cache import CacheBackend, CacheConfig
from guesthouse.interfaces.invocation import WebRequest, new_request
from guesthouse.interfaces.log.cloudwatch import CloudWatchLogs
from guesthouse.interfaces.topic import TopicBroker, TopicLimits
from guesthouse.limits import MAX_DISPOSABLE_SECONDS, Limits
from guesthouse.net.aws import AwsClients, AwsConfig
from guesthouse.net.client import OutboundClient, OutboundConfig
from guesthouse.net.valkey_guests import GuestValkey
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.queue.records import begun, pinned
from guesthouse.queue.spawns import Spawns
from guesthouse.registry.artefacts import ArtefactStore, load_host_key
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.registry.disposable import DisposableTokens, signing_keys
from guesthouse.registry.namespaces import Namespaces
from guesthouse.registry.policy import FlowPolicy, RetryPolicy, Schedule, read_durable, read_policy
from guesthouse.registry.registry import Registry
from guesthouse.registry.retention import KEEP_VERSIONS, Pins
from guesthouse.registry.secrets import Secrets
from guesthouse.registry.tokens import Tokens
from guesthouse.storage.database import Database
from guesthouse.storage.directory import DataDirectory
from guesthouse.telemetry import FunctionLogs, Metrics, logger

log = logger(__name__)
DRAIN_SECONDS = 5.0


class AsyncHost(AsyncCalls, AsyncVersions):
    """Runs guest functions from asyncio: `async with AsyncHost() as host: …`.

    `interfaces` are your own host interfaces, `outbound` says where guests may send HTTP requests, `limits` are the
    defaults of functions that are deployed without any, `slots` bounds the guests alive at once (by default, and at
    most, as many as the machine allows; all hosts of a process share them), `disposable_seconds` is the longest life of
    a token that guests make, `valkey` has the URLs of Valkey clusters by the names that guests know them by,
    `aws` says where AWS is and what the host is there, `cache` where items are kept (in memory, if not given), `queue`
    has the bounds of queued calls, and `invocations` says what is written down of calls, and for how long, `callbacks` how
    their results are delivered, and `public_urls` where this host is reached: callbacks to there never leave it.
    """

    _database: Callable[..., Database] = Database  # a simulation has its own, as of the next one
    _outbound: Callable[..., OutboundClient] = OutboundClient

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        interfaces: Iterable[Interface] = (),
        outbound: OutboundConfig | None = None,
        limits: Limits | None = None,
        slots: int | None = None,
        grants: Iterable[str] | None = None,
        keep_versions: int = KEEP_VERSIONS,
        disposable_seconds: int = MAX_DISPOSABLE_SECONDS,
        topic_limits: TopicLimits | None = None,
        valkey: Mapping[str, str] | None = None,
        aws: AwsConfig | None = None,
        cache: CacheBackend | CacheConfig | None = None,
        queue: QueueConfig | None = None,
        invocations: InvocationsConfig | None = None,
        callbacks: CallbackConfig | None = None,
        public_urls: Iterable[str] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._directory = None if data_dir is None else DataDirectory(Path(data_dir))
        self._own = tuple(interfaces)
        self._clock = clock
        self._closing = self._closed = False
        self.default_limits = limits or Limits()
        self.default_grants = None if grants is None else frozenset(grants)
        self.engine = engine_of_process()
        self.metrics = Metrics(version=__version__)
        self.logs = FunctionLogs()
        self.topics = TopicBroker(topic_limits or TopicLimits())
        ca_file = None if outbound is None else outbound.ca_file
        self.valkey = GuestValkey(lambda: self.outbound.policy, valkey, ca_file=ca_file)
        self.aws = AwsClients(aws, clock, ca_file=ca_file)
        with ExitStack() as opened:
            if self._directory is not None:
                opened.callback(self._directory.close)
            self.database = self._database(None if self._directory is None else self._directory.database)
            opened.callback(self.database.close)
            self.cache = self._open_cache(cache)
            self._recorded = invocations or InvocationsConfig()
            self._build(outbound, slots, disposable_seconds, keep_versions)
            self._build_backlog(queue or QueueConfig(), callbacks or CallbackConfig())
            self.callbacks.reached_at(public_urls)
            opened.pop_all()

    def _build(
        self, outbound: OutboundConfig | None, slots: int | None, disposable_seconds: int, keep_versions: int
    ) -> None:
        """Puts everything that stands on the database together."""
        path, clock = None if self._directory is None else self._directory.path, self._clock
        key = b"" if path is None else load_host_key(path, rejected=_alarm)
        artefacts = ArtefactStore(None if path is None else path / "artefacts", key, rejected=_alarm)
        fingerprint = self.engine.fingerprint
        self.registry = Registry(
            self.database,
            path,
            clock,
            keep=keep_versions,
            removed=lambda digest: artefacts.remove(digest, fingerprint),
            pins=Pins(lambda connection, function: pinned(connection, function, dead=True), begun),
        )
        artefacts.sweep(self.registry.digests(), fingerprint)
        self.tokens = Tokens(self.database, clock)
        self.secrets = Secrets(self.database)
        self.namespaces = Namespaces(self.database)
        self.disposable = DisposableTokens(
            signing_keys(path, clock, rejected=_alarm), clock, longest_seconds=disposable_seconds
        )
        self.outbound = self._outbound(outbound, assume_role=self.aws.assume_role)
        self.outbound.on_error = self.metrics.outbound_error
        self.workflows = Workflows(awakeable_ids(path, clock, rejected=_alarm), clock)
        self._build_dispatcher(artefacts, slots)

    def _build_dispatcher(self, artefacts: ArtefactStore, slots: int | None) -> None:
        """Puts together what guests can call, what links them, and what runs them."""
        late, clock = LateSpawner(), self._clock
        self.interfaces = [
            *standard(
                clock,
                cache=self.cache,
                topics=self.topics,
                spawner=late,
                disposable=self.disposable,
                aws=self.aws,
                count_task=self.metrics.detached_task,
                cloudwatch=CloudWatchLogs(self.aws, self.aws.config.log_region, clock, self.metrics.log_lines_dropped),
                http_client=self.outbound,
                valkey=self.valkey,
                secrets=self.secrets.get,
                workflows=self.workflows,
            ),
            *self._own,
        ]
        calls = [call for interface in self.interfaces for call in interface.host_calls()]
        linker = Linker(self.engine, abi_with(self._own), calls)
        pool = InstancePool(min(slots or self.engine.slots, self.engine.slots))
        self.deployer = Deployer(
            self.engine,
            linker,
            self.interfaces,
            artefacts,
            self.registry,
            pool,
            self.metrics,
            clock,
            secrets=self.secrets,
            counts_calls=self._recorded.record == "all",
        )
        self.deployer.recorded = self._recorded.flight != "off"
        self.dispatcher = late.dispatcher = Dispatcher(
            self.registry,
            self.deployer.prepare,
            pool,
            self.metrics,
            self.logs,
            Spawns(self.database, clock, note_kept=lambda size: self.queue.note_kept(size)),  # it is made after this
            clock,
        )
        self._triggers = Triggers(self.registry, self.dispatcher.spawner, self.metrics)
        self.topics.starts = self._triggers.published
        observe_host(self)

    def _build_backlog(self, config: QueueConfig, callbacks: CallbackConfig) -> None:
        """Puts together what accepts calls for later, runs them, and writes down how calls went."""
        self.backlog = Backlog(
            self.database,
            self.registry,
            self.dispatcher,
            self.outbound,
            self.metrics,
            self.logs,
            self._clock,
            config=config,
            recorded=self._recorded,
            callbacks=callbacks,
            version=__version__,
            workflows=self.workflows,
        )
        self.queue, self.consumer, self.calls = self.backlog.queue, self.backlog.consumer, self.backlog.calls
        self.callbacks, self.deliveries = self.backlog.callbacks, self.backlog.deliveries
        self.replays = Replays(self.deployer, self.registry, self.dispatcher.pool, self._clock)
        self.recordings = Recordings(self.queue, self.calls, self.registry, self.replays.fits)

    def _open_cache(self, cache: CacheBackend | CacheConfig | None) -> CacheBackend:
        if cache is None or isinstance(cache, CacheConfig):
            return (cache or CacheConfig()).open(self.database, self._clock, durable=self._directory is not None)
        return cache

    async def __aenter__(self) -> AsyncHost:
        await self.dispatcher.spawner.count_lost()
        await self.backlog.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def deploy(
        self,
        name: str,
        wasm: bytes,
        *,
        namespace: str = "default",
        description: str = "",
        environment: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        grants: Iterable[str] | None = None,
        topics: Iterable[str] = (),
        retry: Mapping[str, Any] | None = None,
        flow: Mapping[str, Any] | None = None,
        schedule: Iterable[Mapping[str, Any]] = (),
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        arguments: Iterable[str] = (),
        secrets: Iterable[str] = (),
        image: str = "",
        durable: bool | Mapping[str, Any] | None = None,
    ) -> Deployment:
        """Makes `wasm` (a component or a core module) the new version of a function.

        `limits` changes fields of `Limits`; `grants` names what the guest may use, the host's default if not given;
        messages of `topics` start it, if it is a spawn function.  `retry`, `flow` and `schedule` have the words of
        `RetryPolicy`, `FlowPolicy` and `Schedule`.  A command guest is given `arguments`, and `secrets` as files.
        `durable` makes its calls survive crashes: `True`, or the words of `DurablePolicy`.
        Raises `InvalidModule` or `LinkError` with what stands in the way, `BadRequest` and `NotFound` for bad arguments.
        """
        self._check_open()
        manifest = Manifest(
            description,
            dict(environment or {}),
            self.default_limits.with_changes(dict(limits or {})),
            self.default_grants if grants is None else frozenset(grants),
            frozenset(topics),
            read_policy(RetryPolicy, retry or {}, "retry"),
            read_policy(FlowPolicy, flow or {}, "flow"),
            tuple(read_policy(Schedule, found, "schedule") for found in schedule),
            dict(labels or {}),
            dict(annotations or {}),
            tuple(arguments),
            frozenset(secrets),
            image,
            read_durable(durable),
        )
        deployment = await self.deployer.deploy(self.dispatcher, namespace, name, wasm, manifest)
        self.consumer.nudge()  # more of its queued calls may be allowed now
        return deployment

    async def delete(self, name: str, *, namespace: str = "default") -> bool:
        """Deletes a function with all its versions; whether there was one.  Running calls end on theirs.

        Raises `StillNeeded` while durable invocations of it go on.
        """
        self._check_open()
        deployment = self.registry.get(namespace, name)
        if deployment is None:
            return False
        deleted = await self.registry.delete(namespace, name)
        await self.queue.state_forget((namespace, name))
        self.dispatcher.forget(deployment)
        self.metrics.forget(deployment.path)
        self.logs.forget(deployment.path)
        self.consumer.nudge()
        return deleted

    async def invoke(
        self,
        name: str,
        body: bytes = b"",
        *,
        namespace: str = "default",
        method: str = "POST",
        path: str | None = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> Outcome:
        """Calls a web function.  Raises `NotFound`, `AdmissionFull`, `BodyTooLarge`; the rest is in the outcome."""
        request = new_request(WebRequest, (method, path, query, headers, None))
        started = self.dispatcher.web_now(self.deployment(name, namespace), request, body)
        if isinstance(started, Outcome):
            return started
        sink = Collector()
        return sink.complete(await started.wait(sink))

    async def call(self, name: str, function: str, *args: Any, interface: str = "", namespace: str = "default") -> Any:
        """Calls a typed export with Python values (see `engine.values`) and returns its result; raises its `Trap`."""
        started = self.dispatcher.call_now(self.deployment(name, namespace), interface, function, args)
        outcome = started if isinstance(started, Outcome) else await started.wait()
        return outcome.unwrap().value

    async def spawn(self, name: str, payload: bytes = b"", *, namespace: str = "default") -> str:
        """Starts a spawn function: at most once, and returns the invocation's id once it is accepted."""
        deployment = self.deployment(name, namespace)
        if deployment.kind != "spawn":
            raise NotFound(f"{deployment.path} is a {deployment.kind} function, not a spawn function")
        return await self.dispatcher.spawner.submit(deployment, payload)

    def inspect(self, wasm: bytes) -> Inspection:
        """What a module imports, exports and must be granted; compiles it, so it may take a second."""
        self._check_open()
        return self.deployer.inspect(wasm)

    def deployment(self, name: str, namespace: str = "default") -> Deployment:
        """The current version of a function.  Raises `NotFound`."""
        if self._closed:
            raise closed()
        found = self.registry.get(namespace, name)
        if found is None:
            raise NotFound(f"there is no function {namespace}/{name}")
        return found

    async def close(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Waits for what runs, at most `drain_seconds`, and gives everything back; may be called again."""
        if self._closing:
            return
        self._closing = True
        await self.backlog.cron.close()
        await self.dispatcher.drain(drain_seconds)
        self.calls.stop_waiting()
        await self._triggers.close()
        await self.backlog.close()
        self._closed = True
        for interface in self.interfaces:
            await interface.close()
        await self.outbound.close()
        await self.aws.close()
        await self.cache.close()
        self.dispatcher.close()
        self.replays.close()
        self.database.close()
        if self._directory is not None:
            self._directory.close()

    def _check_open(self) -> None:
        if self._closing:
            raise closed() if self._closed else Draining()


def closed() -> HostError:
    return HostError("this host is closed")


def _alarm(name: str, reason: str) -> None:
    log.error("a file of the data directory is not what this host wrote; it was removed", file=name, reason=reason)
