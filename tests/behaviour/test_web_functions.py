"""Web functions: what a guest learns of its request, and what becomes of its answer, in both main forms."""

from __future__ import annotations

import json

import pytest

from guesthouse import Host
from guesthouse.errors import BadRequest, BodyTooLarge, NotFound
from support import FORMS, guest, host_with

NAMES = ("echo", "greet", "headers", "environment", "checksum", "echo-read", "mutate-global", "old-post", "clock")


@pytest.fixture(scope="module", params=FORMS)
def host(request):
    with host_with(*NAMES, form=request.param) as host:
        yield host


def test_echo_answers_the_body_untouched(host):
    """A buffer handed back is the answer; every byte value survives."""
    body = bytes(range(256)) * 64
    outcome = host.invoke("echo", body)
    assert (outcome.status, outcome.body) == (200, body)
    assert outcome.headers == [("content-type", "application/octet-stream")]


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1 << 20])
def test_a_body_of_any_size_is_read_through_its_buffer(host, size):
    """The SDK reads in pieces; what it has read is what was sent."""
    outcome = host.invoke("echo-read", b"x" * size)
    assert json.loads(outcome.body)["length"] == size


def test_try_read_delivers_the_whole_body(host):
    """The newest generation of the SDK reads streams through `try-read`."""
    assert host.invoke("checksum", b"abc").text.startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize("name", ["greet", "old-post"])
def test_json_in_and_out_in_both_generations(host, name):
    """The greeter of each generation answers JSON with its content type."""
    outcome = host.invoke(name, b'{"name": "Ada"}')
    assert (outcome.status, json.loads(outcome.body)) == (200, {"message": "Hello, Ada!"})
    assert ("content-type", "application/json; charset=utf-8") in outcome.headers


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"other": 1}', b"\xff"])
def test_wrong_json_is_the_guests_own_400(host, body):
    """The handler does not run; the guest says what is wrong, without headers."""
    outcome = host.invoke("greet", body)
    assert (outcome.status, outcome.headers) == (400, [])
    assert outcome.text.startswith("Failed to parse request body: ")


def test_a_guest_sees_its_request(host):
    """Method, path, query and headers arrive; the credential is hidden by an exact match on the lower-case name."""
    outcome = host.invoke(
        "headers", method="PATCH", path="a/b", query=[("q", "1"), ("q", "2")],
        headers=[("authorization", "secret"), ("x-one", "1"), ("x-one", "2")],
    )  # fmt: skip
    seen = json.loads(outcome.body)
    assert (seen["method"], seen["path"], seen["query"]) == ("PATCH", "a/b", {"q": "2"})
    assert seen["headers"] == {"authorization": "(hidden)", "x-one": "2"}
    assert seen["environment"]["function"] == "headers"
    assert seen["environment"]["invocation"] == outcome.invocation_id


def test_the_environment_is_the_deployments_own(host):
    """The three variables of the platform come first, then the deployment's."""
    host.deploy(
        "env", host.inner.registry.wasm(host.inner.deployment("environment").digest), environment={"GREETING": "hi"}
    )
    seen = json.loads(host.invoke("env").body)
    assert list(seen) == ["GREETING", "__CACHE_NAME", "__FUNCTION_NAME", "__INVOCATION_ID"]
    assert (seen["GREETING"], seen["__CACHE_NAME"], seen["__FUNCTION_NAME"]) == ("hi", "default", "env")


def test_no_state_survives_an_invocation(host):
    """Every call is a fresh instance: a counter in a static is always 1."""
    assert [host.invoke("mutate-global").body for _ in range(3)] == [b"1"] * 3


def test_a_sleeping_guest_sleeps_by_the_clock(host):
    """`std::thread::sleep` is an asynchronous host call: it takes its time and no thread."""
    assert json.loads(host.invoke("clock", query=[("sleep_ms", "20")]).body)["slept_ns"] >= 19_000_000


def test_an_outcome_says_what_was_used(host):
    """Fuel, memory and time of a good call are known."""
    outcome = host.invoke("greet", b'{"name": "Ada"}')
    assert outcome.result == "ok"
    assert outcome.error is None
    assert outcome.fuel_used is not None
    assert 1_000 < outcome.fuel_used < 1_000_000
    assert outcome.peak_memory >= 17 * 65536
    assert outcome.duration_ns > 0


def test_the_same_call_uses_the_same_fuel(host):
    """Fuel is deterministic: it is the second, reproducible bound."""
    assert len({host.invoke("greet", b'{"name": "Ada"}').fuel_used for _ in range(5)}) == 1


def test_an_unknown_function_is_not_found(host):
    """The error names what was looked for."""
    with pytest.raises(NotFound, match="default/nobody"):
        host.invoke("nobody")


def test_a_body_over_the_limit_never_reaches_the_guest(host):
    """The limit is the deployment's."""
    host.deploy("small", host.inner.registry.wasm(host.inner.deployment("echo").digest), limits={"request_bytes": 10})
    assert host.invoke("small", b"x" * 10).status == 200
    with pytest.raises(BodyTooLarge):
        host.invoke("small", b"x" * 11)


def test_a_limit_that_does_not_exist_is_refused_at_deploy():
    """A misspelt limit is an error that lists the right ones, not a default."""
    with Host() as host, pytest.raises(BadRequest, match=r"unknown limit 'memory'.*memory_bytes"):
        host.deploy("echo", guest("echo"), limits={"memory": 1})


def test_a_new_version_serves_the_next_call(host):
    """A deploy replaces what the name means, atomically; versions count up."""
    first = host.deploy("changing", guest("echo"))
    assert host.invoke("changing", b"a").body == b"a"
    second = host.deploy("changing", guest("greet"))
    assert host.invoke("changing", b'{"name": "B"}').text == '{"message":"Hello, B!"}'
    assert (first.version, second.version) == (1, 2)
    assert host.delete("changing")
    with pytest.raises(NotFound):
        host.invoke("changing")
