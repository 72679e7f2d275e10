"""What tests of detached work share: hosts whose guests may ask an origin on this machine, orders, and what became of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from guesthouse import Host, OutboundConfig, OutboundPolicy
from guesthouse.dispatch.detached import Detached
from guesthouse.dispatch.outcome import Outcome
from harness import until
from probes import on_loop
from served import Origin
from support import host_with

PATIENCE = 30
POLICY = OutboundPolicy.of(schemes=("http",), allow_addresses=("127.0.0.0/8",))
CALLS = "detached-calls"
FORMS = ("wasip2", "wasip1", "unknown-unknown")
Json = dict[str, Any]


@contextmanager
def detaching(form: str, *guests: str, **options: Any) -> Iterator[Host]:
    """A host with these guests under their names, whose guests may send requests to this machine."""
    with host_with(*(guests or (CALLS,)), form=form, outbound=OutboundConfig(POLICY), **options) as host:
        yield host


def queue(name: str, *steps: Any) -> Json:
    """A step that queues a task."""
    return {"queue": [name, steps]}


def held(origin: Origin) -> Json:
    """A step that waits until the test releases it."""
    return {"get": origin.url("/held")}


def order(*steps: Any) -> list[tuple[str, str]]:
    """The query that asks `detached-calls` for these steps."""
    return [("do", json.dumps(steps))]


def do(host: Host, *steps: Any, body: bytes = b"", name: str = CALLS) -> Outcome:
    """The outcome of a call that does `steps`, as soon as it is there."""
    return host.invoke(name, body, query=order(*steps))


def over(host: Host, outcome: Outcome) -> Detached:
    """The detached work of an outcome, once that has ended."""
    detached = outcome.detached
    assert detached is not None, "it has no detached work"
    on_loop(host, asyncio.wait_for(detached.end(), PATIENCE))
    return detached


def done(host: Host, *steps: Any, body: bytes = b"", name: str = CALLS) -> dict[str, int]:
    """How many tasks of a call ended how, once all have ended, and the work as a whole well."""
    detached = over(host, do(host, *steps, body=body, name=name))
    assert (detached.result, detached.error) == ("ok", None)
    return dict(detached.tasks.counts)


def counted(host: Host, function: str = CALLS) -> dict[tuple[str, str], int]:
    """How often which task of a function ended how, as Prometheus sees it."""
    families = {family.name: family for family in host.inner.metrics.collect()}
    return {
        (sample.labels["task"], sample.labels["outcome"]): int(sample.value)
        for sample in families["guesthouse_detached_tasks"].samples
        if sample.labels["function"] == f"default/{function}" and sample.name.endswith("_total")
    }


def lines(host: Host, function: str = CALLS) -> list[str]:
    """The texts in a function's log."""
    return [entry.record.text for entry in host.inner.logs.tail(f"default/{function}", 1000)]


def idle(host: Host) -> None:
    """Waits until no guest is alive."""
    until(lambda: host.inner.dispatcher.pool.in_use == 0, "a guest is still alive")


def afresh(host: Host) -> Host:
    """The host once nothing runs there, with logs and counts that begin at nothing."""
    idle(host)
    host.inner.metrics._tasks.clear()
    host.inner.metrics._task_names = 0
    host.inner.metrics._counters["spawns"].clear()
    for deployment in host.inner.registry.list():
        host.inner.logs.forget(deployment.path)
    return host


@contextmanager
def heard(host: Host) -> Iterator[list[str]]:
    """What guests publish to the topic `detached`; complete at the end of the block, where the guests are."""

    async def listen() -> Any:
        return host.inner.topics.subscribe("default", "detached")

    subscription = on_loop(host, listen())
    texts: list[str] = []
    try:
        yield texts
    finally:
        texts += [message.value for message in subscription.take(1000)]
        subscription.close()
