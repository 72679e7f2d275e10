"""G21: compressed bodies stay compressed: a bomb is as small for this host as it was on the wire."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from functools import cache

import pytest

from guesthouse import Host
from harness import resident, tidy
from http_guests import FORMS, NAME, http_host, once, once_old, send, soon, steps, upstream_of
from probes import redeploy
from upstream import END, EVENT_STREAM, Received, Steps, chunk, response

INFLATED = 128 << 20
MEMORY = 48 << 20
"""By how much the process may have grown; the inflated bomb is almost three times as large."""


@cache
def bomb(wbits: int) -> bytes:
    """128 MiB of zeros, compressed."""
    packer, piece = zlib.compressobj(9, wbits=wbits), bytes(1 << 20)
    return b"".join([packer.compress(piece) for _ in range(INFLATED >> 20)]) + packer.flush()


GZIP, ZLIB, RAW = 31, 15, -15
CODINGS = {
    "gzip": GZIP,
    "x-gzip": GZIP,
    "GZip": GZIP,
    "deflate": ZLIB,
    "deflate ": RAW,
    "br": GZIP,
    "zstd": GZIP,
    "gzip, gzip": GZIP,
    "identity, gzip": GZIP,
    "compress": GZIP,
}


@pytest.fixture(scope="module", params=FORMS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with http_host(request.param, "http-calls", "old-http-calls") as host:
        yield host


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_bomb_is_passed_through_as_it_came(host: Host, framing: str) -> None:
    """Byte for byte, under every name for compression, whatever the guest asks for; memory stays flat."""

    def explode(request: Received) -> bytes:
        coding = list(CODINGS)[int(request.line.split(" ")[1][1:])]
        packed = bomb(CODINGS[coding])
        if framing == "length":
            return response(packed, "200 OK", f"content-encoding: {coding}")
        return encoded(coding) + chunk(packed) + END

    with upstream_of(host, explode) as upstream:
        tidy()
        before = resident()
        headers = [["accept-encoding", "gzip, deflate, br, zstd"]]
        for number, (coding, wbits) in enumerate(CODINGS.items()):
            answer = once(host, upstream.url(f"/{number}", NAME), headers=headers)
            assert dict(answer["headers"])["content-encoding"] == coding.strip()
            assert answer["body"].encode("latin-1") == bomb(wbits)
        assert once_old(host, upstream.url("/0", NAME))["body"].encode("latin-1") == bomb(GZIP)
        tidy()
        assert resident() - before < MEMORY
        assert upstream.requests[0].values("accept-encoding") == ["gzip, deflate, br, zstd"]
        assert upstream.requests[-1].values("accept-encoding") == ["identity"]


def encoded(coding: str) -> bytes:
    """The head of a body in chunks."""
    return EVENT_STREAM.replace(b"\r\n\r\n", f"\r\ncontent-encoding: {coding}\r\n\r\n".encode())


def test_a_body_that_says_it_is_giant_is_not_begun(host: Host) -> None:
    """What is announced is believed where it is over the limit, and nothing is read of it."""
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10000000000\r\n\r\n"
    with upstream_of(host, lambda _: head + bytes(1000)) as upstream:
        answer = once(host, upstream.url("/", NAME))
    assert answer == {"error": ["request-error", "limit exceeded: the response body is too large"]}


def test_a_body_without_end_ends_at_the_limit(host: Host) -> None:
    """As much as the limit allows, and not a byte more, however the guest reads it."""
    piece = chunk(bomb(GZIP)[:65_536])

    async def endless() -> AsyncIterator[bytes]:
        yield EVENT_STREAM
        while True:
            yield piece

    redeploy(host, "http-calls", "frugal", http_response_bytes=1_000_000)
    with upstream_of(host, lambda _: endless()) as upstream:
        reads = [{"advance": [0, 900_000]}, *[{"try_read": [0, 100_000]}] * 20]
        found = steps(host, send(upstream.url("/", NAME)), *reads, name="frugal")
        assert sum(len(step.get("ok") or "") for step in found[2:]) == 100_000
        assert found[-1] == {"err": "failed", "why": "limit exceeded: the response body is too large"}
        soon(host, upstream.left.wait())


def test_nothing_inflates_a_compressed_event_stream(host: Host) -> None:
    """Nor any of its events."""
    packer = zlib.compressobj(9, wbits=GZIP)
    first = packer.compress(b"data: one\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    stream = Steps(encoded("gzip"), chunk(first))
    stream.end()
    with upstream_of(host, lambda _: stream()) as upstream:
        assert once(host, upstream.url("/", NAME))["body"].encode("latin-1") == first
