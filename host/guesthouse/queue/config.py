"""`QueueConfig` and `InvocationsConfig`: the bounds of queued calls and of what is written down of invocations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from guesthouse.limits import MiB

Recorded = Literal["off", "failed", "all"]


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
    lease_seconds: int = 30
    """How long a call that runs is this process's alone unless it says that it still lives, three times as often."""


@dataclass(frozen=True, slots=True)
class InvocationsConfig:
    """What is written down of invocations, and for how long; a section of the configuration has the same words."""

    record: Recorded = "failed"
    """Which synchronous invocations: none, those that failed (no answer, or a status from 500 on), or all of them."""
    keep_days: int = 7
    """How long records and answers are kept."""
    keep_bytes: int = 1024 * MiB
    """Of all records and answers; the oldest go first."""
