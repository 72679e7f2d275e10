"""Every place where the cache can be kept does the same: a plain model, values, kinds and bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.cache import CONDITIONS, Item
from guesthouse.limits import CacheLimits
from unit.cache_model import Model, outcome
from unit.cache_places import PLACES, Calls, Place, condition_of, elements, fill, place_of
from unit.interface_fakes import deployment, invocation

RUN = invocation()
MINUTE = 60_000
HOUR = 60 * MINUTE
SMALL = CacheLimits(list_elements=8)
UNBOUNDED = ("unbounded", None)


@pytest.fixture(params=PLACES)
def server(request: pytest.FixtureRequest) -> Any:
    """A kind of place, and the server where it needs one."""
    return (request.param, request.getfixturevalue("valkey_process") if request.param == "valkey" else None)


@pytest.fixture
def place(server: Any) -> Iterator[Place]:
    with place_of(*server) as place:
        yield place


@pytest.fixture
def cache(place: Place) -> Calls:
    return Calls(place)


# --- against the model

KEYS = {"namespace": st.sampled_from(["n", "m"]), "key": st.sampled_from([b"", b"a", b"\xff:\0"])}
VALUES = st.sampled_from([b"", b"a", b"b", b"\0\xff"])
TTLS = st.integers(1, 5).map(lambda minutes: minutes * MINUTE)
INDEXES = st.none() | st.integers(-10, 10) | st.sampled_from([-(2**31), 2**31 - 1])
RANGES = st.none() | st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)) | st.just((2**32 - 1, 2**32 - 1)))


class Machine(RuleBasedStateMachine):
    """A place beside the model."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.model = Model(SMALL)

    def both(self, name: str, *arguments: Any, **options: Any) -> None:
        expected = outcome(lambda: getattr(self.model, name)(*arguments, **options))
        if name == "set":
            arguments = (*arguments[:2], Item(arguments[2]), *arguments[3:])
        found = outcome(lambda: self.place.wait(getattr(self.place.backend, name)(*arguments, **options)))
        assert found == expected, name

    @rule(**KEYS)
    def get(self, namespace: str, key: bytes) -> None:
        self.both("get", namespace, key)

    @rule(**KEYS, value=VALUES, ttl=TTLS, case=st.sampled_from([None, *sorted(CONDITIONS)]), operand=VALUES)
    def set(self, namespace: str, key: bytes, value: bytes, ttl: int, case: str | None, operand: bytes) -> None:
        self.both("set", namespace, key, value, ttl, condition_of(case, operand))

    @rule(**KEYS)
    def delete(self, namespace: str, key: bytes) -> None:
        self.both("delete", namespace, key)

    @rule(
        **KEYS,
        values=st.lists(VALUES, max_size=5),
        ttl=TTLS,
        refresh=st.booleans(),
        keep=st.integers(0, 9) | st.just(2**32 - 1),
        front=st.booleans(),
    )
    def extend(self, namespace: str, key: bytes, values: Any, ttl: int, refresh: bool, keep: int, front: bool) -> None:
        self.both("extend", namespace, key, values, ttl, refresh, keep, front=front)

    @rule(**KEYS, front=st.booleans())
    def pop(self, namespace: str, key: bytes, front: bool) -> None:
        self.both("pop", namespace, key, front=front)

    @rule(**KEYS, ranges=RANGES)
    def erase(self, namespace: str, key: bytes, ranges: Any) -> None:
        self.both("erase", namespace, key, ranges)

    @rule(**KEYS, value=VALUES)
    def remove(self, namespace: str, key: bytes, value: bytes) -> None:
        self.both("remove", namespace, key, value)

    @rule(**KEYS, start=INDEXES, end=INDEXES)
    def fetch(self, namespace: str, key: bytes, start: int | None, end: int | None) -> None:
        self.both("fetch", namespace, key, start, end)

    @rule(**KEYS)
    def length(self, namespace: str, key: bytes) -> None:
        self.both("length", namespace, key)

    @rule(**KEYS, start=INDEXES, end=INDEXES, ttl=TTLS, refresh=st.booleans())
    def retain(self, namespace: str, key: bytes, start: int | None, end: int | None, ttl: int, refresh: bool) -> None:
        self.both("retain", namespace, key, start, end, ttl, refresh)

    @rule(minutes=st.integers(0, 6))
    def pass_time(self, minutes: int) -> None:
        self.place.pass_ms(minutes * MINUTE)
        self.model.now += minutes * MINUTE


def test_a_place_does_what_the_model_does(server: Any) -> None:
    """Values and lists, conditions, indexes, times to live and kinds, in any order of calls."""

    class Here(Machine):
        def __init__(self) -> None:
            self.opened = place_of(*server, SMALL)
            super().__init__(self.opened.__enter__())

        def teardown(self) -> None:
            self.opened.__exit__(None, None, None)

    run_state_machine_as_test(Here, settings=settings(max_examples=30, stateful_step_count=40, deadline=None))


# --- values, as the reference has them


def sha(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


@pytest.mark.parametrize("case", sorted(CONDITIONS))
def test_a_conditional_set_stores_as_the_table_says(cache: Calls, case: str) -> None:
    """Absent, equal and different; in both generations; the hash of a new value is told where it was stored."""
    hashed = "hash" in case or case == "unconditional"
    call = cache.set_if_hash if hashed else cache.set_if
    for situation, before in enumerate((None, b"operand", b"other")):
        for wrap in (lambda value: value, lambda value: ("value", value)):
            cache.delete(RUN, b"k")
            if before is not None:
                assert cache.set(RUN, b"k", before, HOUR) == Ok()
            condition = condition_of(case, b"operand")
            if condition[1] is not None:
                condition = (case, wrap(condition[1]))
            stores = CONDITIONS[case][situation]
            expected = ("stored", wrap(sha(b"new")) if hashed else None) if stores else ("not-stored", None)
            assert call(RUN, wrap(b"k"), wrap(b"new"), HOUR, condition) == Ok(expected)
            assert cache.get(RUN, b"k") == Ok(b"new" if stores else before)


def test_each_kind_of_miss_has_its_own_form_and_is_no_error(cache: Calls) -> None:
    """`get` answers none, `get-with-hash` and all calls on lists `missing`; deleting nothing is fine."""
    missing = Ok(("missing", None))
    assert cache.get(RUN, b"k") == Ok(None)
    assert cache.get_with_hash(RUN, b"k") == missing
    assert cache.delete(RUN, b"k") == Ok()
    assert cache.pop_front(RUN, b"k") == cache.pop_back(RUN, b"k") == missing
    assert cache.erase(RUN, b"k", ("all", None)) == cache.erase(RUN, b"k", ("ranges", ([(0, 1)],))) == missing
    assert cache.remove(RUN, b"k", ("all-elements-with-value", b"v")) == missing
    assert cache.fetch(RUN, b"k", UNBOUNDED, UNBOUNDED) == cache.length(RUN, b"k") == missing
    assert cache.retain(RUN, b"k", UNBOUNDED, UNBOUNDED, HOUR, True) == missing


def test_a_hash_is_stable_and_that_of_the_value(cache: Calls) -> None:
    """The same when it is told at the set, at a look, and at the next one; large values too."""
    for value in (b"", b"v", bytes(100_000)):
        stored = cache.set_if_hash(RUN, b"k", value, HOUR, ("unconditional", None))
        assert stored == Ok(("stored", sha(value)))
        for _ in range(2):
            assert cache.get_with_hash(RUN, b"k") == Ok(("found", (value, sha(value))))
    assert cache.set_if_hash(RUN, b"k", b"w", HOUR, ("present-and-hash-equal", sha(value))) == Ok(("stored", sha(b"w")))


def test_a_large_value_that_was_never_hashed_can_be_compared(cache: Calls) -> None:
    """By value and by hash, and a look at it finds the hash."""
    value, other = bytes(200_000), bytes(199_999) + b"x"
    for condition, stores in (
        (("equal", value), True),
        (("equal", other), False),
        (("not-equal", value), False),
    ):
        cache.set(RUN, b"k", value, HOUR)
        answer = cache.set_if(RUN, b"k", value, HOUR, condition)
        assert answer == Ok(("stored" if stores else "not-stored", None))
    for operand, stores in ((sha(value), True), (sha(other), False), (b"", False), (b"short", False)):
        cache.set(RUN, b"k", value, HOUR)
        answer = cache.set_if_hash(RUN, b"k", b"w", HOUR, ("present-and-hash-equal", operand))
        assert answer == Ok(("stored", sha(b"w")) if stores else ("not-stored", None))
    cache.set(RUN, b"k", value, HOUR)
    assert cache.get_with_hash(RUN, b"k").value[1].hash == sha(value)


def test_an_optimistic_update_is_not_stored_where_somebody_was_faster(cache: Calls) -> None:
    """Two read the same hash; the first to write wins."""
    cache.set(RUN, b"k", b"1", HOUR)
    seen = cache.get_with_hash(RUN, b"k").value[1].hash
    assert cache.set_if_hash(RUN, b"k", b"2", HOUR, ("present-and-hash-equal", seen)).value[0] == "stored"
    assert cache.set_if_hash(RUN, b"k", b"3", HOUR, ("present-and-hash-equal", seen)).value[0] == "not-stored"
    assert cache.get(RUN, b"k") == Ok(b"2")


def test_keys_and_values_are_any_bytes(cache: Calls) -> None:
    """Empty ones, NULs and what is no text included."""
    for key, value in ((b"", b""), (b"\0", b"\xff" * 9), (b"a:b\r\n", b"*1\r\n"), ("ä".encode(), b"x")):
        assert cache.set(RUN, key, value, HOUR) == Ok()
        assert cache.get(RUN, key) == Ok(value)
        assert cache.push_back(RUN, key + b"list", value, HOUR, True, 0) == Ok(1)
        assert cache.fetch(RUN, key + b"list", UNBOUNDED, UNBOUNDED) == Ok(("found", [value]))


def test_namespaces_never_see_each_others_items(cache: Calls) -> None:
    """Neither by a name that is part of another, nor by a key that reads like one."""
    for namespace, key in (("default", b"x:k"), ("d", b"efault:x:k"), ("default-x", b"k")):
        other = invocation(of=deployment(namespace=namespace))
        assert cache.get(other, key) == Ok(None)
        cache.set(other, key, namespace.encode(), HOUR)
    for namespace, key in (("default", b"x:k"), ("d", b"efault:x:k"), ("default-x", b"k")):
        assert cache.get(invocation(of=deployment(namespace=namespace)), key) == Ok(namespace.encode())


def test_a_value_is_gone_when_its_time_is_over(place: Place, cache: Calls) -> None:
    """For whoever asks for it, and for conditions; setting it again starts the time again."""
    cache.set(RUN, b"k", b"v", 2 * MINUTE)
    place.pass_ms(MINUTE)
    assert cache.get(RUN, b"k") == Ok(b"v")
    cache.set(RUN, b"k", b"w", 2 * MINUTE)
    place.pass_ms(MINUTE)
    assert cache.get(RUN, b"k") == Ok(b"w")
    place.pass_ms(MINUTE)
    assert cache.get(RUN, b"k") == Ok(None)
    assert cache.get_with_hash(RUN, b"k") == Ok(("missing", None))
    assert cache.set_if(RUN, b"k", b"x", HOUR, ("present", None)) == Ok(("not-stored", None))
    assert cache.set_if(RUN, b"k", b"x", HOUR, ("absent", None)) == Ok(("stored", None))


def test_a_set_that_is_not_stored_changes_no_time(place: Place, cache: Calls) -> None:
    """The old value keeps its own."""
    cache.set(RUN, b"k", b"v", 2 * MINUTE)
    place.pass_ms(MINUTE)
    assert cache.set_if(RUN, b"k", b"w", HOUR, ("absent", None)) == Ok(("not-stored", None))
    place.pass_ms(MINUTE)
    assert cache.get(RUN, b"k") == Ok(None)


def test_a_huge_time_to_live_is_a_day(place: Place, cache: Calls) -> None:
    """The crates send up to 2**64-1 milliseconds."""
    cache.set(RUN, b"k", b"v", 2**64 - 1)
    cache.push_back(RUN, b"l", b"v", 2**64 - 1, False, 0)
    place.pass_ms(24 * HOUR - MINUTE)
    assert (cache.get(RUN, b"k"), cache.length(RUN, b"l")) == (Ok(b"v"), Ok(("found", 1)))
    place.pass_ms(MINUTE)
    assert (cache.get(RUN, b"k"), cache.length(RUN, b"l")) == (Ok(None), Ok(("missing", None)))


# --- kinds, bounds, errors


def test_a_key_holds_a_value_or_a_list(cache: Calls) -> None:
    """Asking one as the other is `failed-precondition` and changes nothing; setting and deleting replace either."""
    cache.set(RUN, b"v", b"value", HOUR)
    fill(cache, b"a", name=b"l")
    refusals = [
        cache.get(RUN, b"l"),
        cache.get_with_hash(RUN, b"l"),
        cache.push_front(RUN, b"v", b"x", HOUR, True, 0),
        cache.concatenate_back(RUN, b"v", [b"x"], HOUR, True, 0),
        cache.pop_front(RUN, b"v"),
        cache.erase(RUN, b"v", ("all", None)),
        cache.erase(RUN, b"v", ("ranges", ([(0, 1)],))),
        cache.remove(RUN, b"v", ("all-elements-with-value", b"x")),
        cache.fetch(RUN, b"v", UNBOUNDED, UNBOUNDED),
        cache.length(RUN, b"v"),
        cache.retain(RUN, b"v", UNBOUNDED, UNBOUNDED, HOUR, True),
    ]
    assert {refusal.error[0] for refusal in refusals} == {"failed-precondition"}
    assert (cache.get(RUN, b"v"), elements(cache)) == (Ok(b"value"), [b"a"])
    cache.set(RUN, b"l", b"now a value", HOUR)
    cache.delete(RUN, b"v")
    assert cache.push_back(RUN, b"v", b"now a list", HOUR, True, 0) == Ok(1)
    assert cache.get(RUN, b"l") == Ok(b"now a value")


def test_a_list_counts_as_present_and_as_different_from_any_value(cache: Calls) -> None:
    """Where a condition holds for that, the value takes its place."""
    for case, stores in CONDITIONS.items():
        fill(cache, b"a")
        call = cache.set_if_hash if "hash" in case or case == "unconditional" else cache.set_if
        answer = call(RUN, b"l", b"v", HOUR, condition_of(case, b"a"))
        assert answer.value[0] == ("stored" if stores.different else "not-stored"), case


def test_no_time_to_live_is_an_invalid_argument(cache: Calls) -> None:
    """For every call that takes one, and nothing is stored."""
    fill(cache, b"a")
    refusals = [
        cache.set(RUN, b"k", b"v", 0),
        cache.set_if(RUN, b"k", b"v", 0, ("absent", None)),
        cache.set_if_hash(RUN, b"k", b"v", 0, ("unconditional", None)),
        cache.push_front(RUN, b"l", b"v", 0, True, 0),
        cache.push_back(RUN, b"k", b"v", 0, False, 0),
        cache.concatenate_front(RUN, b"k", [b"v"], 0, True, 0),
        cache.concatenate_back(RUN, b"k", [b"v"], 0, True, 0),
        cache.retain(RUN, b"l", UNBOUNDED, UNBOUNDED, 0, False),
    ]
    assert {refusal.error[0] for refusal in refusals} == {"invalid-argument"}
    assert (cache.get(RUN, b"k"), elements(cache)) == (Ok(None), [b"a"])


@pytest.fixture
def bounded(server: Any) -> Iterator[Calls]:
    """A cache with small bounds."""
    limits = CacheLimits(key_bytes=8, item_bytes=20, element_bytes=4, list_elements=4, list_bytes=10, erase_ranges=2)
    with place_of(*server, limits) as place:
        yield Calls(place)


def refused(answer: Any) -> bool:
    assert isinstance(answer, Err)
    case, text = answer.error
    return case == "limit-exceeded" and bool(text)


def test_what_is_over_a_bound_is_refused_and_changes_nothing(bounded: Calls) -> None:
    """Keys, items, elements, lengths, sizes and ranges; what is just within is fine."""
    cache = bounded
    assert cache.set(RUN, b"k" * 8, b"v" * 12, HOUR) == Ok()
    assert refused(cache.set(RUN, b"k" * 8, b"v" * 13, HOUR))
    assert refused(cache.get(RUN, b"k" * 9))
    assert refused(cache.length(RUN, b"k" * 9))
    assert cache.push_back(RUN, b"l", b"vvvv", HOUR, True, 0) == Ok(1)
    assert refused(cache.push_back(RUN, b"l", b"vvvvv", HOUR, True, 0))
    assert refused(cache.concatenate_front(RUN, b"l", [b"a", b"vvvvv"], HOUR, True, 0))
    assert cache.concatenate_back(RUN, b"l", [b"a", b"b", b"c"], HOUR, True, 0) == Ok(4)
    assert refused(cache.push_back(RUN, b"l", b"d", HOUR, True, 0))
    assert refused(cache.concatenate_front(RUN, b"l", [b"d", b"e"], HOUR, True, 5))
    assert cache.push_back(RUN, b"l", b"d", HOUR, True, 4) == Ok(4)
    assert refused(cache.erase(RUN, b"l", ("ranges", ([(0, 1)] * 3,))))
    assert elements(cache) == [b"a", b"b", b"c", b"d"]
    assert refused(cache.concatenate_front(RUN, b"m", [b"vvvv", b"vvvv", b"vvv"], HOUR, True, 0))
    assert elements(cache, b"m") is None


def test_hits_and_misses_are_counted(place: Place, cache: Calls) -> None:
    """Of everything that reads."""
    for _ in range(2):
        cache.get(RUN, b"k")
        cache.fetch(RUN, b"l", UNBOUNDED, UNBOUNDED)
        cache.pop_front(RUN, b"l")
        cache.set(RUN, b"k", b"v", HOUR)
        fill(cache, b"a", b"b")
    assert (place.backend.counts.hits, place.backend.counts.misses) == (3, 3)
