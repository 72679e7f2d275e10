"""The hook in the way of every host call of a guest that has a journal: `journaled` makes a host call one that is recorded and
replayed.  Deployments without a journal are linked without it, and pay nothing.

Promises: what is answered live is recorded before the guest is told; an effect is announced, durably, before it begins, or
committed in one transaction with its record; a guest is never told what was not recorded.  What an interface has to say of
its calls beyond their effect, `Interface` lists.  Must not know any single interface.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import CoroutineType
from typing import Any, Final, Protocol

import msgspec

from guesthouse.durable.arguments import LARGE, describe, kept
from guesthouse.durable.codec import arguments_packer, packer, resources_of, unpackable
from guesthouse.durable.errors import Ambiguous, JournalDamaged
from guesthouse.durable.journal import LIVE, Journal
from guesthouse.durable.records import Arguments, Decided
from guesthouse.durable.unpacking import Classes, unpacker
from guesthouse.engine.hostcall import Effect, HostCall, in_thread
from guesthouse.engine.types import FuncType
from guesthouse.errors import Trap

NO_CLASSES: Final[Classes] = {}
_encode: Final = msgspec.msgpack.Encoder().encode


class Subject(Protocol):
    """What an interface says of its calls; `Interface` has a default for each."""

    transactional: bool
    """Whether what its WRITE calls change is in the host's own database, each in units of work with plain results."""

    def failed(self, function: str, result: Any) -> bool:
        """Whether a result says that nothing was done, so that a retry does it again."""

    def place(self, invocation: Any, function: str, args: Sequence[Any]) -> str | None:
        """The host that a call goes to, where the deployment decides whether it is repeated after a crash; `None`: it is."""

    def cut_off(self, interface: str, function: str) -> Any:
        """The result that tells a guest of a call that was perhaps done; raises `Trap` where there is none."""


class _Plain:
    """What is true of calls of nobody."""

    transactional = False

    def failed(self, function: str, result: Any) -> bool:
        return False

    def place(self, invocation: Any, function: str, args: Sequence[Any]) -> str | None:
        return None

    def cut_off(self, interface: str, function: str) -> Any:
        raise Trap(f"a crash cut off {interface} {function!r}, which was perhaps done", "cut-off")


def journaled(call: HostCall, func: FuncType | None, classes: Classes = NO_CLASSES) -> HostCall:
    """The same host call, as guests with a journal are linked to it; `classes` are those of resources."""
    if call.effect is Effect.NONE:
        return call
    hook = _CoreHook(call) if func is None else _Hook(call, func, classes)
    return replace(call, method=hook.call, blocking=False)


def refusal(imports: Iterable[tuple[HostCall, FuncType | None]], classes: Classes) -> str | None:
    """Why a guest that imports these cannot have a journal; `None`: it can."""
    for call, func in imports:
        if call.effect is not Effect.NONE and func is not None:
            resource = unpackable(func.result, classes)
            if resource is not None:
                return (
                    f"{call.interface} {call.function!r} answers a {resource}, which cannot be written down and given to "
                    "the function again after a crash"
                )
    return None


class _Hook:
    """One host call with a WIT type."""

    def __init__(self, call: HostCall, func: FuncType, classes: Classes) -> None:
        self._of(call)
        self._pack_arguments = arguments_packer(func)
        self._pack = packer(func.result)
        self._unpack = unpacker(func.result, classes)
        self._resources = resources_of(func.result)
        self._can_be_packed = unpackable(func.result, classes) is None

    def _of(self, call: HostCall) -> None:
        self._call = call
        self._name = f"{call.interface}#{call.function}"
        self._live: Callable[..., Any] = call.method
        if call.blocking:
            self._live = lambda *args: in_thread(call.method, *args)
        self._writes = call.effect is Effect.WRITE
        subject: Subject | None = getattr(call.method, "__self__", None)
        self._subject: Any = subject if hasattr(subject, "transactional") else _Plain()

    def call(self, invocation: Any, *args: Any) -> Any:
        """Answers the guest: from the journal, or live."""
        journal: Journal | None = invocation.journal
        if journal is None:
            return self._live(invocation, *args)
        if journal.steps.name is not None:
            return self._in_step(journal, invocation, args)
        arguments = _encode(self._pack_arguments(args))
        if len(arguments) >= LARGE:
            return self._answer_large(journal, invocation, args, arguments)
        return self._answer(journal, invocation, args, arguments)

    def _answer(self, journal: Journal, invocation: Any, args: tuple[Any, ...], arguments: Arguments) -> Any:
        if journal.replaying:
            plain = journal.told(self._name, arguments)
            if plain is not LIVE:
                return self._told(journal, plain, args)
            return self._go_on(journal, invocation, args, arguments)
        return self._called(journal, invocation, args, arguments)

    async def _answer_large(self, journal: Journal, invocation: Any, args: tuple[Any, ...], arguments: bytes) -> Any:
        found = self._answer(journal, invocation, args, await asyncio.to_thread(kept, arguments))
        return await found if type(found) is CoroutineType else found

    # -- replay

    def _told(self, journal: Journal, plain: Any, args: tuple[Any, ...]) -> Any:
        result = self._unpack(plain)
        if self._resources is not None:
            for obj in self._resources(result):
                stream = getattr(obj, "stream", None)
                if stream:
                    obj.play(journal.streams.pieces(stream))
        return result

    async def _go_on(self, journal: Journal, invocation: Any, args: tuple[Any, ...], arguments: Arguments) -> Any:
        """A call that an earlier run had announced, and perhaps made."""
        subject, call = self._subject, self._call
        if not subject.transactional:
            place = subject.place(invocation, call.function, args)
            if place is not None and self._decide(journal, place, arguments) == "fail":
                result = subject.cut_off(call.interface, call.function)
                journal.add_result(self._packed(result, None), failed=False)  # a retry must not do it either
                await journal.flush()
                return result
        return await self._write(journal, invocation, args)

    def _decide(self, journal: Journal, place: str, arguments: Arguments) -> str:
        word = journal.decided or journal.ambiguous.get(place, "repeat")
        journal.on_ambiguous(word)
        if journal.decided:
            journal.add_record(Decided(""))  # for one time: where that is cut off as well, somebody is asked again
        if word == "ask":
            raise journal.breaks(Ambiguous(journal.entry - 1, describe(self._name, arguments)))
        return word

    # -- live

    def _in_step(self, journal: Journal, invocation: Any, args: tuple[Any, ...]) -> Any:
        """What is called inside of a step is not recorded: the step is."""
        if not self._writes:
            return self._live(invocation, *args)
        journal.steps.calls += 1
        return self._write_in_step(journal, invocation, args) if journal.durable else self._live(invocation, *args)

    async def _write_in_step(self, journal: Journal, invocation: Any, args: tuple[Any, ...]) -> Any:
        await journal.flush()  # what the guest was told before may not change any more
        found = self._live(invocation, *args)
        return await found if type(found) is CoroutineType else found

    def _called(self, journal: Journal, invocation: Any, args: tuple[Any, ...], arguments: Arguments) -> Any:
        journal.check_live()
        if self._writes and journal.durable:
            invocation.go_on()
            journal.announce(self._name, arguments)
            return self._write(journal, invocation, args)
        if journal.full or not self._can_be_packed:
            journal.stop()
            return self._live(invocation, *args)
        journal.inside = True
        try:
            live_args, noted = self._live_args(args)
            result = self._live(invocation, *live_args)
        except Trap as trap:
            journal.announce(self._name, arguments)
            journal.add_trap(trap)
            raise
        finally:
            journal.inside = False
        if type(result) is CoroutineType or (self._resources is not None and self._incomplete(result)):
            return self._read_later(journal, result, noted, arguments)
        if journal.add(self._name, arguments, self._packed(result, noted)):
            return _flushed(journal, result)
        return result

    async def _read_later(self, journal: Journal, waiting: Any, noted: Any, arguments: Arguments) -> Any:
        journal.inside = True
        try:
            result = await self._settled(journal, waiting)
        except Trap as trap:
            journal.announce(self._name, arguments)
            journal.add_trap(trap)
            raise
        finally:
            journal.inside = False
        if journal.add(self._name, arguments, self._packed(result, noted)):
            await journal.flush()
        return result

    async def _write(self, journal: Journal, invocation: Any, args: tuple[Any, ...]) -> Any:
        """An effect: announced, made, recorded."""
        live_args, noted = self._live_args(args)

        async def work() -> Any:
            return await self._settled(journal, self._live(invocation, *live_args))

        together = self._subject.transactional
        journal.inside = True
        try:
            if together:
                result = await journal.together(journal.units, work)
            else:
                await journal.flush()
                result = await work()
        except Trap as trap:
            journal.add_trap(trap)
            raise
        finally:
            journal.inside = False
        journal.check()
        journal.add_result(self._packed(result, noted), failed=self._subject.failed(self._call.function, result))
        if not together:
            await journal.flush()
        return result

    async def _settled(self, journal: Journal, found: Any) -> Any:
        """What a method has answered, once it and all of its bodies are there."""
        result = await found if type(found) is CoroutineType else found
        if self._resources is not None:
            for obj in self._incomplete(result):
                if journal.durable:
                    await obj.settle()
                else:
                    obj.tape(journal.streams.begin())
        return result

    def _incomplete(self, result: Any) -> list[Any]:
        assert self._resources is not None
        return [obj for obj in self._resources(result) if not getattr(obj, "complete", True)]

    # -- what differs for calls without a WIT type

    def _live_args(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
        """What the method is given, and what notes what it does besides."""
        return args, None

    def _packed(self, result: Any, noted: Any) -> Any:
        return result if self._pack is None else self._pack(result)


class _CoreHook(_Hook):
    """One host call without a WIT type: what it writes into the guest's memory is part of its result."""

    def __init__(self, call: HostCall) -> None:
        self._of(call)
        self._pack_arguments = lambda args: args[1:]
        self._resources = None
        self._can_be_packed = True

    def _told(self, journal: Journal, plain: Any, args: tuple[Any, ...]) -> Any:
        guest = args[0]
        try:
            result, writes = plain
            if not (result is None or (type(result) is int and -1 << 63 <= result < 1 << 64)):
                raise TypeError
            for pointer, data in writes:
                if type(pointer) is not int or pointer < 0 or type(data) is not bytes:
                    raise TypeError
                guest.write(pointer, data)
        except (TypeError, ValueError):
            raise JournalDamaged(f"the journal has no result of {self._name}") from None
        return result

    def _live_args(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
        noted = _NotedMemory(args[0])
        return (noted, *args[1:]), noted

    def _packed(self, result: Any, noted: Any) -> Any:
        return result, [] if noted is None else noted.writes


class _NotedMemory:
    """A guest's memory that notes what is written to it."""

    __slots__ = ("_guest", "writes")

    def __init__(self, guest: Any) -> None:
        self._guest = guest
        self.writes: list[tuple[int, bytes]] = []

    def read(self, pointer: int, length: int) -> bytes:
        """Bytes of the memory; traps out of bounds."""
        data: bytes = self._guest.read(pointer, length)
        return data

    def write(self, pointer: int, data: bytes) -> None:
        """Writes bytes; traps out of bounds."""
        self._guest.write(pointer, data)
        self.writes.append((pointer, data))


async def _flushed(journal: Journal, result: Any) -> Any:
    await journal.flush()
    return result
