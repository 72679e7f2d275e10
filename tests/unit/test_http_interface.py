"""The guest's HTTP client interface, both generations, called as the engine calls it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadRequest
from guesthouse.interfaces.bytes import Buffer, peek
from guesthouse.interfaces.http import HTTP_1_0, HTTP_1_1, HTTP_OLD, HttpInterface
from guesthouse.interfaces.http.errors import error_1_0, error_1_1
from guesthouse.interfaces.invocation import Invocation
from guesthouse.limits import Limits
from guesthouse.net import failures, signing
from guesthouse.net.client import OutboundClient, OutboundConfig
from guesthouse.net.policy import OutboundPolicy
from guesthouse.registry.deployment import Deployment, Manifest
from upstream import Upstream, response

pytestmark = pytest.mark.anyio
POLICY = OutboundPolicy.of(schemes=("http",), overrides={"up.example": "127.0.0.1"})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Lifted(NamedTuple):
    """`record request` of 1.0.0 and 1.1.0 as the canonical ABI lifts it."""

    url: str
    verb: str = "GET"
    headers: list[tuple[str, str]] = []  # noqa: RUF012
    body: Any = ("value", b"")
    authorization: tuple[str, Any] = ("none", None)


class LiftedOld(NamedTuple):
    """`record request` of the older generation."""

    url: str
    headers: list[tuple[str, str]] = []  # noqa: RUF012
    body: bytes = b""
    authorization: tuple[str, Any] = ("none", None)


class NoLog:
    def write(self, level: str, text: str, source: str) -> None:
        """Nothing is logged in these tests."""


def invocation(*grants: str, **limits: int) -> Invocation:
    bounds = Limits().with_changes(limits)
    manifest = Manifest(grants=frozenset(grants) or None)
    deployment = Deployment("default", "f", 1, "0" * 64, "web", 1, 0, manifest)
    deadline = SYSTEM_CLOCK.monotonic_ns() + bounds.deadline_ms * 1_000_000
    return Invocation("id", deployment, "web", bounds, deadline, NoLog())


@pytest.fixture
async def interface() -> AsyncIterator[HttpInterface]:
    interface = HttpInterface(OutboundClient(OutboundConfig(POLICY)))
    yield interface
    await interface.close()


def test_every_function_of_both_generations_is_answered() -> None:
    """Names as in the WIT."""
    interface = HttpInterface(OutboundClient())
    assert interface.name == "http"
    assert {(call.interface, call.function) for call in interface.host_calls()} == {
        (HTTP_1_0, "invoke"),
        (HTTP_1_1, "invoke"),
        (HTTP_1_1, "invoke-with-timeout"),
        *((HTTP_OLD, method) for method in ("get", "put", "post", "delete")),
    }


async def test_a_guest_gets_status_headers_and_body(interface: HttpInterface) -> None:
    """Any status is ok; the body is a buffer, and one that is complete when it came along with the headers."""
    async with Upstream(lambda _: response(b"teapot", "418 Teapot", "X-A: 1", "X-A: 2")) as upstream:
        request = Lifted(upstream.url("/tea", "up.example"), "BREW", [("x", "y")], ("value", b"milk"))
        for invoke in (interface.invoke_1_0, interface.invoke_1_1):
            answer = await invoke(invocation(), request)
            headers = [("x-a", "1"), ("x-a", "2"), ("content-length", "6")]
            assert isinstance(answer, Ok)
            assert answer.value[:2] == (418, headers)
            assert peek(answer.value.body) == b"teapot"
        seen = upstream.requests[0]
    assert (seen.line, seen.body, seen.values("x")) == ("BREW /tea HTTP/1.1", b"milk", ["y"])


@pytest.mark.parametrize("method", ["get", "put", "post", "delete"])
async def test_the_older_generation_has_a_function_for_each_method(interface: HttpInterface, method: str) -> None:
    """Bodies are plain bytes both ways."""
    async with Upstream(lambda request: response(request.body[::-1])) as upstream:
        answer = await getattr(interface, method)(invocation(), LiftedOld(upstream.url("/", "up.example"), [], b"abc"))
        assert answer == Ok((200, [("content-length", "3")], b"cba"))
        assert upstream.requests[0].line == f"{method.upper()} / HTTP/1.1"


async def test_a_buffer_is_passed_on_from_its_cursor(interface: HttpInterface) -> None:
    """Resident or still arriving, without going through the guest."""

    async def arriving() -> AsyncIterator[bytes]:
        for piece in (b"c", b"d"):
            await asyncio.sleep(0)
            yield piece

    half_read = Buffer(b"abcd")
    half_read.advance(2)
    async with Upstream() as upstream:
        for buffer in (half_read, Buffer(source=arriving())):
            request = Lifted(upstream.url("/", "up.example"), "POST", [], ("buffer", buffer))
            assert isinstance(await interface.invoke_1_1(invocation(), request), Ok)
        assert [seen.body for seen in upstream.requests] == [b"cd", b"cd"]


async def test_a_body_that_breaks_off_or_is_too_large_is_an_error_value(interface: HttpInterface) -> None:
    """Nothing is sent then."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise OSError("gone")

    async with Upstream() as upstream:
        url = upstream.url("/", "up.example")
        answer = await interface.invoke_1_1(invocation(), Lifted(url, "POST", [], ("buffer", Buffer(source=broken()))))
        assert answer == Err(("request-error", "the request body broke off"))
        large = Lifted(url, "POST", [], ("buffer", Buffer(source=broken())))
        answer = await interface.invoke_1_1(invocation(lift_bytes=2), large)
        assert answer == Err(("request-error", "the request body is too large"))
        assert upstream.connections == 0


@pytest.mark.parametrize("how", [("aws-sigv4-secret", ("k", "s", "r", "s3")), ("federated", ("arn", "s3"))])
async def test_without_the_extra_a_signature_is_refused_clearly(
    interface: HttpInterface, how: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the request does not go out unsigned."""
    monkeypatch.setattr(signing, "_botocore", None)
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    async with Upstream() as upstream:
        request = Lifted(upstream.url("/", "up.example"), authorization=how)
        answer = await interface.invoke_1_0(invocation(), request)
        text = "signing requests needs the extra 'aws', which this host does not have: pip install 'guesthouse[aws]'"
        assert answer == Err(("request-error", text))
        assert upstream.connections == 0


async def test_a_mistake_of_the_host_is_an_internal_error() -> None:
    """The guest learns that much and goes on; the host's log has the rest."""

    class Broken:
        async def resolve(self, host: str) -> list[str]:
            raise KeyError(host)

    interface = HttpInterface(OutboundClient(resolver=Broken()))
    for answer in (
        await interface.invoke_1_0(invocation(), Lifted("http://a.example/")),
        await interface.invoke_1_1(invocation(), Lifted("http://a.example/")),
        await interface.get(invocation(), LiftedOld("http://a.example/")),
    ):
        assert answer == Err(("internal-error", None))
    await interface.close()


Call = Callable[[HttpInterface, Lifted], Awaitable[Any]]


@pytest.mark.parametrize(
    ("request_", "case", "payload"),
    [
        (Lifted("not a url"), "invalid-url", ("not a url", "the URL holds white space or control characters")),
        (Lifted("nonsense"), "invalid-url", ("nonsense", "the URL is not of the form scheme://host/path")),
        (Lifted("http://127.0.0.1/"), "request-error", "destination prohibited"),
        (Lifted("http://ok@up.example/"), "request-error", "destination prohibited"),
        (Lifted("https://up.example/"), "request-error", "destination prohibited"),
        (Lifted("http://up.example/", "CONNECT"), "request-error", "the method is not valid"),
        (
            Lifted("http://up.example/", headers=[("a b", "c")]),
            "invalid-header-name",
            ("a b", "a name must be 1 to 256 letters, digits or !#$%&'*+-.^_`|~"),
        ),
        (
            Lifted("http://up.example/", headers=[("X", "a\r\nSet-Cookie: b")]),
            "invalid-header-value",
            ("a\r\nSet-Cookie: b", "a value must not hold control characters"),
        ),
        (
            Lifted("http://up.example/", headers=[("X", "y")] * 10_000),
            "invalid-header-value",
            ("", "more than 256 headers, or 65536 bytes of them"),
        ),
    ],
)
async def test_wrong_input_is_told_in_stable_words(
    interface: HttpInterface, request_: Lifted, case: str, payload: object
) -> None:
    """The same case and text in every generation."""
    old = LiftedOld(request_.url, request_.headers)
    for answer in (
        await interface.invoke_1_0(invocation(), request_),
        await interface.invoke_1_1(invocation(), request_),
        await interface.get(invocation(), old) if request_.verb == "GET" else None,
    ):
        assert answer in (Err((case, payload)), None)


@pytest.mark.parametrize(
    ("failure", "case"),
    [
        (failures.Timeout(), "timeout"),
        (failures.ConnectTimeout(), "connect-timeout"),
        (failures.ConnectionFailed(), "connection-failed"),
        (failures.Interrupted(), "connection-interrupted"),
        (failures.TlsError(), "tls-error"),
        (failures.Malformed(), "malformed-response"),
        (failures.Prohibited(), "request-error"),
        (failures.LimitReached(), "request-error"),
        (failures.TooLarge(), "request-error"),
        (failures.InvalidMethod(), "request-error"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_failure_has_its_case(failure: failures.OutboundError, case: str) -> None:
    """1.1.0 tells them apart; for 1.0.0 and before all of them are request errors with the same text."""
    assert error_1_1(failure) == (case, str(failure))
    assert error_1_0(failure) == ("request-error", str(failure))


async def test_the_timeout_of_a_guest_bounds_the_request(interface: HttpInterface) -> None:
    """Zero is a timeout, too; a large one is cut to the limit."""
    async with Upstream(lambda _: None) as upstream:
        request = Lifted(upstream.url("/", "up.example"))
        assert (await interface.invoke_with_timeout(invocation(), request, 400)).error[0] == "timeout"  # type: ignore[union-attr]
        zero = await interface.invoke_with_timeout(invocation(), request, 0)
        assert isinstance(zero, Err)
        assert zero.error[0] in ("timeout", "connect-timeout")
        endless = await interface.invoke_with_timeout(invocation(http_timeout_ms=400), request, 2**64 - 1)
        assert endless == Err(("timeout", "the answer took too long"))


async def test_the_deadline_of_the_invocation_bounds_the_request(interface: HttpInterface) -> None:
    """Whatever the guest and the limit allow."""
    async with Upstream(lambda _: None) as upstream:
        answer = await interface.invoke_1_1(invocation(deadline_ms=400), Lifted(upstream.url("/", "up.example")))
        assert answer == Err(("timeout", "the answer took too long"))


async def test_an_invocation_that_sends_too_much_meets_its_limit(interface: HttpInterface) -> None:
    """The next one is an error value, and other invocations go on."""
    async with Upstream() as upstream:
        busy, other = invocation(http_requests=2), invocation(http_requests=2)
        request = Lifted(upstream.url("/", "up.example"))
        assert isinstance(await interface.invoke_1_1(busy, request), Ok)
        assert isinstance(await interface.invoke_1_1(busy, request), Ok)
        text = "limit exceeded: too many outgoing requests of this invocation"
        assert await interface.invoke_1_1(busy, request) == Err(("request-error", text))
        assert isinstance(await interface.invoke_1_1(other, request), Ok)


async def test_a_response_over_the_limit_is_an_error_value(interface: HttpInterface) -> None:
    """Of the invocation's own limit."""
    async with Upstream(lambda _: response(bytes(100))) as upstream:
        answer = await interface.invoke_1_1(invocation(http_response_bytes=99), Lifted(upstream.url("/", "up.example")))
        assert answer == Err(("request-error", "limit exceeded: the response body is too large"))


# -- grants


def test_grants_are_checked_at_deploy() -> None:
    """What cannot be enforced, or says nothing, is refused with the reason."""
    interface = HttpInterface(OutboundClient())
    for pattern in (
        "*", "api.example.com", "*.example.com", "https://api.example.com:8443", "GET api.example.com",
        "GET,POST https://*.example.com:*", "[2606:4700::1111]", "93.184.216.34", "bücher.example",
    ):  # fmt: skip
        interface.check_grant(pattern)
    for pattern in (
        "", " ", "get api.example.com", "GET,", "ftp://example.com", "api.example.com/path", "a@b.example", "exa mple.com",
        "example.com:0", "example.com:99999", "**.example.com", "a.*.example.com", "127.1", "2130706433", "http://", "GET  a.b",
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            interface.check_grant(pattern)


@pytest.mark.parametrize(
    ("grants", "verb", "path", "allowed"),
    [
        (["http"], "GET", "up.example", True),
        (["http:*:*"], "DELETE", "up.example", True),
        (["http:up.example:*"], "GET", "up.example", True),
        (["http:up.example"], "GET", "up.example", False),  # its own port only
        (["http:UP.example:*"], "GET", "up.EXAMPLE.", True),
        (["http:http://up.example:*"], "GET", "up.example", True),
        (["http:https://up.example:*"], "GET", "up.example", False),
        (["http:*.example:*"], "GET", "up.example", True),
        (["http:*.up.example:*"], "GET", "up.example", False),
        (["http:*.up.example:*"], "GET", "a.b.up.example", True),
        (["http:other.example:*"], "GET", "up.example", False),
        (["http:GET,HEAD up.example:*"], "get", "up.example", True),
        (["http:GET,HEAD up.example:*"], "POST", "up.example", False),
        (["http:GET up.example:*", "http:POST up.example:*"], "POST", "up.example", True),
        (["http:GET up.example:*", "http:POST other.example:*"], "POST", "up.example", False),
        (["cache", "log"], "GET", "up.example", False),
    ],
)
async def test_a_grant_is_enforced_at_each_call(
    interface: HttpInterface, grants: list[str], verb: str, path: str, allowed: bool
) -> None:
    """Host, scheme, port and method; what is not granted is an error value that says so, in both generations."""
    interface._client.policy = OutboundPolicy.of(
        schemes=("http",), overrides={"up.example": "127.0.0.1", "a.b.up.example": "127.0.0.1"}
    )
    async with Upstream() as upstream:
        url = upstream.url("/secret/path?query", path)
        for answer in (
            await interface.invoke_1_0(invocation(*grants), Lifted(url, verb)),
            await interface.invoke_1_1(invocation(*grants), Lifted(url, verb)),
            await interface.invoke_with_timeout(invocation(*grants), Lifted(url, verb), 5_000),
            *([await interface.get(invocation(*grants), LiftedOld(url))] if verb == "GET" else ()),
        ):
            if allowed:
                assert isinstance(answer, Ok)
            else:
                host = f"http://up.example:{upstream.port}"
                assert answer == Err(("request-error", f"not granted: {verb} {host}"))
        assert bool(upstream.connections) is allowed


async def test_a_grant_widens_nothing(interface: HttpInterface) -> None:
    """What the host does not allow stays forbidden, whatever a deployment was granted."""
    for grant, url in (
        ("http:https://up.example", "https://up.example/"),
        ("http:*:*", "http://127.0.0.1/"),
        ("http:127.0.0.1", "http://127.0.0.1/"),
        ("http:localhost:*", "http://localhost/"),
        ("http:169.254.169.254", "http://169.254.169.254/latest/meta-data/"),
    ):
        answer = await interface.invoke_1_1(invocation(grant), Lifted(url))
        assert answer == Err(("request-error", "destination prohibited")), grant
