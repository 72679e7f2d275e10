"""Lists as guests see them: every call, in both generations of the crates and every form of guest."""

from __future__ import annotations

import json
import time

import pytest

from guesthouse import Host
from guesthouse.clock import SystemClock
from guesthouse.interfaces.cache import CacheConfig, Item
from guesthouse.limits import CacheLimits
from support import FORMS, ROOT, guest, host_with

SECONDS = 1_000_000_000


class ClockAhead(SystemClock):
    """The machine's clock, and then some."""

    ahead_ns = 0

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.ahead_ns


@pytest.fixture(scope="module", params=(*FORMS, "unknown-unknown"))
def form(request):
    return request.param


@pytest.fixture(scope="module", params=["cache-lists", "old-cache-lists"])
def host(request, form):
    """A host with the guest of one generation, in one form."""
    clock = ClockAhead()
    limits = CacheLimits(list_elements=1_000)
    with Host(clock=clock, cache=CacheConfig(limits=limits)) as host:
        host.deploy("lists", guest(request.param, form))
        host.clock = clock
        yield host


def call(host, name, list="l", ttl_ms=60_000, **arguments):
    """What the guest answers to one call."""
    order = {"call": name, "list": list, "ttl_ms": ttl_ms, **arguments}
    return json.loads(host.invoke("lists", json.dumps(order).encode()).unwrap().body)


def fill(host, values, list="l", **options):
    """Makes the list anew, of letters."""
    call(host, "list-erase", list)
    assert call(host, "list-concatenate-back", list, values=[*values], **options) == {"length": len(values)}


def content(host, list="l"):
    """The whole list as one text; `None` where there is none."""
    found = call(host, "list-fetch", list)
    return "".join(found["values"]) if "values" in found else None


MISSING = {"missing": True}


def test_pushes_make_the_list_and_answer_its_length(host):
    """At both ends; the length is asked for as well."""
    call(host, "list-erase")
    assert call(host, "list-push-back", value="b") == {"length": 1}
    assert call(host, "list-push-back", value="c") == {"length": 2}
    assert call(host, "list-push-front", value="a") == {"length": 3}
    assert call(host, "list-length") == {"length": 3}
    assert content(host) == "abc"


def test_concatenating_keeps_the_order(host):
    """[1,2,3] with [4,5,6] in front is [4,5,6,1,2,3]."""
    fill(host, "123")
    assert call(host, "list-concatenate-front", values=[*"456"]) == {"length": 6}
    assert call(host, "list-concatenate-back", values=[*"78"]) == {"length": 8}
    assert content(host) == "45612378"


def test_truncating_drops_from_the_other_end(host):
    """A size of none, which the crates send as 0, drops nothing."""
    fill(host, "abc")
    assert call(host, "list-push-front", value="x", truncate=3) == {"length": 3}
    assert call(host, "list-push-back", value="y", truncate=3) == {"length": 3}
    assert content(host) == "aby"
    assert call(host, "list-concatenate-front", values=[*"12"], truncate=4) == {"length": 4}
    assert call(host, "list-concatenate-back", values=[*"34"], truncate=2) == {"length": 2}
    assert content(host) == "34"
    assert call(host, "list-push-back", value="5", truncate=0) == {"length": 3}


def test_pops_answer_the_element_and_what_is_left(host):
    """The last one takes the list with it."""
    fill(host, "abc")
    assert call(host, "list-pop-front") == {"value": "a", "length": 2}
    assert call(host, "list-pop-back") == {"value": "c", "length": 1}
    assert call(host, "list-pop-back") == {"value": "b", "length": 0}
    assert call(host, "list-pop-back") == call(host, "list-pop-front") == MISSING


def test_erase_takes_ranges_of_the_list_as_it_was_or_all_of_it(host):
    """To the largest numbers."""
    fill(host, "abcdef")
    assert call(host, "list-erase", ranges=[[4, 1], [0, 2], [2**32 - 1, 2**32 - 1]]) == {"length": 3}
    assert content(host) == "cdf"
    assert call(host, "list-erase") == {"length": 0}
    assert call(host, "list-erase") == call(host, "list-erase", ranges=[[0, 1]]) == MISSING


def test_remove_deletes_every_equal_element(host):
    """And answers how many are left."""
    fill(host, "abcab")
    assert call(host, "list-remove", value="a") == {"length": 3}
    assert call(host, "list-remove", value="x") == {"length": 3}
    assert content(host) == "bcb"
    assert call(host, "list-remove", "nothing", value="a") == MISSING


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (1, 3), (-2, None), (None, -1), (0, 99), (-99, 2), (3, 1), (2**31 - 1, -(2**31))]
)
def test_fetch_and_retain_take_indexes_from_both_ends(host, start, end):
    """As Python's slices do; a range of nothing is found empty by one and empties the list by the other."""
    fill(host, "abcde")
    expected = "abcde"[start:end]
    assert call(host, "list-fetch", start=start, end=end) == {"values": [*expected]}
    assert call(host, "list-retain", start=start, end=end) == {"length": len(expected)}
    assert (content(host) or "") == expected


def test_what_is_not_there_is_missing(host):
    """For every call that reads."""
    for name in ("list-length", "list-fetch", "list-pop-front", "list-pop-back", "list-retain"):
        assert call(host, name, "nothing") == MISSING


@pytest.mark.parametrize("write", ["list-push-front", "list-concatenate-back", "list-retain"])
@pytest.mark.parametrize("refresh", [True, False])
def test_a_write_starts_the_time_again_where_it_refreshes(host, write, refresh):
    """The time belongs to the whole list."""
    fill(host, "ab")
    host.clock.ahead_ns += 59 * SECONDS
    assert call(host, write, value="c", values=["c"], refresh=refresh)["length"] >= 2
    host.clock.ahead_ns += 2 * SECONDS
    assert (content(host) is not None) == refresh
    host.clock.ahead_ns += 60 * SECONDS
    assert content(host) is None


def test_what_cannot_be_done_is_an_error_value(host):
    """No time to live, elements and lists over their bounds: the guest reads why, and nothing traps."""
    fill(host, "ab")
    for name in ("list-push-front", "list-push-back", "list-retain"):
        assert "InvalidArgument" in call(host, name, ttl_ms=0)["error"]
    assert "LimitExceeded" in call(host, "list-push-back", value="x" * (128 * 1024 + 1))["error"]
    assert "LimitExceeded" in call(host, "list-concatenate-front", values=["x"] * 1_000)["error"]
    assert "LimitExceeded" in call(host, "list-erase", ranges=[[0, 1]] * 1_001)["error"]
    assert content(host) == "ab"
    assert call(host, "list-push-back", value="x" * 128 * 1024) == {"length": 3}


def test_a_list_as_long_as_it_may_be_comes_back_whole(host):
    """Every element, in its order."""
    values = [str(number) for number in range(1_000)]
    fill(host, values)
    assert call(host, "list-fetch") == {"values": values}


def test_a_value_is_no_list(host):
    """`failed-precondition`, told as an error value."""
    host.inner.cache.set("default", b"v", Item(b"x"), 60_000)
    assert "FailedPrecondition" in call(host, "list-length", "v")["error"]


def test_the_example_of_the_docs_is_the_guest_that_is_built_and_does_what_they_say():
    """It answers the last texts that it was sent, newest first."""
    source = (ROOT / "guests" / "tests" / "cache-recent" / "src" / "lib.rs").read_text()
    assert source.strip() in (ROOT / "docs" / "interfaces" / "cache.md").read_text()
    with host_with("cache-recent") as host:
        for text in ("one", "two"):
            answer = json.loads(host.invoke("cache-recent", text.encode()).unwrap().body)
    assert answer == {"before": "one", "recent": ["two", "one"]}
