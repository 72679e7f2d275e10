"""`RoleCache`: credentials of assumed roles, asked for once and kept until shortly before they expire.

Promises: one question at a time for each role, however many wait for its answer; a waiter that gives up takes nothing
from the others; no more than `MOST_ROLES` are kept.  Must not know how roles are assumed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from guesthouse.clock import Clock

MOST_ROLES = 256
"""Roles whose credentials are kept: a guest that asks for ever new ones only drives out old ones."""
RENEW_SECONDS = 300
"""How long before they expire credentials are no longer handed out: longer than any call they are for."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request is signed with; its secrets are in no text of it."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may read."""
        return (self.secret_access_key, self.session_token or "")


Assumed = tuple[Credentials, int]
"""Credentials and when they expire, in nanoseconds of `Clock.wall_ns`."""
Key = tuple[str, str]
"""A role's ARN and the region that was asked."""


class RoleCache:
    """Assumed roles of one host; belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, Assumed] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[Assumed]] = {}

    async def get(self, key: Key, assume: Callable[[], Awaitable[Assumed]]) -> Credentials:
        """The credentials of a role: those that are kept, or those that `assume` answers; raises what it raises."""
        kept = self._kept.get(key)
        if kept is not None and kept[1] - self._clock.wall_ns() > RENEW_SECONDS * 1_000_000_000:
            self._kept.move_to_end(key)
            return kept[0]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._ask(key, assume))
            task.add_done_callback(lambda done: self._asked(key, done))
        return (await asyncio.shield(task))[0]

    async def close(self) -> None:
        """Ends the questions in progress and forgets everything."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._kept.clear()

    async def _ask(self, key: Key, assume: Callable[[], Awaitable[Assumed]]) -> Assumed:
        assumed = await assume()
        self._kept[key] = assumed
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_ROLES:
            self._kept.popitem(last=False)
        return assumed

    def _asked(self, key: Key, task: asyncio.Task[Assumed]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # everybody who waited may have gone
