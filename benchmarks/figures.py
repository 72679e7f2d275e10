"""`Figure`: a number that was promised, what it came to, and its goal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One promised number.  `at_most` false: the value has to reach the goal instead of staying under it."""

    name: str
    value: float
    goal: float
    unit: str = ""
    at_most: bool = True

    @property
    def ok(self) -> bool:
        """Whether the value meets the goal."""
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def line(self) -> str:
        """`figure NAME VALUE GOAL ok|short`"""
        sign = "<=" if self.at_most else ">="
        return f"figure {self.name} {self.value:.2f}{self.unit} {sign}{self.goal:g}{self.unit} {'ok' if self.ok else 'short'}"

    def as_json(self) -> dict[str, Any]:
        """For the results file."""
        return {**asdict(self), "ok": self.ok}
