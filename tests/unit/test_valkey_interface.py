"""`ValkeyInterface` without a guest: arguments that arrive late, kinds of values, grants and bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from guesthouse.config_sources import load
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest
from guesthouse.interfaces.bytes import Buffer
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.valkey import REDIS, VALKEY, ValkeyInterface
from guesthouse.interfaces.valkey.grants import grants_cluster, grants_server
from guesthouse.interfaces.valkey.replies import BUFFERED_FROM, OldResponseStream, ResponseStream
from guesthouse.limits import Limits
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.resp import ErrorReply, SimpleString
from guesthouse.net.valkey_guests import GuestValkey
from guesthouse.net.valkey_url import parse_server
from guesthouse.registry.deployment import Manifest
from unit.interface_fakes import calls, chunks, deployment, invocation, now
from valkey_server import ValkeyServer

OPEN = OutboundPolicy.of(allow_addresses=("127.0.0.0/8",))


class Command(NamedTuple):
    """`record command`"""

    command: str
    arguments: list[Any]


def run(server: ValkeyServer, *commands: Command, of: Invocation | None = None) -> list[Any]:
    """What each command answers, one after the other in one invocation."""

    async def work() -> list[Any]:
        interface = ValkeyInterface(GuestValkey(lambda: OPEN, {"main": server.url}))
        try:
            one = of or invocation()
            client = interface.cluster(one, "main")
            return [await interface.command(one, client, command) for command in commands]
        finally:
            await interface.close()

    answers: list[Any] = now(work())
    return answers


def pipe(server: ValkeyServer, *pipes: list[Command], of: Invocation) -> list[Any]:
    """What each pipe answers, over a client of its own."""

    async def work() -> list[Any]:
        interface = ValkeyInterface(GuestValkey(lambda: OPEN))
        try:
            return [
                await interface.pipe(of, interface.client(of, ("basic-connection", f"{server.url}/{number}")), commands)
                for number, commands in enumerate(pipes)
            ]
        finally:
            await interface.close()

    answers: list[Any] = now(work())
    return answers


def test_every_function_of_both_generations_is_answered() -> None:
    """The older one has a client for URLs as well."""
    found = calls(ValkeyInterface(GuestValkey(lambda: OPEN)))
    both = {"get-managed-cluster-client", "[method]cluster-client.command", "[method]response-stream.next"}
    old = {"[constructor]client", "[method]client.pipe"}
    assert set(found) == {(VALKEY, name) for name in both} | {(REDIS, name) for name in both | old}


# -- arguments


def test_arguments_may_still_be_arriving(valkey_server: ValkeyServer) -> None:
    """As the body of a request that a guest stores without reading it."""
    late = ("buffer", Buffer(b"ab", chunks(b"cd", b"ef")))
    set_it = Command("SET", [("value", b"k"), late])
    assert run(valkey_server, set_it, Command("GET", [("buffer", Buffer(b"k"))])) == [
        Ok(("ok", None)),
        Ok(("data", ("value", b"abcdef"))),
    ]


def test_an_argument_that_breaks_off_is_an_error_and_sends_nothing(valkey_server: ValkeyServer) -> None:
    """All buffers are let go of."""
    closed: list[int] = []
    broken = ("buffer", Buffer(b"", chunks(b"cd", OSError("gone")), on_close=lambda: closed.append(1)))
    other = ("buffer", Buffer(b"", chunks(b"cd"), on_close=lambda: closed.append(2)))
    (answer,) = run(valkey_server, Command("SET", [("value", b"k"), broken, other]))
    assert answer == Err(("other", "an argument of the command broke off"))
    assert closed == [1, 2]
    assert valkey_server.ask("EXISTS", "k") == b":0\r\n"


def test_arguments_have_a_bound_together(valkey_server: ValkeyServer) -> None:
    """`lift_bytes`, also for those that never were in the guest's memory."""
    small = invocation(limits=Limits().with_changes({"lift_bytes": 100}))
    for value in (("value", b"x" * 101), ("buffer", Buffer(b"x" * 50, chunks(b"x" * 51)))):
        (answer,) = run(valkey_server, Command("SET", [("value", b""), value]), of=small)
        assert answer == Err(("other", "limit exceeded: the arguments of the command are too large"))
    (answer,) = run(valkey_server, Command("MSET", [("value", b"x" * 30)] * 4), of=small)
    assert isinstance(answer, Err)
    assert run(valkey_server, Command("SET", [("value", b"k"), ("value", b"x" * 99)]), of=small) == [Ok(("ok", None))]


# -- values


def test_large_strings_are_buffers_in_the_newer_generation(valkey_server: ValkeyServer) -> None:
    """And plain bytes in the older one."""
    for size in (BUFFERED_FROM - 1, BUFFERED_FROM):
        value = ResponseStream.value(b"x" * size)
        assert value[0] == "data"
        assert value[1][0] == ("buffer" if size == BUFFERED_FROM else "value")  # type: ignore[index]
        assert OldResponseStream.value(b"x" * size) == ("data", b"x" * size)


def test_text_of_a_server_that_is_not_utf_8_is_still_text() -> None:
    """Strings of the interface cannot be anything else."""
    assert ResponseStream.value(SimpleString(b"caf\xe9")) == ("simple-string", "caf�")
    assert ResponseStream.value(ErrorReply(b"ERR \xff")) == ("simple-error", "ERR �")
    assert OldResponseStream.value(SimpleString(b"ok")) == ("simple-string", "ok")


def test_a_stream_hands_out_its_elements_once_and_nothing_after_it_was_dropped() -> None:
    """Streams inside are streams of the same generation."""
    for kind in (ResponseStream, OldResponseStream):
        stream = kind([1, [b"a"], None])
        assert stream.next() == ("int", 1)
        bulk = stream.next()
        assert bulk is not None
        assert type(bulk[1]) is kind
        assert stream.next() == ("nil", None)
        assert stream.next() is stream.next() is None
        dropped = kind([1, 2])
        dropped.close()
        assert dropped.next() is None


# -- bounds


def test_connections_of_an_invocation_have_a_bound(valkey_server: ValkeyServer) -> None:
    """Each server that a guest names needs one, and so does each transaction."""
    one = invocation(limits=Limits().with_changes({"valkey_connections": 2}))
    ping, transaction = [Command("PING", [])], [Command("MULTI", []), Command("EXEC", [])]
    answers = pipe(valkey_server, ping, transaction, transaction, ping, of=one)
    assert [isinstance(answer, Ok) for answer in answers] == [True, True, False, False]
    assert answers[2] == answers[3] == Err(("other", "limit exceeded: too many connections of this invocation"))


def test_the_deadline_bounds_the_wait(valkey_server: ValkeyServer) -> None:
    """Here it has passed."""
    (answer,) = run(valkey_server, Command("PING", []), of=invocation(deadline_ns=0))
    assert isinstance(answer, Err)


# -- grants


@pytest.mark.parametrize(
    "pattern",
    [
        "main",
        "main*",
        "*",
        "Sessions_2.a-b",
        "redis://cache.example",
        "rediss://*.example.com:*",
        "valkey://[::1]:7000/",
    ],
)
def test_grants_name_clusters_and_servers(pattern: str) -> None:
    """With a star at the end, or the wildcards that outbound hosts have."""
    ValkeyInterface(GuestValkey(lambda: OPEN)).check_grant(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", "ma*in", "a b", "redis:cache", "http://cache.example", "redis://u:p@cache.example", "redis://h.example/1",
     "redis://", "redis://h.example:0", "redis://0x7f.1", "/tmp/socket"],
)  # fmt: skip
def test_grants_that_name_nothing_are_refused(pattern: str) -> None:
    """At deploy, with what was wrong."""
    with pytest.raises(BadRequest, match="the grant valkey:"):
        ValkeyInterface(GuestValkey(lambda: OPEN)).check_grant(pattern)


def test_a_grant_of_a_cluster_is_no_grant_of_a_server() -> None:
    """Nor the other way round; without any pattern everything is granted, with none nothing."""
    here = parse_server("redis://main:6379")
    assert grants_cluster(("main",), "main")
    assert grants_cluster(("ma*", "other"), "main")
    assert not grants_cluster(("main",), "main2")
    assert not grants_cluster(("redis://main:6379",), "main")
    assert grants_server(("redis://main:6379",), here)
    assert not grants_server(("main", "*"), here)
    assert grants_cluster(None, "main")
    assert grants_server(None, here)
    assert not grants_cluster((), "main")
    assert not grants_server((), here)


@pytest.mark.parametrize(
    ("pattern", "url", "granted"),
    [
        ("redis://cache.example", "redis://cache.example:6379/3", True),
        ("redis://cache.example", "valkey://u:p@CACHE.example", True),
        ("redis://cache.example", "rediss://cache.example", False),
        ("redis://cache.example", "redis://cache.example:6380", False),
        ("rediss://*.example:7000", "valkeys://a.example:7000", True),
        ("rediss://*.example:7000", "valkeys://example:7000", False),
        ("redis://*:*", "redis://10.0.0.1:1", True),
        ("redis://[::1]", "redis://[0:0::1]", True),
    ],
)
def test_a_grant_of_a_server_is_for_its_host_port_and_kind_of_connection(pattern: str, url: str, granted: bool) -> None:
    """Whoever signs on there, and whatever the database."""
    assert grants_server((pattern,), parse_server(url)) is granted


def test_what_was_not_granted_is_an_error_of_the_call(valkey_server: ValkeyServer) -> None:
    """Nothing is sent."""
    one = invocation(of=deployment(manifest=Manifest(grants=frozenset({"valkey:other", "valkey:redis://h.example"}))))
    assert run(valkey_server, Command("PING", []), of=one) == [Err(("other", "not granted: valkey main"))]
    (answer,) = pipe(valkey_server, [Command("PING", [])], of=one)
    assert answer == Err(("other", f"not granted: valkey {valkey_server.url}"))


# -- configuration


def test_clusters_are_configured_by_file_and_by_variable(tmp_path: Any) -> None:
    """`[valkey.clusters]`; no text of the configuration shows the URLs, which hold passwords."""
    file = tmp_path / "guesthouse.toml"
    file.write_text('[valkey.clusters]\nmain = "redis://:secret@h.example"\n')
    config = load(path=file, environment={})
    assert config.valkey.clusters == {"main": "redis://:secret@h.example"}
    assert "secret" not in repr(config)
