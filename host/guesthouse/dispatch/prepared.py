"""`Prepared`: a deployment that is linked and ready to be called, and what decides which export a call goes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from guesthouse._native.handle import Target
from guesthouse.dispatch.observer import ArrivalObserver
from guesthouse.engine.callee import Callee
from guesthouse.engine.instance import ENVELOPE_BYTES
from guesthouse.engine.linker import START, Export, InstancePre
from guesthouse.engine.observer import Observer
from guesthouse.engine.pool import FunctionPool, InstancePool
from guesthouse.engine.types import BorrowType, OptionType, OwnType
from guesthouse.engine.wit_version import compatible
from guesthouse.errors import BadRequest, InvalidModule
from guesthouse.interfaces.detached import GUEST
from guesthouse.interfaces.durable import CallInterface, DurableInterface
from guesthouse.interfaces.log import LogInterface
from guesthouse.limits import PAGE, Limits
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.policy import DurablePolicy
from guesthouse.telemetry import Metrics, Recorder

WEB = (
    ("momento:web-function/guest-function-web@1.0.0", "invoke"),
    ("momento:functions/guest-function-web@1.0.0", "post"),
)
"""The exports that make a web function, newest first; `post` takes plain bytes."""
SPAWN = (
    ("momento:spawn-function/guest-function-spawn@1.0.0", "spawned"),
    ("momento:functions/guest-function-spawn@1.0.0", "spawned"),
)
RUN = "wasi:cli/run@0.2.0"
"""The export of a command, in any compatible version; as a core module it has `_start`."""
DIRECT = frozenset({"web", "call"})
"""Modes in which somebody waits for the answer: their host calls are counted by function only, unless all is recorded."""
UNBOUNDED = 1 << 62
"""Of what a run of a durable call may use up until it is where another one ended: that was bounded once before."""
_PROMISING = (DurableInterface.name, CallInterface.name)
SLICE_MS = 2
"""At most that much of the processor's time is a slice (guest.c)."""


def kind_of(pre: InstancePre) -> str:
    """web, spawn, command or library, told from the exports; raises `InvalidModule` where there is nothing to call."""
    if any(key in pre.exports for key in WEB):
        return "web"
    if any(key in pre.exports for key in SPAWN):
        return "spawn"
    if command_of(pre) is not None:
        return "command"
    if pre.exports:
        return "library"
    raise InvalidModule(
        "the module exports no function that can be called: neither web, nor spawn, nor command, nor one with a WIT type"
    )


def command_of(pre: InstancePre) -> tuple[str, str] | None:
    """The export that runs a program from its beginning to its end."""
    found = (key for key in pre.exports if key[1] == "run" and compatible(key[0], RUN))
    return next(found, ("", START) if ("", START) in pre.exports else None)


@dataclass(slots=True)
class Entry:
    """One export of a deployment, with all that a call of it needs."""

    callee: Callee
    recorder: Recorder
    takes_buffer: bool
    """The newer interfaces take `data`, which may be a buffer; the older ones take plain bytes."""
    handles: Sequence[tuple[int, str, type, bool]] = ()
    """Parameters that are resources: which one, its name, the class of its objects, and whether it may be `None`."""
    detached: Entry | None = None
    """What does the detached work of its calls."""

    def check_handles(self, args: Sequence[Any]) -> None:
        """Refuses with a `TypeError` what is no object of its resource's class: lowering cannot tell."""
        for index, name, owner, optional in self.handles:
            if index < len(args) and not isinstance(args[index], owner) and not (optional and args[index] is None):
                found = f"{type(args[index]).__name__} {args[index]!r:.60}"
                raise TypeError(f"{self.callee.export.function}: {name}: expected a {owner.__name__}, got {found}")


class Prepared:
    """A deployment, linked, with its limits made ready for the native side."""

    __slots__ = (
        "_classes",
        "_counting",
        "_entries",
        "_metrics",
        "_observer",
        "_pool",
        "command",
        "deadline_ns",
        "deployment",
        "detached",
        "inflight",
        "limits",
        "pre",
        "queued",
        "replayed",
        "spawn",
        "tells",
        "web",
    )

    def __init__(
        self,
        deployment: Deployment,
        pre: InstancePre,
        pool: InstancePool | FunctionPool,
        observer: Observer,
        counting: Observer,
        metrics: Metrics,
        classes: Mapping[tuple[str, str], type],
    ) -> None:
        self.deployment = deployment
        self.pre = pre
        self.limits = _limits_of(deployment)
        self.deadline_ns = self.limits.deadline_ms * 1_000_000
        self.tells = LogInterface.name in deployment.imports
        """Its guest sends its log somewhere, also what the host has to say: when a call began, how it ended."""
        self._pool = pool
        self.inflight = pool if isinstance(pool, FunctionPool) else None
        """How often it may run at once, where its deployment says so."""
        self._observer = observer
        self._counting = counting
        self._metrics = metrics
        self._classes = classes
        self._entries: dict[tuple[str, str], Entry] = {}
        self.detached: Entry | None = None
        self.detached = self._first((GUEST,), "detached")
        self.web = self._first(WEB, "web")
        self.spawn = self._first(SPAWN, "spawn")
        self.command = self._command()
        self.queued = self._queued(self.limits, self.detached)
        """What a call from the queue goes to: the same as any other, but its host calls are written down."""
        self.replayed: Entry | None = None
        """The same for a run of a durable call that goes on where another one ended, until it is past that: what it uses up
        until then was bounded once before."""
        if deployment.manifest.durable is not None:
            self.replayed = self._replayed(deployment.manifest.durable)
            self.web = self.command = None  # no call of it is made but by the queue

    def function(self, interface: str, name: str) -> Entry:
        """Any typed export.  Raises `BadRequest` with the names there are."""
        entry = self._entries.get((interface, name))
        if entry is not None:
            return entry
        export = self.pre.exports.get((interface, name))
        if export is None:
            names = ", ".join(sorted(f"{i}#{n}" if i else n for i, n in self.pre.exports)) or "none"
            raise BadRequest(f"{self.deployment.path} exports no {name!r}; it exports: {names}")
        entry = self._entries[interface, name] = self._entry(export, "call", False)
        entry.handles = tuple(self._handles(export))
        return entry

    def _handles(self, export: Export) -> Iterator[tuple[int, str, type, bool]]:
        for index, (name, kind) in enumerate(export.func.params):
            optional = isinstance(kind, OptionType)
            held = kind.some if isinstance(kind, OptionType) else kind
            if isinstance(held, OwnType | BorrowType):
                owner = self._classes.get((held.resource.interface, held.resource.name), object)
                yield index, name, owner, optional

    def _first(self, keys: tuple[tuple[str, str], ...], mode: str) -> Entry | None:
        for number, key in enumerate(keys):
            if key in self.pre.exports:
                return self._entry(self.pre.exports[key], mode, number == 0)
        return None

    def _command(self) -> Entry | None:
        """How a command is run; a guest that has a web or spawn function is called by that."""
        key = None if self.web or self.spawn else command_of(self.pre)
        return None if key is None else self._entry(self.pre.exports[key], "web", False)

    def _queued(self, limits: Limits, detached: Entry | None) -> Entry | None:
        direct = self.web or self.spawn or self.command
        if direct is None:
            return None
        mode = "async" if self.deployment.manifest.durable is None else "durable"
        return self._entry(direct.callee.export, mode, direct.takes_buffer, limits, detached)

    def _replayed(self, policy: DurablePolicy) -> Entry | None:
        most = {"fuel": UNBOUNDED, "host_calls": UNBOUNDED, "invocation_lift_bytes": UNBOUNDED}
        limits, later = replace(self.limits, deadline_ms=policy.replay_ms, **most), self.detached
        self._counting, counting = ArrivalObserver(self._metrics), self._counting
        try:
            if later is not None:
                later = self._entry(later.callee.export, "detached", later.takes_buffer, limits)
            return self._queued(limits, later)
        finally:
            self._counting = counting

    def _entry(
        self,
        export: Export,
        mode: str,
        takes_buffer: bool,
        limits: Limits | None = None,
        detached: Entry | None = None,
    ) -> Entry:
        limits = limits or self.limits
        target = Target(
            self.pre.program,
            export.index,
            flat=export.flat,
            lift=None if export.func.result is None else export.signature.lift_result,
            lift_bytes=limits.response_bytes + ENVELOPE_BYTES,
            fuel=limits.fuel,
            memory=limits.memory_bytes,
            tables=limits.table_elements,
            realloc_slices=max(1, limits.realloc_ms // SLICE_MS),
        )
        observer = self._observer if mode in DIRECT else self._counting
        callee = Callee(self._pool, self.pre, export, target, limits, observer)
        recorder = self._metrics.recorder(self.deployment.path, mode)
        return Entry(callee, recorder, takes_buffer, detached=detached or self.detached)


def _limits_of(deployment: Deployment) -> Limits:
    """Those of a deployment: a guest that makes promises has a handle for each, besides what others may have."""
    limits = deployment.manifest.limits
    if deployment.imports.isdisjoint(_PROMISING):
        return limits
    return replace(limits, resources=limits.resources + limits.promises)


def check_memory(limits: Limits, memory_min: int) -> None:
    """Refuses a memory limit that the module exceeds before it runs; `memory_min` is in pages."""
    if memory_min * PAGE > limits.memory_bytes:
        raise InvalidModule(
            f"the module begins with {memory_min * PAGE} bytes of memory, over its limit of {limits.memory_bytes}"
        )
