"""F19: a server that is asked to end under load, again and again, answers what it took and hands the rest to the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import SystemRandom

from crash.harness import crash

RESTARTS = 4


def test_restarts_under_load_lose_no_call_and_leave_no_request_without_an_answer(tmp_path: Path) -> None:
    """Each process ends with status 0; nothing is lost, given up or run twice, and what was not answered was not begun."""
    seed = SystemRandom().randrange(1_000_000) * 10
    report = asyncio.run(crash(tmp_path, seed=seed, kills=RESTARTS, politely=True))
    assert report.faults == [], f"seed {seed}"
    assert report.kills.total() == RESTARTS
    assert report.acknowledged > RESTARTS, f"seed {seed}: there was hardly any load"
