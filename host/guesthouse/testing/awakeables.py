"""`Noted`: the awakeables that were made in a simulated world, for a test to complete.

The host keeps nothing of an awakeable before it is completed, and nobody can list them: they are noted where ids are made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guesthouse.async_host import AsyncHost
from guesthouse.dispatch.awakeables import Awakeable, AwakeableIds
from guesthouse.durable.reading import Reading
from guesthouse.interfaces.invocation import Invocation
from guesthouse.queue.call import LIVE
from guesthouse.queue.queue import UnknownInvocation


@dataclass(frozen=True, slots=True)
class Pending:
    """An awakeable that somebody may complete."""

    id: str
    invocation_id: str
    function: str


class Noted:
    """Those of all hosts of a world."""

    def __init__(self) -> None:
        self._made: dict[str, dict[str, int]] = {}
        """By invocation: ids and numbers."""
        self._run: dict[str, dict[str, int]] = {}
        """Those of its last run."""
        self._done: set[str] = set()

    def watch(self, host: AsyncHost) -> None:
        """Notes those of a host, and which are completed there."""
        workflows: Any = host.workflows
        workflows.ids = _Ids(host.workflows.ids, self._note)
        begin = workflows.open

        def opened(invocation: Invocation) -> Any:
            self._run[invocation.id] = {}
            return begin(invocation)

        workflows.open = opened
        for name in ("resolve", "reject"):
            setattr(workflows, name, self._noting(getattr(workflows, name)))

    async def pending(self, host: AsyncHost) -> list[Pending]:
        """Those that can still be completed, oldest first."""
        found = []
        for owner, made in list(self._made.items()):
            try:
                record = await host.invocation(owner)
            except UnknownInvocation:
                continue
            if record.state in LIVE:
                completed = await host.queue.completions(owner, tuple(made.values()))
                told = self._run[owner] if record.state == "running" else {}
                kept = _text_of(await host.queue.journal(owner))  # what a crash took was never known to anybody
                found += [
                    Pending(known, owner, record.name)
                    for known, number in made.items()
                    if number not in completed and known not in self._done and (known in told or known in kept)
                ]
        return found

    def _note(self, id: str, owner: str, number: int) -> None:
        self._made.setdefault(owner, {})[id] = number
        self._run.setdefault(owner, {})[id] = number

    def _noting(self, complete: Callable[[str, Any], Awaitable[None]]) -> Callable[[str, Any], Awaitable[None]]:
        async def noted(id: str, value: Any) -> None:
            await complete(id, value)
            self._done.add(id)

        return noted


def _text_of(segments: Sequence[bytes]) -> str:
    """Everything that a journal has recorded."""
    reading = Reading(segments)
    found = []
    while (record := reading.ahead) is not None:
        found.append(repr(record))
        reading.advance()
    return "".join(found)


class _Ids(AwakeableIds):
    """Those of a host, noted."""

    def __init__(self, ids: AwakeableIds, note: Callable[[str, str, int], None]) -> None:
        self._ids = ids
        self._note = note

    def make(self, owner: str, number: int) -> str:
        made = self._ids.make(owner, number)
        self._note(made, owner, number)
        return made

    def read(self, id: str) -> Awakeable:
        return self._ids.read(id)
