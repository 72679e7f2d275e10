"""Every guest in every form: each deploys, and does the same in all of them but for what the manifest lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from calculator import Paper, Rates
from guesthouse import Host, Ok, Outcome
from guesthouse.errors import InvalidModule
from harness import until
from probes import settled
from support import guest, manifest

THIRD = "unknown-unknown"


class Call(NamedTuple):
    """A call of a web function, and what is expected of it: a result, a status, and something in its body."""

    body: bytes = b""
    status: int = 200
    result: str = "ok"
    holds: bytes = b""
    limits: dict[str, int] = {}  # noqa: RUF012
    reason: str | None = None
    request: dict[str, Any] = {}  # noqa: RUF012


def trap(reason: str, body: bytes = b"", **limits: int) -> Call:
    """A call that ends without an answer."""
    result = reason if reason in ("deadline", "fuel") else "trapped"
    return Call(body, 0, result, limits=limits, reason=reason)


ORDER = b'{"customer": "Ada", "item": "engine", "push": "https://10.0.0.1/"}'
CHARGE, MONTH = b'{"customer": "ada", "cents": 1}', b'{"month": "2026-05"}'
ASKS_NOBODY = b'{"ask": ["nobody"], "question": 1, "within_ms": 1}'
REMINDS_NEVER = b'{"text": "", "to": "", "every_s": 1, "times": 0}'
WEB = {
    "approval": trap("deadline", b'{"what": "tea"}', deadline_ms=300),
    "bad-header": Call(b'[["x", "a\\r\\nb"]]', 0, "failed", reason="bad-answer"),
    "bad-status": Call(b"99", 0, "failed", reason="bad-answer"),
    "basket": Call(b'"show"', 400, holds=b"not called with a key"),
    "big-response": Call(b"2", holds=b"x" * (2 << 20)),
    "cache-conditions": Call(b'{"operation": "set", "key": "k", "ttl_ms": 1000}', holds=b'{"stored":true}'),
    "call-flood": trap("host-calls", host_calls=1000),
    "charge": Call(CHARGE, 500, holds=b"destination prohibited"),
    "checksum": Call(b"abc", holds=b"ba7816bf8f01cfea414140de5dae2223"),
    "chunks": Call(b"one\ntwo\n", 201, holds=b"one\ntwo\n"),
    "clock": Call(holds=b"unix_ms", request={"query": [("sleep_ms", "1")]}),
    "detached": Call(ORDER, 202, holds=b'{"accepted":"engine"}'),
    "dice": Call(request={"path": "3"}, holds=b"["),
    "echo": Call(bytes(range(256)), holds=bytes(range(256))),
    "echo-read": Call(b"abc", holds=b'"length":3'),
    "environment": Call(holds=b'"GREETING":"hi"'),
    "exiter": trap("exit"),
    "fetch": Call(b'{"verb": "GET", "url": "https://10.0.0.1/"}', holds=b"destination prohibited"),
    "find-customers": Call(MONTH, 500, holds=b"destination prohibited"),
    "first-answer": Call(ASKS_NOBODY, 404, holds=b"there is no function"),
    "greet": Call(b'{"name": "Ada"}', holds=b'{"message":"Hello, Ada!"}'),
    "headers": Call(request={"path": "a/b"}, holds=b'"path":"a/b"'),
    "log-flood": trap("host-calls", host_calls=1000),
    "logger": Call(b"x", 204),
    "memory-bomb": trap("out-of-memory", memory_bytes=32 << 20),
    "mutate-global": Call(holds=b"1"),
    "old-post": Call(b'{"name": "Ada"}', holds=b'{"message":"Hello, Ada!"}'),
    "old-start": Call(b"{}", 500, request={"path": "nobody"}, holds=b"FunctionNotFound"),
    "panic": trap("unreachable", b"boom"),
    "proxy": Call(status=500, request={"query": [("url", "https://10.0.0.1/")]}, holds=b"destination prohibited"),
    "publisher": Call(b"x", 204, request={"path": "news"}),
    "redirect": Call(status=302),
    "read-through": Call(status=400, request={"path": "k"}, holds=b"say ?url="),
    "recurse": trap("stack-overflow"),
    "reminder": Call(REMINDS_NEVER, holds=b'{"sent":0}'),
    "sleeper": trap("deadline", deadline_ms=30),
    "spin": trap("fuel", fuel=1_000_000),
    "sse-proxy": Call(status=500, request={"query": [("url", "https://10.0.0.1/")]}, holds=b"destination prohibited"),
    "start": Call(b"{}", 404, request={"path": "nobody"}),
    "stdout-flood": trap("host-calls", host_calls=1000),
    "ticker": Call(request={"query": [("events", "2"), ("every_ms", "1")]}, holds=b"data: tick\n\ndata: tick\n\n"),
    "token-vendor": Call(b'{"player": "ada", "room": "lobby"}', holds=b'"token":"'),
}
CONFIGURES_AND_LOGS = b'[{"configure-logs":[{"topic":"t"}]},{"info":"x"}]'
FETCHES = b'{"verb": "GET", "do": "get", "url": "https://10.0.0.1/"}'
PERMITS_NOTHING_KNOWN = b'{"seconds": 60, "raw": "{}"}'
NAMES_NO_ROLE = (
    b'{"do": "get", "who": {"region": "us-east-1", "role": "nobody"}, "bucket": "b", "table": "t", "function": "f",'
    b' "id": "s", "key": %b}'
)
NO_ROLE, NO_ROLE_FOR_AN_ITEM = NAMES_NO_ROLE % b'"k"', NAMES_NO_ROLE % b'[["id", "s", "1"]]'
PINGS = b'{"cluster": "main", "commands": [["PING"]]}'
PUSHES = b'{"call": "list-push-back", "list": "l", "value": "a", "ttl_ms": 1000, "refresh": true}'
PUBLISHES_TO_NOBODY = b'[{"topic": "t", "text": "hi"}, {"topic": "", "text": "hi"}]'
OF_TESTS = {
    "aws-ddb-calls": Call(NO_ROLE_FOR_AN_ITEM, holds=b'"refused"'),
    "aws-item": Call(status=500, holds=b"Unauthorized"),
    "aws-lambda-calls": Call(NO_ROLE, holds=b'"refused"'),
    "aws-object": Call(status=500, holds=b"Unauthorized"),
    "aws-s3-1-0": Call(NO_ROLE, holds=b'"refused"'),
    "aws-s3-calls": Call(NO_ROLE, holds=b'"refused"'),
    "aws-secret": Call(status=500, holds=b"Unauthorized"),
    "aws-secrets-calls": Call(NO_ROLE, holds=b'"refused"'),
    "bytes-calls": Call(b"abcdef", holds=b"cdef", request={"query": [("do", '[{"read": 2}]')]}),
    "cache-lists": Call(PUSHES, holds=b'"length"'),
    "cache-recent": Call(b"tea", holds=b'"recent":["tea"'),
    "detached-calls": Call(status=201, request={"query": [("do", '[{"queue": ["a", []]}, {"status": 201}]')]}),
    "durable-probe": Call(b'["current", "clock"]', holds=b'"durable":false'),
    "durable-probe-cache": Call(b'[{"cache_set": ["k", "v"]}, {"cache_get": "k"}, "clock"]', holds=b'"v"'),
    "http-1-0": Call(FETCHES, holds=b"destination prohibited"),
    "http-calls": Call(b'[{"send": %b}]' % FETCHES, holds=b"destination prohibited"),
    "log-calls": Call(CONFIGURES_AND_LOGS, holds=b"[null]"),
    "log-mixed": Call(b"x", holds=b"Ok(())"),
    "order": trap("deadline", b'"tea"', deadline_ms=300),
    "old-aws-all": Call(
        b'{"bucket": "b", "table": "t", "secret": "s", "function": "f", "keys": ["", ""]}', 500, holds=b"Unauthorized"
    ),
    "old-aws-ddb-calls": Call(NO_ROLE_FOR_AN_ITEM, holds=b'"refused"'),
    "old-aws-lambda-calls": Call(NO_ROLE, holds=b'"refused"'),
    "old-aws-s3-calls": Call(NO_ROLE, holds=b'"refused"'),
    "old-aws-secrets-calls": Call(NO_ROLE, holds=b'"refused"'),
    "old-cache-lists": Call(PUSHES, holds=b'"length"'),
    "old-cache-scalars": Call(b'{"operation": "set", "key": "k", "ttl_ms": 1000}', holds=b'{"stored":true}'),
    "old-detached-calls": Call(b"one\n-two"),
    "old-durable-calls": Call(b'{"sleep_ms": 1, "step": "a"}', holds=b"a"),
    "old-http-calls": Call(FETCHES, holds=b"destination prohibited"),
    "old-log-calls": Call(CONFIGURES_AND_LOGS, holds=b"[null]"),
    "old-redis-calls": Call(PINGS, holds=b"there is no cluster 'main'"),
    "old-returns": Call(holds=b"text", request={"path": "string"}),
    "old-token-calls": Call(PERMITS_NOTHING_KNOWN, holds=b"invalid-argument"),
    "old-topic-calls": Call(PUBLISHES_TO_NOBODY, holds=b'["ok","Error::InvalidArgument'),
    "old-web-support": Call(holds=b'"path":"a/b"', request={"path": "a/b"}),
    "read-file": Call(b"/nothing", 500, holds=b"No such file"),
    "returns": Call(holds=b"text", request={"path": "string"}),
    "spawn-calls": Call(b'[{"name": "nobody"}, {"name": "nobody", "old": true}]', holds=b"FunctionNotFound"),
    "stream-calls": Call(holds=b"text", request={"query": [("do", '[{"start": [200, []]}, {"data": "text"}]')]}),
    "token-calls": Call(PERMITS_NOTHING_KNOWN, holds=b"invalid-argument"),
    "topic-calls": Call(PUBLISHES_TO_NOBODY, holds=b'["ok","invalid argument'),
    "valkey-calls": Call(PINGS, holds=b"there is no cluster 'main'"),
    "valkey-leaderboard": Call(b'{"player": "Ada", "points": 7}', 500, holds=b"there is no cluster 'main'"),
    "web-support": Call(holds=b'"path":"a/b"', request={"path": "a/b"}),
}
"""Guests of tests/: what they are for needs more than a host; here they show that they work in each form."""
WEB |= OF_TESTS
SPAWN = {
    "detached-spawn": (b"", {"failed": 1}),
    "durable-spawn": (b'{"fail": "no"}', {"failed": 1}),
    "fill": (b'{"key": "k", "url": "https://10.0.0.1/"}', {"failed": 1}),
    "fork-bomb": (b"", {"ok": 3, "failed": 4}),
    "old-spawn": (b"nonsense", {"dropped": 1}),
    "old-topic-trigger": (b"x", {"ok": 1}),
    "old-web-support-spawn": (b"x", {"ok": 1}),
    "spawn-outcome": (b'{"failed-note": "full"}', {"failed": 1}),
    "spawn-result": (b"nonsense", {"dropped": 1}),
    "spawn-unit": (b"x", {"ok": 1}),
    "topic-trigger": (b"x", {"ok": 1}),
    "web-support-spawn": (b"x", {"ok": 1}),
}
COMMANDS = {
    "cat": Call(b"\0text", holds=b"\0text"),
    "command-calls": Call(holds=b'["command-calls"]'),
    "env": Call(holds=b"GREETING=hi"),
    "sha512sum": Call(b"abc", holds=b"ddaf35a193617abacc417349ae204131"),
    "toolbox": Call(status=0, result="failed", reason="exit"),
}
NO_VARIABLES = Call(status=500, holds=b"NotPresent")
DIFFERS = {
    "approval": WEB["approval"],
    "order": WEB["order"],
    "aws-item": NO_VARIABLES,
    "aws-object": NO_VARIABLES,
    "aws-secret": NO_VARIABLES,
    "charge": Call(CHARGE, 422, holds=b"CHARGE_API is not set"),
    "clock": trap("unreachable"),
    "durable-probe": trap("unreachable", WEB["durable-probe"].body),
    "durable-probe-cache": trap("unreachable", WEB["durable-probe-cache"].body),
    "environment": trap("unreachable"),
    "detached-calls": Call(status=201, request={"query": [("do", '[{"queue": ["a", []]}, {"status": 201}]')]}),
    "exiter": trap("unreachable"),
    "find-customers": Call(MONTH, 422, holds=b"CUSTOMERS_API is not set"),
    "headers": Call(request={"path": "a/b"}, holds=b'"environment":{"cache":"<not found>","function":"<not found>"'),
    "log-calls": trap("unreachable", CONFIGURES_AND_LOGS),
    "log-flood": trap("unreachable"),
    "logger": trap("unreachable", b"x"),
    "old-log-calls": trap("unreachable", CONFIGURES_AND_LOGS),
    "panic": trap("unreachable", b"boom"),
    "redirect": NO_VARIABLES,
    "sleeper": trap("unreachable"),
    "stdout-flood": trap("fuel", fuel=10_000_000),
    "stream-calls": Call(b"", 0, "trapped", reason="unreachable", request={"query": [("do", '["sleep"]')]}),
    "ticker": Call(
        status=200, result="trapped", reason="unreachable", request=WEB["ticker"].request, holds=b"data: tick"
    ),
}
"""What web functions do in the third form where it is not what they do in the others."""
DIFFERENT_TOPIC = "topic-trigger"
"""A spawn function that publishes to another topic in the third form: its outcome is the same."""

APIS = {"CHARGE_API": "https://10.0.0.1/", "CUSTOMERS_API": "https://10.0.0.1/"}
VARIABLES = {"GREETING": "hi", "ROLE": "nobody", "destination": "https://example.com/", **APIS}
ALL = sorted(manifest())


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host(interfaces=[Rates(), Paper()]) as host:
        yield host


def answer(host: Host, name: str, form: str, call: Call) -> Outcome:
    """Deploys one guest in one form and calls it."""
    host.deploy(name, guest(name, form), limits=call.limits, environment=VARIABLES)
    return host.invoke(name, call.body, **call.request)


def test_the_tables_below_know_every_guest():
    """A new guest has to say here what it does, and one that differs, how."""
    names = {name for name, _ in ALL}
    assert names == {*WEB, *SPAWN, *COMMANDS, "calculator"}
    assert {name for name, form in ALL if "differs" in manifest()[name, form]} == {*DIFFERS, DIFFERENT_TOPIC}
    assert {form for _, form in ALL if "differs" in manifest()[_, form]} == {THIRD}
    assert names - {name for name, form in ALL if form == THIRD} == {*COMMANDS, "dice", "read-file"}


@pytest.mark.parametrize(("name", "form"), [key for key in ALL if key[0] in WEB])
def test_a_web_function_does_the_same_in_every_form(host, name, form):
    """Or, in the third form, what is listed: that target's standard library has no time, environment or output."""
    call = DIFFERS.get(name, WEB[name]) if form == THIRD else WEB[name]
    outcome = answer(host, name, form, call)
    assert (outcome.result, outcome.status) == (call.result, call.status)
    assert call.holds in outcome.body
    assert getattr(outcome.error, "reason", None) == call.reason
    assert host.inner.deployment(name).kind == manifest()[name, form]["kind"] == "web"
    until(lambda: host.inner.dispatcher.pool.in_use == 0, "a guest is left, and it is none that goes on")


@pytest.mark.parametrize(("name", "form"), [key for key in ALL if key[0] in COMMANDS])
def test_a_command_does_the_same_in_both_forms(host, name, form):
    """A program needs WASI, which the third form lacks."""
    call = COMMANDS[name]
    outcome = answer(host, name, form, call)
    assert (outcome.result, outcome.status, getattr(outcome.error, "reason", None)) == (
        call.result,
        call.status,
        call.reason,
    )
    assert call.holds in outcome.body
    assert host.inner.deployment(name).kind == manifest()[name, form]["kind"] == "command"


@pytest.mark.parametrize(("name", "form"), [key for key in ALL if key[0] in SPAWN])
def test_a_spawn_function_does_the_same_in_every_form(host, name, form):
    """The one exception: without standard error nobody can tell a dropped payload of the older form from a trap."""
    payload, counts = SPAWN[name]
    if (name, form) == ("old-spawn", THIRD):
        counts = {"trapped": 1}
    host.deploy(name, guest(name, form), limits={"spawn_depth": 2})
    host.inner.metrics._counters["spawns"].clear()
    host.spawn(name, payload)
    assert settled(host) == counts
    assert host.inner.deployment(name).kind == manifest()[name, form]["kind"] == "spawn"


@pytest.mark.parametrize("form", [form for name, form in ALL if name == "calculator"])
def test_a_library_does_the_same_in_every_form(host, form):
    """An interface of one's own needs no more than the others."""
    host.deploy("calculator", guest("calculator", form))
    assert host.call("calculator", "convert", 2.5, "EUR") == Ok(5.0)
    assert host.inner.deployment("calculator").kind == manifest()["calculator", form]["kind"] == "library"


@pytest.mark.parametrize("name", ["panic", "stdout-flood", "logger"])
def test_the_third_form_says_nothing(host, name):
    """No message of a panic, no line of output, no record: only the host's own words."""
    outcome = answer(host, name, THIRD, DIFFERS[name])
    assert {record.source for record in outcome.logs} == {"system"}


def test_the_third_form_finds_no_variable_by_name(host):
    """Asked for one it says that there is none; asked for all it traps."""
    outcome = answer(host, "environment", THIRD, Call(request={"path": "GREETING"}))
    assert (outcome.status, json.loads(outcome.body)) == (200, None)


def test_the_third_form_ticks_as_long_as_it_need_not_wait(host):
    """Only the pause between events is what it cannot do."""
    outcome = answer(host, "ticker", THIRD, Call(request={"query": [("events", "2")]}))
    assert (outcome.result, outcome.body) == ("ok", b"data: tick\n\ndata: tick\n\n")


# -- modules that say nothing of types


def without_custom_sections(wasm: bytes) -> bytes:
    """A core module as a tool that strips everything leaves it."""
    kept, at = bytearray(wasm[:8]), 8
    while at < len(wasm):
        start, section, at = at, wasm[at], at + 1
        size = shift = 0
        while True:
            byte, at = wasm[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += size
        if section:
            kept += wasm[start:at]
    return bytes(kept)


@pytest.mark.parametrize("form", ["wasip1", THIRD])
@pytest.mark.parametrize("name", ["echo", "greet", "old-post", "cache-conditions", "chunks", "fetch", "start"])
def test_a_stripped_module_is_fitted_by_its_core_signatures(host, name, form):
    """The names of interfaces that the host knows are enough; `inspect` says that there were no types to compare."""
    stripped = without_custom_sections(guest(name, form))
    assert len(stripped) < len(guest(name, form))
    assert host.inspect(guest(name, form)).typed
    found = host.inspect(stripped)
    assert (found.typed, found.kind, found.problem) == (False, "web", None)
    host.deploy(name, stripped)
    outcome = host.invoke(name, WEB[name].body, **WEB[name].request)
    assert (outcome.status, WEB[name].holds in outcome.body) == (WEB[name].status, True)


def test_a_stripped_module_with_exports_that_nobody_knows_has_nothing_to_call(host):
    """What its own world said is gone."""
    with pytest.raises(InvalidModule, match="exports no function that can be called"):
        host.deploy("calculator", without_custom_sections(guest("calculator", "wasip1")))


@pytest.mark.parametrize("name", ["echo", "greet"])
def test_the_form_of_the_project_template_needs_less_memory(host, name):
    """With a stack of 64 KiB the memory begins with 2 pages instead of 17."""
    small, usual = (host.inspect(guest(name, form)).memory_min for form in ("wasip2-small-stack", "wasip2"))
    assert (small, usual) == (2, 17)
