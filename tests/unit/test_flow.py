"""How many queued calls start, and whose turn it is: bookkeeping over a clock that only the test moves."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from guesthouse.dispatch.dues import MOST_TIMES, Dues
from guesthouse.dispatch.flow import (
    LONGEST_PAUSE_NS,
    SECOND_NS,
    WINDOW_NS,
    AdaptiveLimit,
    FairTurns,
    FunctionFlow,
    TokenBucket,
)
from guesthouse.registry.policy import FlowPolicy

STEPS = st.lists(st.tuples(st.integers(0, 5 * SECOND_NS), st.integers(0, 50)), max_size=60)
NAMES = st.sampled_from([(namespace, name) for namespace in "abc" for name in "xyz"])


# -- the token bucket


@given(st.integers(1, 1_000), st.integers(1, 1_000), STEPS)
def test_a_bucket_gives_in_any_time_no_more_than_its_burst_and_what_the_rate_brings(rate, burst, steps):
    """Whatever the pauses: what was taken by time t is at most burst + rate * t."""
    bucket, now, taken = TokenBucket(rate, burst, 0), 0, 0
    for pause, wanted in steps:
        now += pause
        count = min(wanted, bucket.tokens(now))
        bucket.take(count, now)
        taken += count
        assert taken * SECOND_NS <= burst * SECOND_NS + rate * now


@given(st.integers(1, 1_000), st.integers(1, 1_000), STEPS)
def test_a_bucket_says_exactly_when_it_has_its_next_token(rate, burst, steps):
    """At that time there is one, and a nanosecond earlier there is none."""
    bucket, now = TokenBucket(rate, burst, 0), 0
    for pause, wanted in steps:
        now += pause
        bucket.take(wanted, now)
        ready = bucket.ready_ns(now)
        if ready > now:
            assert bucket.tokens(ready - 1) <= 0
        now = max(now, ready)
        assert bucket.tokens(now) >= 1


def test_a_bucket_is_full_at_first_and_never_more_than_full():
    """A long pause brings the burst back, and not what the rate would have brought."""
    bucket = TokenBucket(10, 3, 0)
    assert bucket.tokens(0) == 3
    assert bucket.tokens(1000 * SECOND_NS) == 3
    bucket.take(3, 1000 * SECOND_NS)
    assert bucket.tokens(1000 * SECOND_NS) == 0
    assert bucket.tokens(1000 * SECOND_NS + SECOND_NS // 10) == 1


def test_a_clock_that_stands_still_or_steps_back_gives_no_tokens():
    """The bucket goes by the latest time it has seen."""
    bucket = TokenBucket(1, 1, 10 * SECOND_NS)
    bucket.take(1, 10 * SECOND_NS)
    assert bucket.tokens(0) == 0
    assert bucket.tokens(10 * SECOND_NS) == 0


# -- the adaptive limit


@given(st.lists(st.tuples(st.sampled_from("so"), st.integers(0, 3 * WINDOW_NS)), max_size=300), st.integers(1, 300))
def test_a_limit_stays_between_one_and_the_most(steps, most):
    """Whatever comes: some call may always run, and never more than without a limit."""
    limit, now = AdaptiveLimit(), 0
    for step, pause in steps:
        now += pause
        if step == "s":
            limit.succeeded(most)
        else:
            limit.overloaded(most, now)
        assert 1 <= limit.now(most) <= most


def test_overload_halves_the_limit_once_in_a_window():
    """A burst of refusals is one piece of news; the next window's is another."""
    limit = AdaptiveLimit()
    for _ in range(10):
        limit.overloaded(128, 5 * SECOND_NS)
    assert limit.now(128) == 64
    limit.overloaded(128, 5 * SECOND_NS + WINDOW_NS - 1)
    assert limit.now(128) == 64
    limit.overloaded(128, 5 * SECOND_NS + WINDOW_NS)
    assert limit.now(128) == 32


def test_successes_bring_the_limit_back_one_by_one():
    """As many successes as the limit allows at once make it one larger, until there is none."""
    limit = AdaptiveLimit()
    limit.overloaded(16, 0)
    assert limit.now(16) == 8
    for expected in range(9, 17):
        while limit.now(16) < expected:
            limit.succeeded(16)
    assert limit.idle(0)


def test_a_retry_after_is_a_pause_that_ends():
    """Nothing starts before it; one that asks for a year is cut down; a shorter one does not end a longer one."""
    flow = FunctionFlow(FlowPolicy())
    flow.limit.overloaded(8, SECOND_NS, 5_000)
    flow.limit.overloaded(8, SECOND_NS, 1_000)
    assert flow.room(8, 6 * SECOND_NS - 1) == 0
    assert flow.opens_ns(8, SECOND_NS) == 6 * SECOND_NS
    assert flow.room(8, 6 * SECOND_NS) == 4
    flow.limit.overloaded(8, 6 * SECOND_NS, 365 * 24 * 3_600_000)
    assert flow.room(8, 6 * SECOND_NS + LONGEST_PAUSE_NS) > 0


# -- one function


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("kl")), max_size=100), st.integers(1, 3))
def test_of_one_key_no_more_calls_run_than_its_bound(steps, bound):
    """And a key that is busy says nothing of another one."""
    flow, running = FunctionFlow(FlowPolicy(key_inflight=bound)), Counter()
    for start, key in steps:
        if start and flow.admits(key):
            flow.started(key, 0)
            running[key] += 1
        elif not start and running[key]:
            flow.ended(key)
            running[key] -= 1
        assert max(running.values(), default=0) <= bound
        assert sorted(flow.busy_keys()) == sorted(key for key, count in running.items() if count == bound)
        assert all(flow.admits(key) == (running[key] < bound) for key in "kl")


def test_the_bound_of_a_function_is_the_least_of_all_that_bind_it():
    """Share of the host, deployment, adaptive limit, rate."""
    flow = FunctionFlow(FlowPolicy(max_inflight=6, rate=2, burst=4))
    flow.adopt(flow.policy, 0)
    assert flow.room(100, 0) == 4
    for _ in range(4):
        flow.started(None, 0)
    assert flow.room(100, 0) == 0
    assert flow.opens_ns(100, 0) == SECOND_NS // 2
    assert flow.room(100, 60 * SECOND_NS) == 2
    assert flow.room(3, 60 * SECOND_NS) == 0
    assert flow.opens_ns(3, 60 * SECOND_NS) is None


# -- turns


@given(
    st.lists(NAMES, min_size=1, max_size=9, unique=True),
    st.dictionaries(NAMES, st.integers(0, 20)),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 20)),
    st.integers(0, 60),
)
def test_a_plan_keeps_every_bound_and_leaves_nothing_free_that_somebody_could_use(ready, rooms, shares, free):
    """No more than is free, no function over its room, no namespace over its share; and no slot is wasted."""
    turns = FairTurns()
    for key in ready:
        turns.add(key)
    planned = turns.plan(free, lambda key: rooms.get(key, 5), lambda namespace: shares.get(namespace, 10))
    used = Counter()
    for (namespace, _), count in planned.items():
        used[namespace] += count
    assert sum(planned.values()) <= free
    assert set(planned) <= set(ready)
    assert all(0 < count <= rooms.get(key, 5) for key, count in planned.items())
    assert all(count <= shares.get(namespace, 10) for namespace, count in used.items())
    possible = 0
    for namespace in "abc":
        wanted = sum(rooms.get(key, 5) for key in ready if key[0] == namespace)
        possible += min(wanted, shares.get(namespace, 10))
    assert sum(planned.values()) == min(free, possible)


@given(st.lists(NAMES, min_size=1, max_size=9, unique=True), st.integers(1, 7), st.integers(1, 60))
def test_who_always_has_something_to_do_is_served_as_often_as_anybody_else(ready, free, rounds):
    """After any number of plans two namespaces differ by one start at most, and two functions of one as well."""
    turns, served = FairTurns(), Counter()
    for key in ready:
        turns.add(key)
    for _ in range(rounds):
        served.update(turns.plan(free, lambda key: 1_000, lambda namespace: 1_000))
    namespaces = Counter()
    for (namespace, _), count in served.items():
        namespaces[namespace] += count
    assert max(namespaces.values()) - min(namespaces[namespace] for namespace, _ in ready) <= 1
    for namespace in namespaces:
        counts = [served[key] for key in ready if key[0] == namespace]
        assert max(counts) - min(counts) <= 1


def test_who_comes_back_waits_behind_those_that_waited():
    """Leaving and coming again is no way to the front."""
    turns = FairTurns()
    for name in ("a", "b", "c"):
        turns.add(("n", name))
    assert list(turns.plan(1, lambda key: 9, lambda namespace: 9)) == [("n", "a")]
    turns.discard(("n", "b"))
    assert ("n", "b") not in turns
    turns.add(("n", "b"))
    assert list(turns.plan(3, lambda key: 1, lambda namespace: 9)) == [("n", "c"), ("n", "a"), ("n", "b")]


# -- what is due later


@given(st.lists(st.tuples(NAMES, st.integers(0, 100)), max_size=40), st.integers(0, 120))
def test_every_time_that_has_come_is_given_out_once(times, now):
    """And the first of those that have not is known."""
    dues = Dues()
    for key, due in times:
        dues.add(key, due)
    assert sorted(dues.come(now)) == sorted({key for key, due in times if due <= now})
    assert list(dues.come(now)) == []
    assert dues.first() == min((due for _, due in times if due > now), default=None)


def test_over_its_bound_the_latest_times_are_asked_for_again():
    """What is kept of one function is bounded; where it ends, the queue has to be asked."""
    dues, key = Dues(), ("n", "f")
    for due in range(MOST_TIMES + 1):
        dues.add(key, due)
    assert list(dues.come(MOST_TIMES // 2 - 2)) == [key]
    dues.emptied(key)
    assert not dues.blind
    assert list(dues.come(MOST_TIMES)) == [key]
    dues.emptied(key)
    assert dues.blind
    dues.learn({key: None})
    assert not dues.blind
    dues.emptied(key)
    assert not dues.blind
