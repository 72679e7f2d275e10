"""How the streamed answer of a web guest looks on the wire, and what is refused before anything leaves."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BadAnswer, Cancelled
from guesthouse.interfaces.bytes import Buffer, StreamFailed
from guesthouse.interfaces.invocation import Invocation, WebRequest
from guesthouse.interfaces.web import WebInterface, check_headers, check_status, finish_stream, stream_of
from guesthouse.limits import Limits
from unit.interface_fakes import FakeSink, chunks, invocation, now

WEB = WebInterface()
SSE_HEAD = (200, [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("connection", "keep-alive")])


def streaming(**fields: object) -> tuple[Invocation, FakeSink]:
    sink = FakeSink()
    return invocation(request=WebRequest(), response=sink, **fields), sink  # type: ignore[arg-type]


def sse(run: Invocation, event: str | None = None, event_id: str | None = None, data: object = None) -> object:
    return now(WEB.send_sse(run, event, event_id, data))  # type: ignore[arg-type]


def start(run: Invocation, status: int = 200, headers: object = ()) -> object:
    return now(WEB.send_response_start(run, status, headers))  # type: ignore[arg-type]


def send(run: Invocation, data: object) -> object:
    return now(WEB.send_data(run, data))  # type: ignore[arg-type]


def finish(run: Invocation, status: int, body: object = b"") -> object:
    return now(finish_stream(run, status, [("x-late", "1")], body))  # type: ignore[arg-type]


# --- server-sent events


def test_the_first_event_commits_the_response_as_an_event_stream() -> None:
    """Status 200 and the three headers go out once, before the first event."""
    run, sink = streaming()
    assert stream_of(run) is None
    assert sse(run, "greeting", "7", ("value", b"hello")) == Ok()
    assert sse(run, None, None, ("value", b"again")) == Ok()
    assert sink.heads == [SSE_HEAD]
    assert sink.body == b"event: greeting\nid: 7\ndata: hello\n\ndata: again\n\n"


@pytest.mark.parametrize(
    ("event", "event_id", "data", "wire"),
    [
        (None, None, b"", b"data:\n\n"),
        ("ping", None, None, b"event: ping\n\n"),
        ("ping", "1", None, b"event: ping\nid: 1\n\n"),
        (None, None, b"a\nb\rc\r\nd", b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (None, None, b"a\n\nevent: b", b"data: a\ndata: \ndata: event: b\n\n"),
        (None, None, b"\n", b"data: \ndata: \n\n"),
        (None, None, b"\n\r", b"data: \ndata: \ndata: \n\n"),
        (None, None, b"a\xe2\x80\xa8b\x0cc", b"data: a\xe2\x80\xa8b\x0cc\n\n"),
        ("", None, None, b"event: \n\n"),
        ("ä" * 256, "i" * 512, None, b"event: " + "ä".encode() * 256 + b"\nid: " + b"i" * 512 + b"\n\n"),
    ],
)
def test_an_event_on_the_wire(event: str | None, event_id: str | None, data: bytes | None, wire: bytes) -> None:
    """Each field is a line; only LF, CR and CRLF split data, into more `data:` lines of the same event."""
    run, sink = streaming()
    assert sse(run, event, event_id, None if data is None else ("value", data)) == Ok()
    assert sink.body == wire


@pytest.mark.parametrize(
    ("event", "event_id", "data", "error"),
    [
        (None, None, None, "event or data must be provided"),
        (None, "1", None, "event or data must be provided"),
        ("a\nb", None, None, "bad event name: "),
        ("a\rb", None, None, "bad event name: "),
        ("a\0b", None, None, "bad event name: "),
        ("a" * 513, None, None, "bad event name: "),
        ("ä" * 257, None, None, "bad event name: "),
        ("a", "1\n2", None, "bad event id: "),
        ("a", "1\r2", None, "bad event id: "),
        ("a", "1\0", None, "bad event id: "),
        ("a", "1" * 513, None, "bad event id: "),
        (None, None, b"\xff", "bad data: not valid UTF-8"),
        (None, None, b"x" * ((1 << 20) + 1), "bad data: "),
    ],
)
def test_a_wrong_event_is_an_error_and_sends_nothing(
    event: str | None, event_id: str | None, data: bytes | None, error: str
) -> None:
    """Errors are values with the documented beginnings; not even the head has left."""
    run, sink = streaming()
    answer = sse(run, event, event_id, None if data is None else ("value", data))
    assert isinstance(answer, Err)
    assert answer.error.startswith(error)
    assert (sink.heads, sink.body) == ([], b"")
    assert finish(run, 200) is None


def test_a_megabyte_of_data_is_one_event() -> None:
    """The limit itself is allowed, from memory and from a stream."""
    for data in (("value", b"x" * (1 << 20)), ("buffer", Buffer(source=chunks(b"x" * (1 << 19), b"x" * (1 << 19))))):
        run, sink = streaming()
        assert sse(run, None, None, data) == Ok()
        assert len(sink.body) == (1 << 20) + len(b"data: \n\n")


def test_event_data_that_breaks_off_is_bad_data_and_released() -> None:
    """A buffer whose source fails, or that is refused unread, does not keep its source."""
    run, _ = streaming()
    closed: list[int] = []

    def data() -> object:
        return ("buffer", Buffer(source=chunks(b"a", StreamFailed("gone")), on_close=lambda: closed.append(1)))

    assert sse(run, None, None, data()) == Err("bad data: gone")
    assert sse(run, "a\nb", None, data()) == Err("bad event name: holds a line break or a null character")
    assert send(run, data()) == Err("send-response-start must be called before send-data")
    assert len(closed) == 3


@given(
    st.none() | st.text(max_size=20),
    st.none() | st.text(max_size=20),
    st.none() | st.text(alphabet=st.sampled_from("ab:\n\r\0 \u2028\x85é")),
)
def test_no_call_makes_two_events(event: str | None, event_id: str | None, data: str | None) -> None:
    """Read back by the rules of the specification, every call is one event with exactly its own fields."""
    run, sink = streaming()
    if sse(run, event, event_id, None if data is None else ("value", data.encode())) != Ok():
        assert sink.body == b""
        return
    blocks = re.split(r"\n\n", sink.body.decode())
    assert len(blocks) == 2
    assert blocks[1] == ""
    fields: dict[str, list[str]] = {}
    for line in re.split(r"\r\n|\r|\n", blocks[0]):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    assert fields.get("event") == (None if event is None else [event])
    assert fields.get("id") == (None if event_id is None else [event_id])
    assert fields.get("data") == (None if data is None else re.split(r"\r\n|\r|\n", data))


# --- explicit start and raw bodies


def test_a_raw_stream_goes_out_verbatim() -> None:
    """After the start, data of any form is sent as it is; empty data sends nothing."""
    run, sink = streaming()
    assert start(run, 206, [("Content-Type", "text/csv"), ("x", "1"), ("x", "2")]) == Ok()
    assert send(run, ("value", b"a\r\n")) == Ok()
    assert send(run, ("value", b"")) == Ok()
    assert send(run, ("buffer", Buffer(source=chunks(b"b", b"c")))) == Ok()
    assert sink.heads == [(206, [("Content-Type", "text/csv"), ("x", "1"), ("x", "2")])]
    assert sink.body == b"a\r\nbc"
    assert finish(run, 204) is True


def test_data_without_a_start_is_an_error() -> None:
    """`send-data` first, or after nothing but events, is refused."""
    run, sink = streaming()
    assert isinstance(send(run, ("value", b"x")), Err)
    sse(run, "a")
    assert isinstance(send(run, ("value", b"x")), Err)
    assert sink.body == b"event: a\n\n"


def test_the_response_is_started_at_most_once() -> None:
    """A second start, and one after an event, is an error that changes nothing."""
    run, sink = streaming()
    assert start(run) == Ok()
    assert isinstance(start(run, 500), Err)
    assert sink.heads == [(200, [])]
    run, sink = streaming()
    sse(run, "a")
    assert isinstance(start(run), Err)
    assert sink.heads == [SSE_HEAD]


def test_events_after_an_explicit_start_keep_its_head() -> None:
    """The crate's "events with headers": the built-in headers are not sent again."""
    run, sink = streaming()
    assert start(run, 200, [("content-type", "text/event-stream"), ("x-mine", "1")]) == Ok()
    assert sse(run, "a") == Ok()
    assert sink.heads == [(200, [("content-type", "text/event-stream"), ("x-mine", "1")])]
    assert sink.body == b"event: a\n\n"


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 600, 999, 1000, 65535])
def test_a_status_that_cannot_end_an_exchange_is_refused(status: int) -> None:
    """Streaming answers an error; a returned response raises."""
    run, sink = streaming()
    assert isinstance(start(run, status), Err)
    assert sink.heads == []
    with pytest.raises(BadAnswer):
        check_status(status)


@pytest.mark.parametrize(
    "header",
    [
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("a\r\n", "x"),
        ("ä", "x"),
        ("x", "a\r\nSet-Cookie: b"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "a\x1bb"),
        ("x", "a\x7fb"),
    ],
)
def test_a_header_that_could_split_the_answer_is_refused(header: tuple[str, str]) -> None:
    """An error for a streamed answer, `BadAnswer` for a returned one."""
    run, sink = streaming()
    assert isinstance(start(run, 200, [header]), Err)
    assert sink.heads == []
    with pytest.raises(BadAnswer):
        check_headers([header], 10)


def test_headers_that_are_the_hosts_are_left_out() -> None:
    """Framing and hop-by-hop fields vanish in any case of letters; the rest keeps order and spelling."""
    given_headers = [
        ("Content-Length", "5"),
        ("X-One", "1"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("keep-alive", "x"),
        ("upgrade", "x"),
        ("TE", "x"),
        ("trailer", "x"),
        ("proxy-authenticate", "x"),
        ("host", "x"),
        ("x-one", "a\tb"),
        ("set-cookie", "ä=1"),
    ]
    assert check_headers(given_headers, 3) == [("X-One", "1"), ("x-one", "a\tb"), ("set-cookie", "ä=1")]


def test_headers_are_bounded_in_number_and_bytes() -> None:
    """Ten thousand headers, or one of a megabyte, are refused."""
    with pytest.raises(BadAnswer):
        check_headers([("x", "1")] * 10_000, 256)
    with pytest.raises(BadAnswer):
        check_headers([("x", "1" * (1 << 20))], 256)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_takes_none(status: int) -> None:
    """Neither data nor events may follow."""
    run, sink = streaming()
    assert start(run, status) == Ok()
    assert isinstance(send(run, ("value", b"x")), Err)
    assert isinstance(sse(run, "a"), Err)
    assert sink.body == b""


def test_a_streamed_body_is_bounded() -> None:
    """What would go over the deployment's limit is an error, in data and in events."""
    run, sink = streaming(limits=Limits(response_bytes=20))
    start(run)
    assert send(run, ("value", b"x" * 15)) == Ok()
    assert isinstance(send(run, ("value", b"x" * 15)), Err)
    assert isinstance(sse(run, "aaaa"), Err)
    assert len(sink.body) == 15


def test_without_a_listener_streaming_is_an_error() -> None:
    """Spawned runs and library calls have nobody to stream to."""
    run = invocation()
    assert isinstance(sse(run, "a"), Err)
    assert isinstance(start(run), Err)
    assert stream_of(run) is None


def test_a_client_that_went_away_ends_the_guest() -> None:
    """The sink's `Cancelled` is not turned into an answer for the guest."""
    run, sink = streaming()

    async def gone(data: bytes) -> None:
        raise Cancelled

    sink.send = gone  # type: ignore[method-assign]
    start(run)
    with pytest.raises(Cancelled):
        send(run, ("value", b"x"))
    with pytest.raises(Cancelled):
        sse(run, "a")


# --- the response that comes last


def test_a_response_without_a_stream_is_the_answer() -> None:
    """Nothing was streamed: `finish_stream` leaves the response to the dispatcher."""
    run, _ = streaming()
    assert finish(run, 500, b"x") is None
    WEB.headers(run)
    assert finish(run, 500, b"x") is None


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_good_status_just_ends_the_events(status: int) -> None:
    """The returned body is ignored."""
    run, sink = streaming()
    sse(run, "a")
    assert finish(run, status, b"ignored") is True
    assert sink.body == b"event: a\n\n"


@pytest.mark.parametrize(
    ("status", "body", "data"),
    [
        (500, ("value", b"it broke"), b"data: HTTP 500: it broke\n"),
        (404, b"", b"data: HTTP 404: \n"),
        (302, b"a\nb\r\nc", b"data: HTTP 302: a\ndata: b\ndata: c\n"),
        (400, b"a\xffb", "data: HTTP 400: a\ufffdb\n".encode()),
        (99, ("buffer", Buffer(source=chunks(b"a", b"b", StreamFailed("x")))), b"data: HTTP 99: ab\n"),
    ],
)
def test_a_bad_status_after_events_is_one_last_event(status: int, body: object, data: bytes) -> None:
    """`http-error` carries status and body as text, over as many data lines as it needs."""
    run, sink = streaming()
    sse(run, "a")
    assert finish(run, status, body) is True
    assert sink.body == b"event: a\n\nevent: http-error\n" + data + b"\n"


def test_the_last_event_is_cut_at_a_megabyte() -> None:
    """A huge error body is cut between characters, whether resident or streamed."""
    huge = "é".encode() * (1 << 20)
    for body in (huge, ("buffer", Buffer(source=chunks(huge[:999_999], huge[999_999:])))):
        run, sink = streaming()
        sse(run, "a")
        assert finish(run, 500, body) is True
        data = sink.body.removeprefix(b"event: a\n\nevent: http-error\ndata: ").removesuffix(b"\n\n")
        assert (1 << 20) - 4 < len(data) <= 1 << 20
        assert data.decode().strip("é") == "HTTP 500: "


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("begin", [start, lambda run: sse(run, "a")], ids=["raw", "events"])
def test_a_body_that_comes_too_late_is_let_go_of(begin: Callable[[Invocation], object], status: int) -> None:
    """What it was to be read from may be an upstream's connection."""
    run, _ = streaming()
    begin(run)
    closed: list[int] = []
    late = Buffer(source=chunks(b"x" * (1 << 20), b"y" * (1 << 20)), on_close=lambda: closed.append(1))
    finish(run, status, ("buffer", late))
    assert closed == [1]


def test_a_bad_status_after_a_raw_body_breaks_off() -> None:
    """The only way left to tell a client is to end the connection; with events on it, the last event tells."""
    run, _ = streaming()
    start(run)
    send(run, ("value", b"x"))
    assert finish(run, 500) is False
    run, sink = streaming()
    start(run)
    sse(run, "a")
    assert finish(run, 500, b"no") is True
    assert sink.body.endswith(b"event: http-error\ndata: HTTP 500: no\n\n")
