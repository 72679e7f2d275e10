"""The cache as guests see it: every condition, time to live, namespaces; and the read-through cache, end to end."""

from __future__ import annotations

import json
import time

import pytest

from guesthouse import Host, OutboundConfig, OutboundPolicy
from guesthouse.clock import SystemClock
from probes import on_loop, settled
from support import FORMS, guest, host_with
from upstream import Upstream, response

LOOPBACK = OutboundConfig(OutboundPolicy.of(schemes=("http",), allow_addresses=("127.0.0.0/8",)))


class ClockAhead(SystemClock):
    """The machine's clock, and then some."""

    ahead_ns = 0

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.ahead_ns


ALL_FORMS = (*FORMS, "unknown-unknown")


@pytest.fixture(scope="module", params=ALL_FORMS)
def form(request):
    return request.param


@pytest.fixture(scope="module", params=["cache-conditions", "old-cache-scalars"])
def host(request, form):
    """A host with the guest of one generation, in one form."""
    clock = ClockAhead()
    with Host(clock=clock) as host:
        for namespace in ("default", "other"):
            host.deploy("cache", guest(request.param, form), namespace=namespace)
        host.clock = clock
        yield host


def does(host, operation, key="k", value="", ttl_ms=60_000, namespace="default"):
    """What the guest answers to one operation."""
    order = {"operation": operation, "key": key, "value": value, "ttl_ms": ttl_ms}
    return json.loads(host.invoke("cache", json.dumps(order).encode(), namespace=namespace).body)


def holding(host, value):
    """Leaves the key with this value, or absent."""
    does(host, "delete")
    if value is not None:
        assert does(host, "set", value=value) == {"stored": True}


# -- conditions: whether a value is stored when the key is absent, equal to the operand, or different


@pytest.mark.parametrize(
    ("condition", "absent", "equal", "different"),
    [
        ("present", False, True, True),
        ({"present-and-not-equal": "blue"}, False, False, True),
        ("absent", True, False, False),
        ({"equal": "blue"}, False, True, False),
        ({"absent-or-equal": "blue"}, True, True, False),
        ({"not-equal": "blue"}, True, False, True),
    ],
)
def test_a_conditional_set_stores_where_its_condition_holds(host, condition, absent, equal, different):
    """And leaves what was there where it does not."""
    for before, stored in ((None, absent), ("blue", equal), ("green", different)):
        holding(host, before)
        assert does(host, {"set-if": condition}, value="red") == {"stored": stored}
        assert does(host, "get") == {"value": "red" if stored else before}


@pytest.mark.parametrize(
    ("condition", "absent", "equal", "different"),
    [
        ("present-and-not-hash-equal", False, False, True),
        ("present-and-hash-equal", False, True, False),
        ("absent-or-hash-equal", True, True, False),
        ("absent-or-not-hash-equal", True, False, True),
        ("unconditional", True, True, True),
    ],
)
def test_a_conditional_set_by_hash_stores_where_its_condition_holds(host, condition, absent, equal, different):
    """It answers the hash of what it stored, which is the one that a later look finds."""
    holding(host, "blue")
    blue = does(host, "get-with-hash")["hash"]
    operation = {"set-if-hash": condition if condition == "unconditional" else {condition: blue}}
    for before, stored in ((None, absent), ("blue", equal), ("green", different)):
        holding(host, before)
        answer = does(host, operation, value="red")
        assert answer["stored"] == stored
        found = does(host, "get-with-hash")
        assert found["value"] == ("red" if stored else before)
        assert answer.get("hash") == (found["hash"] if stored else None)


def test_an_optimistic_update_is_not_stored_where_somebody_was_faster(host):
    """Two read the same; the first to write wins, the second is told."""
    holding(host, "1")
    seen = does(host, "get-with-hash")["hash"]
    update = {"set-if-hash": {"present-and-hash-equal": seen}}
    assert does(host, update, value="2")["stored"]
    assert does(host, update, value="3") == {"stored": False}
    assert does(host, "get") == {"value": "2"}


# -- keys, values, times


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1 << 20])
def test_values_of_any_size_come_back_as_they_went(host, size):
    """Small ones as bytes, large ones through a buffer: no guest can tell."""
    value = "é" * (size // 2) + "x" * (size % 2)
    assert does(host, "set", "size", value) == {"stored": True}
    assert does(host, "get", "size") == {"value": value}


def test_a_miss_is_a_value_and_a_delete_of_nothing_is_fine(host):
    """Neither is an error."""
    assert does(host, "delete", "nothing") == {"deleted": True}
    assert does(host, "get", "nothing") == {"value": None}
    assert does(host, "get-with-hash", "nothing") == {"value": None}


@pytest.mark.parametrize("operation", ["set", {"set-if": "absent"}, {"set-if-hash": "unconditional"}])
def test_a_value_is_gone_when_its_time_is_over(host, operation):
    """To the millisecond, and for whoever asks about presence too."""
    does(host, "delete")
    assert does(host, operation, value="v", ttl_ms=60_000)["stored"]
    host.clock.ahead_ns += 59_000_000_000
    assert does(host, "get") == {"value": "v"}
    host.clock.ahead_ns += 1_000_000_000
    assert does(host, "get") == {"value": None}
    assert does(host, {"set-if": "present"}, value="w") == {"stored": False}


def test_a_value_is_kept_for_a_day_at_most(host):
    """However long its guest wanted it."""
    assert does(host, "set", value="v", ttl_ms=2**64 - 1) == {"stored": True}
    host.clock.ahead_ns += 86_399_000_000_000
    assert does(host, "get") == {"value": "v"}
    host.clock.ahead_ns += 1_000_000_000
    assert does(host, "get") == {"value": None}


def test_what_cannot_be_stored_is_an_error_value(host):
    """No time to live, or over the size: the guest reads why, and nothing traps."""
    assert "InvalidArgument" in does(host, "set", value="v", ttl_ms=0)["error"]
    assert "LimitExceeded" in does(host, "set", value="v" * 5_000_001)["error"]


def test_namespaces_do_not_see_each_others_keys(host):
    """The cache is that of the function's own namespace."""
    does(host, "set", "shared", "mine")
    assert does(host, "get", "shared", namespace="other") == {"value": None}
    does(host, "set", "shared", "theirs", namespace="other")
    assert does(host, "get", "shared") == {"value": "mine"}


# -- the read-through cache


@pytest.fixture(params=FORMS)
def story(request):
    """A host with the two functions, and the origin that they read."""
    with host_with("read-through", "fill", form=request.param, outbound=LOOPBACK) as host:
        upstream = on_loop(host, Upstream().__aenter__())
        yield host, upstream
        on_loop(host, upstream.__aexit__())


def reads(host, key, **query):
    """Status, `x-cache` and body of a read."""
    outcome = host.invoke("read-through", method="GET", path=key, query=list(query.items())).unwrap()
    return outcome.status, dict(outcome.headers)["x-cache"], outcome.body


async def answer_late(upstream: Upstream, answer: bytes) -> None:
    """Answers the request that has been left waiting."""
    await upstream.arrived.wait()
    for writer in upstream._writers:
        writer.write(answer)


@pytest.mark.parametrize("body", [b"from the origin", bytes(range(256)) * 4096], ids=["short", "a mebibyte"])
def test_a_miss_is_answered_at_once_and_the_next_call_hits(story, body):
    """The caller hears 404 while the origin has not answered; when it has, the value is there, byte for byte."""
    host, upstream = story
    upstream.answer = lambda request: None
    assert reads(host, "page", url=upstream.url("/page")) == (404, "miss", b"")
    assert host.inner.dispatcher.spawner.in_flight == 1
    on_loop(host, answer_late(upstream, response(body)))
    assert settled(host) == {"ok": 1}
    assert reads(host, "page") == (200, "hit", body)
    assert [request.line for request in upstream.requests] == ["GET /page HTTP/1.1"]


def test_an_origin_that_fails_leaves_a_miss_and_a_note(story):
    """The value of an error is not cached; the log of the filling function says what happened."""
    host, upstream = story
    upstream.answer = lambda request: response(b"", "503 Service Unavailable")
    assert reads(host, "page", url=upstream.url("/page"))[0] == 404
    assert settled(host) == {"failed": 1}
    assert reads(host, "page", url=upstream.url("/page"))[:2] == (404, "miss")
    assert settled(host) == {"failed": 2}
    assert any("answered 503" in entry.record.text for entry in host.inner.logs.tail("default/fill", 10))


def test_a_miss_without_an_origin_is_the_callers_mistake(story):
    """Nothing is started."""
    host, _ = story
    assert reads(host, "page")[0] == 400
    assert settled(host) == {}
