"""F1: a server that is killed again and again under load has lost nothing that it acknowledged, and ended nothing twice.

The same with 500 kills is `make crash`, with 10,000 `make soak`; `tests/crash` says what is asked for and what is checked.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import SystemRandom

from crash.harness import crash

KILLS = 25


def test_every_call_that_a_killed_server_acknowledged_ends_once_with_its_own_answer(tmp_path: Path) -> None:
    """Killed at any moment: while it starts, works, answers or checkpoints; `python -m crash --seed` repeats a run."""
    seed = SystemRandom().randrange(1_000_000) * 10
    report = asyncio.run(crash(tmp_path, seed=seed, kills=KILLS))
    assert report.faults == [], f"seed {seed}"
    assert report.kills.total() == KILLS
    assert report.acknowledged > KILLS, f"seed {seed}: there was hardly any load"
