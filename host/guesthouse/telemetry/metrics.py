"""`Metrics`: counts in plain integers while the host works, Prometheus' text when somebody asks.

Recording happens on any thread, costs well under a microsecond and takes no lock: `+= 1` on what is there already has no
call in it, so no other thread comes between.  `expose` is where prometheus-client comes in.  Labels are bounded: past
`most` series everything is counted under `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry

OTHER: Final = "other"
MOST_SERIES: Final = 1_000
"""Functions (and series of any other kind) that get labels of their own: Prometheus wants them in the thousands."""
MOST_TASKS: Final = 64
"""Names of detached tasks of one function that get labels of their own."""
MOST_NOTED: Final = 64
"""Invocations of one function that are noted and not yet counted: about 10 KB."""
_US, _MS, _S = 1_000, 1_000_000, 1_000_000_000
DURATION_NS: Final = tuple(
    scale * step // 10
    for scale, steps in (
        (_US, (100, 250, 500, 1000, 2500, 5000)),
        (_MS, (10, 25, 50, 100, 250, 500, 1000, 2500, 5000)),
        (_S, (10, 25, 50, 100, 300, 600)),
    )
    for step in steps
)
"""Upper bounds from 10 microseconds to a minute."""
USUAL: Final = 200
"""The status that is not counted apart: nearly every function answers it."""
FUEL: Final = tuple(10**power for power in range(3, 12))
MEMORY_BYTES: Final = tuple(65_536 << power for power in range(12))
"""Upper bounds from one page to the pool's 128 MiB."""


class Histogram:
    """Observations in buckets with inclusive upper bounds, and one more bucket for what is over all of them."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[int]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0

    def observe(self, value: int) -> None:
        """Counts one observation, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Recorder:
    """What was seen of one function in one mode; get it once from `Metrics.recorder`, which counts what was noted, and keep it.

    An invocation that has ended is only noted: right after a guest has run, counting would cost several times what it costs
    in a row.
    """

    __slots__ = ("_noted", "duration", "durations", "fuel", "fuels", "memories", "memory", "outcomes", "statuses")

    def __init__(self) -> None:
        self._noted: deque[tuple[str, int, int | None, int, int]] = deque()
        self.outcomes: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        """How often the function itself answered each HTTP status but 200; `outcomes` has these as well."""
        self.durations = [0] * (len(DURATION_NS) + 1)
        self.duration = 0
        self.fuels = [0] * (len(FUEL) + 1)
        self.fuel = 0
        self.memories = [0] * (len(MEMORY_BYTES) + 1)
        self.memory = 0

    def record(self, outcome: str, duration_ns: int, fuel: int | None, memory: int, status: int = 0) -> None:
        """One invocation that has ended; `fuel` is `None` where it is unknown, `memory` the peak in bytes.

        `status` is the HTTP status that the function answered, if it did.
        """
        noted = self._noted
        noted.append((outcome, duration_ns, fuel, memory, status))
        if len(noted) >= MOST_NOTED:
            self.count()

    def count(self) -> None:
        """Counts what was noted; to be called before anything is read."""
        noted = self._noted
        with suppress(IndexError):
            while True:
                self._count(*noted.popleft())

    def _count(self, outcome: str, duration_ns: int, fuel: int | None, memory: int, status: int) -> None:
        if status != USUAL and status and outcome == "ok":
            self.statuses[status] = self.statuses.get(status, 0) + 1
        outcomes = self.outcomes
        try:
            outcomes[outcome] += 1
        except KeyError:
            outcomes.setdefault(outcome, 0)
            outcomes[outcome] += 1
        self.durations[bisect_left(DURATION_NS, duration_ns)] += 1
        self.duration += duration_ns
        if fuel is not None:
            self.fuels[bisect_left(FUEL, fuel)] += 1
            self.fuel += fuel
        self.memories[bisect_left(MEMORY_BYTES, memory)] += 1
        self.memory += memory


class Metrics:
    """Everything the host counts and measures."""

    def __init__(self, *, most: int = MOST_SERIES, version: str = "") -> None:
        self._most = most
        self._version = version
        self._recorders: dict[tuple[str, str], Recorder] = {}
        self._functions: set[str] = set()
        self._host_calls: dict[tuple[str, str, str], int] = {}
        self._tasks: dict[str, dict[str, dict[str, int]]] = {}
        self._task_names = 0
        self._counters: dict[str, dict[str, int]] = {
            name: {}
            for name in (
                "spawns",
                "triggers",
                "callbacks",
                "ticks",
                "queue_attempts",
                "storage",
                "outbound",
                "problems",
            )
        }
        self._admission_waits = Histogram(DURATION_NS)
        self._queue_waits = Histogram(DURATION_NS)
        self._records_dropped = 0
        self._compiles = Histogram(DURATION_NS)
        self._loads = Histogram(DURATION_NS)
        self._log_lines_dropped = 0
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._also: list[Callable[[], Iterable[Metric]]] = []
        self._registry: CollectorRegistry | None = None

    def recorder(self, function: str, mode: str) -> Recorder:
        """Where invocations of `function` (`namespace/name`) in `mode` are recorded: one object for each pair."""
        found = self._recorders.get((function, mode))
        if found is not None:
            found.count()
            return found
        if function != OTHER and function not in self._functions:
            if len(self._functions) >= self._most:
                return self.recorder(OTHER, mode)
            self._functions.add(function)
        found = self._recorders[function, mode] = Recorder()
        return found

    def recorders(self) -> list[tuple[str, str, Recorder]]:
        """Function, mode and what was seen of both, with everything counted that was noted."""
        found = [(function, mode, seen) for (function, mode), seen in list(self._recorders.items())]
        for _, _, seen in found:
            seen.count()
        return found

    def also(self, collector: Callable[[], Iterable[Metric]]) -> None:
        """Further families, made by `collector` when somebody asks, on any thread."""
        self._also.append(collector)

    def forget(self, function: str) -> None:
        """Drops the series of a function that was deleted, which makes room for another one's."""
        if function in self._functions:
            self._functions.remove(function)
            self._task_names -= sum(task != OTHER for task in self._tasks.pop(function, ()))
            for key in [key for key in self._recorders if key[0] == function]:
                del self._recorders[key]

    def host_call(self, interface: str, function: str, outcome: str) -> None:
        """One call of a host function that has ended: `ok`, `error` (the WIT error case) or `trap`."""
        key = (interface, function, outcome)
        calls = self._host_calls
        try:
            calls[key] += 1
        except KeyError:
            if len(calls) >= self._most:
                key = (OTHER, OTHER, outcome)
            calls.setdefault(key, 0)
            calls[key] += 1

    def detached_task(self, function: str, task: str, outcome: str) -> None:
        """A detached task of `function` has ended: `ok`, `failed`, `lost`, or `refused` before it began."""
        if function not in self._functions:
            function = OTHER
        tasks = self._tasks.setdefault(function, {})
        if task not in tasks and task != OTHER:
            if len(tasks) - (OTHER in tasks) >= MOST_TASKS or self._task_names >= self._most:
                task = OTHER
            else:
                self._task_names += 1
        outcomes = tasks.setdefault(task, {})
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    def admission_wait(self, duration_ns: int) -> None:
        """An invocation waited this long for a free instance."""
        self._admission_waits.observe(duration_ns)

    def compiled(self, duration_ns: int) -> None:
        """A module was compiled."""
        self._compiles.observe(duration_ns)

    def loaded(self, duration_ns: int) -> None:
        """A compiled module was loaded from the store of artefacts."""
        self._loads.observe(duration_ns)

    def spawn(self, outcome: str) -> None:
        """A spawned run has ended, or was lost."""
        self._count("spawns", outcome)

    def topic_trigger(self, outcome: str) -> None:
        """A message was to start a function: `accepted`, `dropped` (no room), `refused` (a bound), or `failed`."""
        self._count("triggers", outcome)

    def callback(self, outcome: str) -> None:
        """A callback: `delivered`, `retried` (one try failed), `failed` (for good), `blocked` (by where it goes), `chained`
        (queued for a function of ours) or `refused` (by that function's bounds)."""
        self._count("callbacks", outcome)

    def tick(self, outcome: str) -> None:
        """A tick of a schedule: `queued`, `repeated` (it had been before), `missed` (its time is over) or `failed` (for now)."""
        self._count("ticks", outcome)

    def storage_error(self, operation: str) -> None:
        """The storage failed at this operation."""
        self._count("storage", operation)

    def outbound_error(self, reason: str) -> None:
        """An outgoing HTTP request failed or was refused."""
        self._count("outbound", reason)

    def problem(self, problem_type: str) -> None:
        """The gateway answered a problem of this type."""
        self._count("problems", problem_type)

    def log_lines_dropped(self, count: int) -> None:
        """This many log records of guests were over a bound."""
        self._log_lines_dropped += count

    def records_dropped(self, count: int) -> None:
        """This many records of invocations were not written."""
        self._records_dropped += count

    def queue_attempt(self, outcome: str) -> None:
        """A leased call was settled: succeeded, retried, dead, cancelled, released, or fenced (by somebody else)."""
        self._count("queue_attempts", outcome)

    def queue_wait(self, duration_ns: int) -> None:
        """A call waited this long in the queue since it could have run."""
        self._queue_waits.observe(duration_ns)

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """A value that is read when somebody asks, on any thread; `name` comes without the prefix `guesthouse_`."""
        self._gauges[f"guesthouse_{name}"] = (documentation, read)

    @property
    def registry(self) -> CollectorRegistry:
        """prometheus-client's registry with all of this and the process's own figures, for whoever has an exporter."""
        if self._registry is None:
            from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
            from prometheus_client.registry import CollectorRegistry

            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self._registry)
        return self._registry

    def expose(self) -> bytes:
        """Prometheus' text format; takes milliseconds with many functions, so not on the loop's thread."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def describe(self) -> list[Metric]:
        """Nothing: names are known only when collecting."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families of everything, for prometheus-client."""
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        yield InfoMetricFamily("guesthouse", "This host", {"version": self._version})
        yield from self._collect_invocations()
        yield from self._collect_counters()
        for name, documentation, histogram in (
            ("admission_wait_seconds", "Waits of spawned runs for their turn", self._admission_waits),
            ("queue_wait_seconds", "Time of queued calls between becoming due and their start", self._queue_waits),
            ("compile_seconds", "Compilations of a module", self._compiles),
            ("load_seconds", "Loads of a compiled module", self._loads),
        ):
            family = _histogram(name, documentation, ())
            _add(family, (), histogram.bounds, histogram.counts, histogram.sum, _S)
            yield family
        for name, (documentation, read) in list(self._gauges.items()):
            yield GaugeMetricFamily(name, documentation, value=read())
        for collector in self._also:
            yield from collector()

    def _count(self, counter: str, label: str) -> None:
        counts = self._counters[counter]
        if label not in counts and len(counts) >= self._most:
            label = OTHER
        counts.setdefault(label, 0)
        counts[label] += 1

    def _collect_invocations(self) -> Iterator[Metric]:
        labels = ("function", "mode")
        count = _counter("invocations", "Invocations that have ended", (*labels, "outcome"))
        duration = _histogram("invocation_duration_seconds", "Wall time of invocations", labels)
        fuel = _histogram("invocation_fuel", "Fuel used, where it is known: about one for each instruction", labels)
        memory = _histogram("invocation_memory_bytes", "Peak linear memory of invocations", labels)
        for function, mode, seen in self.recorders():
            key = (function, mode)
            for outcome, value in list(seen.outcomes.items()):
                count.add_metric((*key, outcome), value)
            _add(duration, key, DURATION_NS, seen.durations, seen.duration, _S)
            _add(fuel, key, FUEL, seen.fuels, seen.fuel, 1)
            _add(memory, key, MEMORY_BYTES, seen.memories, seen.memory, 1)
        yield from (count, duration, fuel, memory)

    def _collect_counters(self) -> Iterator[Metric]:
        calls = _counter("host_calls", "Calls of host functions", ("interface", "function", "outcome"))
        for key, value in list(self._host_calls.items()):
            calls.add_metric(key, value)
        yield calls
        yield self._collect_tasks()
        for counter, name, documentation, label in (
            ("spawns", "spawns", "Spawned runs that have ended, or were lost", "outcome"),
            ("triggers", "topic_triggers", "Starts of functions by messages of topics", "outcome"),
            ("callbacks", "callbacks", "Results of queued calls on their way to whoever wants them", "outcome"),
            ("ticks", "schedule_ticks", "Ticks of schedules", "outcome"),
            ("storage", "storage_errors", "Failures of the storage", "operation"),
            ("outbound", "outbound_errors", "Outgoing HTTP requests that failed or were refused", "reason"),
            ("problems", "http_problems", "Problems that the gateway answered", "type"),
            ("queue_attempts", "queue_attempts", "Runs of queued calls, by what became of the call", "outcome"),
        ):
            family = _counter(name, documentation, (label,))
            for value_of_label, value in list(self._counters[counter].items()):
                family.add_metric((value_of_label,), value)
            yield family
        dropped = _counter("log_lines_dropped", "Log records of guests that were over a bound", ())
        dropped.add_metric((), self._log_lines_dropped)
        yield dropped
        unwritten = _counter("records_dropped", "Records of invocations that were not written", ())
        unwritten.add_metric((), self._records_dropped)
        yield unwritten

    def _collect_tasks(self) -> Metric:
        labels = ("function", "task", "outcome")
        family = _counter("detached_tasks", "Detached tasks that have ended, by their names", labels)
        for function, tasks in list(self._tasks.items()):
            for task, outcomes in list(tasks.items()):
                for outcome, value in list(outcomes.items()):
                    family.add_metric((function, task, outcome), value)
        return family


def _counter(name: str, documentation: str, labels: Sequence[str]) -> CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"guesthouse_{name}", documentation, labels=labels)


def _histogram(name: str, documentation: str, labels: Sequence[str]) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(f"guesthouse_{name}", documentation, labels=labels)


def _add(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    bounds: Sequence[int],
    counts: Sequence[int],
    total: int,
    unit: int,
) -> None:
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip(bounds, counts, strict=False):
        so_far += count
        buckets.append((repr(bound / unit), so_far))
    buckets.append(("+Inf", so_far + counts[-1]))
    family.add_metric(labels, buckets, sum_value=total / unit)
