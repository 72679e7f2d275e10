"""The calls on lists, as the reference has them, in every place where the cache can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from guesthouse.engine.values import Ok
from unit.cache_places import PLACES, Calls, Place, elements, fill, place_of
from unit.interface_fakes import invocation

RUN = invocation()
MINUTE = 60_000
HOUR = 60 * MINUTE
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


def test_pushing_makes_the_list_and_answers_its_length(cache: Calls) -> None:
    """At both ends."""
    assert cache.push_back(RUN, b"l", b"b", HOUR, True, 0) == Ok(1)
    assert cache.push_back(RUN, b"l", b"c", HOUR, True, 0) == Ok(2)
    assert cache.push_front(RUN, b"l", b"a", HOUR, True, 0) == Ok(3)
    assert cache.length(RUN, b"l") == Ok(("found", 3))
    assert elements(cache) == [b"a", b"b", b"c"]


def test_concatenating_keeps_the_order_of_what_is_added(cache: Calls) -> None:
    """[1,2,3] with [4,5,6] in front is [4,5,6,1,2,3]; it makes the list as well."""
    assert cache.concatenate_front(RUN, b"l", [b"1", b"2", b"3"], HOUR, True, 0) == Ok(3)
    assert cache.concatenate_front(RUN, b"l", [b"4", b"5", b"6"], HOUR, True, 0) == Ok(6)
    assert elements(cache) == [b"4", b"5", b"6", b"1", b"2", b"3"]
    assert cache.concatenate_back(RUN, b"l", [b"7", b"8"], HOUR, True, 0) == Ok(8)
    assert elements(cache) == [b"4", b"5", b"6", b"1", b"2", b"3", b"7", b"8"]


def test_concatenating_nothing_makes_no_list_and_keeps_one(cache: Calls) -> None:
    """The length is what it was."""
    assert cache.concatenate_back(RUN, b"l", [], HOUR, True, 0) == Ok(0)
    assert elements(cache) is None
    fill(cache, b"a")
    assert cache.concatenate_front(RUN, b"l", [], HOUR, True, 0) == Ok(1)


def test_truncating_drops_from_the_other_end_and_zero_drops_nothing(cache: Calls) -> None:
    """Pushes and concatenations alike; a size over the length changes nothing; what is added may be dropped too."""
    fill(cache, b"a", b"b", b"c")
    assert cache.push_front(RUN, b"l", b"x", HOUR, True, 3) == Ok(3)
    assert elements(cache) == [b"x", b"a", b"b"]
    assert cache.push_back(RUN, b"l", b"y", HOUR, True, 3) == Ok(3)
    assert elements(cache) == [b"a", b"b", b"y"]
    assert cache.concatenate_front(RUN, b"l", [b"1", b"2"], HOUR, True, 4) == Ok(4)
    assert elements(cache) == [b"1", b"2", b"a", b"b"]
    assert cache.concatenate_back(RUN, b"l", [b"3", b"4"], HOUR, True, 5) == Ok(5)
    assert elements(cache) == [b"2", b"a", b"b", b"3", b"4"]
    assert cache.push_back(RUN, b"l", b"z", HOUR, True, 2**32 - 1) == Ok(6)
    assert cache.concatenate_front(RUN, b"l", [b"p", b"q", b"r"], HOUR, True, 2) == Ok(2)
    assert elements(cache) == [b"p", b"q"]
    assert cache.concatenate_back(RUN, b"l", [b"p", b"q", b"r"], HOUR, True, 1) == Ok(1)
    assert elements(cache) == [b"r"]


def test_popping_answers_the_element_and_the_length_that_is_left(cache: Calls) -> None:
    """In both generations' forms; the last one takes the list with it."""
    fill(cache, b"a", b"b", b"c")
    assert cache.pop_front(RUN, b"l") == Ok(("found", (b"a", 2)))
    assert cache.pop_back(RUN, ("value", b"l")) == Ok(("found", (("value", b"c"), 1)))
    assert cache.pop_back(RUN, b"l") == Ok(("found", (b"b", 0)))
    assert cache.pop_back(RUN, b"l") == Ok(("missing", None))


def test_a_list_that_is_emptied_by_any_call_is_missing(cache: Calls) -> None:
    """Erase, remove and retain; each answers that 0 elements are left."""
    nothing_left = Ok(("found", 0))
    for empty in (
        lambda: cache.erase(RUN, b"l", ("all", None)),
        lambda: cache.erase(RUN, b"l", ("ranges", ([(0, 2)],))),
        lambda: cache.remove(RUN, b"l", ("all-elements-with-value", b"a")),
        lambda: cache.retain(RUN, b"l", ("inclusive", 1), ("exclusive", 1), HOUR, True),
    ):
        fill(cache, b"a", b"a")
        assert empty() == nothing_left
        assert cache.length(RUN, b"l") == Ok(("missing", None))


def test_erasing_means_the_list_as_it_was_before(cache: Calls) -> None:
    """Ranges in any order, over each other, past the end, of nothing, and of all numbers that there are."""
    for ranges, left in (
        ([(0, 1)], b"bcdef"),
        ([(4, 1), (0, 2)], b"cdf"),
        ([(1, 2), (2, 2)], b"aef"),
        ([(1, 1), (1, 1)], b"acdef"),
        ([(0, 4), (1, 1)], b"ef"),
        ([(4, 9)], b"abcd"),
        ([(6, 1), (2**32 - 1, 2**32 - 1)], b"abcdef"),
        ([(5, 2**32 - 1)], b"abcde"),
        ([(3, 0)], b"abcdef"),
        ([], b"abcdef"),
    ):
        fill(cache, *(bytes([letter]) for letter in b"abcdef"))
        assert cache.erase(RUN, b"l", ("ranges", (ranges,))) == Ok(("found", len(left)))
        assert b"".join(elements(cache) or []) == left


def test_removing_deletes_every_equal_element(cache: Calls) -> None:
    """And none that only begins alike; a value that is not there changes nothing."""
    fill(cache, b"a", b"b", b"a", b"aa", b"")
    assert cache.remove(RUN, b"l", ("all-elements-with-value", b"a")) == Ok(("found", 3))
    assert elements(cache) == [b"b", b"aa", b""]
    assert cache.remove(RUN, ("value", b"l"), ("all-elements-with-value", ("value", b"x"))) == Ok(("found", 3))
    assert cache.remove(RUN, b"l", ("all-elements-with-value", b"")) == Ok(("found", 2))


EDGES = [None, 0, 1, 2, 3, 4, 5, -1, -2, -3, -4, -5, 2**31 - 1, -(2**31)]


def test_indexes_count_from_both_ends_and_are_clamped(cache: Calls) -> None:
    """Start is inclusive, end exclusive, for fetch and for retain, to the edges of their numbers."""
    letters = [b"a", b"b", b"c", b"d"]
    fill(cache, *letters)
    for start in EDGES:
        for end in EDGES:
            indexes = (
                UNBOUNDED if start is None else ("inclusive", start),
                UNBOUNDED if end is None else ("exclusive", end),
            )
            expected = letters[start:end]
            assert cache.fetch(RUN, b"l", *indexes) == Ok(("found", expected))
            if start in (None, 1, -1, -5, 5) or end in (None, 3, -1, -5):
                fill(cache, *letters, name=b"r")
                assert cache.retain(RUN, b"r", *indexes, HOUR, False) == Ok(("found", len(expected)))
                assert (elements(cache, b"r") or []) == expected


def test_an_empty_range_of_a_list_is_found_empty(cache: Calls) -> None:
    """The list is there, so it is not missing."""
    fill(cache, b"a", b"b")
    assert cache.fetch(RUN, b"l", ("inclusive", 1), ("exclusive", 1)) == Ok(("found", []))
    assert cache.fetch(RUN, b"l", ("inclusive", 2), UNBOUNDED) == Ok(("found", []))
    assert cache.fetch(RUN, b"l", UNBOUNDED, ("exclusive", 0)) == Ok(("found", []))


def test_fetched_elements_have_the_form_of_the_generation(cache: Calls) -> None:
    """Plain bytes, or `data` that is never a buffer, however large: a guest may hold only so many handles."""
    fill(cache, b"a", bytes(100_000))
    assert cache.fetch(RUN, b"l", UNBOUNDED, UNBOUNDED) == Ok(("found", [b"a", bytes(100_000)]))
    wrapped = [("value", b"a"), ("value", bytes(100_000))]
    assert cache.fetch(RUN, ("value", b"l"), UNBOUNDED, UNBOUNDED) == Ok(("found", wrapped))


WRITES: dict[str, Callable[[Calls, bool], Any]] = {
    "push-front": lambda cache, refresh: cache.push_front(RUN, b"l", b"v", 3 * MINUTE, refresh, 0),
    "push-back": lambda cache, refresh: cache.push_back(RUN, b"l", b"v", 3 * MINUTE, refresh, 0),
    "concatenate-front": lambda cache, refresh: cache.concatenate_front(RUN, b"l", [b"v"], 3 * MINUTE, refresh, 0),
    "concatenate-back": lambda cache, refresh: cache.concatenate_back(RUN, b"l", [b"v"], 3 * MINUTE, refresh, 0),
    "a truncating push": lambda cache, refresh: cache.push_back(RUN, b"l", b"v", 3 * MINUTE, refresh, 1),
    "a replacing push": lambda cache, refresh: cache.concatenate_front(RUN, b"l", [b"v"] * 3, 3 * MINUTE, refresh, 2),
    "retain": lambda cache, refresh: cache.retain(RUN, b"l", ("inclusive", 1), UNBOUNDED, 3 * MINUTE, refresh),
}


@pytest.mark.parametrize("write", sorted(WRITES))
def test_a_write_starts_the_time_again_where_it_refreshes(place: Place, cache: Calls, write: str) -> None:
    """Otherwise the time counts only where the list is made."""
    for refresh in (True, False):
        fill(cache, b"a", b"b", b"c", ttl=2 * MINUTE)
        place.pass_ms(MINUTE)
        assert isinstance(WRITES[write](cache, refresh), Ok)
        place.pass_ms(MINUTE)
        assert (elements(cache) is not None) == refresh
        if refresh:
            place.pass_ms(2 * MINUTE)
            assert elements(cache) is None


def test_what_takes_no_time_to_live_changes_none(place: Place, cache: Calls) -> None:
    """Reads, pops, erase and remove; also where the list has to be put together anew."""
    fill(cache, *(bytes([letter]) for letter in b"abcdefgh"), ttl=2 * MINUTE)
    place.pass_ms(MINUTE)
    cache.fetch(RUN, b"l", UNBOUNDED, UNBOUNDED)
    cache.length(RUN, b"l")
    cache.pop_front(RUN, b"l")
    cache.pop_back(RUN, b"l")
    cache.erase(RUN, b"l", ("ranges", ([(1, 1), (3, 1)],)))
    cache.remove(RUN, b"l", ("all-elements-with-value", b"b"))
    assert elements(cache) == [b"d", b"f", b"g"]
    place.pass_ms(MINUTE)
    assert elements(cache) is None


def test_a_list_that_was_gone_begins_anew(place: Place, cache: Calls) -> None:
    """With nothing of what it had, and its own time."""
    fill(cache, b"old", ttl=MINUTE)
    place.pass_ms(MINUTE)
    assert cache.push_back(RUN, b"l", b"new", 2 * MINUTE, False, 0) == Ok(1)
    place.pass_ms(MINUTE)
    assert elements(cache) == [b"new"]
