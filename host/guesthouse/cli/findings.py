"""`Finding`: one line of what `guesthouse doctor` reports."""

from __future__ import annotations

from typing import NamedTuple

OK, WARN, MISSING = "ok", "warn", "missing"


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    status: str
    """ok, warn or missing."""
    text: str
    """What was found, and what it means."""
    fix: str = ""
    """The command that helps, or what to do where there is none."""
    required: bool = False
    """Without it no server runs here."""

    @property
    def fatal(self) -> bool:
        """Something that is needed is missing."""
        return self.required and self.status == MISSING
