"""Signed requests, checked as the receiver would: the signature is computed again from what came over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from guesthouse.net.aws_failures import AwsFailure
from guesthouse.net.aws_roles import Credentials
from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.failures import InvalidHeader, Unsigned
from guesthouse.net.policy import OutboundPolicy
from guesthouse.net.signing import LARGE, Role, Secret, Signer, region_of
from sigv4 import verified
from upstream import Received, Upstream, response

pytestmark = pytest.mark.anyio
HOST = "bucket.s3.eu-central-1.amazonaws.com"
POLICY = OutboundPolicy.of(schemes=("http",), overrides={HOST: "127.0.0.1", "plain.example": "127.0.0.1"})
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SERVICES = ("s3", "execute-api", "bedrock")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(OutboundConfig(POLICY))
    yield client
    await client.close()


async def signed(client: OutboundClient, path: str = "/", service: str = "execute-api", **changes: Any) -> Received:
    """The request as it arrived, after its signature was checked."""
    async with Upstream() as upstream:
        how = Secret(KEY, SECRET, "eu-central-1", service)
        fields = {"method": "GET", "url": upstream.url(path, HOST), "authorization": how, **changes}
        assert (await client.fetch(OutboundRequest(**fields))).status == 200
        (request,) = upstream.requests
    said = verified(request, SECRET)
    assert (said["key"], said["region"], said["service"]) == (KEY, "eu-central-1", service)
    return request


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/plain/path",
        "/a%20b/c",
        "/ü/日本語",
        "/%C3%BC%2Fx",
        "/model/us.amazon.nova-pro-v1:0/invoke",
        "/!$&'()*+,;=:@",
        "/a//b/",
        "/a/./b/../c",
        "/~user/-._",
        "/100%",
        "/a{b}|c",
    ],
)
async def test_every_path_is_signed_as_it_is_sent(client: OutboundClient, path: str, service: str) -> None:
    """Encoded or not, outside ASCII or not."""
    await signed(client, path, service)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("?a=1", "a=1"),
        ("?b=2&a=1&a=0", "b=2&a=1&a=0"),
        ("?acl", "acl"),
        ("?empty=&x", "empty=&x"),
        ("?q=a+b", "q=a%2Bb"),
        ("?q=a%20b&r=%7e", "q=a%20b&r=~"),
        ("?ü=ö", "%C3%BC=%C3%B6"),
        ("?a=b=c", "a=b%3Dc"),
        ("?prefix=x/y&delimiter=/", "prefix=x%2Fy&delimiter=%2F"),
        ("?A=1&a=2&aa=3&a-a=4", "A=1&a=2&aa=3&a-a=4"),
        ("?x=%zz", "x=%25zz"),
        ("?", ""),
    ],
)
async def test_every_query_is_signed_as_it_is_sent(client: OutboundClient, query: str, sent: str, service: str) -> None:
    """It goes out in the one spelling that every receiver reads alike, in the order in which it was given."""
    request = await signed(client, f"/path{query}", service)
    assert request.line.split(" ")[1].partition("?")[2] == sent


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("body", [b"", b"text", bytes(range(256)), b"x" * (LARGE + 1)], ids=len)
async def test_every_body_is_signed(client: OutboundClient, body: bytes, service: str) -> None:
    """Empty, binary, and large enough to be hashed elsewhere."""
    request = await signed(client, "/upload", service, method="PUT", body=body)
    assert request.body == body


@pytest.mark.parametrize("service", SERVICES)
async def test_headers_are_signed_with_their_duplicates(client: OutboundClient, service: str) -> None:
    """In order, spaces folded, outside ASCII or not; those of the host's are not the guest's to set."""
    headers = [
        ("X-Amz-Meta-One", "1"),
        ("x-amz-meta-two", "a   b  c"),
        ("X-Amz-Meta-One", "2"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("X-Name", "čä"),
        ("Host", "evil.example"),
        ("Connection", "close"),
        ("User-Agent", "guest"),
    ]
    request = await signed(client, "/", service, headers=headers)
    assert request.values("x-amz-meta-one") == ["1", "2"]
    assert request.values("user-agent") == ["guest"]
    assert request.values("host")[0].startswith(HOST)


async def test_a_guests_own_signature_is_replaced(client: OutboundClient) -> None:
    """Authorization and date are those of the signature, once each."""
    headers = [("authorization", "mine"), ("X-Amz-Date", "20200101T000000Z"), ("AUTHORIZATION", "mine too")]
    request = await signed(client, headers=headers)
    assert len(request.values("authorization")) == len(request.values("x-amz-date")) == 1
    assert not request.values("x-amz-date")[0].startswith("2020")


async def test_a_session_token_of_the_guest_is_signed(client: OutboundClient) -> None:
    """Keys that expire come with one; the interface has no field for it, so it comes as a header."""
    request = await signed(client, headers=[("X-Amz-Security-Token", "session")])
    assert request.values("x-amz-security-token") == ["session"]


@pytest.mark.parametrize("field", [0, 2, 3])
@pytest.mark.parametrize("text", ["", "a\r\nX: y", "a b", "é", "x" * 129, "\0"])
async def test_nothing_of_a_signature_adds_a_line(client: OutboundClient, field: int, text: str) -> None:
    """Key id, region and service become part of a header."""
    fields = [KEY, SECRET, "eu-central-1", "s3"]
    fields[field] = text
    async with Upstream() as upstream:
        request = OutboundRequest("GET", upstream.url("/", HOST), authorization=Secret(*fields))
        with pytest.raises(Unsigned, match="must be 1 to 128 visible"):
            await client.fetch(request)
        with pytest.raises(InvalidHeader):
            await client.fetch(
                OutboundRequest("GET", upstream.url("/", HOST), [("X", "a\nb")], authorization=Secret(*fields))
            )
        assert upstream.connections == 0


# -- roles


def assuming(*asked: list[tuple[str, str]]) -> Signer:
    """A signer for which every role has credentials."""

    async def assume_role(role_arn: str, region: str) -> Credentials:
        for one in asked:
            one.append((role_arn, region))
        if "forbidden" in role_arn:
            raise AwsFailure("unauthorized", "AccessDenied: not for you")
        return Credentials("ASIAROLE", "role secret", "role token")

    return Signer(assume_role)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_role_signs_with_its_own_credentials(client: OutboundClient, service: str) -> None:
    """Their token is sent and signed; the region is that of the host name."""
    asked: list[tuple[str, str]] = []
    client._signer = assuming(asked)
    role = Role("arn:aws:iam::123456789012:role/mine", service)
    async with Upstream() as upstream:
        await client.fetch(OutboundRequest("GET", upstream.url("/x?y", HOST), authorization=role))
        (request,) = upstream.requests
    said = verified(request, "role secret")
    assert (said["key"], said["region"], said["service"]) == ("ASIAROLE", "eu-central-1", service)
    assert request.values("x-amz-security-token") == ["role token"]
    assert asked == [("arn:aws:iam::123456789012:role/mine", "eu-central-1")]


async def test_a_role_that_cannot_be_assumed_sends_nothing(client: OutboundClient) -> None:
    """Nor does a host name without a region, or a host that assumes no roles."""
    async with Upstream() as upstream:

        async def refusal(arn: str, host: str = HOST) -> str:
            request = OutboundRequest("GET", upstream.url("/", host), authorization=Role(arn, "s3"))
            with pytest.raises(Unsigned) as caught:
                await client.fetch(request)
            return str(caught.value)

        assert await refusal("arn") == "authorization 'federated' is not set up on this host"
        client._signer = assuming()
        assert await refusal("forbidden") == "AccessDenied: not for you"
        assert "does not say in which AWS region" in await refusal("arn", "plain.example")
        assert upstream.connections == 0


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-west-2.amazonaws.com", "us-west-2"),
        ("bucket.s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("s3-ap-southeast-2.amazonaws.com", "ap-southeast-2"),
        ("abc123.lambda-url.eu-north-1.on.aws", "eu-north-1"),
        ("dynamodb.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("iam.amazonaws.com", "us-east-1"),
        ("s3.amazonaws.com", "us-east-1"),
        ("us-east-2.example.eu-west-3.amazonaws.com", "eu-west-3"),
        ("api.example.com", None),
        ("amazonaws.com.example.com", None),
        ("127.0.0.1", None),
    ],
)
def test_the_region_is_read_from_the_host(host: str, region: str | None) -> None:
    """As AWS names its hosts; global services are signed for us-east-1."""
    assert region_of(host) == region


def test_a_secret_is_in_no_text() -> None:
    """Whatever prints it: a log, a traceback."""
    assert SECRET not in repr(Secret(KEY, SECRET, "r", "s", "session-token"))
    assert "session-token" not in repr(Secret(KEY, SECRET, "r", "s", "session-token"))


async def test_an_answer_to_a_signed_request_is_like_any_other(client: OutboundClient) -> None:
    """Also a redirect, which the signature does not follow."""
    async with Upstream(lambda _: response(b"", "307 T", "location: http://plain.example/")) as upstream:
        how = Secret(KEY, SECRET, "eu-central-1", "s3")
        answer = await client.fetch(OutboundRequest("GET", upstream.url("/", HOST), authorization=how))
        assert (answer.status, len(upstream.requests)) == (307, 1)


async def test_the_check_of_these_tests_finds_a_wrong_signature(client: OutboundClient) -> None:
    """Of another secret, another path, another body."""
    request = await signed(client, "/path")
    for wrong, secret in (
        (request, SECRET[::-1]),
        (Received(request.line.replace("/path", "/other"), request.headers, b""), SECRET),
        (Received(request.line, request.headers, b"x"), SECRET),
    ):
        with pytest.raises(AssertionError):
            verified(wrong, secret)
