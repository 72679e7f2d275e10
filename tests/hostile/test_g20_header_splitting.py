"""G20: no header, method or URL of a guest adds a line to what goes over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.failures import InvalidHeaderName, InvalidHeaderValue, OutboundError
from guesthouse.net.headers import HOP_BY_HOP, MAX_HEADERS, SET_BY_HOST, check_header, incoming, is_hop_by_hop, outgoing
from guesthouse.net.policy import OutboundPolicy
from upstream import Received, Upstream

POLICY = OutboundPolicy.of(schemes=("http",), overrides={"up.example": "127.0.0.1"})


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a:",
        ":a",
        "a\r\n",
        "a\n",
        "a\0",
        "\ta",
        "a\t",
        "(a)",
        "a,b",
        "a;b",
        "a/b",
        "a=b",
        "a@b",
        "a[",
        '"a"',
        "ä",
        "a\u200b",
        "x" * 257,
    ],
)
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    """With the name itself and a stable reason."""
    with pytest.raises(InvalidHeaderName) as caught:
        outgoing([("ok", "fine"), (name, "value")])
    assert caught.value.subject == name
    assert check_header(name, "value")


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nSet-Cookie: b",
        "a\nb",
        "a\rb",
        "a\0b",
        "\r\n",
        "a\x0bb",
        "a\x0cb",
        "a\x1fb",
        "a\x7fb",
        "a\x85b",
        "a\x8db",
        "a\u009fb",
        "a\ud800b",
    ],
)
def test_a_value_with_control_characters_is_refused(value: str) -> None:
    """CR, LF and NUL, and what some receivers take for them."""
    with pytest.raises(InvalidHeaderValue) as caught:
        outgoing([("X", value)])
    assert caught.value.subject == value
    assert check_header("X", value)


@pytest.mark.parametrize(
    "value", ["", " ", "a\tb", "plain", "caf\u00e9", "\u010d\u010a", "\U0001f600", '"quoted; text"']
)
def test_other_values_are_kept(value: str) -> None:
    """Tabs, and text outside ASCII, which goes out as UTF-8 (where no byte of it is a CR or LF)."""
    assert check_header("X", value) is None
    assert outgoing([("X", value)]) == [("X", value)]
    assert not {0x0A, 0x0D} & set(value.encode())


def test_headers_of_the_connection_are_dropped() -> None:
    """Host, framing and hop-by-hop headers are ours; guests that forward all they received do not fail on them."""
    names = [*SET_BY_HOST, *(name.upper() for name in SET_BY_HOST), "Proxy-Anything"]
    assert outgoing([(name, "1") for name in names]) == []
    assert HOP_BY_HOP < SET_BY_HOST
    assert is_hop_by_hop("proxy-x")
    assert not is_hop_by_hop("host")


def test_too_many_or_too_large_headers_are_refused() -> None:
    """Counted before anything goes out, dropped headers included."""
    assert len(outgoing([("a", "b")] * MAX_HEADERS)) == MAX_HEADERS
    for headers in ([("a", "b")] * 10_000, [("host", "b")] * 10_000, [("a", "b" * 70_000)], [("a", "\u20ac" * 30_000)]):
        with pytest.raises(InvalidHeaderValue, match="more than"):
            outgoing(headers)


def test_headers_of_an_upstream_are_checked_as_well() -> None:
    """A control character from a server is a malformed answer; other bytes become text that can be passed on."""
    assert incoming([(b"X-A", b"caf\xc3\xa9"), (b"x-a", b"caf\xe9"), (b"Y", b"it\x92s")]) == [
        ("x-a", "caf\u00e9"),
        ("x-a", "caf\u00e9"),
        ("y", "it\ufffds"),
    ]
    for value in (b"a\x00b", b"a\rb", b"a\x1bb", b"a\x7fb"):
        assert incoming([(b"x", value)]) is None


class Wire:
    """One client and one upstream for a whole fuzz run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.upstream = Upstream()
        self.client = OutboundClient(OutboundConfig(POLICY))
        self.run(self.upstream.__aenter__())

    def run(self, coroutine: object) -> object:
        return self.loop.run_until_complete(coroutine)  # type: ignore[arg-type]

    def send(self, method: str, path: str, headers: Sequence[tuple[str, str]]) -> tuple[Received, bytes] | None:
        """What arrived, parsed and raw; `None` if it was refused, in which case nothing may have arrived."""
        self.upstream.wire.clear()
        self.upstream.requests.clear()
        request = OutboundRequest(method, self.upstream.url(path, "up.example"), headers, timeout_ms=5_000)
        try:
            self.run(self.client.fetch(request))
        except OutboundError:
            assert not self.upstream.wire
            return None
        (received,) = self.upstream.requests
        return received, bytes(self.upstream.wire)

    def close(self) -> None:
        self.run(self.client.close())
        self.run(self.upstream.__aexit__())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.fixture(scope="module")
def wire() -> object:
    wire = Wire()
    yield wire
    wire.close()


nasty = st.text(st.sampled_from("ab:;, \t\r\n\0\x0b\x0c\x1f\x7f\x85\u010d\u010a\u2028\u560d\u560a-XHost"), max_size=20)
anything = st.text(max_size=20) | nasty
tokens = st.text(st.sampled_from("abcXYZ019-_!~"), min_size=1, max_size=12)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(tokens | anything, anything), max_size=6), tokens | nasty, nasty)
def test_nothing_extra_is_on_the_wire(wire: Wire, headers: list[tuple[str, str]], method: str, path: str) -> None:
    """What arrives has one request line and exactly the headers that were allowed, in their order, and ours."""
    sent = wire.send(method, "/" + path, headers)
    if sent is None:
        return
    received, raw = sent
    allowed = outgoing(headers)
    ours = ["host"]
    ours += [] if any(name.lower() == "accept" for name, _ in allowed) else ["accept"]
    ours += [] if any(name.lower() == "accept-encoding" for name, _ in allowed) else ["accept-encoding"]
    ours += [] if method.upper() in ("GET", "HEAD", "OPTIONS", "TRACE") else ["content-length"]
    extra = [name for name, _ in received.headers if name.lower() in ours]
    rest = [(name, value) for name, value in received.headers if name.lower() not in ours]
    assert sorted(name.lower() for name in extra) == sorted(ours)
    assert rest == [(name, value.strip()) for name, value in allowed]
    assert raw.count(b"\r\n\r\n") == 1
    assert raw.count(b"\n") == raw.count(b"\r") == len(received.headers) + 2
    assert received.line.count(" ") == 2
    assert received.line.startswith(f"{method.upper()} /")
    assert received.line.endswith(" HTTP/1.1")


@pytest.mark.parametrize(
    "path", ["/\r\nX: y", "/ HTTP/1.1\r\nX: y", "/%0d%0aX: y", "/a\tb", "/\u560d\u560aX:y", "/?a\r\nb", "/#\r\nX"]
)
def test_a_path_adds_no_line(wire: Wire, path: str) -> None:
    """White space in a URL is refused; what is encoded stays encoded."""
    sent = wire.send("GET", path, [])
    assert sent is None or (len(sent[0].headers) == 3 and sent[1].count(b"\r\n") == 5)
