"""The classic: find customers and charge each, on a host that is killed at any moment; nobody is charged twice, nobody forgotten.

The same with 200 kills is part of `make crash`; `tests/crash/charging.py` says what is done and what is checked.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import SystemRandom

from crash.charging import charge

KILLS = 20


def test_nobody_is_charged_twice_and_nobody_is_forgotten_over_twenty_kills(tmp_path: Path) -> None:
    """One key for each charge, temporary failures tried again, permanent ones not, the API's rate kept, the report right."""
    seed = SystemRandom().randrange(1_000_000) * 10
    report = asyncio.run(charge(tmp_path, seed=seed, kills=KILLS))
    assert report.faults == [], f"seed {seed}"
    assert report.kills.total() == KILLS
    assert report.unanswered > 0, f"seed {seed}: no charge was cut off"
