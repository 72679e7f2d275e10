"""`QueueConfig` and `InvocationsConfig`: the bounds of queued calls and of what is written down of invocations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from guesthouse.limits import MiB

Recorded = Literal["off", "failed", "all"]
Flight = Literal["off", "failed", "sampled", "all"]


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """Bounds of the queue; a section of the configuration has the same words."""

    inflight: int | None = None
    """Queued calls that run at once; `None`: half of the slots, 256 at most, so that direct calls find room."""
    body_bytes: int = MiB
    """Largest body of a queued call: it is written to disk before it is acknowledged."""
    output_bytes: int = 4 * MiB
    """Largest answer of a queued call: it is kept, and while it is written all other writes wait."""
    max_calls: int = 1_000_000
    """Calls that wait or run, half of them of one function and three quarters of one namespace; more are refused with 429."""
    max_bytes: int = 4096 * MiB
    """Of their requests, in the same shares."""
    max_dead_days: int = 30
    """How long a dead letter keeps its request."""
    max_dead_bytes: int = 256 * MiB
    """Of all dead letters; the oldest lose their requests first."""
    idempotency_hours: int = 24
    """How long an Idempotency-Key stands for its call."""
    state_bytes: int = 1024 * MiB
    """Of the state of all keys of durable functions, half of them of one function and three quarters of one namespace."""
    state_key_bytes: int = 16 * MiB
    """Of the state of one key: it is on disk for as long as nobody clears it."""
    lease_seconds: int = 30
    """How long a call that runs is this process's alone unless it says that it still lives, three times as often."""


@dataclass(frozen=True, slots=True)
class InvocationsConfig:
    """What is written down of invocations, and for how long; a section of the configuration has the same words."""

    record: Recorded = "failed"
    """Which synchronous invocations: none, those that failed (no answer, or a status from 500 on), or all of them."""
    keep_days: int = 7
    """How long records, answers and journals are kept."""
    keep_bytes: int = 1024 * MiB
    """Of all of them; the oldest go first."""
    flight: Flight = "off"
    """Whose calls are recorded so that they can be replayed, of functions that are not durable: nobody's, those that failed (no
    answer, or a status from 500 on), a random share of all, or all."""
    flight_sample: float = 0.01
    """That share."""
    flight_bytes: int = MiB
    """Request and journal of one of them, as long as it runs; what is longer is not recorded."""
