"""Spawn, exactly: accepted at once, run once, in a sandbox of its own, and counted however it ends."""

from __future__ import annotations

import json

import pytest

from guesthouse import Host
from guesthouse.dispatch import spawner
from guesthouse.errors import BadRequest, NotFound
from probes import SPAWNED, SPAWNED_AND_CURIOUS, SPAWNS_AND_TRAPS, Gate, on_loop, redeploy, settled
from support import FORMS, guest, host_with, wat

NAMES = ("start", "old-start", "old-spawn", "spawn-unit", "spawn-result", "spawn-outcome", "fork-bomb", "echo")


@pytest.fixture(scope="module", params=FORMS)
def shared(request):
    with host_with(*NAMES, form=request.param) as host:
        yield host


@pytest.fixture
def host(shared):
    """A host whose counts begin at nothing."""
    settled(shared)
    shared.inner.metrics._counters["spawns"].clear()
    return shared


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture(params=FORMS)
def gated(gate, request):
    """A host with a spawn function that stops where a test wants it to, and a guest that starts it."""
    with host_with("start", form=request.param, interfaces=[gate]) as host:
        host.deploy("spawned", wat(SPAWNED))
        yield host
        on_loop(host, gate.open())


def log_of(host: Host, name: str) -> list[tuple[str, str, str]]:
    """Level, source and text of what is in a function's log."""
    entries = host.inner.logs.tail(f"default/{name}", 100)
    return [(entry.record.level, entry.record.source, entry.record.text) for entry in entries]


# -- the caller


def test_the_caller_goes_on_while_the_spawned_run_waits(gated, gate):
    """202 is there although what was started has not ended, and will not before the test says so."""
    assert gated.invoke("start", b"wait", path="spawned").status == 202
    on_loop(gated, gate.arrivals())
    assert gated.inner.dispatcher.spawner.in_flight == 1
    assert gated.inner.metrics._counters["spawns"] == {}
    on_loop(gated, gate.open())
    assert settled(gated) == {"ok": 1}


def test_a_spawned_run_outlives_the_trap_of_its_caller(gated, gate):
    """Once accepted it belongs to nobody: the caller's end, however bad, does not touch it."""
    gated.deploy("dying", wat(SPAWNS_AND_TRAPS))
    assert gated.invoke("dying", b"wait").result == "trapped"
    on_loop(gated, gate.arrivals())
    on_loop(gated, gate.open())
    assert settled(gated) == {"ok": 1}
    assert gate.said == [b"wait"]


@pytest.mark.parametrize("name", ["nobody", "echo", "start", "", "not a name", "../spawn-unit", "x" * 1000])
def test_what_is_no_spawn_function_is_not_found_by_the_caller(host, name):
    """Unknown names and web functions alike: the caller hears it at once, and goes on."""
    outcome = host.invoke("start", b"{}", path=name)
    assert (outcome.status, outcome.result) == (404, "ok")
    assert settled(host) == {}


def test_a_full_queue_is_a_limit_and_no_trap(gated, gate, monkeypatch):
    """The guest can read why; when the queue has room again, it can start again."""
    monkeypatch.setattr(spawner, "MOST_IN_FLIGHT", 1)
    assert gated.invoke("start", b"wait", path="spawned").status == 202
    refused = gated.invoke("start", b"more", path="spawned")
    assert (refused.status, refused.result) == (429, "ok")
    assert "the spawn queue is full" in json.loads(refused.body)["error"]
    on_loop(gated, gate.arrivals())
    on_loop(gated, gate.open())
    settled(gated)
    assert gated.invoke("start", b"more", path="spawned").status == 202
    assert settled(gated) == {"ok": 2}


def test_a_payload_over_the_targets_limit_is_a_limit_and_no_trap(host):
    """The bound is that of the function that would get it."""
    redeploy(host, "spawn-unit", "small", request_bytes=3)
    assert host.invoke("start", b"123", path="small").status == 202
    assert host.invoke("start", b"1234", path="small").status == 429
    assert settled(host) == {"ok": 1}


@pytest.mark.parametrize("caller", ["start", "old-start"])
@pytest.mark.parametrize(("target", "key"), [("spawn-unit", b"spawn-unit"), ("old-spawn", b"color")])
def test_either_generation_starts_either(host, caller, target, key):
    """The payload arrives the same way, whichever import it was sent through."""
    payload = json.dumps({"key": "color", "value": caller}).encode()
    host.inner.cache.delete("default", key)
    assert host.invoke(caller, payload, path=target).status == 202
    assert settled(host) == {"ok": 1}
    assert host.inner.cache.get("default", key).value == (payload if target == "spawn-unit" else caller.encode())


# -- depth and fan-out


def test_a_fork_bomb_ends_at_its_depth(host):
    """15 runs with a depth of 3; the eight at the bottom were told of the limit, and fail with its text."""
    redeploy(host, "fork-bomb", spawn_depth=3)
    host.spawn("fork-bomb")
    assert settled(host) == {"ok": 7, "failed": 8}
    assert ("error", "system") in {line[:2] for line in log_of(host, "fork-bomb")}
    assert any("3 times in a row" in text for _, _, text in log_of(host, "fork-bomb"))


def test_a_fork_bomb_ends_at_its_fan_out(host):
    """However deep, one root leads to so many runs and no more."""
    redeploy(host, "fork-bomb", spawn_fanout=20)
    host.spawn("fork-bomb")
    counts = settled(host)
    assert sum(counts.values()) == 21
    assert any("fan-out" in text for _, _, text in log_of(host, "fork-bomb"))
    assert host.inner.dispatcher.spawner._families == {}


def test_families_do_not_share_their_bounds(host):
    """Each call from outside is a root of its own, with its own count."""
    redeploy(host, "fork-bomb", spawn_fanout=2)
    for _ in range(3):
        host.spawn("fork-bomb")
    assert sum(settled(host).values()) == 3 * (1 + 2)


# -- how runs end


@pytest.mark.parametrize(
    ("name", "payload", "result", "note"),
    [
        ("spawn-unit", b"anything", "ok", None),
        ("spawn-result", b"{}", "ok", None),
        ("spawn-result", b'{"fail": "out of paper"}', "failed", ("error", "system", "out of paper")),
        ("spawn-outcome", b'"ok"', "ok", None),
        ("spawn-outcome", b'{"ok-note": "12 rows"}', "ok", ("info", "system", "12 rows")),
        ("spawn-outcome", b'"failed"', "failed", None),
        ("spawn-outcome", b'{"failed-note": "disk full"}', "failed", ("error", "system", "disk full")),
        ("spawn-outcome", b'{"host-error": "no bucket"}', "failed", ("error", "system", "no bucket")),
        ("old-spawn", b'{"key": "k", "value": "v"}', "ok", None),
    ],
)
def test_every_result_is_counted_and_its_note_logged(host, name, payload, result, note):
    """The caller never hears of it; metrics and the function's log do."""
    before = len(log_of(host, name))
    assert host.invoke("start", payload, path=name).status == 202
    assert settled(host) == {result: 1}
    assert log_of(host, name)[before:] == ([] if note is None else [note])


@pytest.mark.parametrize("name", ["spawn-result", "old-spawn"])
def test_a_payload_that_does_not_decode_is_dropped(host, name):
    """In the newer generation by the note that says so, in the older by what the panic leaves on standard error."""
    host.invoke("start", b"nonsense", path=name)
    assert settled(host) == {"dropped": 1}
    expected = "Failed to extract spawn payload: " if name == "spawn-result" else "payload is not valid json"
    assert any(expected in text for _, _, text in log_of(host, name))


@pytest.mark.parametrize(
    ("payload", "limits", "result"),
    [(b"trap", {}, "trapped"), (b"spin", {"deadline_ms": 30}, "deadline"), (b"spin", {"fuel": 100_000}, "fuel")],
)
def test_a_run_that_is_ended_is_counted_by_why_and_not_run_again(gated, gate, payload, limits, result):
    """At most once: nothing is tried a second time, whatever ended it."""
    gated.deploy("ending", wat(SPAWNED), limits=limits)
    gated.invoke("start", payload, path="ending")
    assert settled(gated) == {result: 1}
    assert gate.said == [payload]
    assert ("error", "system") in {line[:2] for line in log_of(gated, "ending")}


def test_each_run_has_a_sandbox_of_its_own(gated, gate):
    """The guest traps where it finds its counter used."""
    for _ in range(3):
        gated.invoke("start", b"count", path="spawned")
    assert settled(gated) == {"ok": 3}


def test_a_run_knows_its_environment_and_nothing_of_any_request(gated, gate):
    """Request metadata is answered empty, the deployment's variables are there."""
    gated.deploy("curious", wat(SPAWNED_AND_CURIOUS), environment={"GREETING": "hi"})
    gated.invoke("start", b"x", path="curious", query=[("a", "b")], headers=[("x-a", "b")])
    assert settled(gated) == {"ok": 1}
    headers, query, path, method, environment = gate.seen[0]
    assert (headers, query, path, method) == ([], [], None, "")
    names = dict(environment)
    assert (names["GREETING"], names["__FUNCTION_NAME"], names["__CACHE_NAME"]) == ("hi", "curious", "default")
    assert len(names["__INVOCATION_ID"]) == len(gated.invoke("start", path="nobody").invocation_id)


# -- from outside


def test_a_spawn_function_cannot_be_called_like_a_web_function(host):
    """There is nobody to whom it could answer."""
    with pytest.raises(BadRequest, match="default/spawn-unit is a spawn function: it cannot be called over HTTP"):
        host.invoke("spawn-unit", b"x")


def test_the_library_starts_spawn_functions_and_no_others(host):
    """`Host.spawn` returns the id of the run, which the guest and its log know too."""
    invocation_id = host.spawn("spawn-outcome", b'{"ok-note": "from outside"}')
    assert settled(host) == {"ok": 1}
    assert host.inner.logs.tail("default/spawn-outcome", 1)[0].invocation_id == invocation_id
    for name in ("echo", "nobody"):
        with pytest.raises(NotFound):
            host.spawn(name)


def test_a_namespace_is_closed_to_the_others(host):
    """A name means a function of the caller's own namespace."""
    host.deploy("elsewhere", guest("spawn-unit"), namespace="other")
    assert host.invoke("start", path="elsewhere").status == 404
