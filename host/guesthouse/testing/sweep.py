"""`crash_sweep`: runs a scenario once, and then again and again, each time with a crash just before or after another commit.

    def scenario(host):
        host.http.on("POST", "https://api.example.com/charge").answer(200)
        return host.run("charge", {"amount": 7}).json()

    crash_sweep(scenario, deploy=lambda host: host.deploy("charge", wasm, durable=True))

Promises: the crash comes exactly there, and everything that the host had begun ends with it; the next host finds what was
committed and nothing else; outcome and effects are those of the run without a crash, or it says at which commit they are not.
A commit is each transaction that changes something: each entry of a journal is in one, each call that is accepted, each end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from guesthouse.errors import HostError
from guesthouse.testing.blocking import SimulatedHost
from guesthouse.testing.effects import Effects, effects_of
from guesthouse.testing.inline import Gate
from guesthouse.testing.simulation import Simulation, make_directory

if TYPE_CHECKING:
    from guesthouse.testing.life import LivingHost

Scenario = Callable[[SimulatedHost], Any]
Moment = Literal["before", "after"]
MOMENTS: Final[tuple[Moment, ...]] = ("before", "after")
QUIET: Final = frozenset[str]()
"""What a commit changes that only keeps leases."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a run crashes: before or after a commit, counted from the scenario's beginning."""

    commit: int
    moment: Moment
    tables: frozenset[str] = field(default=frozenset(), compare=False)
    """What the commit changes."""

    def __str__(self) -> str:
        return f"{self.moment} commit {self.commit} ({', '.join(sorted(self.tables)) or 'no row'})"


@dataclass(slots=True)
class Failure:
    """A point at which something came out differently."""

    points: tuple[Point, ...]
    differences: list[str]

    def __str__(self) -> str:
        where = ", and again ".join(map(str, self.points))
        return "\n    ".join([f"crashed {where}:", *self.differences])


@dataclass(slots=True)
class Sweep:
    """What a sweep has found."""

    points: list[Point]
    """All that there were."""
    runs: int = 0
    crashes: int = 0
    missed: int = 0
    """Runs without a crash, for their commit did not come: how many calls share one depends on how long guests compute."""
    duplicates: int = 0
    """Requests that were sent again, with their Idempotency-Key."""
    failures: list[Failure] = field(default_factory=list)

    def check(self) -> Sweep:
        """Raises `AssertionError` that shows the failures, the first few of them."""
        if self.failures:
            shown = "\n".join(map(str, self.failures[:5]))
            raise AssertionError(
                f"{len(self.failures)} of {self.runs} runs with a crash came out differently:\n{shown}"
            )
        return self


class _Script:
    """Counts the commits of one run over all its hosts, and has it crash at some."""

    def __init__(self, points: Sequence[Point] = ()) -> None:
        self._wanted = {(point.commit, point.moment) for point in points}
        self.seen: list[frozenset[str]] = []
        self.begun = False
        self._counts = False

    def gate(self) -> Gate:
        gate = Gate()
        gate.before, gate.after = self._before, self._after
        return gate

    def _before(self, tables: frozenset[str]) -> bool:
        self._counts = self.begun and tables != QUIET
        if self._counts:
            self.seen.append(tables)
        return not self._is_wanted("before")

    def _after(self) -> bool:
        return not self._is_wanted("after")

    def _is_wanted(self, moment: Moment) -> bool:
        return self._counts and (len(self.seen), moment) in self._wanted


class Sweeper:
    """Sweeps over scenarios that begin with the same functions: `with Sweeper(deploy) as sweeper: sweeper.sweep(scenario)`.

    `deploy` is given a host, once; `options` are those of `SimulatedHost`.
    """

    def __init__(self, deploy: Callable[[SimulatedHost], Any], *, seed: int = 0, **options: Any) -> None:
        self._directory = make_directory()
        self._seed = seed
        self._options = options
        with self._host(self._directory, _Script()) as host:
            deploy(host)

    def __enter__(self) -> Sweeper:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def sweep(
        self,
        scenario: Scenario,
        *,
        most: int | None = None,
        twice: int = 0,
        ignore: Collection[str] = (),
        seed: int = 0,
    ) -> Sweep:
        """See `crash_sweep`; `seed` chooses the points."""
        script = _Script()
        expected, _ = self._run(scenario, script)
        sweep = Sweep(
            [Point(number, moment, tables) for number, tables in enumerate(script.seen, 1) for moment in MOMENTS]
        )
        random = Random(seed)
        for chosen in (*_singles(sweep.points, most, random), *_pairs(sweep.points, twice, random)):
            self._try(scenario, chosen, sweep, lambda found: expected.differences(found, ignore))
        return sweep.check()

    def _try(
        self,
        scenario: Scenario,
        points: tuple[Point, ...],
        sweep: Sweep,
        differences_of: Callable[[Effects], list[str]],
    ) -> None:
        sweep.runs += 1
        try:
            found, crashes = self._run(scenario, _Script(points))
        except (HostError, AssertionError) as error:
            sweep.failures.append(Failure(points, [f"{type(error).__name__}: {error}"]))
            return
        sweep.crashes += crashes
        sweep.duplicates += found.duplicates
        sweep.missed += not crashes
        differences = differences_of(found)
        if differences:
            sweep.failures.append(Failure(points, differences))

    def _run(self, scenario: Scenario, script: _Script) -> tuple[Effects, int]:
        """What a run has done, and how often it crashed."""
        directory = make_directory()
        try:
            shutil.copytree(self._directory, directory, dirs_exist_ok=True)
            with self._host(directory, script) as host:
                host.simulation.reopens = script.begun = True
                answer = scenario(host)
                script.begun = False
                return host.use(lambda inner: effects_of(cast("LivingHost", inner), answer)), host.simulation.crashes
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _host(self, directory: Path, script: _Script) -> SimulatedHost:
        simulation = Simulation(directory, gates=script.gate, seed=self._seed, options=self._options)
        return SimulatedHost(simulation=simulation)


def crash_sweep(
    scenario: Scenario,
    deploy: Callable[[SimulatedHost], Any],
    *,
    most: int | None = None,
    twice: int = 0,
    ignore: Collection[str] = (),
    seed: int = 0,
    **options: Any,
) -> Sweep:
    """Runs `scenario` with a crash before and after each of its commits, or at `most` of those points by chance.

    `deploy` is done once, before; `twice` more runs crash at two points by chance.  What the scenario does with the host
    survives the crash: it is asked for again of the next one, as a client that uses idempotency keys does.  What it returns is
    compared, and so are the other fields of `Effects`, but those to `ignore`: how calls end that are cancelled, say, may depend
    on how far they had come.  Raises `AssertionError`.
    """
    with Sweeper(deploy, seed=seed, **options) as sweeper:
        return sweeper.sweep(scenario, most=most, twice=twice, ignore=ignore, seed=seed)


def _singles(points: Sequence[Point], most: int | None, random: Random) -> list[tuple[Point, ...]]:
    chosen = points if most is None or most >= len(points) else random.sample(points, most)
    return [(point,) for point in chosen]


def _pairs(points: Sequence[Point], count: int, random: Random) -> list[tuple[Point, ...]]:
    """Two crashes each; the second may come later than the run has commits, which is no fault."""
    if len(points) < 2:
        return []
    return [tuple(points[at] for at in sorted(random.sample(range(len(points)), 2))) for _ in range(count)]
