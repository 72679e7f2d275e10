"""The library: what a deploy refuses, what a data directory keeps, and how guests that go too far end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from guesthouse import AsyncHost, Host, Interface
from guesthouse.errors import BadRequest, BodyTooLarge, InvalidModule, LinkError
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.storage.errors import DirectoryInUse
from probes import PATIENCE, redeploy
from support import FORMS, ROOT, guest, host_with, wat

# -- deploy

TWO_MODULES = """
(component
  (core module $one (func (export "one") (result i32) i32.const 1))
  (core module $two (import "one" "one" (func $one (result i32))) (func (export "run") (result i32) call $one))
  (core instance $one (instantiate $one))
  (core instance $two (instantiate $two (with "one" (instance $one))))
  (func (export "run") (result u32) (canon lift (core func $two "run"))))
"""


@pytest.mark.parametrize(
    ("wasm", "kind", "message"),
    [
        (b"", InvalidModule, "WebAssembly"),
        (b"#!/bin/sh\n", InvalidModule, "WebAssembly"),
        (b"\0asm\1\0\0\0\xff", InvalidModule, "section"),
        (guest("calculator"), LinkError, "example:calculator/"),
        (guest("calculator", "wasip1"), LinkError, "example:calculator/"),
        (wat("(module)"), InvalidModule, "exports no function that can be called"),
        (wat('(module (import "acme:mail/send@1.2.0" "post" (func)))'), LinkError, "acme:mail/send@1.2.0"),
        (wat(TWO_MODULES), InvalidModule, "only one can be run"),
    ],
    ids=[
        "nothing",
        "a script",
        "cut off",
        "imports of a component",
        "imports of a module",
        "no exports",
        "unknown import",
        "two modules",
    ],
)
def test_what_cannot_run_is_refused_at_deploy(wasm, kind, message):
    """With an error of our own that says why; nothing is stored."""
    with Host() as host:
        with pytest.raises(kind, match=message):
            host.deploy("bad", wasm)
        assert host.inner.registry.get("default", "bad") is None


# -- the data directory


@pytest.mark.parametrize("form", FORMS)
def test_functions_survive_their_host(tmp_path, form):
    """With environment, limits, versions and description; the next host does not compile them again."""
    with Host(tmp_path) as host:
        host.deploy("environment", guest("echo", form))
        host.deploy("environment", guest("environment", form), environment={"A": "1"}, description="says it")
        host.deploy("small", guest("echo", form), limits={"request_bytes": 3}, namespace="other")
        host.deploy("gone", guest("echo", form))
        assert host.delete("gone")
    with Host(tmp_path) as host:
        assert json.loads(host.invoke("environment").body)["A"] == "1"
        found = host.inner.deployment("environment")
        assert (found.version, found.manifest.description) == (2, "says it")
        with pytest.raises(BodyTooLarge):
            host.invoke("small", b"1234", namespace="other")
        assert host.inner.registry.get("default", "gone") is None
        assert sum(host.inner.metrics._compiles.counts) == 0


def test_a_directory_has_one_owner(tmp_path):
    """A second host, in this process or another, is told who has it; the first goes on."""
    with Host(tmp_path) as host:
        with pytest.raises(DirectoryInUse, match=r"is in use by process \d+: stop it, or choose another directory"):
            Host(tmp_path)
        code = "import sys; from guesthouse import Host; Host(sys.argv[1])"
        command = [sys.executable, "-c", code, str(tmp_path)]
        other = subprocess.run(
            command, env={"PYTHONPATH": str(ROOT / "host")}, capture_output=True, text=True, check=False
        )
        assert other.returncode == 1
        assert "DirectoryInUse" in other.stderr
        host.deploy("echo", guest("echo"))
        assert host.invoke("echo", b"x").body == b"x"


def test_a_host_that_could_not_be_made_leaves_the_directory_free(tmp_path):
    """Whatever was wrong with its arguments."""

    class Wrong(Interface):
        name = "wrong"
        wit = "package a:b; interface c {"

    with pytest.raises(BadRequest, match="the WIT of Wrong:1:"):
        Host(tmp_path, interfaces=[Wrong()])
    Host(tmp_path).close()


# -- going too far


@pytest.fixture(scope="module", params=FORMS)
def host(request):
    with host_with(
        "spin", "memory-bomb", "recurse", "sleeper", "big-response", "echo-read", form=request.param
    ) as host:
        yield host


@pytest.mark.parametrize("name", ["spin", "sleeper"])
def test_a_guest_that_takes_too_long_is_ended_at_its_deadline(host, name):
    """Whether it computes or waits; fuel is unknown then, the time is not."""
    redeploy(host, name, deadline_ms=50)
    outcome = host.invoke(name)
    assert (outcome.result, outcome.status, outcome.error.status) == ("deadline", 0, 504)
    assert 50_000_000 <= outcome.duration_ns < 5_000_000_000
    assert [record.text for record in outcome.logs] == ["the deadline of 50 ms passed"]


def test_a_guest_that_uses_up_its_fuel_is_ended(host):
    """The deterministic bound: all of it was used."""
    redeploy(host, "spin", fuel=1_000_000)
    outcome = host.invoke("spin")
    assert (outcome.result, outcome.fuel_used, outcome.error.status) == ("fuel", 1_000_000, 504)


def test_a_guest_that_takes_all_memory_ends_itself(host):
    """Growing is refused at the limit; what Rust makes of it is a trap, and the error says the probable reason."""
    redeploy(host, "memory-bomb", memory_bytes=16 << 20)
    outcome = host.invoke("memory-bomb")
    assert (outcome.result, outcome.error.reason, outcome.error.status) == ("trapped", "out-of-memory", 502)
    assert "at the limit of 16777216 bytes" in str(outcome.error)
    assert 14 << 20 < outcome.peak_memory <= 16 << 20


@pytest.mark.parametrize(("path", "reason"), [(None, "stack-overflow"), ("memory", "memory-out-of-bounds")])
def test_a_guest_that_recurses_without_end_traps(host, path, reason):
    """On the engine's stack or on its own."""
    assert host.invoke("recurse", path=path).error.reason == reason


@pytest.mark.parametrize(("mebibytes", "result", "reason"), [(1, "ok", None), (3, "trapped", "lift-budget")])
def test_an_answer_over_the_limit_never_leaves_the_guest(host, mebibytes, result, reason):
    """What is exactly as large as allowed does; nothing is copied of what is larger."""
    redeploy(host, "big-response", response_bytes=1 << 20)
    outcome = host.invoke("big-response", str(mebibytes).encode())
    assert (outcome.result, getattr(outcome.error, "reason", None)) == (result, reason)
    assert len(outcome.body) == (mebibytes << 20 if result == "ok" else 0)


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_a_little_over_the_limit_is_refused(form):
    """To the byte."""
    with host_with("echo-read", form=form) as host:
        size = len(host.invoke("echo-read", b"abc").body)
        redeploy(host, "echo-read", response_bytes=size)
        assert host.invoke("echo-read", b"abc").result == "ok"
        redeploy(host, "echo-read", response_bytes=size - 1)
        outcome = host.invoke("echo-read", b"abc")
        assert (outcome.result, outcome.error.reason, outcome.body) == ("failed", "bad-answer", b"")


# -- bodies that arrive slowly


async def pieces(*parts: bytes, then: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """A request body in parts, which ends when `then` happens."""
    for part in parts:
        yield part
    if then is not None:
        await then.wait()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["echo", "echo-read"])
def test_a_body_that_never_ends_is_bounded_by_the_deadline(form, name):
    """Whether the guest reads it or hands it back unread."""

    async def scenario() -> None:
        async with AsyncHost() as host:
            deployment = await host.deploy(name, guest(name, form), limits={"deadline_ms": 60})
            body = pieces(b"abc", then=asyncio.Event())
            async with asyncio.timeout(PATIENCE):
                outcome = await host.dispatcher.web(deployment, WebRequest(), body)
            assert (outcome.result, outcome.status) == ("deadline", 0)
            assert host.dispatcher.pool.in_use == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["echo", "checksum"])
def test_a_body_in_pieces_is_one_body(form, name):
    """However it was cut."""

    async def scenario() -> None:
        async with AsyncHost() as host:
            deployment = await host.deploy(name, guest(name, form))
            whole = await host.dispatcher.web(deployment, WebRequest(), b"abcdef")
            cut = await host.dispatcher.web(deployment, WebRequest(), pieces(b"a", b"bc", b"def"))
            assert (whole.result, whole.body) == ("ok", cut.body)

    asyncio.run(scenario())
