"""`Replays`: runs recorded invocations again, from their journals alone, on their own module or on another one.

Promises: no call of the guest reaches anything outside: what is recorded is answered from the journal, and where that ends
the run ends; what a guest does there is neither counted nor logged.  A journal may come from anywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from guesthouse.dispatch.collector import Collector
from guesthouse.dispatch.command import RunningCommand
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.exports import Export, read_export
from guesthouse.dispatch.journaled import Journaled, JournaledLog
from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.prepared import Prepared, kind_of
from guesthouse.dispatch.replayed import Ended, Replayed
from guesthouse.dispatch.tracing import Trace, TracedJournal, traced
from guesthouse.dispatch.verdicts import Found, judge
from guesthouse.durable.errors import JournalDamaged
from guesthouse.durable.journal import Journal
from guesthouse.durable.listing import Summary, summary_of
from guesthouse.durable.records import Header
from guesthouse.engine.linker import InstancePre
from guesthouse.errors import BadRequest, InputError
from guesthouse.interfaces.bytes import Buffer
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.queue.call import Lease
from guesthouse.registry.deployment import CALLABLE, Deployment
from guesthouse.registry.policy import DurablePolicy
from guesthouse.telemetry import FunctionLogs, InvocationLog, Metrics

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.dispatch.deployer import Deployer
    from guesthouse.engine.pool import InstancePool
    from guesthouse.registry.registry import Registry

MOST_PROGRAMS: Final = 4
"""Modules that stay linked for the next replay of them."""


class Differs(InputError):
    """A version that does not do again what a dead letter has done; the text has both calls."""

    status = 409
    problem_type = "diverges"
    title = "The version does not do what was recorded"


class SaidLog(JournaledLog):
    """The log of a replay: it goes nowhere, whatever the guest wants of it."""

    __slots__ = ("said",)

    def __init__(self, said: InvocationLog, journal: Journal, *log: Any) -> None:
        super().__init__(journal, *log)
        self.said = said

    def write(self, level: str, text: str, source: str) -> None:
        if source != "system":
            self.said.write(level, text, source)


class Replaying(Journaled):
    """A run whose calls are all answered from the journal."""

    journal: TracedJournal
    trace: Trace

    @property
    def log(self) -> InvocationLog:  # type: ignore[override]  # read-only, as of every run
        """Keeps what is said for whoever asked for the replay."""
        if self._log is None:
            self.said = InvocationLog(self.limits, self.id, None, self._dispatcher.clock)
            self._log = SaidLog(self.said, self.journal, self.limits, self.id, None, self._dispatcher.clock)
        return self._log

    said: InvocationLog | None = None

    def go_on(self) -> None:
        """It never leaves."""


class ReplayingCommand(Replaying, RunningCommand):
    """That of a command."""


class Replays:
    """Those of one host; to be used on its loop."""

    def __init__(self, deployer: Deployer, registry: Registry, pool: InstancePool, clock: Clock) -> None:
        self._deployer = deployer
        self._registry = registry
        self._pool = pool
        self._clock = clock
        self._programs: OrderedDict[str, InstancePre] = OrderedDict()
        self._own: Dispatcher | None = None

    async def replay(
        self,
        export: bytes | Export,
        *,
        until: int | None = None,
        changes: Mapping[int, Any] | None = None,
        wasm: bytes | None = None,
        kept: bool = True,
    ) -> Replayed:
        """Runs an invocation again, on `wasm` instead of its own module if that is given.

        Stops before call `until`; call N comes to `changes[N]`, JSON of its type.  `kept`: whether its steps are wanted.
        Raises `InvalidExport`, `InvalidModule`, `BadRequest`, and a `JournalError` for a journal that cannot be read.
        """
        if not isinstance(export, Export):
            export = await asyncio.to_thread(read_export, export)
        summary = await asyncio.to_thread(summary_of, export.segments)
        module = wasm or export.wasm
        if module is None:
            raise BadRequest("the export has no module: it was left out")
        pre = await self._program(module)
        prepared = self._prepared(export, pre, module)
        journal = _journal(export)
        journal.until = until
        trace = Trace(journal, changes, kept=kept)
        outcome, running = await self._run(export, prepared, journal, trace)
        if trace.problem is not None:
            raise trace.problem
        return _replayed(export, prepared.deployment, summary, trace, outcome, running)

    async def fits(self, export: Export, deployment: Deployment, before: int | None) -> None:
        """Whether another version does again what is recorded before an entry, or at all; raises `Differs` if not."""
        wasm = await asyncio.to_thread(self._registry.wasm, deployment.digest)
        found = await self.replay(replace(export, deployment=deployment), until=before, wasm=wasm, kept=False)
        if found.reached < (found.entries if before is None else before):
            calls = found.text.replace("\n", "; ")
            raise Differs(f"version {deployment.version} differs at call {found.reached}: {calls}")

    def close(self) -> None:
        """Gives back what replays took."""
        self._programs.clear()
        if self._own is not None:
            self._own.close()

    # -- steps

    async def _program(self, wasm: bytes) -> InstancePre:
        digest = hashlib.sha256(wasm).hexdigest()
        pre = self._programs.pop(digest, None)
        if pre is None:
            pre = await asyncio.to_thread(self._deployer.for_replay, wasm, traced)
        self._programs[digest] = pre
        if len(self._programs) > MOST_PROGRAMS:
            self._programs.popitem(last=False)
        return pre

    def _prepared(self, export: Export, pre: InstancePre, wasm: bytes) -> Prepared:
        """The version that the export names, with the module that runs, under limits that its recording was under."""
        of, kind = export.deployment, kind_of(pre)
        if kind not in CALLABLE:
            raise BadRequest(f"the module is a {kind}: such are not called as this invocation was")
        durable = of.manifest.durable or DurablePolicy(
            replay_ms=min(max(of.manifest.limits.deadline_ms, 1_000), 3_600_000)
        )
        digest = hashlib.sha256(wasm).hexdigest()
        manifest = replace(of.manifest, durable=durable, grants=None)  # they were judged when it was recorded
        deployment = replace(of, kind=kind, digest=digest, size=len(wasm), manifest=manifest, imports=pre.used)
        prepared = self._deployer.prepare_replay(deployment, pre)
        if export.kind == "flight":
            prepared.replayed = prepared.queued
        return prepared

    async def _run(
        self, export: Export, prepared: Prepared, journal: TracedJournal, trace: Trace
    ) -> tuple[Outcome, Replaying]:
        call, entry = export.request, prepared.queued
        assert entry is not None, "its kind was looked at"
        args: tuple[Any, ...] = (("buffer", _body(export, journal)),) if entry.takes_buffer else (call.body,)
        sink, lease = Collector(), Lease(call, 1, 0, 0, segments=len(export.segments))
        request = WebRequest(call.method, call.path, call.query, call.headers, call.token_id)
        make = partial(Replaying, journal, lease, self._dispatcher(), prepared)
        if prepared.deployment.kind == "command":
            running: Replaying = ReplayingCommand(*make.args, request, sink, call.body)
            args = ()
        else:
            running = make() if prepared.deployment.kind == "spawn" else make(request, sink)
        running.trace = trace
        outcome = running.start(args) or await running.wait(sink)
        if outcome.detached is not None:
            await outcome.detached.end()
        return sink.complete(outcome), running

    def _dispatcher(self) -> Dispatcher:
        """One of its own: what runs here is no work of the host's.  No spawn gets there."""
        if self._own is None:
            self._own = Dispatcher(
                self._registry, _not_here, self._pool, Metrics(), FunctionLogs(), cast("Any", None), self._clock
            )
        return self._own


def _not_here(_: Deployment) -> NoReturn:
    raise AssertionError("a replay brings what it runs")


def _journal(export: Export) -> TracedJournal:
    deployment = export.deployment
    if not export.segments:
        raise JournalDamaged("the journal is empty")
    header = Header(export.record.id, deployment.version, deployment.digest, "")
    journal = TracedJournal(None, export.segments, header=header)
    assert journal.offline, "nothing is called live"
    return journal


def _body(export: Export, journal: TracedJournal) -> Buffer:
    """The body of the request, as it arrived."""
    if not export.stream:
        return Buffer(export.request.body)
    body = Buffer.unpacked({"stream": export.stream})
    body.play(journal.streams.pieces(export.stream))
    return body


def _replayed(
    export: Export, deployment: Deployment, summary: Summary, trace: Trace, outcome: Outcome, running: Replaying
) -> Replayed:
    recorded = _recorded(export, summary)
    found = judge(Found(export.record, recorded, summary, outcome, running.journal, trace))
    return Replayed(
        id=export.record.id,
        function=deployment.path,
        version=deployment.version,
        digest=deployment.digest,
        verdict=found.verdict,
        entries=summary.entries,
        reached=running.journal.entry,
        recorded=recorded,
        ended=found.ended,
        text="\n".join(filter(None, (found.text, *_missed(running.journal, trace, found.verdict)))),
        backtrace=found.backtrace,
        steps=trace.steps,
        log=[(each.level, each.source, each.text) for each in (running.said.records if running.said else ())],
        body=outcome.body,
    )


def _missed(journal: TracedJournal, trace: Trace, verdict: str) -> Iterator[str]:
    """Calls that were named and that the guest did not come to."""
    if journal.until is not None and verdict != "stopped":
        yield f"it did not come to call {journal.until}"
    for number in sorted(set(trace.changes) - trace.changed):
        yield f"it did not come to call {number}"


def _recorded(export: Export, summary: Summary) -> Ended:
    """How the invocation ended: as its journal says, or its record."""
    end, record = summary.end, export.record
    if end is not None:
        return Ended(end.result, end.status, end.digest.hex(), end.reason)
    return Ended(record.result, record.status) if record.state in ("dead", "failed", "succeeded") else Ended("")
