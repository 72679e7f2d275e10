"""`Simulation`: the thread in which a simulated host lives, dies, and lives again on the same data directory.

Promises: there is always one host that is open, or about to be, until the simulation is closed; whoever had asked a host for
something when it died is told so.  The clock and the network outlive every host.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from guesthouse.async_host import closed
from guesthouse.errors import HostError
from guesthouse.interfaces.cache import CacheConfig
from guesthouse.testing.clock import START, SimulatedClock
from guesthouse.testing.fakes import FakeHttp
from guesthouse.testing.inline import Gate
from guesthouse.testing.life import Crashed, Life, LivingHost, World

T = TypeVar("T")
Work = Callable[[LivingHost], Awaitable[T]]
KEPT: Final = "simulation.json"
"""Of a data directory that is given: what time it was at last, and what is random next."""
PATIENCE: Final = 120
"""Seconds, of the machine's time, after which something that should have happened is given up: it is a mistake of somebody."""
THREADS: Final = 4


class UnexpectedRequests(AssertionError):
    """Something was asked for over HTTP that the test has no answer for."""


class Simulation:
    """All methods are for any thread but its own."""

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        start: datetime | None = None,
        seed: int = 0,
        gates: Callable[[], Gate] = Gate,
        options: Mapping[str, Any],
    ) -> None:
        self.http = FakeHttp()
        self._kept = None if data_dir is None else Path(data_dir) / KEPT
        self.clock = self._clock(start, seed)
        self.reopens = False
        """Whether what a crash cut off is asked for again, of the next host."""
        self.crashes = 0
        self._temporary = None if data_dir is not None else make_directory()
        self._options = {"cache": CacheConfig(persist=True), **options, "data_dir": self._temporary or data_dir}
        self._gates = gates
        self.world = World(self.clock, _threads(), self.http)
        self._changed = threading.Condition()
        self._down = timedelta()
        self._ended = False
        self._error: BaseException | None = None
        self._life: Life | None = None
        self._thread = threading.Thread(target=self._serve, name="guesthouse-simulation", daemon=True)
        self._thread.start()
        try:
            self.life().opened.result(PATIENCE)
        except Crashed:
            pass  # the next one is being opened
        except BaseException:
            self.close()
            raise

    def life(self) -> Life:
        """The host that lives now."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._life or self._ended or self._error, PATIENCE)
            if isinstance(found, Life):
                return found
            if self._error is not None:
                raise HostError("the simulated host could not be opened") from self._error
            raise closed() if found else HostError("the simulated host does not open")

    def submit(self, work: Work[T], *, passes: bool = False) -> Future[T]:
        """Does something with the host, once that is open; `passes`: time passes until it is done."""
        told: Future[T] = Future()
        told.set_running_or_notify_cancel()
        self._try(work, passes, told)
        return told

    def crash(self, down: timedelta = timedelta()) -> None:
        """Kills the host, as `kill -9` does; opens the next one after it was `down` so long."""
        self._replace(Life.crash, down)

    def restart(self, down: timedelta = timedelta()) -> None:
        """Stops the host as a server is stopped; opens the next one after it was `down` so long."""
        self._replace(Life.close, down)

    def close(self) -> None:
        """Stops the host for good, and forgets a data directory of its own; may be called again."""
        with self._changed:
            life, self._ended = self._life, True
        if life is not None:
            life.close()
        self._thread.join(PATIENCE)
        if self._kept is not None and life is not None:
            going_on = {"now": self.clock.now.isoformat(), "seed": int.from_bytes(self.clock.random_bytes(8), "big")}
            self._kept.write_text(json.dumps(going_on), encoding="utf-8")
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _clock(self, start: datetime | None, seed: int) -> SimulatedClock:
        """Goes on where the last simulation on this data directory ended: neither times nor ids come twice."""
        if self._kept is None or not self._kept.exists():
            return SimulatedClock(start or START, seed)
        kept = json.loads(self._kept.read_text(encoding="utf-8"))
        return SimulatedClock(start or datetime.fromisoformat(kept["now"]), kept["seed"] ^ seed)

    # -- its thread

    def _serve(self) -> None:
        while not self._ended:
            try:
                life = Life(self.world, self._gates(), self._options)
                with self._changed:
                    self._life = life
                    self._changed.notify_all()
                life.live()
            except BaseException as error:
                self._error = error
            with self._changed:
                self._life = None
                self._changed.notify_all()
            if self._error is not None:
                return
            self.crashes += not life.gate.open
            down, self._down = self._down, timedelta()
            self.clock.move_to(self.clock.monotonic_ns() + int(down.total_seconds() * 1e9))

    # -- other threads

    def _replace(self, end: Callable[[Life], None], down: timedelta) -> None:
        before = self.life()
        before.opened.result(PATIENCE)
        self._down = down
        end(before)
        with self._changed:
            self._changed.wait_for(lambda: self._life is not before, PATIENCE)
        self.submit(_settle).result(PATIENCE)

    def _try(self, work: Work[T], passes: bool, told: Future[T]) -> None:
        try:
            life = self.life()
            life.opened.result(PATIENCE)
            future = life.call(work, passes=passes)
        except Crashed as error:
            self._again(error, work, passes, told)
            return
        except BaseException as error:
            told.set_exception(error)
            return

        def ended(future: Future[T]) -> None:
            error = future.exception()
            if isinstance(error, Crashed):
                self._again(error, work, passes, told)
            elif error is not None:
                told.set_exception(error)
            else:
                told.set_result(future.result())

        future.add_done_callback(ended)

    def _again(self, error: Crashed, work: Work[T], passes: bool, told: Future[T]) -> None:
        if not self.reopens:
            told.set_exception(error)
            return
        threading.Thread(target=self._try, args=(work, passes, told), daemon=True).start()


async def _settle(host: LivingHost) -> None:
    """Nothing: whatever is asked of a host lets it settle."""


@cache
def _threads() -> ThreadPoolExecutor:
    """Those of all simulations of this process."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="simulated")


def make_directory() -> Path:
    """A data directory in memory, where the machine has such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="guesthouse-", dir=memory if memory.is_dir() else None))
