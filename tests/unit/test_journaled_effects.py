"""Host interfaces with a journal: effects are made once or known by their ids; bodies and replies are the same again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from guesthouse.durable.errors import JournalDamaged
from guesthouse.engine.hostcall import Effect
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest, InvalidModule
from guesthouse.gateway.topics import event_of
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.bytes import BYTES, Buffer, BytesInterface, StreamFailed
from guesthouse.interfaces.cache import CacheInterface, MemoryCache, PersistentCache
from guesthouse.interfaces.topic import Message, TopicBroker, TopicInterface
from guesthouse.interfaces.valkey.replies import OldResponseStream, ResponseStream
from guesthouse.interfaces.web import WebInterface
from guesthouse.interfaces.web.interface import STREAM
from guesthouse.net.resp import ErrorReply, SimpleString
from unit.interface_fakes import SimulatedClock, chunks, deployment
from unit.journal_fakes import Crash, World, database
from unit.journaled_world import Life
from unit.wasi_world import Guest

SCALAR, LIST = "momento:cache-scalar/cache-scalar@1.0.0", "momento:cache-list/cache-list@1.0.0"
TOPIC = "momento:topic/topic@1.0.0"
HOUR = 3_600_000


# -- what is done


def test_a_message_that_is_sent_again_has_the_same_id() -> None:
    """Each message of a durable function has one of its own; others have none."""
    broker, world = TopicBroker(), World()

    def publishes(life: Life) -> None:
        for text in ("one", "two"):
            life(TOPIC, "publish", "news", text)

    with broker.subscribe("default", "news") as heard:
        world.dies_at = 3  # before the result of the first one is appended
        with pytest.raises(Crash):
            publishes(Life(world, TopicInterface(broker)))
        publishes(Life(world, TopicInterface(broker)))
        publishes(Life(World(), TopicInterface(broker), keeps=False))
        messages = [cast("Message", message) for message in heard.take(9)]
    assert [message.value for message in messages] == ["one", "one", "two", "one", "two"]
    one, again, two, *others = (message.id for message in messages)
    assert one == again
    assert len({one, two, ""}) == 3
    assert others == ["", ""]
    assert event_of(messages[0]) == f"message-id: {one}\nevent: text\nid: 1\ndata: one\n\n".encode()
    assert event_of(messages[3]) == b"event: text\nid: 4\ndata: one\n\n"


@pytest.fixture
def persistent() -> Iterator[CacheInterface]:
    """The cache in the host's database."""
    cache = PersistentCache(database(), SimulatedClock(), 1 << 20)
    yield CacheInterface(cache)
    asyncio.run(cache.delete("default", b"list"))
    asyncio.run(cache.delete("default", b"key"))


NAME = ("value", b"list")
CHANGES: list[tuple[Any, ...]] = [
    *((LIST, "list-push-back", NAME, ("value", each), HOUR, True, 0) for each in (b"a", b"b", b"c")),
    (LIST, "list-pop-front", NAME),
    (SCALAR, "set-if", ("value", b"key"), ("value", b"v"), HOUR, ("absent", None)),
    (SCALAR, "set-if", ("value", b"list"), ("value", b"v"), 0, ("absent", None)),
    (LIST, "list-retain", NAME, ("unbounded", None), ("inclusive", 1), HOUR, True),
    (SCALAR, "delete", ("value", b"nothing")),
]


@pytest.mark.parametrize("made", range(1, len(CHANGES) + 1))
def test_a_change_of_the_cache_is_made_once_wherever_the_process_dies(persistent: CacheInterface, made: int) -> None:
    """Each is one unit of work, committed with the journal: nothing has to be announced, and nothing is repeated."""
    assert persistent.transactional
    world = World()
    first = Life(world, persistent)
    told = [first(*change) for change in CHANGES[:made]]  # the last result is not appended: the process dies
    second = Life(world, persistent)
    assert [second(*change) for change in CHANGES[:made]] == told
    found = [second(*change) for change in CHANGES[made:]]
    assert [type(each) for each in [*told, *found]] == [Ok] * 5 + [Err] + [Ok] * 2
    assert second(LIST, "list-length", NAME) == Ok(("found", 1))


def test_what_a_cut_off_pop_took_is_answered_again(persistent: CacheInterface) -> None:
    """Its element is in the journal: it is neither lost nor taken twice."""
    name, world = ("value", b"list"), World()
    life = Life(world, persistent)
    for each in (b"a", b"b"):
        life(LIST, "list-push-back", name, ("value", each), HOUR, True, 0)
    life(LIST, "list-pop-front", name)  # whose result is not appended
    again = Life(world, persistent)
    for each in (b"a", b"b"):
        again(LIST, "list-push-back", name, ("value", each), HOUR, True, 0)
    popped = again(LIST, "list-pop-front", name)
    assert (popped.value[1].value, popped.value[1].list_length) == (("value", b"a"), 1)
    assert again(LIST, "list-length", name) == Ok(("found", 1))


def test_a_cache_in_memory_cannot_be_used_by_a_durable_function() -> None:
    """It forgets what the guest would go on with; any other keeps it."""
    memory = MemoryCache(SimulatedClock(), 1 << 20)
    with pytest.raises(BadRequest, match="the cache, which this host has in memory"):
        CacheInterface(memory).check_durable(deployment(), set())
    assert not CacheInterface(memory).transactional
    CacheInterface(PersistentCache(database(), SimulatedClock(), 1 << 20)).check_durable(deployment(), set())


def test_a_function_that_streams_its_answer_cannot_be_durable() -> None:
    """Its other calls can."""
    web = WebInterface()
    with pytest.raises(InvalidModule, match="streams its answer"):
        web.check_durable(deployment(), {(STREAM, "send-sse")})
    web.check_durable(deployment(), {("momento:web-function/web-function-support@1.0.0", "headers")})


# -- replies and bodies


REPLIES: list[Any] = [b"data", 7, None, SimpleString(b"OK"), ErrorReply(b"ERR no"), [b"a", [1, None]], b"x" * 70_000]


@pytest.mark.parametrize("kind", [ResponseStream, OldResponseStream])
def test_replies_of_a_valkey_server_are_the_same_again(kind: type[ResponseStream]) -> None:
    """Of every kind, nested, and as far as the guest has not read them yet."""
    stream = kind(REPLIES)
    stream.next()
    again = kind.unpacked(stream.packed())
    assert type(again) is kind
    assert [_plain(again.next()) for _ in range(8)] == [_plain(stream.next()) for _ in range(8)]


def _plain(value: Any) -> Any:
    if value is None or not isinstance(value[1], ResponseStream):
        case, held = value or ("end", None)
        return case, held[1].peek() if isinstance(held, tuple) and held[0] == "buffer" else held
    return value[0], [_plain(value[1].next()) for _ in range(3)]


class Bodies(Interface):
    """Answers a body that arrives in pieces."""

    name = "http"
    resources = BytesInterface.resources

    def __init__(self, *parts: bytes | BaseException) -> None:
        self.parts = parts

    @host_call("momento:http/http@1.0.0", "invoke", Effect.READ)
    def invoke(self, invocation: Any, request: Any) -> Any:
        return Ok((200, [], ("buffer", Buffer(source=chunks(*self.parts)))))


REQUEST = ("http://a", "GET", [], ("value", b""), ("none", None))


def read_all(life: Life) -> list[Any]:
    """A guest that reads a body to its end."""
    body = life("momento:http/http@1.0.0", "invoke", REQUEST).value[2][1]
    found: list[Any] = [life(BYTES, "[method]buffer.remaining", body)]
    while True:
        found.append(life(BYTES, "[method]buffer.try-read", body, 1_000))
        if found[-1] == Ok(None) or isinstance(found[-1], Err):
            return found


@pytest.mark.parametrize("ends", [(), (StreamFailed("broke off"),)])
def test_a_body_is_there_before_a_durable_guest_is_told_of_it(ends: tuple[BaseException, ...]) -> None:
    """All of it, and why it broke off: another run reads the same."""
    world = World()
    first = Life(world, Bodies(b"one", b"two", *ends), BytesInterface())
    told = read_all(first)
    assert told[:2] == [6, Ok(b"onetwo")]
    first.ends()
    assert read_all(Life(world, Bodies(b"other"), BytesInterface())) == told


@pytest.mark.parametrize("ends", [(), (StreamFailed("broke off", timed_out=True),)])
def test_a_recorder_notes_a_body_as_it_is_read(ends: tuple[BaseException, ...]) -> None:
    """It collects nothing, and plays the same pieces offline."""
    world = World()
    first = Life(world, Bodies(b"one", b"two", *ends), BytesInterface(), keeps=False)
    told = read_all(first)
    assert told[:3] == [0, Ok(b"one"), Ok(b"two")]
    world.segments = [first.journal.finish("ok")]
    offline = Life(world, Bodies(), BytesInterface(), keeps=False)
    assert read_all(offline) == told
    offline.journal.finish("ok")


# -- calls without a WIT type


class Core(Interface):
    """A function without a WIT type that reads the world."""

    name = "core"

    def __init__(self) -> None:
        self.asked = 0

    @host_call("test_core", "fill", Effect.READ, core="ii:i")
    def fill(self, invocation: Any, guest: Any, pointer: int, length: int) -> int:
        self.asked += 1
        assert guest.read(pointer, 1) == b"\0"
        guest.write(pointer, b"x" * length)
        return 7


def test_what_a_call_without_a_type_wrote_is_written_again() -> None:
    """Into the guest's memory, where it was; something else in the journal is damage."""
    world, core = World(), Core()
    for _ in range(2):
        guest = Guest()
        life = Life(world, core)
        assert life("test_core", "fill", guest, 64, 5) == 7
        assert guest.read(63, 7) == b"\0xxxxx\0"
        life.ends()
    assert core.asked == 1
    for wrong in (5, [0], [0, 5], ["a", []], [0, [["here", b"x"]]], [0, [[64, "x"]]], [0, [[-1, b"x"]]]):
        world = World()
        life = Life(world, core)
        life.journal.add("test_core#fill", b"\x92\x40\x05", wrong)
        life.ends()
        with pytest.raises(JournalDamaged):
            Life(world, core)("test_core", "fill", Guest(), 64, 5)
