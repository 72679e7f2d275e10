"""`observe_host`: what `/metrics` says of a host's state at the moment of the scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.interfaces.cache import observe

if TYPE_CHECKING:
    from guesthouse.async_host import AsyncHost


def observe_host(host: AsyncHost) -> None:
    """Registers the gauges of everything that the host has put together; the backlog has its own."""
    gauge, topics, logs, breakers = host.metrics.gauge, host.topics, host.logs, host.outbound.breakers
    pool, spawner, detached = host.dispatcher.pool, host.dispatcher.spawner, host.dispatcher.detached
    gauge("pool_slots", "How many guests may be alive at once", lambda: pool.slots)
    gauge("pool_in_use", "Guests that are alive", lambda: pool.in_use)
    gauge("spawns_in_flight", "Accepted spawns that have not ended", lambda: spawner.in_flight)
    gauge("detached_in_flight", "Guests that work on after their answer", lambda: len(detached))
    gauge("log_followers", "Readers that follow the log of a function", lambda: logs.followers)
    gauge("outbound_circuits_open", "Servers that functions do not ask for now", lambda: breakers.open)
    gauge("topic_subscriptions", "Open subscriptions of topics", lambda: topics.subscriptions)
    gauge("topic_messages", "Messages that were published", lambda: topics.published)
    gauge("topic_missed_messages", "Messages that slow subscribers missed", lambda: topics.missed)
    observe(host.cache, host.metrics)
