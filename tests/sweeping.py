"""What crash sweeps of our own guests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guesthouse.testing import SimulatedHost, Sweep, crash_sweep
from support import guest, manifest

RETRY = {"attempts": 20, "min_wait_ms": 1_000, "max_wait_ms": 60_000}
"""So many that a crash or two make no difference."""
TWICE = 5
"""Runs with two crashes."""


def form(name: str) -> str:
    """The form of a guest that is linked the fastest: each run links it twice."""
    return next(form for form in ("wasip1", "unknown-unknown", "wasip2") if (name, form) in manifest())


def deploying(**options: dict[str, Any]) -> Callable[[SimulatedHost], None]:
    """Deploys guests as durable functions, with their options."""

    def deploy(host: SimulatedHost) -> None:
        for name, more in options.items():
            name = name.replace("_", "-")
            host.deploy(name, guest(name, form(name)), **{"durable": True, "retry": RETRY, **more})

    return deploy


def swept(scenario: Callable[[SimulatedHost], Any], *ignore: str, **options: dict[str, Any]) -> Sweep:
    """What a sweep over a scenario finds, which is nothing."""
    sweep = crash_sweep(scenario, deploying(**options), twice=TWICE, ignore=ignore)
    assert sweep.runs == len(sweep.points) + TWICE
    assert sweep.missed <= len(sweep.points) // 10
    return sweep
