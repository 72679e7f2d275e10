"""A store of journals that dies when told, a shop whose effects can be counted, and guests that are Python functions."""

from __future__ import annotations

import asyncio
import atexit
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from guesthouse.durable.errors import Diverged
from guesthouse.durable.hook import journaled
from guesthouse.durable.journal import Journal
from guesthouse.durable.records import Header
from guesthouse.engine.hostcall import Effect, HostCall
from guesthouse.engine.types import FuncType, Primitive, ResultType, Type
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.invocation import Invocation
from guesthouse.storage.database import Connection, Database
from guesthouse.storage.joined import JOINED
from unit.interface_fakes import invocation

SHOP = "test:shop/shop@1.0.0"
HEADER = Header("inv-1", 1, "00", "test")
TEXT, U64 = Primitive("string"), Primitive("u64")
BOUGHT = ResultType(U64, TEXT)


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Policy:
    """What a deployment says about journals."""

    journal_bytes: int = 1 << 20
    ambiguous: Mapping[str, str] = field(default_factory=dict)


class World:
    """Everything outside of the process: what survives a crash, and when the next one comes."""

    def __init__(self) -> None:
        self.segments: list[bytes] = []
        self.database = database()
        self.database.write_sync(lambda connection: connection.execute("DELETE FROM notes").fetchall())
        self.bought: Counter[str] = Counter()
        """How often which key was honoured."""
        self.asked: list[tuple[str, str]] = []
        """Keys and what they were for, each time."""
        self.refusals = 0
        """How many purchases are to be refused for now."""
        self.looks = 0
        self.steps = 0
        self.dies_at: int | None = None
        self.ambiguous: list[str] = []

    def step(self) -> None:
        """A point at which the process may die."""
        self.steps += 1
        if self.steps == self.dies_at:
            raise Crash

    def notes(self) -> list[str]:
        """What is in the database."""
        return self.database.read_sync(
            lambda connection: [row[0] for row in connection.execute("SELECT text FROM notes")]
        )


class ListSink:
    """The end of a journal that is a list; what joins it is committed with it, in a database in memory."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def append(self, segment: bytes) -> None:
        self.world.step()
        self.world.segments.append(segment)
        self.world.step()

    @contextmanager
    def together(
        self, segment_of: Callable[[Any], bytes], done: Sequence[Any], committed: Callable[[Any], None]
    ) -> Iterator[None]:
        token = JOINED.set(_Joined(self.world, segment_of, list(done), committed))
        try:
            yield
        finally:
            JOINED.reset(token)


class _Joined:
    def __init__(
        self, world: World, segment_of: Callable[[Any], bytes], done: list[Any], committed: Callable[[Any], None]
    ) -> None:
        self.world, self.segment_of, self.done, self.tell = world, segment_of, done, committed
        self.stored_segments: list[bytes] = []

    def stored(self) -> tuple[Any] | None:
        return (self.done.pop(0),) if self.done else None

    def store(self, connection: Connection, result: Any) -> None:
        self.stored_segments.append(self.segment_of(result))

    def committed(self, result: Any) -> None:
        self.world.segments.append(self.stored_segments.pop(0))
        self.tell(result)


class Shop(Interface):
    """Looks, which read; purchases, which cost; and notes, which are rows of the host's own database."""

    name = "shop"

    def __init__(self, world: World) -> None:
        self.world = world

    def place(self, invocation: Invocation, function: str, args: Sequence[Any]) -> str | None:
        return "shop.test"

    def cut_off(self, interface: str, function: str) -> Any:
        return Err("perhaps bought")

    @host_call(SHOP, "look", Effect.READ)
    def look(self, invocation: Invocation, what: str) -> int:
        self.world.looks += 1
        return self.world.looks

    @host_call(SHOP, "look-later", Effect.READ)
    async def look_later(self, invocation: Invocation, what: str) -> int:
        await asyncio.sleep(0)
        return self.look(invocation, what)

    @host_call(SHOP, "look-blocking", Effect.READ, blocking=True)
    def look_blocking(self, invocation: Invocation, what: str) -> int:
        return self.look(invocation, what)

    @host_call(SHOP, "buy", Effect.WRITE)
    async def buy(self, invocation: Invocation, what: str) -> Ok[int] | Err[str]:
        assert invocation.journal is not None
        key = invocation.journal.idempotency_key()
        self.world.step()
        self.world.asked.append((key, what))
        if self.world.refusals:
            self.world.refusals -= 1
            return Err("sold out")
        self.world.bought[key] = 1
        self.world.step()
        return Ok(len(self.world.bought))

    @host_call(SHOP, "trap", Effect.READ)
    def trap(self, invocation: Invocation, what: str) -> int:
        raise Trap("there is no such thing", "shop")


class Notes(Interface):
    """A table of the host's own database."""

    name = "notes"
    transactional = True

    def __init__(self, world: World) -> None:
        self.world = world

    @host_call(SHOP, "note", Effect.WRITE)
    async def note(self, invocation: Invocation, what: str) -> Ok[int] | Err[str]:
        """Two rows, each by a unit of its own; `bad` is refused in the second one."""
        try:
            first = await self.world.database.write(lambda connection: _insert(connection, f"{what}-1"))
            self.world.step()
            second = await self.world.database.write(lambda connection: _insert(connection, f"{what}-2"))
        except ValueError as error:
            return Err(str(error))
        self.world.step()
        return Ok(first + second)


def _insert(connection: Connection, text: str) -> int:
    if text == "bad-2":
        raise ValueError("refused")
    connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))
    return int(connection.execute("SELECT count(*) FROM notes").fetchall()[0][0])


RESULTS: dict[str, Type] = {
    "look": U64, "look-later": U64, "look-blocking": U64, "buy": BOUGHT, "trap": U64, "note": BOUGHT,
}  # fmt: skip


class Run:
    """One run of an invocation: what a guest calls."""

    def __init__(self, world: World, policy: Policy | None = None, *, keeps: bool = True) -> None:
        self.world = world
        self.invocation = invocation()
        sink = ListSink(world) if keeps else None
        self.journal = Journal(
            sink, world.segments, header=HEADER, policy=policy or Policy(), on_ambiguous=world.ambiguous.append
        )
        self.invocation.journal = self.journal
        found = [*Shop(world).host_calls(), *Notes(world).host_calls()]
        self.calls: dict[str, HostCall] = {call.function: journaled(call, _func(call.function)) for call in found}

    async def call(self, function: str, what: str = "it") -> Any:
        """Makes a host call."""
        result = self.calls[function].method(self.invocation, what)
        return await result if isinstance(result, Awaitable) else result


def _func(function: str) -> FuncType:
    return FuncType((("what", TEXT),), RESULTS[function])


Guest = Callable[[Run], Awaitable[Any]]


@cache
def database() -> Database:
    """One for all worlds, of which there is one at a time: each has a thread."""
    found = Database(None)
    found.write_sync(lambda connection: connection.execute("CREATE TABLE notes (text TEXT)").fetchall())
    atexit.register(found.close)
    return found


async def life(world: World, guest: Guest, policy: Policy | None = None) -> Any:
    """Runs an invocation as often as it takes until it ends; what it comes to."""
    while True:
        run = Run(world, policy)
        try:
            result = await guest(run)
            world.segments.append(run.journal.finish("ok"))
            return result
        except Crash:
            world.dies_at = None


def until_done(guest: Guest, policy: Policy | None = None, dies_at: int | None = None) -> tuple[World, Any]:
    """A whole life in a new world, with one crash or none."""
    found = World()
    found.dies_at = dies_at
    return found, asyncio.run(life(found, guest, policy))


def of(*names: str) -> Guest:
    """A guest that makes these calls."""

    async def guest(run: Run) -> list[Any]:
        return [await run.call(name, f"{name}-{number}") for number, name in enumerate(names)]

    return guest


def play(world: World, guest: Guest, **options: Any) -> Any:
    """One run."""
    run = Run(world, **options)
    return asyncio.run(played(run, guest))


async def played(run: Run, guest: Guest) -> Any:
    """What a guest comes to."""
    return await guest(run)


def diverges(recorded: Guest, found: Guest) -> Diverged:
    """The error of a guest that does not do again what was recorded."""
    there, _ = until_done(recorded)

    async def to_its_end(run: Run) -> None:
        await found(run)
        run.journal.finish("ok")

    with pytest.raises(Diverged) as caught:
        play(there, to_its_end)
    return caught.value
