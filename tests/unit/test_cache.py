"""The scalar cache: what was stored is found until its time or its room runs out; conditions do as their table says."""

import hashlib
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.bytes import Buffer, StreamFailed, peek
from guesthouse.interfaces.cache import CONDITIONS, CacheInterface, Item, MemoryCache, holds
from guesthouse.interfaces.cache.memory import ENTRY_BYTES
from unit.interface_fakes import SimulatedClock, calls, chunks, deployment, invocation, now

RUN = invocation()
HOUR = 3_600_000


def fresh(capacity: int = 1 << 20, **options: Any) -> tuple[CacheInterface, SimulatedClock]:
    clock = SimulatedClock()
    return CacheInterface(MemoryCache(clock, capacity), **options), clock


def sha(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def stored(cache: CacheInterface, key: bytes = b"k") -> bytes | None:
    answer = now(cache.get(RUN, key))
    assert isinstance(answer, Ok)
    value: bytes | None = answer.value
    return value


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
BARE = {"present", "absent", "unconditional"}
SITUATIONS = [None, b"operand", b"other"]


def test_the_table_has_every_condition() -> None:
    """Six conditions on values and five on hashes."""
    assert TABLE.keys() == CONDITIONS.keys()
    assert len(TABLE) == 11


@pytest.mark.parametrize("case", sorted(TABLE))
@pytest.mark.parametrize("situation", [0, 1, 2], ids=["absent", "equal", "different"])
@pytest.mark.parametrize("generation", [1, 2])
def test_a_conditional_set_stores_as_the_table_says(case: str, situation: int, generation: int) -> None:
    """Each condition in each situation, in both generations: the answer, and what is stored afterwards."""
    cache, _ = fresh()
    before = SITUATIONS[situation]
    if before is not None:
        assert cache.set(RUN, b"k", before, HOUR) == Ok()
    hashed = "hash" in case or case == "unconditional"
    operand: Any = None if case in BARE else sha(b"operand") if hashed else b"operand"

    def wrap(value: bytes | None) -> Any:
        return value if generation == 1 or value is None else ("value", value)

    call = cache.set_if_hash if hashed else cache.set_if
    answer = call(RUN, wrap(b"k"), wrap(b"new"), HOUR, (case, wrap(operand)))
    expected = ("stored", wrap(sha(b"new")) if hashed else None) if TABLE[case][situation] else ("not-stored", None)
    assert answer == Ok(expected)
    assert stored(cache) == (b"new" if TABLE[case][situation] else before)


def test_an_expired_value_counts_as_absent_for_conditions() -> None:
    """Conditions see what `get` would see."""
    cache, clock = fresh()
    cache.set(RUN, b"k", b"v", 10)
    clock.pass_ms(10)
    assert cache.set_if(RUN, b"k", b"new", HOUR, ("present", None)) == Ok(("not-stored", None))
    assert cache.set_if(RUN, b"k", b"new", HOUR, ("absent", None)) == Ok(("stored", None))


# --- get, set, delete


def test_each_kind_of_miss_has_its_own_form() -> None:
    """`get` answers none, `get-with-hash` answers missing, `delete` of nothing is fine; none is an error."""
    cache, _ = fresh()
    assert cache.get(RUN, b"k") == Ok(None)
    assert cache.get_with_hash(RUN, b"k") == Ok(("missing", None))
    assert cache.delete(RUN, b"k") == Ok()


def test_what_was_set_is_got_with_its_hash_and_deleted() -> None:
    """The hash is the SHA-256 of the value."""
    cache, _ = fresh()
    cache.set(RUN, ("value", b"k"), ("value", b"v"), HOUR)
    assert cache.get(RUN, ("value", b"k")) == Ok(("value", b"v"))
    assert cache.get_with_hash(RUN, ("value", b"k")) == Ok(("found", (("value", b"v"), ("value", sha(b"v")))))
    assert cache.get_with_hash(RUN, b"k") == Ok(("found", (b"v", sha(b"v"))))
    assert cache.delete(RUN, ("value", b"k")) == Ok()
    assert cache.get(RUN, ("value", b"k")) == Ok(None)


def test_keys_and_values_are_any_bytes() -> None:
    """Empty ones and NULs included."""
    cache, _ = fresh()
    for key, value in ((b"", b""), (b"\0", b"\xff" * 9), ("ä".encode(), b"x")):
        assert cache.set(RUN, key, value, HOUR) == Ok()
        assert cache.get(RUN, key) == Ok(value)


def test_a_large_value_is_answered_as_a_buffer_to_the_newer_generation() -> None:
    """A guest that passes it on never holds it; the older generation gets the bytes."""
    cache, _ = fresh()
    value = bytes(100_000)
    cache.set(RUN, b"k", value, HOUR)
    answer = cache.get(RUN, ("value", b"k"))
    assert answer.value[0] == "buffer"
    assert peek(answer.value) is value
    assert cache.get(RUN, b"k") == Ok(value)


def test_keys_values_and_operands_may_be_streams() -> None:
    """What still has to arrive is collected before anything is stored."""
    cache, _ = fresh()

    def arriving(*parts: bytes | BaseException) -> Any:
        return ("buffer", Buffer(source=chunks(*parts)))

    assert now(cache.set(RUN, arriving(b"k"), arriving(b"a", b"b"), HOUR)) == Ok()
    assert now(cache.get(RUN, arriving(b"", b"k"))) == Ok(("value", b"ab"))
    answer = now(cache.set_if(RUN, arriving(b"k"), ("value", b"c"), HOUR, ("equal", arriving(b"a", b"b"))))
    assert answer == Ok(("stored", None))
    assert now(cache.set(RUN, b"k", arriving(b"x", StreamFailed("gone")), HOUR)) == Err(("request-cancelled", None))
    late = arriving(b"x", StreamFailed("slow", timed_out=True))
    assert now(cache.set(RUN, b"k", late, HOUR)) == Err(("timeout", None))
    assert stored(cache) == b"c"


def test_buffers_that_are_not_read_are_released() -> None:
    """Where an early argument fails, the sources of the later ones are let go, the condition's operand too."""
    cache, _ = fresh()
    closed: list[int] = []

    def source(*parts: bytes | BaseException) -> Any:
        return ("buffer", Buffer(source=chunks(*parts), on_close=lambda: closed.append(1)))

    broken = source(StreamFailed("gone"))
    answer = now(cache.set_if(RUN, broken, source(b"v"), HOUR, ("equal", source(b"w"))))
    assert answer == Err(("request-cancelled", None))
    assert len(closed) == 3


def test_namespaces_never_see_each_other() -> None:
    """The same key in two namespaces is two items."""
    cache, _ = fresh()
    other = invocation(of=deployment(namespace="other"))
    cache.set(RUN, b"k", b"mine", HOUR)
    assert cache.get(other, b"k") == Ok(None)
    cache.delete(other, b"k")
    assert stored(cache) == b"mine"


# --- time to live


def test_a_value_is_gone_after_exactly_its_time() -> None:
    """TTL is in milliseconds; nothing has to sweep."""
    cache, clock = fresh()
    cache.set(RUN, b"k", b"v", 10)
    clock.pass_ns(9_999_999)
    assert stored(cache) == b"v"
    clock.pass_ns(1)
    assert stored(cache) is None
    assert cache.get_with_hash(RUN, b"k") == Ok(("missing", None))


def test_setting_again_starts_the_time_again() -> None:
    """The last set decides."""
    cache, clock = fresh()
    cache.set(RUN, b"k", b"v", 10)
    clock.pass_ms(9)
    cache.set(RUN, b"k", b"w", 10)
    clock.pass_ms(9)
    assert stored(cache) == b"w"


def test_a_wall_clock_that_jumps_changes_no_expiry() -> None:
    """Only time that passed counts."""
    cache, clock = fresh()
    cache.set(RUN, b"k", b"v", 10)
    clock.wall += HOUR * 1_000_000
    assert stored(cache) == b"v"


def test_no_time_to_live_is_refused_and_a_huge_one_is_a_day() -> None:
    """Zero is `invalid-argument` for every set; 2**64-1 is shortened to 24 hours."""
    cache, clock = fresh()
    for answer in (
        cache.set(RUN, b"k", b"v", 0),
        cache.set_if(RUN, b"k", b"v", 0, ("absent", None)),
        cache.set_if_hash(RUN, b"k", b"v", 0, ("unconditional", None)),
    ):
        assert isinstance(answer, Err)
        assert answer.error[0] == "invalid-argument"
    assert cache.set(RUN, b"k", b"v", 2**64 - 1) == Ok()
    clock.pass_ms(24 * HOUR - 1)
    assert stored(cache) == b"v"
    clock.pass_ms(1)
    assert stored(cache) is None


# --- bounds


def test_an_item_over_the_limit_is_refused() -> None:
    """Key and value together count; the limit itself is allowed; a stream is not read beyond it."""
    cache, _ = fresh(most_item_bytes=10)
    assert cache.set(RUN, b"kkkk", b"vvvvvv", HOUR) == Ok()
    streamed = ("buffer", Buffer(source=chunks(b"v" * 9, b"v" * 9)))
    for answer in (
        cache.set(RUN, b"kkkk", b"vvvvvvv", HOUR),
        cache.set_if(RUN, b"kkkk", b"vvvvvvv", HOUR, ("present", None)),
        now(cache.set(RUN, b"k", streamed, HOUR)),
    ):
        assert isinstance(answer, Err)
        assert answer.error[0] == "limit-exceeded"
    assert stored(cache, b"kkkk") == b"vvvvvv"


def test_the_least_recently_used_item_goes_first() -> None:
    """Reading keeps an item; what nobody asked for makes room."""
    memory = MemoryCache(SimulatedClock(), capacity=3 * (ENTRY_BYTES + 11))
    for key in (b"a", b"b", b"c"):
        memory.set("n", key, Item(b"x" * 10), HOUR)
    memory.get("n", b"a")
    memory.set("n", b"d", Item(b"x" * 10), HOUR)
    assert [memory.get("n", key) is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert memory.evicted == 1


def test_an_item_larger_than_the_cache_is_forgotten_and_the_bound_holds() -> None:
    """A cache may forget at any time; it must not grow."""
    memory = MemoryCache(SimulatedClock(), capacity=1000)
    assert memory.set("n", b"k", Item(bytes(2000)), HOUR)
    assert memory.get("n", b"k") is None
    assert (memory.size, len(memory)) == (0, 0)


def test_both_generations_answer_all_six_functions() -> None:
    """Twelve functions in all."""
    assert len(calls(fresh()[0])) == 12


KEYS = st.sampled_from([b"a", b"b", b"c"])
NAMESPACES = st.sampled_from(["n", "m"])
VALUES = st.binary(max_size=3)


class CacheMachine(RuleBasedStateMachine):
    """`MemoryCache` beside a dictionary that does the obvious."""

    capacity = 1 << 20

    def __init__(self) -> None:
        super().__init__()
        self.clock = SimulatedClock()
        self.cache = MemoryCache(self.clock, self.capacity)
        self.model: dict[tuple[str, bytes], tuple[bytes, int]] = {}

    def expected(self, namespace: str, key: bytes) -> bytes | None:
        entry = self.model.get((namespace, key))
        return entry[0] if entry is not None and self.clock.monotonic_ns() < entry[1] else None

    @rule(namespace=NAMESPACES, key=KEYS)
    def get(self, namespace: str, key: bytes) -> None:
        item = self.cache.get(namespace, key)
        assert (None if item is None else item.value) == self.expected(namespace, key)
        assert item is None or item.hash == sha(item.value)

    @rule(
        namespace=NAMESPACES,
        key=KEYS,
        value=VALUES,
        ttl=st.integers(1, 50),
        case=st.sampled_from([None, *sorted(TABLE)]),
        operand=VALUES,
    )
    def set(self, namespace: str, key: bytes, value: bytes, ttl: int, case: str | None, operand: bytes) -> None:
        compared = sha(operand) if case and "hash" in case else operand
        condition = None if case is None else (case, None if case in BARE else compared)
        done = self.cache.set(namespace, key, Item(value), ttl, condition)
        before = self.expected(namespace, key)
        assert done == (case is None or TABLE[case][0 if before is None else 1 if before == operand else 2])
        if done:
            self.model[namespace, key] = (value, self.clock.monotonic_ns() + ttl * 1_000_000)

    @rule(namespace=NAMESPACES, key=KEYS)
    def delete(self, namespace: str, key: bytes) -> None:
        self.cache.delete(namespace, key)
        self.model.pop((namespace, key), None)

    @rule(duration=st.integers(0, 60))
    def pass_time(self, duration: int) -> None:
        self.clock.pass_ms(duration)

    @invariant()
    def size_is_what_is_kept_and_within_bounds(self) -> None:
        kept = self.cache._entries
        sizes = [len(key) + len(item.value) + ENTRY_BYTES for (_, key), (item, _) in kept.items()]
        assert self.cache.size == sum(sizes)
        assert self.cache.size <= self.capacity


class SmallCacheMachine(CacheMachine):
    """With room for two items: it may forget, but never answers anything wrong or outgrows its bound."""

    capacity = 2 * (ENTRY_BYTES + 4)

    @rule(namespace=NAMESPACES, key=KEYS)
    def get(self, namespace: str, key: bytes) -> None:
        item = self.cache.get(namespace, key)
        if item is None:
            self.model.pop((namespace, key), None)
        else:
            assert item.value == self.expected(namespace, key)

    @rule(namespace=NAMESPACES, key=KEYS, value=VALUES, ttl=st.integers(1, 50), case=st.none(), operand=st.none())
    def set(self, namespace: str, key: bytes, value: bytes, ttl: int, case: None, operand: None) -> None:
        super().set(namespace, key, value, ttl, case, b"")


TestCacheAgainstModel = CacheMachine.TestCase
TestCacheAgainstModel.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestSmallCacheAgainstModel = SmallCacheMachine.TestCase
TestSmallCacheAgainstModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_hash_operand_of_the_wrong_length_just_differs() -> None:
    """Operands are opaque bytes; none is an error."""
    assert not holds(("present-and-hash-equal", b"short"), Item(b"x"))
    assert holds(("present-and-not-hash-equal", b""), Item(b"x"))
