"""`DurableCounts`: what is counted of durable calls, for `Metrics.also`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class DurableCounts:
    """Those of one host; to be added to on its loop."""

    def __init__(self) -> None:
        self._runs: Counter[str] = Counter()
        self._ambiguous: Counter[str] = Counter()
        self.journal_bytes = 0
        """That were added to journals."""

    def run(self, event: str) -> None:
        """A run was resumed (it had a journal) or suspended, or its call was put away: diverged, ambiguous, journal."""
        self._runs[event] += 1

    def ambiguous(self, word: str) -> None:
        """A call of the world that a crash cut off, and what became of it: repeat, fail or ask."""
        self._ambiguous[word] += 1

    def collect(self) -> Iterator[Metric]:
        """The families, for prometheus-client."""
        from prometheus_client.core import CounterMetricFamily

        for name, documentation, label, counts in (
            ("runs", "Runs of durable calls that were resumed, suspended or put away", "event", self._runs),
            ("ambiguous", "Calls of the world that a crash cut off", "decision", self._ambiguous),
        ):
            family = CounterMetricFamily(f"guesthouse_durable_{name}", documentation, labels=(label,))
            for word, count in list(counts.items()):
                family.add_metric((word,), count)
            yield family
        added = CounterMetricFamily("guesthouse_durable_journal_bytes", "Bytes that were added to journals", labels=())
        added.add_metric((), self.journal_bytes)
        yield added
