"""F18: an awakeable that is completed before it is waited for, twice, or late, has one completion: the first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from keyed_server import KeyedServer
from probing import Probes, failed, probes, tell, told, wait

ORDERS = ["".join(order) for order in permutations("ARW")]
"""A: it is resolved.  R: it is rejected.  W: the function begins to wait for it."""


class Waiting:
    """A function that begins to wait for an awakeable when it is let, and is alive until it is let go."""

    def __init__(self, at: Probes, server: KeyedServer, name: str) -> None:
        ids = json.dumps(["$id:0", "$id:1", "$id:2"])
        self.call = at.start(["awakeable"] * 3 + [tell(server, name, ids), wait(1), wait(0), wait(2)])
        self._awakeable, self._gate, self._end = json.loads(told(server, name))
        self._waits = False

    def does(self, at: Probes, event: str) -> None:
        """One of what may happen; whoever completes is told that it was taken, whether or not it counts."""
        answer = {
            "A": lambda: at.resolve(self._awakeable, "yes"),
            "R": lambda: at.reject(self._awakeable, "no"),
            "W": lambda: at.resolve(self._gate),
        }[event]()
        assert answer.status == 202, answer.body
        at.suspended(self.call)

    def came(self, at: Probes) -> Mapping[str, Any]:
        """What the function saw, once it has ended; a completion that comes then finds nobody."""
        assert at.resolve(self._end).status == 202
        found: Mapping[str, Any] = at.trace(self.call)[5]
        assert at.resolve(self._awakeable, "late").status == 404
        return found


def judge(order: str, came: Mapping[str, Any]) -> None:
    """The first completion is what the function saw."""
    if order.index("A") < order.index("R"):
        assert came == {"ok": "yes"}
    else:
        assert failed(came)["message"] == "no"


def test_in_each_of_the_six_orders_the_first_completion_counts(tmp_path: Path) -> None:
    """On a host that lives."""
    with KeyedServer() as server, probes(tmp_path, "probe") as at:
        for order in ORDERS:
            waiting = Waiting(at, server, order)
            for event in order:
                waiting.does(at, event)
            judge(order, waiting.came(at))


@pytest.mark.parametrize("kills", [(1,), (2,), (1, 2)], ids=str)
def test_in_each_of_the_six_orders_over_hosts_that_are_killed_in_between(
    tmp_path: Path, kills: tuple[int, ...]
) -> None:
    """After the first event, after the second, or after both."""
    with KeyedServer() as server:
        waiting: dict[str, Waiting] = {}
        ends = [*kills, 3]
        for begin, end in zip([0, *kills], ends, strict=True):
            with probes(tmp_path, *([] if waiting else ["probe"])) as at:
                waiting = waiting or {order: Waiting(at, server, order) for order in ORDERS}
                for order, found in waiting.items():
                    for event in order[begin:end]:
                        found.does(at, event)
                if end == 3:
                    for order, found in waiting.items():
                        judge(order, found.came(at))
