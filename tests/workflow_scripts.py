"""Random workflows, as scripts for `durable-probe-cache`: trees of calls, waits, steps and effects whose outcome is one.

What may come out differently from one run to the next is not generated: races are between children that take different times,
and what is cancelled has done nothing yet.  Every effect is another one, so that one that is missing or done twice shows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from hypothesis import strategies as st

WORKER = "worker"
"""The function that scripts call."""
URL = "https://api.example.com/effects"
SECOND = 1_000
DEEPEST = 2
"""Functions below the one that a test calls."""
Draw = Callable[[st.SearchStrategy[Any]], Any]
Script = list[Any]


class Writer:
    """Writes one tree of scripts."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._numbers = count()

    def script(self, depth: int = 0) -> Script:
        """A script; its promises are counted from 0."""
        page = Page(self, depth)
        kinds = [page.effect, page.nap, page.step, page.look]
        if depth < DEEPEST:
            kinds += [page.call, page.gather, page.race, page.patience, page.send, page.woken_by_a_child]
        if depth == 0:
            kinds += [page.awakeable, page.tried_again]
        for kind in self._draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5 if depth == 0 else 2)):
            kind()
        return page.operations

    def number(self) -> int:
        """One that nothing else has."""
        return next(self._numbers)

    def seconds(self) -> int:
        """Milliseconds of some whole seconds: a moment within, or long after, what is waited for in memory."""
        return int(self._draw(st.sampled_from((0, 1, 90, 86_400)))) * SECOND


class Page:
    """One script while it is written."""

    def __init__(self, writer: Writer, depth: int) -> None:
        self.operations: Script = []
        self._writer = writer
        self._draw = writer._draw
        self._depth = depth
        self._promises = 0

    # -- effects

    def effect(self) -> None:
        """Changes something, once."""
        self.operations.append(self._effect())

    def _effect(self) -> Any:
        number = self._writer.number()
        kinds = [
            {"http": {"url": f"{URL}/{number}", "verb": "POST", "body": f"effect {number}"}},
            {"cache_set": [f"item {number}", str(number)]},
            {"publish": ["news", f"message {number}"]},
        ]
        if self._depth == 0:  # the others have no key
            kinds += [{"set": [f"state {number}", number]}]
        return self._draw(st.sampled_from(kinds))

    def look(self) -> None:
        """Reads the world, where that is the same at any time."""
        self.operations.append(self._draw(st.sampled_from(["current", {"cache_get": "nothing"}, {"env": "NOTHING"}])))

    def step(self) -> None:
        """A named step, which may have to be run again."""
        ends = self._draw(st.sampled_from([["ok"], [{"temporary": "not now"}, "ok"], [{"terminal": "never"}]]))
        run = {
            "name": f"step {self._writer.number()}",
            "attempts": 3,
            "min_wait_ms": SECOND,
            "max_wait_ms": 60 * SECOND,
        }
        self.operations.append({"run": {**run, "ends": ends, "do": [self._effect()]}})

    # -- waiting

    def nap(self) -> None:
        """Sleeps."""
        self._begin({"sleep": self._writer.seconds()})
        self._wait()

    def call(self) -> None:
        """Calls a function and waits for it."""
        self._begin(self._call(self._payload()))
        self._wait()

    def gather(self) -> None:
        """Calls several at once and waits for all."""
        children = [self._payload() for _ in range(self._draw(st.integers(2, 4)))]
        first = self._promises
        self._promises += len(children)
        self.operations.append({"calls": [self._call(payload)["call"] for payload in children]})
        of = list(range(first, self._promises))
        self.operations.append({"gather": {"of": of, "then": "wait-for-all"}})

    def race(self) -> None:
        """Calls several of which one is the first, and cancels the others, which have not begun with anything."""
        naps = self._draw(st.permutations([0, 5, 3_600]))[: self._draw(st.integers(2, 3))]
        for nap in naps:
            begun = [{"sleep": (nap + 1) * 10 * SECOND}, {"wait": {"of": 0}}]
            self._begin(self._call([*begun, self._effect_of_a_child()]))
        of = list(range(self._promises - len(naps), self._promises))
        self.operations.append({self._draw(st.sampled_from(["race", "any"])): {"of": of, "cancel": True}})

    def patience(self) -> None:
        """Waits for a function for less than it takes; that goes on."""
        self._begin(self._call([{"sleep": 3_600 * SECOND}, {"wait": {"of": 0}}, self._effect_of_a_child()]))
        self.operations.append({"wait": {"of": self._promises - 1, "timeout_ms": 60 * SECOND}})

    def send(self) -> None:
        """Calls a function that nobody waits for."""
        order = self._call(self._payload())["call"]
        self.operations.append({"send": {**order, "delay_ms": self._writer.seconds()}})

    def awakeable(self) -> None:
        """Waits for the test."""
        self._begin("awakeable")
        self._wait()

    def woken_by_a_child(self) -> None:
        """Waits for a child to complete what it is told of, which may come before or after the waiting."""
        self._begin("awakeable")
        awakeable = self._promises - 1
        nap = [{"sleep": self._writer.seconds()}, {"wait": {"of": 0}}]
        completes = {"resolve": {"id": f"$id:{awakeable}", "payload": self._writer.number()}}
        self._begin(self._call([*nap, completes]))
        self._wait()
        self.operations.append({"wait": {"of": awakeable}})

    def tried_again(self) -> None:
        """The whole invocation fails once, for now."""
        self.operations.append({"if_attempt": [1, [{"fail": {"temporary": "not now"}}]]})

    # -- parts

    def _payload(self) -> Script:
        script = self._writer.script(self._depth + 1)
        if self._draw(st.booleans()) and self._draw(st.booleans()):
            script.append({"fail": {"terminal": f"failure {self._writer.number()}"}})
        return script

    def _effect_of_a_child(self) -> Any:
        page = Page(self._writer, self._depth + 1)
        page.effect()
        return page.operations[0]

    def _call(self, payload: Script) -> Any:
        return {"call": {"function": WORKER, "payload": payload}}

    def _begin(self, operation: Any) -> None:
        self.operations.append(operation)
        self._promises += 1

    def _wait(self) -> None:
        self.operations.append({"wait": {"of": self._promises - 1}})


@st.composite
def workflows(draw: Draw) -> Script:
    """Scripts of workflows."""
    return Writer(draw).script()
