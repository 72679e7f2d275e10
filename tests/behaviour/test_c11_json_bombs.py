"""C11: no document makes the host work for more than its size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import thread_time

import pytest
from pydantic import BaseModel

from gateway_server import Server, serving
from guesthouse.errors import BadRequest
from guesthouse.gateway.documents import MOST_DEPTH, check_depth, parse

PATH = "/functions/manage/default/bomb"


class Anything(BaseModel):
    """A shape that takes any value."""

    value: object = None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 10_000_000,
        b"{" * 10_000_000,
        b'{"a":' * 2_000_000,
        b"[]," * 3_000_000,
        b'["' * 5_000_000,
        b'"\\' * 5_000_000,
        b"[" * 65 + b'"' + b"\\" * 10_000_000,
        b"[" + b'"a",' * 2_500_000,
    ],
    ids=range(8),
)
def test_ten_megabytes_of_brackets_are_refused_quickly(bomb: bytes) -> None:
    """In less time than reading them took: 10 ms, on a quiet machine."""
    began = thread_time()
    with pytest.raises(BadRequest):
        parse(bomb, Anything)
    assert thread_time() - began < 1  # a machine that runs other tests beside this one


@pytest.mark.parametrize("bomb", [b"[" * 1_000_000, b'{"inline_wasm":' * 100_000])
def test_a_bomb_over_http_is_a_400(server: Server, bomb: bytes) -> None:
    """And deploys nothing."""
    answer = server.request("PUT", PATH, bomb, {"content-type": "application/json"})
    assert (answer.status, answer.problem) == (400, "bad-request")
    assert server.deployer.deployed == []


def nested(depth: int) -> bytes:
    return b'{"value":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_depth_is_counted_exactly() -> None:
    """The deepest one allowed is taken, one more is not."""
    parse(nested(MOST_DEPTH), Anything)
    with pytest.raises(BadRequest, match="nested"):
        parse(nested(MOST_DEPTH + 1), Anything)


def test_brackets_in_strings_do_not_count() -> None:
    """Nor do escaped quotes end a string."""
    text = '[{"\\' * 500
    assert parse(json.dumps({"value": text}).encode(), Anything).value == text


def test_brackets_side_by_side_do_not_count() -> None:
    """Depth is what is open at once."""
    check_depth(b"[" + b"[]," * 1000 + b"[]]")


@pytest.mark.parametrize("text", [b"", b"{", b"nul", b'{"a":1,}', b"\xff", b"[1", b'{"value":"\x01"}', b"1e999999"])
def test_what_is_not_json_is_a_400(text: bytes) -> None:
    """With where it stops to be."""
    with pytest.raises(BadRequest):
        parse(text, Anything)
