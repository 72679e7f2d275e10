"""What a host does for workflows in several steps, crashed before and after each write: it is done once, and all of it."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse.dispatch import workflows_stored
from guesthouse.testing import SimulatedHost, Sweeper
from support import guest
from sweeping import RETRY

NAME = {"name": "Ada"}
SCRIPTS: dict[str, list[Any]] = {
    "many calls at once, queued in parts": [
        {"calls": [{"function": "greet", "payload": NAME, "times": 5}]},
        {"gather": {}},
    ],
    "the same call, from two": [
        *[{"call": {"function": "greet", "payload": NAME, "idempotency_key": "one"}}] * 2,
        {"gather": {}},
    ],
    "a step that sends, and is run again": [
        {
            "run": {
                "name": "a",
                "min_wait_ms": 50,
                "max_wait_ms": 50,
                "ends": [{"temporary": "not yet"}, "ok"],
                "do": [{"send": {"function": "greet", "payload": NAME}}],
            }
        },
    ],
    "a gather that cancels the rest": [
        {"call": {"function": "greet", "payload": NAME, "delay_ms": 3_600_000}},
        {"call": {"function": "worker", "payload": [{"fail": {"terminal": "no"}}]}},
        {"gather": {}},
    ],
    "state and what was cancelled": [
        {"set": ["n", 1]},
        {"call": {"function": "greet", "payload": NAME, "delay_ms": 3_600_000}},
        {"cancel": "$id:0"},
        {"wait": {"of": 0}},
        {"get": "n"},
    ],
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_crash_changes_nothing(script: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcome, and what became of all that was called."""
    monkeypatch.setattr(workflows_stored, "AT_ONCE", 2)

    def deploy(host: SimulatedHost) -> None:
        for name in ("workflow", "worker"):
            host.deploy(name, guest("durable-probe", "wasip1"), durable=True, retry=RETRY)
        host.deploy("greet", guest("greet", "wasip1"))

    def performed(host: SimulatedHost) -> Any:
        call = host.enqueue("workflow", script, key="k")
        result = host.run_to_end(call)
        host.advance(days=1)
        ends = sorted((record.name, record.state) for record in host.invocations())
        return result.record.state, result.text, ends

    with Sweeper(deploy) as sweeper:
        sweeper.sweep(performed, most=6, seed=7)
