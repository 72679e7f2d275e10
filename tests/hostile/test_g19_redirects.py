"""G19: a redirect is an answer for the guest, never something that the host follows."""

from __future__ import annotations

import asyncio

import pytest

from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.policy import OutboundPolicy
from upstream import Upstream, response


@pytest.mark.parametrize(
    "status", ["300 Multiple Choices", "301 Moved", "302 Found", "303 See Other", "307 T", "308 P"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_redirect_inside_is_returned_and_not_followed(status: str, method: str) -> None:
    """The guest gets the 3xx with its location; the server it points to sees nothing."""

    async def attack() -> None:
        policy = OutboundPolicy.of(schemes=("http",), overrides={"up.example": "127.0.0.1"})
        async with Upstream() as inside:
            headers = (f"Location: {inside.url('/secret')}", f"Refresh: 0; url={inside.url()}", f"URI: {inside.url()}")
            body = b"" if method == "HEAD" else b"moved"
            async with Upstream(lambda _: response(body, status, *headers)) as upstream:
                client = OutboundClient(OutboundConfig(policy))
                answer = await client.fetch(OutboundRequest(method, upstream.url("/", "up.example"), body=b""))
                assert answer.status == int(status[:3])
                assert dict(answer.headers)["location"] == inside.url("/secret")
                assert len(upstream.requests) == 1
                await client.close()
            assert inside.connections == 0

    asyncio.run(attack())
