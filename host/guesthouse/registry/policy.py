"""What a deployment says about its queued calls and schedules: when to try again, how many at once, when by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar

from guesthouse.errors import BadRequest
from guesthouse.limits import LONGEST_MS

MOST_ATTEMPTS = 1_000
MOST_STATUSES = 400
"""Statuses of one policy: there are no more."""
MOST_SCHEDULES = 16
"""Schedules of one deployment."""
RETRIED_RESULTS = frozenset({"trapped", "deadline", "fuel", "failed"})
"""Words of `Outcome.result` that a policy may try again; a payload that did not decode never decodes."""

MOST_HOSTS = 256
"""Hosts of one durable policy."""
AMBIGUOUS = frozenset({"repeat", "fail", "ask"})
"""What can become of a request that was perhaps sent before a crash."""

Policy = TypeVar("Policy", bound="RetryPolicy | FlowPolicy | Schedule | DurablePolicy")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a queued call that did not succeed is tried again."""

    attempts: int = 5
    """Runs of one call in all, the first included; then it becomes a dead letter."""
    results: tuple[str, ...] = ("trapped", "deadline", "failed")
    """Outcomes that are tried again: words of `Outcome.result`."""
    statuses: tuple[int, ...] = (408, 429, 500, 502, 503, 504)
    """HTTP statuses of the function's own answer that are tried again."""
    min_wait_ms: int = 1_000
    """The first wait is a random time up to this; each further one up to twice as much as the one before (full jitter)."""
    max_wait_ms: int = 600_000
    """The longest that a wait may be."""
    max_age_ms: int = 24 * 3_600_000
    """A call that was accepted longer ago is not tried again."""

    def __post_init__(self) -> None:
        _whole("retry.attempts", self.attempts, 1, MOST_ATTEMPTS)
        if len(self.statuses) > MOST_STATUSES:
            raise BadRequest(f"retry.statuses: there are over {MOST_STATUSES}")
        for status in self.statuses:
            _whole("retry.statuses", status, 200, 599)
        unknown = sorted(set(self.results) - RETRIED_RESULTS)
        if unknown:
            raise BadRequest(f"retry.results: {unknown[0]!r} is none of {', '.join(sorted(RETRIED_RESULTS))}")
        _whole("retry.min_wait_ms", self.min_wait_ms, 1, LONGEST_MS)
        _whole("retry.max_wait_ms", self.max_wait_ms, self.min_wait_ms, LONGEST_MS)
        _whole("retry.max_age_ms", self.max_age_ms, 1, LONGEST_MS)


@dataclass(frozen=True, slots=True)
class FlowPolicy:
    """How much of a function runs at once; 0 stands for no bound of its own."""

    max_inflight: int = 0
    """Invocations of the function at once, queued or not; what comes directly while they run is refused with 429."""
    key_inflight: int = 0
    """Queued calls with the same key at once: 1 runs them one after the other."""
    rate: int = 0
    """Queued calls that may start in a second, on average."""
    burst: int = 0
    """Calls that may start at once after a pause; 0: as many as `rate`."""
    adaptive: bool = True
    """Whether answers 429 and 503 and timeouts lower the number of queued calls that run at once, until they stop."""

    def __post_init__(self) -> None:
        for name in ("max_inflight", "key_inflight", "rate", "burst"):
            _whole(f"flow.{name}", getattr(self, name), 0, 1_000_000)


@dataclass(frozen=True, slots=True)
class DurablePolicy:
    """How a durable function waits, and what its journal may hold."""

    grace_ms: int = 1_000
    """How long a guest that waits stays in memory before it is suspended."""
    life_ms: int = 0
    """How long an invocation may take in all, suspensions included; 0: as long as it likes."""
    replay_ms: int = 60_000
    """How long a run may take to come to the end of its journal; its deadline and fuel count from there."""
    journal_bytes: int = 64 * 1024 * 1024
    """Of one invocation's journal; one that needs more is put away as a dead letter."""
    ambiguous: Mapping[str, str] = field(default_factory=dict)
    """What becomes of a request that a crash cut off, by host: `repeat` (with the same Idempotency-Key; any host that is not
    named), `fail` (the guest is told so), or `ask` (the invocation is put away until somebody decides)."""

    def __post_init__(self) -> None:
        _whole("durable.grace_ms", self.grace_ms, 0, 60_000)
        _whole("durable.life_ms", self.life_ms, 0, LONGEST_MS)
        _whole("durable.replay_ms", self.replay_ms, 1_000, 3_600_000)
        _whole("durable.journal_bytes", self.journal_bytes, 64 * 1024, 1024 * 1024 * 1024)
        if not isinstance(self.ambiguous, Mapping) or len(self.ambiguous) > MOST_HOSTS:
            raise BadRequest(f"durable.ambiguous has to name hosts, {MOST_HOSTS} at most")
        for host, what in self.ambiguous.items():
            if not isinstance(host, str) or not isinstance(what, str) or what not in AMBIGUOUS:
                raise BadRequest(
                    f"durable.ambiguous of {host!r:.80} is {', '.join(sorted(AMBIGUOUS))}, not {what!r:.40}"
                )


@dataclass(frozen=True, slots=True)
class Schedule:
    """A time at which a function is called through the queue."""

    cron: str
    """Five fields (minute, hour, day of the month, month, day of the week), or six with seconds before them."""
    timezone: str = "UTC"
    """A name of the time zone database, like Europe/Berlin."""
    body: str = ""
    """What the call is given."""

    def __post_init__(self) -> None:
        for name in ("cron", "timezone", "body"):
            if not isinstance(getattr(self, name), str):
                raise BadRequest(f"schedule.{name} has to be text")
        if len(self.body.encode()) > 64 * 1024:
            raise BadRequest("schedule.body is over 64 KiB")


def read_policy(kind: type[Policy], written: Mapping[str, Any], place: str) -> Policy:
    """A policy from its words in a manifest; raises `BadRequest` for one that does not exist."""
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(written) - known)
    if unknown:
        raise BadRequest(f"{place}: there is no {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in written.items()
    }
    required = [
        found.name
        for found in fields(kind)
        if found.default is MISSING and found.default_factory is MISSING and found.name not in values
    ]
    if required:
        raise BadRequest(f"{place}: it lacks {required[0]!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise BadRequest(f"{place}: {error}") from None


def read_durable(written: bool | Mapping[str, Any] | None) -> DurablePolicy | None:
    """From a manifest's word `durable`: true, false, or a table of the words of `DurablePolicy`; raises `BadRequest`."""
    if written is None or written is False:
        return None
    if written is not True and not isinstance(written, Mapping):
        raise BadRequest("durable is true, false, or a table")
    return read_policy(DurablePolicy, {} if written is True else written, "durable")


def write_policy(policy: RetryPolicy | FlowPolicy | Schedule | DurablePolicy) -> dict[str, Any]:
    """A policy as JSON can hold it."""
    return asdict(policy)


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"{name} has to be a whole number from {least} to {most}, not {value!r:.40}")
