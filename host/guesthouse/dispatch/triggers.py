"""`Triggers`: messages of topics start the spawn functions whose deployments name those topics.

Promises: a publisher never waits and never fails for what its message starts; each message starts each function at most
once, through the spawn queue and within its bounds; a run that publishes is the parent of what its message starts, so
functions that start each other end at the depth and fan-out of spawns; whatever becomes of a start is counted.  Which
topics start what is read from the registry, so it survives a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from guesthouse.dispatch.spawner import SpawnQueue
from guesthouse.errors import BodyTooLarge, Draining, GuesthouseError
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.spawn import SpawnLimit
from guesthouse.registry.deployment import Deployment
from guesthouse.registry.registry import Registry
from guesthouse.telemetry import Metrics, logger

MOST_STARTING = 1_000
"""Starts whose row is not on disk yet: each keeps a message in memory."""

log = logger(__name__)


class Triggers:
    """Starts functions for messages.  All methods belong to one event loop's thread."""

    def __init__(self, registry: Registry, spawner: SpawnQueue, metrics: Metrics) -> None:
        self._registry = registry
        self._spawner = spawner
        self._metrics = metrics
        self._waiting: dict[tuple[str, str], list[str]] = {}
        self._revision = -1
        self._starting: set[asyncio.Task[None]] = set()
        self._closed = False

    def published(self, namespace: str, topic: str, value: str | bytes, parent: Invocation | None) -> None:
        """Starts every function that waits for messages of this topic (see `interfaces.topic.broker.Starts`)."""
        if self._revision != self._registry.revision:
            self._read()
        names = self._waiting.get((namespace, topic))
        if names:
            payload = value.encode() if isinstance(value, str) else value
            for name in names:
                deployment = self._registry.get(namespace, name)
                if deployment is not None:
                    self._start(deployment, topic, payload, parent)

    async def close(self) -> None:
        """Takes nothing more, and waits until every start that was begun is decided."""
        self._closed = True
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _read(self) -> None:
        """Looks up what waits for which topic, after a deploy, a delete or a change of the current version."""
        self._revision = self._registry.revision  # before reading: what changes meanwhile is read the next time
        self._waiting = {}
        for deployment in self._registry.list():
            for topic in deployment.manifest.topics:
                self._waiting.setdefault((deployment.namespace, topic), []).append(deployment.name)

    def _start(self, deployment: Deployment, topic: str, payload: bytes, parent: Invocation | None) -> None:
        if self._closed or len(self._starting) >= MOST_STARTING:
            self._metrics.topic_trigger("dropped")
            return
        try:
            start = self._submit(deployment, payload, parent)
        except SpawnLimit as limit:
            self._metrics.topic_trigger("refused")
            if parent is not None:
                parent.log.write("warn", f"topic {topic}: {deployment.path} was not started: {limit}", "system")
            return
        task = asyncio.get_running_loop().create_task(self._count(start, deployment))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    def _submit(self, deployment: Deployment, payload: bytes, parent: Invocation | None) -> Coroutine[Any, Any, str]:
        if parent is None:
            return self._spawner.submit(deployment, payload)
        return self._spawner.descend(parent, deployment, payload)

    async def _count(self, start: Coroutine[Any, Any, str], deployment: Deployment) -> None:
        outcome = "failed"
        try:
            await start
            outcome = "accepted"
        except (SpawnLimit, Draining):
            outcome = "dropped"
        except BodyTooLarge:
            outcome = "refused"
        except GuesthouseError as error:
            log.warning("a message could not start its function", function=deployment.path, error=str(error))
        finally:
            self._metrics.topic_trigger(outcome)
