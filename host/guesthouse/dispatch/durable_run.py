"""`DurableRun`: one run of a durable call: on the version that it began on, fed from its journal first.

Promises: a run that waits, or that the host stops, is no attempt; what failed is tried again behind the last effect that
succeeded; a journal that cannot be gone on with is kept with the reason, and its call put away.  Knows the dispatcher and the
journal's store, and not whose turn it is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from guesthouse.clock import Clock
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.journaled import Journaled, begin
from guesthouse.dispatch.journals import StoredSink
from guesthouse.dispatch.outcome import JOURNALED, Outcome, result_of
from guesthouse.dispatch.pinned import PinnedVersions
from guesthouse.dispatch.prepared import Prepared
from guesthouse.dispatch.queued_run import QueuedRun
from guesthouse.dispatch.verdict import MOST_DURABLE_STRIKES, Verdict
from guesthouse.durable.errors import Ambiguous, JournalError, Suspended
from guesthouse.durable.journal import Journal
from guesthouse.durable.records import Header
from guesthouse.errors import (
    AdmissionFull,
    DeadlineExceeded,
    FuelExhausted,
    GuesthouseError,
    HostError,
    Trap,
    Unavailable,
)
from guesthouse.queue.call import Lease, Record, Wait
from guesthouse.queue.queue import Fenced, Queue
from guesthouse.registry.deployment import Deployment
from guesthouse.storage.errors import StorageError
from guesthouse.telemetry import DurableCounts, logger

LARGE: Final = 1 << 20
"""Bytes of a journal that is read beside the loop: its heads are checked first, a millisecond for each of them."""
UNREPRODUCIBLE: Final = (DeadlineExceeded, FuelExhausted, HostError, Unavailable)
"""Ends of a run that say nothing of what the guest did: in the middle of a replay they are no divergence."""
MOST_REASON: Final = 4_096
"""Characters of a reason that are kept: both calls of a divergence, with what fits of their arguments."""

log = logger(__name__)


class DurableRuns:
    """What runs of durable calls need besides what others do; `host` is the version of this program."""

    def __init__(self, queue: Queue, versions: PinnedVersions, counts: DurableCounts, host: str) -> None:
        self.queue = queue
        self.versions = versions
        self.counts = counts
        self.host = host

    def make(
        self, lease: Lease, deployment: Deployment | None, dispatcher: Dispatcher, clock: Clock, output_bytes: int
    ) -> DurableRun:
        """A run; `deployment` is the current one."""
        return DurableRun(lease, deployment, dispatcher, clock, output_bytes, self)


class DurableRun(QueuedRun):
    """One run of a durable call."""

    stored: StoredSink | None = None
    _journal: Journal | None = None
    _what = ""
    _most_strikes = MOST_DURABLE_STRIKES

    def __init__(
        self,
        lease: Lease,
        deployment: Deployment | None,
        dispatcher: Dispatcher,
        clock: Clock,
        output_bytes: int,
        runs: DurableRuns,
    ) -> None:
        self._queue, self._versions, self._counts, self._host = runs.queue, runs.versions, runs.counts, runs.host
        if deployment is not None and lease.version not in (None, deployment.version):
            deployment = None
        super().__init__(lease, deployment, dispatcher, clock, output_bytes)

    # -- beginning

    def begin(self) -> None:
        """Runs the first slice, where nothing has to be read for it."""
        if self.deployment is None and self.lease.version is not None:
            return  # which version that is, is found out in `finish`
        self.verdict = self._refusal()
        if self.verdict is None and self.deployment is not None and not self.lease.segments:
            prepared = self._dispatcher.loaded(self.deployment)
            if prepared is not None:
                self._start(prepared)

    async def finish(self) -> None:
        """Runs it to its end, or as far as it comes.  Never raises for what the guest does, or for what keeps it from running."""
        if self.verdict is None and not self._begun:
            try:
                prepared = await self._prepare()
                if prepared is not None:
                    self._journal = await self._load(prepared)
            except Exception as error:
                self._failed(error)
                return
            if prepared is None:
                return
            if self.cancelled:
                self.verdict = Verdict("cancelled", "cancelled", "it was cancelled")
                return
            self._start(prepared)
        if self.running is not None and self.outcome is None:
            if self.cancelled:
                asyncio.get_running_loop().call_soon(self.cancel)
            outcome = await self.running.wait(self._sink)
            if outcome.detached is not None:
                await outcome.detached.end()
            self._ended(outcome)

    async def _prepare(self) -> Prepared | None:
        """The version that it runs on, linked; `None` where it is not to run."""
        call, version = self.lease.call, self.lease.version
        if self.deployment is None and version is not None:
            prepared = await self._versions.load((call.namespace, call.name), version)
            if prepared is None:
                reason = f"version {version} of the function, on which it began, is gone"
                self.verdict = Verdict("dead", "lost", reason)
                return None
            self._adopt(prepared.deployment)
            self.verdict = self._refusal()
            return prepared if self.verdict is None else None
        assert self.deployment is not None, "there is a verdict where it was deleted"
        return await self._dispatcher.load(self.deployment)

    def _adopt(self, deployment: Deployment) -> None:
        self.deployment, self._policy = deployment, deployment.manifest.retry
        self._allowed = self.lease.call.attempts or self._policy.attempts

    async def _load(self, prepared: Prepared) -> Journal | None:
        """Its journal, as earlier runs have left it."""
        if prepared.deployment.manifest.durable is None:
            return None
        segments: Sequence[bytes] = ()
        if self.lease.segments:
            segments = await self._queue.journal(self.lease.call.id)
            self._counts.run("resumed")
        if sum(map(len, segments)) > LARGE:
            return await asyncio.to_thread(self._open, prepared.deployment, segments)
        return self._open(prepared.deployment, segments)

    def _open(self, deployment: Deployment, segments: Sequence[bytes] = ()) -> Journal:
        sink = self.stored = StoredSink(self._queue, self.lease, deployment.version, self._counts)
        sink.grown = self.clear
        return Journal(
            sink,
            segments,
            header=Header(self.lease.call.id, deployment.version, deployment.digest, self._host),
            policy=deployment.manifest.durable,
            on_ambiguous=self._counts.ambiguous,
        )

    def _start(self, prepared: Prepared) -> None:
        if prepared.deployment.manifest.durable is None:  # it waited while another version was deployed
            super()._start(prepared)
            return
        self._begun = True
        self.started_ms = self._now_ms()
        try:
            journal = self._journal = self._journal or self._open(prepared.deployment)
            self.running, outcome = begin(self._dispatcher, prepared, self.lease, self._sink, journal)
        except AdmissionFull:
            self.released = True
        except Exception as error:
            self._failed(error)
        else:
            if outcome is not None:
                self._ended(outcome)

    def _refusal(self) -> Verdict | None:
        lease = self.lease
        if lease.strikes >= self._most_strikes:
            return Verdict(
                "dead", "lost", f"the host died while it ran, {lease.strikes} times without coming any further"
            )
        policy = None if self.deployment is None else self.deployment.manifest.durable
        life_ms = 0 if policy is None else policy.life_ms
        if life_ms and self._now_ms() >= max(lease.call.queued_ms, lease.call.due_ms) + life_ms:
            return Verdict("dead", "deadline", f"it did not end within the {life_ms} ms that it may take in all")
        return super()._refusal()

    def _since_ms(self) -> int:
        """One that may wait for months has no age: `life_ms` bounds how long it takes in all."""
        return super()._since_ms() if self._journal is None else self._now_ms()

    # -- ending

    def _failed(self, error: Exception) -> None:
        if isinstance(error, Fenced):
            self.fenced = True
        elif isinstance(error, StorageError):
            self.released = self.full = True
        elif isinstance(error, JournalError | Ambiguous):
            self._put_away(error)
        else:
            super()._failed(error)

    def _ended(self, outcome: Outcome) -> None:
        error = self._interruption(outcome)
        if error is None or self._journal is None:
            super()._ended(outcome)
            self._end_journal(outcome)
            return
        self.outcome = outcome
        if isinstance(error, Suspended) and self.cancelled:
            self.verdict = Verdict("cancelled", "cancelled", "it was cancelled")
        elif isinstance(error, Suspended):
            self.wait = self._within_life(error.wait)
            self.segment = self._journal.suspended(self.running.lines if isinstance(self.running, Journaled) else 0)
            self._what = error.what
        else:
            self._failed(error)

    def _interruption(self, outcome: Outcome) -> GuesthouseError | None:
        """What ended the run, if that is not its guest's doing: then there is no outcome."""
        detached = outcome.detached
        if self.stored is not None and self.stored.failure is not None:
            return self.stored.failure
        for error in (outcome.error, None if detached is None else detached.error):
            if error is not None and result_of(error) in JOURNALED.values():
                return error
        if self._journal is not None and isinstance(self._journal.broken, JournalError):
            return self._journal.broken
        if detached is not None and detached.result == "cancelled" and self._dispatcher.draining:
            self.released = True
        return None

    def _end_journal(self, outcome: Outcome) -> None:
        """The last segment: of one that is over, how it ended; of one that is tried again, what is void of it."""
        verdict, journal = self.verdict, self._journal
        if journal is None or verdict is None or self.released or verdict.state == "cancelled":
            return
        try:
            if verdict.state == "queued":
                if journal.replaying and not isinstance(outcome.error, UNREPRODUCIBLE):
                    journal.finish(verdict.result)  # which says what it should have done instead
                self.segment = journal.cut()
            elif not journal.replaying or not isinstance(outcome.error, UNREPRODUCIBLE):
                kind = outcome.error.reason if isinstance(outcome.error, Trap) else ""
                digest = b"" if outcome.error is not None else hashlib.sha256(outcome.body).digest()
                self.segment = journal.finish(outcome.result, outcome.status, digest, kind)
        except GuesthouseError as error:
            self._failed(error)

    def _put_away(self, error: GuesthouseError) -> None:
        """It cannot be gone on with, until somebody decides what is to become of it; what it has done stays written down."""
        word = result_of(error)
        self._counts.run(word)
        self.verdict = Verdict("dead", word, str(error)[:MOST_REASON])
        call = self.lease.call
        path = f"{call.namespace}/{call.name}"
        log.warning("a durable call was put away", function=path, invocation_id=call.id, result=word)

    def _within_life(self, wait: Wait) -> Wait:
        policy = None if self.deployment is None else self.deployment.manifest.durable
        if policy is None or not policy.life_ms:
            return wait
        call = self.lease.call
        end_ms = max(call.queued_ms, call.due_ms) + policy.life_ms
        return wait._replace(until_ms=end_ms if wait.until_ms is None else min(wait.until_ms, end_ms))

    # -- what is told of it

    @property
    def has_succeeded(self) -> bool:
        return super().has_succeeded and self.wait is None

    def record(self) -> Record:
        if self.wait is not None:
            self.verdict = Verdict("queued", "", self._what, self.wait.until_ms or 0)
        journal = self._journal
        found = replace(
            super().record(),
            mode="durable",
            journal_entries=0 if journal is None else journal.entry,
            journal_bytes=0 if journal is None else journal.size,
        )
        return found if self.wait is None else replace(found, state="suspended", result="", fuel=None, status=0)
