"""`Backlog`: where everything meets that goes on with calls after their acceptance: the queue, who runs what is in it, who
delivers results, who starts what is due, who writes down how calls went, and who answers questions about all that.

Promises: it begins with what a dead process left, and ends with everything on disk.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from guesthouse.clock import Clock
from guesthouse.dispatch.callbacks import Callbacks
from guesthouse.dispatch.consumer import Consumer
from guesthouse.dispatch.cron import Cron
from guesthouse.dispatch.deliveries import CallbackConfig, Deliveries
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.durable_run import DurableRuns
from guesthouse.dispatch.flight import FlightRecorder
from guesthouse.dispatch.invocations import Invocations
from guesthouse.dispatch.pinned import PinnedVersions
from guesthouse.dispatch.recorded import Recorded, RecordedCommand
from guesthouse.dispatch.recorder import Recorder
from guesthouse.dispatch.workflows import Workflows, waits
from guesthouse.dispatch.workflows_calls import Callees
from guesthouse.errors import GuesthouseError
from guesthouse.net.client import OutboundClient
from guesthouse.queue.call import Record
from guesthouse.queue.config import InvocationsConfig, QueueConfig
from guesthouse.queue.store import StoredQueue
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
from guesthouse.telemetry import DurableCounts, FunctionLogs, Metrics, logger

SWEEP_SECONDS = 60.0
"""How often what is past its retention is removed: it is kept for days."""

log = logger(__name__)


class Backlog:
    """That of one host; to be started and closed on its loop."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        dispatcher: Dispatcher,
        outbound: OutboundClient,
        metrics: Metrics,
        logs: FunctionLogs,
        clock: Clock,
        *,
        config: QueueConfig,
        recorded: InvocationsConfig,
        callbacks: CallbackConfig,
        version: str,
        workflows: Workflows,
    ) -> None:
        self._dispatcher = dispatcher
        self._recorded = recorded.record
        self._sweeping: asyncio.Task[None] | None = None
        new_id, waiters, counts = dispatcher.new_id, dispatcher.waiters, DurableCounts()
        metrics.also(counts.collect)
        self.queue = StoredQueue(database, config, recorded, clock)
        self.recorder = Recorder(self.queue, clock, metrics)
        self.flight = FlightRecorder(self.queue, recorded, clock, version)
        metrics.also(self.flight.collect)
        self.callbacks = Callbacks(registry, outbound, metrics, logs, new_id, clock, version=version)
        self.callbacks.most_body_bytes = config.body_bytes
        self.deliveries = Deliveries(self.queue, self.callbacks, registry, outbound, metrics, callbacks, clock)
        self.consumer = Consumer(
            self.queue,
            dispatcher,
            registry,
            metrics,
            clock,
            config,
            DurableRuns(self.queue, PinnedVersions(registry, dispatcher), counts, version),
            further=self.callbacks.callback_of,
            ended=self._ended if self.flight.on else waiters.ended,
            callback_stored=self.deliveries.wake,
        )
        self.cron = Cron(registry, self.queue, self.consumer.wake, new_id, metrics, clock)
        self.calls = Invocations(
            self.queue,
            dispatcher,
            self.consumer,
            waiters,
            check_callback=self.callbacks.check_callback,
            most_body_bytes=config.body_bytes,
            unwritten=self.recorder.find,
            waits=partial(waits, registry),
            clock=clock,
        )
        dispatcher.calls = self.calls
        callees = Callees(registry, new_id, self.consumer.wake, clock, config.body_bytes)
        workflows.connect(self.queue, self.calls, waiters, callees)
        self._measure(metrics)

    def _measure(self, metrics: Metrics) -> None:
        counts, consumer, deliveries, waiters = (
            self.queue.counts,
            self.consumer,
            self.deliveries,
            self._dispatcher.waiters,
        )
        for name, documentation, read in (
            ("queue_calls", "Calls that wait in the queue or run from it", lambda: counts.calls),
            ("queue_bytes", "Bytes of their requests", lambda: counts.bytes),
            ("queue_inflight", "Calls from the queue that run", lambda: consumer.running),
            (
                "queue_oldest_seconds",
                "How long the oldest call has waited that could run",
                lambda: consumer.oldest_seconds,
            ),
            (
                "queue_suspended",
                "Durable calls that wait without anybody who runs them",
                lambda: sum(of.suspended for _, of in counts),
            ),
            ("queue_dead", "Dead letters that are kept", lambda: sum(found.dead for _, found in counts)),
            ("callbacks_under_way", "Callbacks that are being sent", lambda: deliveries.under_way),
            ("invocations_attached", "Callers that wait for an invocation's end", lambda: waiters.count),
        ):
            metrics.gauge(name, documentation, read)

    async def start(self) -> None:
        """Goes on where the last process ended."""
        self.recorder.start()
        self._dispatcher.records_all = self._recorded == "all"
        self._dispatcher.record = None if self._recorded == "off" and not self.flight.on else self.recorder.ended
        if self.flight.on:
            self.flight.start()
            self._dispatcher.flight = self.flight
            self._dispatcher.runs, self._dispatcher.runs_command = Recorded, RecordedCommand
        await self.consumer.start()
        self.deliveries.start()
        self.cron.start()
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep(), name="retention of invocations")

    async def close(self) -> None:
        """Ends everything, after the dispatcher's drain: what was begun is settled, delivered or put back, and on disk."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        await self.consumer.close()
        await self.deliveries.close()
        await self.recorder.close()
        await self.flight.close()
        await self.queue.close()

    def _ended(self, record: Record) -> None:
        """A queued call has ended, and that is on disk."""
        self._dispatcher.waiters.ended(record)
        self.flight.settled(record)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                while await self.queue.sweep():
                    await asyncio.sleep(0)
            except GuesthouseError as error:
                log.warning("old records could not be removed", error=str(error))
