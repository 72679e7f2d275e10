"""`AsyncHost`: where all parts meet; the library's front door for asyncio.

    async with AsyncHost() as host:
        await host.deploy("greet", Path("greet.wasm").read_bytes())
        print((await host.invoke("greet", b'{"name": "Ada"}')).text)

Without a data directory everything is kept in memory; with one, functions survive the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from guesthouse import __version__
from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.collector import Collector
from guesthouse.dispatch.deployer import Deployer, Inspection
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.outcome import Outcome
from guesthouse.engine.engine import engine_of_process
from guesthouse.engine.linker import Linker
from guesthouse.engine.pool import InstancePool
from guesthouse.engine.wit import Abi
from guesthouse.errors import Draining, HostError, NotFound
from guesthouse.interfaces import standard
from guesthouse.interfaces.base import Interface
from guesthouse.interfaces.cache import MemoryCache
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.interfaces.log import LogInterface
from guesthouse.interfaces.topic import TopicBroker
from guesthouse.limits import Limits
from guesthouse.net.client import OutboundClient, OutboundConfig
from guesthouse.queue.spawns import Spawns
from guesthouse.registry.artefacts import ArtefactStore, load_host_key
from guesthouse.registry.deployment import Deployment, Manifest
from guesthouse.registry.registry import Registry
from guesthouse.registry.tokens import Tokens
from guesthouse.storage.database import Database
from guesthouse.storage.directory import DataDirectory
from guesthouse.telemetry import FunctionLogs, Metrics, logger

log = logger(__name__)
DRAIN_SECONDS = 5.0


class LateSpawner:
    """Stands in for the spawn queue while the interfaces that need it are made before it."""

    def __init__(self) -> None:
        self.dispatcher: Dispatcher | None = None

    async def spawn(self, parent: Any, name: str, payload: bytes) -> None:
        """Passes on to the dispatcher's queue."""
        assert self.dispatcher is not None
        await self.dispatcher.spawner.spawn(parent, name, payload)


class AsyncHost:
    """Runs guest functions from asyncio: `async with AsyncHost() as host: …`.

    `interfaces` are your own host interfaces, `outbound` says where guests may send HTTP requests, `limits` are the
    defaults of functions that are deployed without any, `slots` bounds the guests alive at once (by default, and at
    most, as many as the machine allows; all hosts of a process share them).
    """

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        interfaces: Iterable[Interface] = (),
        outbound: OutboundConfig | None = None,
        limits: Limits | None = None,
        slots: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._directory = None if data_dir is None else DataDirectory(Path(data_dir))
        self._own = tuple(interfaces)
        self._clock = clock
        self._closing = self._closed = False
        self.default_limits = limits or Limits()
        self.engine = engine_of_process()
        self.metrics = Metrics(version=__version__)
        self.logs = FunctionLogs()
        with ExitStack() as opened:
            if self._directory is not None:
                opened.callback(self._directory.close)
            self.database = Database(None if self._directory is None else self._directory.database)
            opened.callback(self.database.close)
            self._build(outbound, slots)
            opened.pop_all()

    def _build(self, outbound: OutboundConfig | None, slots: int | None) -> None:
        """Puts everything that stands on the database together."""
        path, clock = None if self._directory is None else self._directory.path, self._clock
        self.registry = Registry(self.database, path, clock)
        self.tokens = Tokens(self.database, clock)
        key = b"" if path is None else load_host_key(path, rejected=_alarm)
        artefacts = ArtefactStore(None if path is None else path / "artefacts", key, rejected=_alarm)
        artefacts.sweep(self.registry.digests(), self.engine.fingerprint)
        self.outbound = OutboundClient(outbound)
        late = LateSpawner()
        self.topics = TopicBroker()
        self.cache = MemoryCache(clock)
        self.interfaces = [
            *standard(clock, cache=self.cache, topics=self.topics, spawner=late, http_client=self.outbound),
            *self._own,
        ]
        calls = [call for interface in self.interfaces for call in interface.host_calls()]
        linker = Linker(self.engine, self._abi(), calls)
        pool = InstancePool(min(slots or self.engine.slots, self.engine.slots))
        self.deployer = Deployer(
            self.engine, linker, self.interfaces, artefacts, self.registry, pool, self.metrics, clock
        )
        self.dispatcher = late.dispatcher = Dispatcher(
            self.registry,
            self.deployer.prepare,
            pool,
            self.metrics,
            self.logs,
            Spawns(self.database, clock),
            self._log_interface().system,
            clock,
        )
        spawner = self.dispatcher.spawner
        self.metrics.gauge("pool_slots", "How many guests may be alive at once", lambda: pool.slots)
        self.metrics.gauge("pool_in_use", "Guests that are alive", lambda: pool.in_use)
        self.metrics.gauge("spawns_in_flight", "Accepted spawns that have not ended", lambda: spawner.in_flight)

    def _log_interface(self) -> LogInterface:
        return next(interface for interface in self.interfaces if isinstance(interface, LogInterface))

    def _abi(self) -> Abi:
        abi = Abi.load()
        for interface in self._own:
            if interface.wit:
                abi.add(interface.wit, f"the WIT of {type(interface).__name__}")
        return abi

    async def __aenter__(self) -> AsyncHost:
        await self.dispatcher.spawner.count_lost()
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
    ) -> Deployment:
        """Makes `wasm` (a component or a core module) the new version of a function.

        `limits` changes fields of `Limits`; `grants` names the interfaces that the guest may use, all if not given.
        Raises `InvalidModule` or `LinkError` with what stands in the way, `BadRequest` and `NotFound` for bad arguments.
        """
        self._check_open()
        manifest = Manifest(
            description,
            dict(environment or {}),
            self.default_limits.with_changes(dict(limits or {})),
            None if grants is None else frozenset(grants),
        )
        return await self.deployer.deploy(self.dispatcher, namespace, name, wasm, manifest)

    async def delete(self, name: str, *, namespace: str = "default") -> bool:
        """Deletes a function with all its versions; whether there was one.  Running calls end on theirs."""
        self._check_open()
        deployment = self.registry.get(namespace, name)
        if deployment is None:
            return False
        self.dispatcher.forget(deployment)
        self.metrics.forget(deployment.path)
        self.logs.forget(deployment.path)
        deleted = await self.registry.delete(namespace, name)
        self.dispatcher.forget(deployment)  # once more: a call that came meanwhile has linked it again
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
        sink = Collector()
        request = WebRequest(method, path, query, headers)
        started = self.dispatcher.web_now(self.deployment(name, namespace), request, body, sink)
        return started if isinstance(started, Outcome) else sink.complete(await started.wait())

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
        await self.dispatcher.drain(drain_seconds)
        self._closed = True
        for interface in self.interfaces:
            await interface.close()
        await self.outbound.close()
        self.dispatcher.close()
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
