"""The cache's host functions: the table of conditions, arguments that arrive late, and answers without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import HostError, Unavailable
from guesthouse.interfaces.bytes import Buffer, StreamFailed, peek
from guesthouse.interfaces.cache import CONDITIONS, CacheInterface, Item, MemoryCache, holds
from guesthouse.interfaces.cache.calls import refused
from guesthouse.limits import CacheLimits
from guesthouse.net.failures import ConnectionFailed, ConnectTimeout, Timeout
from unit.interface_fakes import SimulatedClock, calls, chunks, invocation, now

RUN = invocation()
HOUR = 3_600_000
UNBOUNDED = ("unbounded", None)


@pytest.fixture
def cache() -> CacheInterface:
    return CacheInterface(MemoryCache(SimulatedClock()))


# --- the conditions, as the reference's table has them: key absent, value equal, value different

TABLE = {
    "present": (False, True, True),
    "present-and-not-equal": (False, False, True),
    "absent": (True, False, False),
    "equal": (False, True, False),
    "absent-or-equal": (True, True, False),
    "not-equal": (True, False, True),
    "present-and-not-hash-equal": (False, False, True),
    "present-and-hash-equal": (False, True, False),
    "absent-or-hash-equal": (True, True, False),
    "absent-or-not-hash-equal": (True, False, True),
    "unconditional": (True, True, True),
}


def test_the_table_is_that_of_the_reference() -> None:
    """Six conditions on values and five on hashes; `not-equal` holds for an absent key."""
    assert {case: tuple(stores) for case, stores in CONDITIONS.items()} == TABLE
    assert len(TABLE) == 11


def test_a_hash_operand_of_the_wrong_length_just_differs() -> None:
    """Operands are opaque bytes; none is an error."""
    assert not holds(("present-and-hash-equal", b"short"), Item(b"x"))
    assert holds(("present-and-not-hash-equal", b""), Item(b"x"))


# --- what comes in, and what goes out


def test_both_generations_answer_all_functions(cache: CacheInterface) -> None:
    """Six for values and eleven for lists, twice."""
    found = calls(cache)
    assert len(found) == 34
    for names in ("cache-scalar", "cache-list"):
        newer = {name for interface, name in found if interface == f"momento:{names}/{names}@1.0.0"}
        assert newer == {name for interface, name in found if interface == f"momento:functions/{names}@1.0.0"}


def everything(cache: CacheInterface) -> Iterator[Any]:
    """What every function answers, in the newer generation's form."""
    key, value = ("value", b"k"), ("value", b"v")
    yield cache.set(RUN, key, value, HOUR)
    yield cache.get(RUN, key)
    yield cache.get_with_hash(RUN, key)
    yield cache.set_if(RUN, key, value, HOUR, ("equal", value))
    yield cache.set_if_hash(RUN, key, value, HOUR, ("present-and-hash-equal", value))
    yield cache.delete(RUN, key)
    yield cache.push_front(RUN, key, value, HOUR, True, 0)
    yield cache.push_back(RUN, key, value, HOUR, True, 0)
    yield cache.concatenate_front(RUN, key, [value] * 5, HOUR, True, 0)
    yield cache.concatenate_back(RUN, key, [value], HOUR, True, 0)
    yield cache.length(RUN, key)
    yield cache.fetch(RUN, key, UNBOUNDED, UNBOUNDED)
    yield cache.pop_front(RUN, key)
    yield cache.pop_back(RUN, key)
    yield cache.erase(RUN, key, ("ranges", ([(0, 1)],)))
    yield cache.retain(RUN, key, ("inclusive", 1), UNBOUNDED, HOUR, True)
    yield cache.remove(RUN, key, ("all-elements-with-value", value))


def test_a_cache_in_memory_answers_without_waiting(cache: CacheInterface) -> None:
    """Every function, where its arguments are there."""
    answers = list(everything(cache))
    assert len(answers) == 17
    assert all(isinstance(answer, Ok) for answer in answers)


def test_before_a_large_answer_others_have_their_turn(cache: CacheInterface) -> None:
    """A guest may ask for one after another; each that has to be copied into its memory waits a turn of the loop."""
    cache.set(RUN, b"k", bytes(1_000_000), HOUR)
    cache.concatenate_back(RUN, b"l", [b""] * 1_000, HOUR, True, 0)
    cache.concatenate_back(RUN, b"m", [bytes(100_000)] * 3, HOUR, True, 0)
    assert isinstance(cache.get(RUN, ("value", b"k")), Ok)

    async def turns() -> None:
        for ask in (
            lambda: cache.get(RUN, b"k"),
            lambda: cache.fetch(RUN, b"l", UNBOUNDED, UNBOUNDED),
            lambda: cache.fetch(RUN, ("value", b"m"), UNBOUNDED, UNBOUNDED),
        ):
            others: list[int] = []
            asyncio.get_running_loop().call_soon(others.append, 1)
            assert isinstance(await ask(), Ok)
            assert others == [1]

    asyncio.run(turns())


def test_a_large_value_is_answered_as_a_buffer_to_the_newer_generation(cache: CacheInterface) -> None:
    """A guest that passes it on never holds it; the older generation gets the bytes."""
    value = bytes(100_000)
    cache.set(RUN, b"k", value, HOUR)
    answer = cache.get(RUN, ("value", b"k"))
    assert answer.value[0] == "buffer"
    assert peek(answer.value) is value
    assert cache.get(RUN, b"k") == Ok(value)


def arriving(*parts: bytes | BaseException) -> Any:
    return ("buffer", Buffer(source=chunks(*parts)))


def test_keys_values_and_operands_may_be_streams(cache: CacheInterface) -> None:
    """What still has to arrive is collected before anything is stored."""
    assert now(cache.set(RUN, arriving(b"k"), arriving(b"a", b"b"), HOUR)) == Ok()
    assert now(cache.get(RUN, arriving(b"", b"k"))) == Ok(("value", b"ab"))
    answer = now(cache.set_if(RUN, arriving(b"k"), ("value", b"c"), HOUR, ("equal", arriving(b"a", b"b"))))
    assert answer == Ok(("stored", None))
    assert now(cache.set(RUN, b"k", arriving(b"x", StreamFailed("gone")), HOUR)) == Err(("request-cancelled", None))
    late = arriving(b"x", StreamFailed("slow", timed_out=True))
    assert now(cache.set(RUN, b"k", late, HOUR)) == Err(("timeout", None))
    assert cache.get(RUN, b"k") == Ok(b"c")


def test_names_and_elements_of_lists_may_be_streams(cache: CacheInterface) -> None:
    """One among many, too."""
    assert now(cache.push_back(RUN, arriving(b"l"), arriving(b"a", b"b"), HOUR, True, 0)) == Ok(1)
    values = [("value", b"c"), arriving(b"d"), ("buffer", Buffer(b"e"))]
    assert now(cache.concatenate_back(RUN, ("value", b"l"), values, HOUR, True, 0)) == Ok(4)
    assert now(cache.remove(RUN, b"l", ("all-elements-with-value", arriving(b"c")))) == Ok(("found", 3))
    assert now(cache.erase(RUN, arriving(b"l"), ("ranges", ([(0, 1)],)))) == Ok(("found", 2))
    assert now(cache.fetch(RUN, arriving(b"l"), UNBOUNDED, ("exclusive", 1))) == Ok(("found", [("value", b"d")]))
    assert now(cache.erase(RUN, arriving(b"l"), ("all", None))) == Ok(("found", 0))


def test_buffers_that_are_not_read_are_released(cache: CacheInterface) -> None:
    """Where an early argument fails, the sources of the later ones are let go, those inside of others too."""
    closed: list[int] = []

    def source(*parts: bytes | BaseException) -> Any:
        return ("buffer", Buffer(source=chunks(*parts), on_close=lambda: closed.append(1)))

    cancelled = Err(("request-cancelled", None))
    broken = source(StreamFailed("gone"))
    assert now(cache.set_if(RUN, broken, source(b"v"), HOUR, ("equal", source(b"w")))) == cancelled
    assert len(closed) == 3
    values = [source(StreamFailed("gone")), source(b"v")]
    assert now(cache.concatenate_back(RUN, source(b"l"), values, HOUR, True, 0)) == cancelled
    assert len(closed) == 6


def test_streams_are_not_read_beyond_what_may_be_stored() -> None:
    """Each on its own, and all of one call together."""
    limits = CacheLimits(item_bytes=10, list_bytes=25)
    cache = CacheInterface(MemoryCache(SimulatedClock(), limits=limits))
    read: list[int] = []

    def source() -> Any:
        async def parts() -> Any:
            for _ in range(10):
                read.append(1)
                yield b"v" * 5

        return ("buffer", Buffer(source=parts()))

    assert now(cache.set(RUN, b"k", source(), HOUR)).error[0] == "limit-exceeded"
    assert len(read) == 3
    values = [arriving(b"v" * 10) for _ in range(3)]
    assert now(cache.concatenate_back(RUN, b"l", values, HOUR, True, 0)).error[0] == "limit-exceeded"
    assert cache.length(RUN, b"l") == Ok(("missing", None))


def test_failures_are_error_values_that_tell_nothing_of_the_inside() -> None:
    """A server that is away, one that is slow, and a mistake of the host."""
    assert refused(Timeout()) == refused(ConnectTimeout()) == Err(("timeout", None))
    for error in (ConnectionFailed(), HostError("secret"), Unavailable("secret")):
        assert refused(error) == Err(("internal-error", None))
