"""What the metrics tell of the cache: five figures for the whole host, none by key or namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.interfaces.cache.backend import CacheBackend
    from guesthouse.telemetry import Metrics


def observe(cache: CacheBackend, metrics: Metrics) -> None:
    """Makes the metrics read the counts of `cache`; its size only where it is known here."""
    metrics.gauge("cache_hits", "Reads of the cache that found something, since the start", lambda: cache.counts.hits)
    metrics.gauge("cache_misses", "Reads of the cache that found nothing, since the start", lambda: cache.counts.misses)
    if cache.counts.entries is not None:
        metrics.gauge(
            "cache_evictions", "Items forgotten for lack of room, since the start", lambda: cache.counts.evicted
        )
        metrics.gauge("cache_entries", "Values and lists in the cache", lambda: cache.counts.entries or 0)
        metrics.gauge("cache_bytes", "What the items of the cache are taken to cost", lambda: cache.counts.size or 0)
