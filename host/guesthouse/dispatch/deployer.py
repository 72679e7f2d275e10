"""`Deployer`: from the bytes that a person gives to a `Prepared` deployment: unbundle, fit, compile, check grants, store.

Every reason why a guest cannot run is found here, before anything is stored.  What was compiled is kept, so that after a
restart a deployment is ready in a fraction of a millisecond.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

from guesthouse._native.handle import ModuleHandle
from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.dispatch.cron import check_schedules
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.observer import CountingObserver, HostCallObserver
from guesthouse.dispatch.prepared import Prepared, check_memory, kind_of
from guesthouse.durable import hook
from guesthouse.engine.engine import Engine
from guesthouse.engine.hostcall import HostCall
from guesthouse.engine.linker import InstancePre, Linker
from guesthouse.engine.module import GuestModule
from guesthouse.engine.observer import Observer
from guesthouse.engine.pool import FunctionPool, InstancePool
from guesthouse.engine.types import FuncType
from guesthouse.engine.unbundle import unbundle
from guesthouse.errors import BadRequest, HostError, InvalidModule, NotGranted
from guesthouse.interfaces.base import Interface
from guesthouse.registry.artefacts import ArtefactStore
from guesthouse.registry.deployment import CALLABLE, Deployment, Manifest, check_name
from guesthouse.registry.registry import FunctionState, Registry
from guesthouse.registry.secrets import Secrets
from guesthouse.telemetry import Metrics

ReplayWrap = Callable[[HostCall, FuncType | None, HostCall], HostCall]
MOST_AT_ONCE = 1
"""Deploys that compile at the same time: compiling takes a processor for itself."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a module is, imports, exports and needs to be granted; `problem` says why it cannot run here, if it cannot."""

    form: str
    kind: str
    size: int
    core_size: int
    memory_min: int
    """Pages of 64 KiB."""
    imports: Sequence[tuple[str, str, bool]]
    """Interface, function, and whether this host answers it."""
    exports: Sequence[str]
    grants: Sequence[str]
    """Words of the interfaces that it uses and that have to be granted."""
    needs: Mapping[str, Sequence[tuple[str, str]]]
    """The same with what it uses of each: interface and function."""
    typed: bool
    """False: the module says nothing of WIT types and was checked by core signatures only."""
    dropped: Sequence[str]
    problem: str | None


class Deployer:
    """Makes deployments ready; its methods that are not `async` block and are safe from any thread."""

    def __init__(
        self,
        engine: Engine,
        linker: Linker,
        interfaces: Iterable[Interface],
        artefacts: ArtefactStore,
        registry: Registry,
        pool: InstancePool,
        metrics: Metrics,
        clock: Clock = SYSTEM_CLOCK,
        *,
        secrets: Secrets,
        counts_calls: bool = False,
    ) -> None:
        self._engine = engine
        self._secrets = secrets
        self._linker = linker
        self._interfaces = {interface.name: interface for interface in interfaces}
        self._classes = {
            resource: owner
            for interface in self._interfaces.values()
            for resource, owner in interface.resources.items()
        }
        self._artefacts = artefacts
        self._registry = registry
        self._pool = pool
        self._pools: WeakValueDictionary[tuple[str, int], FunctionPool] = WeakValueDictionary()
        self._pools_lock = threading.Lock()
        self._counting = CountingObserver(metrics)
        self._observer = self._counting if counts_calls else HostCallObserver(metrics)
        self._metrics = metrics
        self._clock = clock
        self._programs: WeakValueDictionary[tuple[str, bool], InstancePre] = WeakValueDictionary()
        """Linked modules by their digest, and whether their calls can have a journal."""
        self.recorded = False
        """Whether calls of all functions may have a journal, and not only those of durable ones."""
        self.unbundle = unbundle
        """What `prepare` takes modules apart with: whoever makes one host after the other need not do it for each."""
        self._compiling = asyncio.Semaphore(MOST_AT_ONCE)

    async def deploy(
        self, dispatcher: Dispatcher, namespace: str, name: str, wasm: bytes, manifest: Manifest
    ) -> Deployment:
        """Makes `wasm` the new version of a function.

        Raises `NotFound` for a name that cannot be, `InvalidModule`, `LinkError` and `NotGranted` with what stands in the
        way.
        """
        check_name("namespace", namespace)
        check_name("function", name)
        self._check_grants(manifest)
        self._check_secrets(namespace, manifest)
        async with self._compiling:
            pre, kind = await asyncio.to_thread(self._check, wasm, manifest)
        draft = Deployment(namespace, name, 0, _digest(wasm), kind, len(wasm), 0, manifest, pre.used)
        self._configure(draft, pre)  # an interface that refuses it does so before anything is stored
        if manifest.topics and kind != "spawn":
            raise BadRequest(f"topics start spawn functions only, and {namespace}/{name} is a {kind} function")
        if manifest.durable is not None and kind not in CALLABLE:
            raise BadRequest(
                f"{namespace}/{name} is a {kind} function: it cannot be durable, for none of its calls is queued"
            )
        check_schedules(draft, self._clock.wall_ns() / 1e9)
        stored = await self._registry.deploy(namespace, name, wasm, kind=kind, imports=pre.used, manifest=manifest)
        self._configure(stored, pre)
        self._adopt(dispatcher, stored, pre)
        return stored

    async def pin(self, dispatcher: Dispatcher, namespace: str, name: str, version: int | None) -> FunctionState:
        """Holds a function at one version, or lets it follow the latest again (`None`), from the next call on.

        The version is linked before: one that cannot run any more is refused, and nothing changes.  Raises `NotFound`.
        """
        state = self._registry.show(namespace, name)
        number = version if version is not None or state is None else state.latest
        wanted = None if number is None else await asyncio.to_thread(self._registry.version, namespace, name, number)
        pre = None
        if wanted is not None:
            pre = (await asyncio.to_thread(self.prepare, wanted)).pre  # waits for no deploy that compiles
        state = await self._registry.pin(namespace, name, version)
        if wanted is not None and pre is not None and state.current.version == wanted.version:
            self._adopt(dispatcher, state.current, pre)
        return state

    def prepare(self, deployment: Deployment) -> Prepared:
        """A deployment that was stored before, ready to be called."""
        journaled = self._is_journaled(deployment.manifest)
        pre = self._programs.get((deployment.digest, journaled))
        if pre is None:
            wasm = self._registry.wasm(deployment.digest)
            pre = self._link(self.unbundle(wasm), deployment.digest, journaled)
        self._configure(deployment, pre)
        return self._prepared(deployment, pre)

    def for_replay(self, wasm: bytes, wrap: ReplayWrap) -> InstancePre:
        """A module that need not be deployed, with each host call as `wrap` has it: it gets the call without its journal and
        with it.  Raises `InvalidModule` and `LinkError`."""
        module = unbundle(wasm)
        self._linker.imports(module)
        native = self._native(module, _digest(wasm))

        def wrapped(call: HostCall, func: FuncType | None) -> HostCall:
            return wrap(call, func, hook.journaled(call, func, self._classes))

        return self._linker.link(module, native, wrapped)

    def prepare_replay(self, deployment: Deployment, pre: InstancePre) -> Prepared:
        """What a replay calls: nothing of it is counted.  Raises what interfaces have against the deployment."""
        for name in pre.used:
            self._interfaces[name].configure(deployment)
        return Prepared(deployment, pre, self._pool, Observer(), Observer(), Metrics(), self._classes)

    def inspect(self, wasm: bytes) -> Inspection:
        """What can be said of a module without running it.  Raises `InvalidModule` for what is none."""
        module = unbundle(wasm)
        problem, pre, needs = None, None, {}
        try:
            needs = self._needs(module)
            pre = self._link(module, _digest(wasm))
            kind = kind_of(pre)
        except InvalidModule as error:
            problem, kind = str(error), "unknown"
        answered = self._linker.answered(module)
        return Inspection(
            form=module.form,
            kind=kind,
            size=len(wasm),
            core_size=len(module.core),
            memory_min=module.memory_min,
            imports=answered,
            exports=sorted(f"{i}#{n}" if i else n for i, n in pre.exports) if pre else sorted(module.exports),
            grants=list(needs),
            needs=needs,
            typed=module.world is not None,
            dropped=module.dropped,
            problem=problem,
        )

    # -- steps

    def _adopt(self, dispatcher: Dispatcher, deployment: Deployment, pre: InstancePre) -> None:
        """Has the next call find a deployment linked, if it is the current one by now."""
        if self._registry.get(deployment.namespace, deployment.name) is deployment:
            dispatcher.adopt(self._prepared(deployment, pre))

    def _prepared(self, deployment: Deployment, pre: InstancePre) -> Prepared:
        return Prepared(
            deployment, pre, self._pool_of(deployment), self._observer, self._counting, self._metrics, self._classes
        )

    def _pool_of(self, deployment: Deployment) -> InstancePool | FunctionPool:
        """Where its instances live: a function that may not run as often as it likes has a pool for all its versions."""
        most = deployment.manifest.flow.max_inflight
        if not most:
            return self._pool
        with self._pools_lock:
            found = self._pools.get((deployment.path, most))
            if found is None:
                found = self._pools[deployment.path, most] = FunctionPool(self._pool, most)
            return found

    def _check(self, wasm: bytes, manifest: Manifest) -> tuple[InstancePre, str]:
        module = unbundle(wasm)
        check_memory(manifest.limits, module.memory_min)
        missing = {name: uses for name, uses in self._needs(module).items() if manifest.granted(name) == ()}
        if missing:
            raise NotGranted(f"the guest uses what it was not granted: {describe(missing)}")
        digest = _digest(wasm)
        journaled = self._is_journaled(manifest)
        pre = self._programs.get((digest, journaled)) or self._link(module, digest, journaled)
        return pre, kind_of(pre)

    def _is_journaled(self, manifest: Manifest) -> bool:
        return self.recorded or manifest.durable is not None

    def _check_grants(self, manifest: Manifest) -> None:
        """Refuses a grant that says nothing: it would be believed to restrict or to allow something."""
        for grant in sorted(manifest.grants or ()):
            name, colon, pattern = grant.partition(":")
            interface = self._interfaces.get(name)
            if interface is None:
                known = ", ".join(sorted(name for name, found in self._interfaces.items() if not found.ambient))
                raise BadRequest(f"the grant {grant!r}: there is no interface {name!r}; there are: {known}")
            if interface.ambient:
                raise BadRequest(f"the grant {grant!r}: every function may use {name}, it is never granted")
            if colon:
                interface.check_grant(pattern)

    def _check_secrets(self, namespace: str, manifest: Manifest) -> None:
        """Refuses what names a secret that is not there; it may change, or go, later."""
        missing = sorted(name for name in manifest.secrets if self._secrets.get(namespace, name) is None)
        if missing:
            names = ", ".join(map(repr, missing))
            raise BadRequest(f"there is no secret {names} in {namespace}: `guesthouse secret set` makes one")

    def _needs(self, module: GuestModule) -> dict[str, list[tuple[str, str]]]:
        """What has to be granted: the words of interfaces, each with what the module uses of it.

        Raises `LinkError` for what this host does not answer at all.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        for slot in self._linker.imports(module):
            if slot.call is not None and not slot.call.ambient:
                found.setdefault(slot.call.owner, []).append((slot.interface, slot.function))
        return {name: sorted(found[name]) for name in sorted(found)}

    def _link(self, module: GuestModule, digest: str, journaled: bool = False) -> InstancePre:
        self._linker.imports(module)  # what does not fit is found before the time for compiling is spent
        native = self._native(module, digest)
        pre = self._linker.link(module, native, partial(hook.journaled, classes=self._classes) if journaled else None)
        self._programs[digest, journaled] = pre
        return pre

    def _native(self, module: GuestModule, digest: str) -> ModuleHandle:
        artefact = self._artefacts.load(digest, self._engine.fingerprint)
        return self._compiled(module, digest) if artefact is None else self._loaded(artefact)

    def _compiled(self, module: GuestModule, digest: str) -> ModuleHandle:
        began = self._clock.monotonic_ns()
        artefact = self._engine.compile(module.core)
        self._metrics.compiled(self._clock.monotonic_ns() - began)
        try:
            native = self._loaded(artefact)
        except HostError as error:
            raise InvalidModule(f"the module does not fit into a slot of the instance pool: {error}") from None
        self._artefacts.save(digest, self._engine.fingerprint, artefact)
        return native

    def _loaded(self, artefact: bytes) -> ModuleHandle:
        began = self._clock.monotonic_ns()
        native = self._engine.load(artefact)
        self._metrics.loaded(self._clock.monotonic_ns() - began)
        return native

    def _configure(self, deployment: Deployment, pre: InstancePre) -> None:
        if deployment.manifest.durable is not None:
            self._check_durable(deployment, pre)
        for name in pre.used:
            self._interfaces[name].configure(deployment)

    def _check_durable(self, deployment: Deployment, pre: InstancePre) -> None:
        """Refuses what cannot have a journal, with the reason."""
        calls = [(slot.call, slot.func) for slot in pre.imports if slot.call is not None]
        refused = hook.refusal(calls, self._classes)
        if refused is not None:
            raise InvalidModule(f"the function cannot be durable: {refused}")
        for name in pre.used:
            imported = {(call.interface, call.function) for call, _ in calls if call.owner == name}
            self._interfaces[name].check_durable(deployment, imported)


def _digest(wasm: bytes) -> str:
    return hashlib.sha256(wasm).hexdigest()


def describe(needs: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Interfaces with what is used of them: `cache (momento:cache-scalar/cache-scalar@1.0.0 get, set)`."""
    told = []
    for name, uses in needs.items():
        functions: dict[str, list[str]] = {}
        for interface, function in uses:
            functions.setdefault(interface, []).append(function)
        listed = "; ".join(f"{interface} {', '.join(names)}" for interface, names in functions.items())
        told.append(f"{name} ({listed})")
    return ", ".join(told)
