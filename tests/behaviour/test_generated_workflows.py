"""Random workflows, crashed at random points: they come to what they would have come to, and every effect is there once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from guesthouse.queue.config import InvocationsConfig
from guesthouse.testing import SimulatedHost, Sweeper
from harness import often
from support import guest
from sweeping import RETRY
from workflow_scripts import URL, WORKER, Script, workflows

EXAMPLES = often(8)
POINTS = 4
"""At which each is crashed, beside a run with two crashes."""
DAYS = 20
"""More than a workflow can take: its longest waits are days, one after the other."""


@pytest.fixture(scope="module")
def sweeper() -> Iterator[Sweeper]:
    """One for all examples."""

    def deploy(host: SimulatedHost) -> None:
        for name in ("workflow", WORKER):
            host.deploy(name, guest("durable-probe-cache", "wasip1"), durable=True, retry=RETRY)

    with Sweeper(deploy, invocations=InvocationsConfig(keep_days=365)) as found:
        yield found


def performed(host: SimulatedHost, script: Script) -> Any:
    """What a workflow comes to, when everything that it has begun is over, too."""
    host.http.on("POST", f"{URL}/*").answer(201)
    call = host.enqueue("workflow", script, key="k", headers=[("guesthouse-key", "k")])
    for _ in range(DAYS):
        host.advance(days=1)
        for awakeable in host.awakeables():
            host.resolve(awakeable.id, "woken")
    result = host.run_to_end(call)
    host.advance(days=DAYS)
    assert all(record.ended_ms for record in host.invocations())
    return result.record.state, result.text


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(script=workflows(), seed=st.integers(0, 2**32))
def test_a_crash_changes_nothing(sweeper: Sweeper, script: Script, seed: int) -> None:
    """Outcome, children's results, requests, cache, state and messages are those of the run without a crash."""
    sweeper.sweep(lambda host: performed(host, script), most=POINTS, twice=1, seed=seed)
