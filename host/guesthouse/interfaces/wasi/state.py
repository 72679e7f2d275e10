"""`WasiState`: what WASI keeps for one invocation, made when first needed; `Part`: the base of its function groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guesthouse.durable.errors import JournalDamaged
from guesthouse.errors import Trap
from guesthouse.interfaces.base import Interface
from guesthouse.interfaces.bytes import Buffer
from guesthouse.interfaces.wasi.stdio import Stdio
from guesthouse.interfaces.wasi.time import GuestTime, JournaledTime, Sleep
from guesthouse.interfaces.wasi.tree import Find, Folder, tree_of

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.interfaces.wasi.preview1_files import OpenFiles

NOTHING = Buffer()
MOST_RANDOM_BYTES = 64 * 1024


class WasiState:
    """One invocation's clocks, standard streams and files."""

    __slots__ = ("_clock", "_invocation", "_sleep", "_step_time", "_time", "files", "root", "stdio")

    def __init__(self, invocation: Invocation, clock: Clock, sleep: Sleep, root: Folder | None) -> None:
        self._invocation = invocation
        self._clock = clock
        self._sleep = sleep
        self._time: GuestTime | None = None
        self._step_time: JournaledTime | None = None
        self.stdio = Stdio(invocation)
        self.root = root
        self.files: OpenFiles | None = None

    @property
    def time(self) -> GuestTime:
        """The guest's clocks."""
        if self._time is None:
            invocation, journal = self._invocation, self._invocation.journal
            if journal is None:
                self._time = GuestTime(self._clock, invocation.deadline_ns, self._sleep)
                return self._time
            time = self._step_time
            if time is None or journal.steps.name is None:
                time = JournaledTime(self._clock, invocation, journal, self._sleep, time)
            if journal.steps.name is not None:
                self._step_time = time  # where they begin is not in the journal: the next run may not run the step
                return time
            self._time = time
        return self._time


class Part(Interface):
    """The base of every group of WASI functions: the host's clock and secrets, and the state of an invocation."""

    def __init__(self, clock: Clock, sleep: Sleep = asyncio.sleep, secrets: Find | None = None) -> None:
        self._clock = clock
        self._sleep = sleep
        self._secrets = secrets

    def open(self, invocation: Invocation) -> WasiState:
        root = None if self._secrets is None else tree_of(invocation.deployment, _observed(invocation, self._secrets))
        return WasiState(invocation, self._clock, self._sleep, root)

    def _time(self, invocation: Invocation) -> GuestTime:
        time: GuestTime = invocation.state(self).time
        return time

    def _stdio(self, invocation: Invocation) -> Stdio:
        stdio: Stdio = invocation.state(self).stdio
        return stdio

    def _stdin(self, invocation: Invocation) -> Buffer:
        return NOTHING if invocation.program is None else invocation.program.stdin

    def _root(self, invocation: Invocation) -> Folder | None:
        """The files of an invocation; `None` for nearly all, which have none."""
        root: Folder | None = invocation.state(self).root
        return root

    def _random(self, count: int) -> bytes:
        if count > MOST_RANDOM_BYTES:
            raise Trap(f"{count} random bytes at once, the limit is {MOST_RANDOM_BYTES}", reason="limit")
        return self._clock.random_bytes(count)

    def _observed_random(self, invocation: Invocation, count: int) -> bytes:
        """The same again in another run of the invocation."""
        found = invocation.observe(f"{count} random bytes", lambda: self._random(count))
        if type(found) is not bytes or len(found) != count:
            raise JournalDamaged(f"the journal has no {count} random bytes")
        return found


def _observed(invocation: Invocation, find: Find) -> Find:
    """Finds a secret as an earlier run of the same invocation has found it."""
    if invocation.journal is None:
        return find
    return lambda namespace, name: invocation.observe(f"the secret {name}", lambda: find(namespace, name))


def environment(invocation: Invocation) -> list[tuple[str, str]]:
    """The environment of one invocation: who it is, then what its deployment sets; a command's request stands above."""
    deployment, program = invocation.deployment, invocation.program
    found = {
        "__CACHE_NAME": deployment.namespace,
        "__FUNCTION_NAME": deployment.name,
        "__INVOCATION_ID": invocation.id,
        **deployment.manifest.environment,
    }
    return list((found if program is None else found | program.environment).items())


def observed_environment(invocation: Invocation) -> list[tuple[str, str]]:
    """The environment, the same again in another run of the invocation, also on a newer host."""
    found = invocation.observe("the environment", lambda: environment(invocation))
    try:
        return [(str(name), str(value)) for name, value in found]
    except (TypeError, ValueError):
        raise JournalDamaged("the journal has no environment where one was read") from None


def arguments(invocation: Invocation) -> list[str]:
    """A command's arguments; others have none, not even a name."""
    return [] if invocation.program is None else list(invocation.program.arguments)


class Exited(Trap):
    """The end of a guest that ended itself: for a command a regular one, by `code`; others have not answered."""

    def __init__(self, code: int, told: str = "") -> None:
        super().__init__(f"exited with {told or f'status {code}'} instead of answering", reason="exit")
        self.code = code
