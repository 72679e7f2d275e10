"""OpenFaaS's metric names, for its dashboards and alerts: made of what `Metrics` has counted, when somebody asks.

Nothing is counted twice for them but the requests of its provider interface, which are few.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from guesthouse.telemetry.metrics import DURATION_NS, Histogram, Metrics, Recorder

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CODES: Final = {"ok": 200, "dropped": 200, "failed": 500, "deadline": 504, "fuel": 504, "cancelled": 499, "lost": 503}
"""The HTTP status of an outcome where the function chose none; of all others it is 502."""
DETACHED: Final = "detached"
"""The mode of what goes on after an answer: no invocation of its own."""
SECOND: Final = 1_000_000_000


class OpenFaasMetrics:
    """The families; `functions` are all that are deployed and `running` those of running invocations, as `namespace/name`."""

    def __init__(
        self, metrics: Metrics, functions: Callable[[], Iterable[str]], running: Callable[[], Iterable[str]]
    ) -> None:
        self._metrics = metrics
        self._functions = functions
        self._running = running
        self._requests: dict[tuple[str, str, str], Histogram] = {}
        self._lock = threading.Lock()
        metrics.also(self.collect)

    def request(self, method: str, path: str, status: int, duration_ns: int) -> None:
        """A request of the provider interface was answered; `path` is a route's, of which there are few."""
        key = (method, path, str(status))
        with self._lock:
            found = self._requests.get(key)
            if found is None:
                found = self._requests[key] = Histogram(DURATION_NS)
            found.observe(duration_ns)

    def invocations(self) -> dict[str, int]:
        """How many invocations of each function have ended since this process began, however they were started."""
        return {function: sum(total for _, total in found) for function, found in self._seen().items()}

    def collect(self) -> Iterator[Metric]:
        """The families, for prometheus-client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

        ended = CounterMetricFamily(
            "gateway_function_invocation", "Invocations that have ended", labels=("function_name", "code")
        )
        seconds = HistogramMetricFamily("gateway_functions_seconds", "Time taken", labels=("function_name",))
        started = Metric("gateway_function_invocation_started", "Invocations that have begun", "unknown")
        seen = self._seen()
        running = list(self._running())
        for function, found in seen.items():
            name = name_of(function)
            for code, count in _codes(recorder for recorder, _ in found).items():
                ended.add_metric((name, code), count)
            buckets, total = _together([recorder for recorder, _ in found])
            seconds.add_metric((name,), buckets, sum_value=total)
            begun = sum(total for _, total in found) + running.count(function)
            started.add_sample("gateway_function_invocation_started", {"function_name": name}, begun)
        replicas = GaugeMetricFamily("gateway_service_count", "Replicas: always one", labels=("function_name",))
        for function in self._functions():
            replicas.add_metric((name_of(function),), 1)
        yield from (ended, seconds, started, replicas)
        yield from self._collect_requests()

    def _seen(self) -> dict[str, list[tuple[Recorder, int]]]:
        """What was recorded of each function, with how many have ended."""
        found: dict[str, list[tuple[Recorder, int]]] = {}
        for function, mode, recorder in self._metrics.recorders():
            if mode != DETACHED:
                found.setdefault(function, []).append((recorder, sum(list(recorder.outcomes.values()))))
        return found

    def _collect_requests(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        labels = ("method", "path", "status")
        count = CounterMetricFamily("http_requests", "Requests of the provider interface", labels=labels)
        seconds = HistogramMetricFamily("http_request_duration_seconds", "Their durations", labels=labels)
        with self._lock:
            for key, seen in self._requests.items():
                count.add_metric(key, sum(seen.counts))
                seconds.add_metric(key, _buckets(seen.counts), sum_value=seen.sum / SECOND)
        yield from (count, seconds)


def name_of(function: str) -> str:
    """`namespace/name` as OpenFaaS writes it: `name.namespace`."""
    namespace, slash, name = function.partition("/")
    return f"{name}.{namespace}" if slash else function


def _codes(recorders: Iterable[Recorder]) -> dict[str, int]:
    """How often each HTTP status was the answer: the function's own, or what stands for its failure."""
    found: dict[str, int] = {}
    for recorder in recorders:
        own = dict(recorder.statuses)
        for outcome, count in list(recorder.outcomes.items()):
            code = str(CODES.get(outcome, 502))
            found[code] = found.get(code, 0) + count - (sum(own.values()) if outcome == "ok" else 0)
        for status, count in own.items():
            found[str(status)] = found.get(str(status), 0) + count
    return found


def _together(recorders: list[Recorder]) -> tuple[list[tuple[str, float]], float]:
    """The durations of several recorders as one histogram."""
    counts = [sum(column) for column in zip(*(recorder.durations for recorder in recorders), strict=True)]
    return _buckets(counts), sum(recorder.duration for recorder in recorders) / SECOND


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip((*DURATION_NS, None), counts, strict=True):
        so_far += count
        buckets.append(("+Inf" if bound is None else repr(bound / SECOND), so_far))
    return buckets
