"""What a command is told of its request, and what it may answer."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guesthouse.errors import BadAnswer
from guesthouse.interfaces.invocation import WebRequest
from guesthouse.interfaces.wasi import Program
from guesthouse.interfaces.wasi.program import Output, request_environment
from guesthouse.limits import Limits
from guesthouse.registry.deployment import Manifest
from unit.interface_fakes import deployment
from unit.wasi_world import World

OWN = {"Http_Method", "Http_Path", "Http_Query", "Http_ContentLength", "Http_Content_Length"}


def test_the_variables_are_named_as_the_classic_watchdog_names_them() -> None:
    """Hyphens become underscores, each part begins with a capital; path and query as in a URL."""
    request = WebRequest(
        "PUT",
        "rest/of it",
        [("q", "a b"), ("tag", "x=1&y"), ("empty", "")],
        [("x-call-id", "7"), ("content-type", "text/html"), ("host", "example.com"), ("x-b3-traceid", "t")],
    )
    assert request_environment(request, 12) == {
        "Http_X_Call_Id": "7",
        "Http_Content_Type": "text/html",
        "Http_Host": "example.com",
        "Http_X_B3_Traceid": "t",
        "Http_Method": "PUT",
        "Http_Path": "/rest/of it",
        "Http_Query": "q=a%20b&tag=x=1%26y&empty=",
        "Http_ContentLength": "12",
        "Http_Content_Length": "12",
    }


def test_without_path_and_query_there_is_a_slash_and_no_variable() -> None:
    """As a request for the root of a server."""
    found = request_environment(WebRequest(), 0)
    assert found["Http_Path"] == "/"
    assert "Http_Query" not in found


@pytest.mark.parametrize("name", ["method", "path", "query", "content-length", "contentlength", "transfer-encoding"])
def test_no_header_passes_for_what_the_host_says(name: str) -> None:
    """A client that sends `Path: …` does not change where the request went."""
    found = request_environment(WebRequest("GET", "real", headers=[(name, "forged")]), 3)
    assert "forged" not in {value for key, value in found.items() if key in OWN | {"Http_Transfer_Encoding"}}


def test_a_header_with_an_underscore_is_left_out_and_of_repeated_ones_the_first_counts() -> None:
    """`X_1` could not be told from `X-1`, which a proxy in front may have checked."""
    headers = [("x_1", "forged"), ("x-1", "first"), ("x-1", "second")]
    found = request_environment(WebRequest(headers=headers), 0)
    assert found["Http_X_1"] == "first"
    assert "forged" not in found.values()


@given(
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6),
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4),
    st.text(max_size=12),
)
@example([("a", "\0x"), ("b\0", ""), ("\udc80", "\udc80")], [("\udc80", "\0")], "\0")
def test_whatever_a_request_holds_the_environment_is_well_formed(
    headers: list[tuple[str, str]], query: list[tuple[str, str]], path: str
) -> None:
    """Names without `=`, values without NUL, all of it UTF-8: and a client chooses no name but `Http_…`."""
    found = request_environment(WebRequest("GET", path, query, headers), 0)
    for name, value in found.items():
        assert name.startswith("Http_")
        assert "=" not in name
        assert "\0" not in name + value
        assert (name + value).encode()


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=8)), min_size=1, max_size=5))
def test_the_query_reads_back_as_the_same_parameters(query: list[tuple[str, str]]) -> None:
    """In order, with duplicates, whatever is in them."""
    text = request_environment(WebRequest(query=query), 0)["Http_Query"]
    assert text.isascii()
    assert parse_qsl(text, keep_blank_values=True) == query


def test_a_command_finds_its_request_above_its_deployments_variables() -> None:
    """One variable of each name; the host's own are never replaced."""
    of = deployment("hash", manifest=Manifest(environment={"A": "1", "Http_Method": "mine"}))
    world = World(of=of)
    world.run.program = Program("hash", of.manifest, WebRequest("GET", headers=[("a", "2")]), b"")
    found = world.call("cli/environment", "get-environment")
    assert len(found) == len(dict(found))
    assert dict(found) | {"__FUNCTION_NAME": "hash", "A": "1", "Http_Method": "GET", "Http_A": "2"} == dict(found)


@pytest.mark.parametrize(("named", "expected"), [((), ["hash"]), (("sum", "--all", ""), ["sum", "--all", ""])])
def test_arguments_are_the_deployments_or_the_functions_name(named: tuple[str, ...], expected: list[str]) -> None:
    """The first is the name by which a program is called, in both versions of WASI."""
    of = deployment("hash", manifest=Manifest(arguments=named))
    world = World(of=of)
    world.run.program = Program("hash", of.manifest, WebRequest(), b"")
    assert world.call("cli/environment", "get-arguments") == expected
    assert world.p1("args_sizes_get", 0, 4) == 0
    texts = b"".join(f"{one}\0".encode() for one in expected)
    assert (world.guest.u32(0), world.guest.u32(4)) == (len(expected), len(texts))
    assert world.p1("args_get", 100, 1000) == 0
    assert world.guest.read(1000, len(texts)) == texts
    assert world.guest.u32(100) == 1000


def test_output_is_bounded_as_it_is_written() -> None:
    """The byte over the bound is refused, not stored."""
    output = Output(10)
    output.write(b"12345")
    output.write(b"67890")
    with pytest.raises(BadAnswer, match="the standard output is over 10 bytes"):
        output.write(b"x")
    assert output.take() == b"1234567890"


def test_output_that_is_one_write_is_not_copied() -> None:
    """The answer is the very bytes that were lifted."""
    output, data = Output(100), b"x" * 50
    output.write(data)
    assert output.take() is data
    assert output.take() == b""


def test_standard_input_is_the_body_in_both_versions_of_wasi() -> None:
    """One cursor for all that read it."""
    of = deployment()
    world = World(of=of)
    world.run.program = Program("greet", of.manifest, WebRequest(), b"0123456789")
    stream = world.call("cli/stdin", "get-stdin")
    assert world.call("io/streams", "[method]input-stream.read", stream, 2)[0] == b"01"
    assert world.call("io/streams", "[method]input-stream.skip", stream, 1)[0] == 1
    world.guest.write(0, (64).to_bytes(4, "little") + (3).to_bytes(4, "little"))
    assert world.p1("fd_read", 0, 0, 1, 32) == 0
    assert (world.guest.u32(32), world.guest.read(64, 3)) == (3, b"345")
    out = world.call("cli/stdout", "get-stdout")
    assert world.call("io/streams", "[method]output-stream.splice", out, stream, 2)[0] == 2
    assert world.call("io/streams", "[method]input-stream.blocking-read", stream, 2**64 - 1)[0] == b"89"
    assert world.call("io/streams", "[method]input-stream.read", stream, 1).error == ("closed", None)
    assert world.p1("fd_read", 0, 0, 1, 32) == 0
    assert world.guest.u32(32) == 0
    assert world.run.program.output.take() == b"67"
    assert world.log.records == []


def test_the_bound_of_output_is_the_deployments() -> None:
    """`response_bytes`, through either version of WASI."""
    manifest = Manifest(limits=Limits(response_bytes=4))
    for write in (
        lambda world: world.call(
            "io/streams", "[method]output-stream.write", world.call("cli/stdout", "get-stdout"), b"12345"
        ),
        lambda world: (world.guest.write(0, bytes([8, 0, 0, 0, 5, 0, 0, 0])), world.p1("fd_write", 1, 0, 1, 64)),
    ):
        world = World()
        world.run.program = Program("greet", manifest, WebRequest(), b"")
        with pytest.raises(BadAnswer):
            write(world)
