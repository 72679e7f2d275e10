"""C3: a request that two readers could understand differently is refused, and nothing behind it is taken for a request.

Each case is sent with a canary behind it in the same segment.  `CLOSED` cases end with the refusal and the end of the
connection, and the canary never reaches the dispatcher.  In `IN_STEP` cases, the request is unusual but has only one meaning:
it is answered, and so is the canary, once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway_server import Server, read_all, read_answers, send, serving, split_answers

CANARY = b"GET /functions/default/canary HTTP/1.1\r\nHost: localhost\r\n\r\n"
LINE = b"POST /functions/default/echo HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
TE = b"Transfer-Encoding: chunked\r\n"


def headers(fields: bytes, body: bytes = b"abcd") -> bytes:
    """A request with these header fields."""
    return LINE + HOST + fields + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    """A request with this chunked body."""
    return LINE + HOST + TE + b"\r\n" + body


def line(text: bytes, fields: bytes = HOST) -> bytes:
    """A request with this first line."""
    return text + b"\r\n" + fields + b"\r\n"


END = b"0\r\n\r\n"
CHUNKS = b"4\r\nabcd\r\n" + END

CLOSED = {
    # Content-Length
    "both lengths, CL first": headers(b"Content-Length: 4\r\n" + TE, CHUNKS),
    "both lengths, TE first": headers(TE + b"Content-Length: 4\r\n", CHUNKS),
    "both lengths, CL zero": headers(b"Content-Length: 0\r\n" + TE, CHUNKS),
    "two lengths that differ": headers(b"Content-Length: 4\r\nContent-Length: 0\r\n"),
    "two lengths that agree": headers(b"Content-Length: 4\r\nContent-Length: 4\r\n"),
    "a list of lengths": headers(b"Content-Length: 4, 4\r\n"),
    "length with plus": headers(b"Content-Length: +4\r\n"),
    "length with minus": headers(b"Content-Length: -4\r\n"),
    "length in hexadecimal": headers(b"Content-Length: 0x4\r\n"),
    "length with underscore": headers(b"Content-Length: 0_4\r\n"),
    "length with a point": headers(b"Content-Length: 4.0\r\n"),
    "length with exponent": headers(b"Content-Length: 4e0\r\n"),
    "length in two parts": headers(b"Content-Length: 4 4\r\n"),
    "length with form feed": headers(b"Content-Length: \x0c4\r\n"),
    "length with vertical tab": headers(b"Content-Length: \x0b4\r\n"),
    "length with no-break space": headers(b"Content-Length: \xa04\r\n"),
    "length quoted": headers(b'Content-Length: "4"\r\n'),
    "length empty": headers(b"Content-Length: \r\n"),
    "length over 64 bits": headers(b"Content-Length: 18446744073709551620\r\n"),
    "length not a number": headers(b"Content-Length: abcd\r\n"),
    "length folded": headers(b"Content-Length:\r\n 4\r\n"),
    # Transfer-Encoding
    "unknown coding": headers(b"Transfer-Encoding: xchunked\r\n", CHUNKS),
    "identity": headers(b"Transfer-Encoding: identity\r\n", CHUNKS),
    "gzip under chunked": headers(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS),
    "gzip over chunked": headers(b"Transfer-Encoding: chunked, gzip\r\n", CHUNKS),
    "chunked twice in a list": headers(b"Transfer-Encoding: chunked, chunked\r\n", CHUNKS),
    "chunked in two fields": headers(TE + TE, CHUNKS),
    "gzip and chunked in two fields": headers(b"Transfer-Encoding: gzip\r\n" + TE, CHUNKS),
    "chunked and identity in two fields": headers(TE + b"Transfer-Encoding: identity\r\n", CHUNKS),
    "chunked after vertical tab": headers(b"Transfer-Encoding: \x0bchunked\r\n", CHUNKS),
    "chunked quoted": headers(b'Transfer-Encoding: "chunked"\r\n', CHUNKS),
    "chunked with comma": headers(b"Transfer-Encoding: chunked,\r\n", CHUNKS),
    "chunked after comma": headers(b"Transfer-Encoding: ,chunked\r\n", CHUNKS),
    "chunked with parameter": headers(b"Transfer-Encoding: chunked;q=1\r\n", CHUNKS),
    "no coding": headers(b"Transfer-Encoding: \r\n", CHUNKS),
    "space before the colon": headers(b"Transfer-Encoding : chunked\r\n", CHUNKS),
    "tab before the colon": headers(b"Transfer-Encoding\t: chunked\r\n", CHUNKS),
    "coding on a folded line": headers(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS),
    "line feed in the name": headers(b"Transfer-Encod\ning: chunked\r\n", CHUNKS),
    "chunked in HTTP/1.0": line(b"POST /functions/default/echo HTTP/1.0", HOST + TE) + CHUNKS,
    # Fields
    "folded field": headers(b"X: a\r\n b\r\n"),
    "folded first field": LINE + b" X: a\r\n" + HOST + b"\r\n",
    "bare line feed between fields": headers(b"X: a\nY: b\r\n"),
    "bare carriage return between fields": headers(b"X: a\rY: b\r\n"),
    "bare line feed at the end of headers": LINE + HOST + b"\n",
    "two bare line feeds": LINE.replace(b"\r", b"") + HOST.replace(b"\r", b"") + b"\n",
    "NUL in a value": headers(b"X: a\0b\r\n"),
    "control character in a value": headers(b"X: a\x01b\r\n"),
    "delete in a value": headers(b"X: a\x7fb\r\n"),
    "NUL in a name": headers(b"X\0Y: a\r\n"),
    "space in a name": headers(b"X Y: a\r\n"),
    "empty name": headers(b": a\r\n"),
    "no colon": headers(b"Xabc\r\n"),
    "UTF-8 in a name": headers("é: a\r\n".encode()),
    "parentheses in a name": headers(b"X(): a\r\n"),
    # Host
    "no host": line(b"GET /functions/default/echo HTTP/1.1", b"X: y\r\n"),
    "two hosts": line(b"GET /functions/default/echo HTTP/1.1", HOST + b"Host: other\r\n"),
    "two hosts that agree": line(b"GET /functions/default/echo HTTP/1.1", HOST + HOST),
    "host with space": line(b"GET /functions/default/echo HTTP/1.1", b"Host: a b\r\n"),
    "host with path": line(b"GET /functions/default/echo HTTP/1.1", b"Host: localhost/x\r\n"),
    "host with user": line(b"GET /functions/default/echo HTTP/1.1", b"Host: a@localhost\r\n"),
    "hosts in a list": line(b"GET /functions/default/echo HTTP/1.1", b"Host: localhost, other\r\n"),
    # The first line
    "HTTP/0.9": b"GET /functions/default/echo\r\n\r\n",
    "version 0.9": line(b"GET /functions/default/echo HTTP/0.9"),
    "version 1.2": line(b"GET /functions/default/echo HTTP/1.2"),
    "version 2.0": line(b"GET /functions/default/echo HTTP/2.0"),
    "version without minor": line(b"GET /functions/default/echo HTTP/1"),
    "version with zeros": line(b"GET /functions/default/echo HTTP/01.1"),
    "version in lower case": line(b"GET /functions/default/echo http/1.1"),
    "another protocol": line(b"GET /functions/default/echo ICE/1.1"),
    "RTSP": line(b"DESCRIBE /functions/default/echo RTSP/1.0"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "space after the version": line(b"GET /functions/default/echo HTTP/1.1 "),
    "space before the method": line(b" GET /functions/default/echo HTTP/1.1"),
    "tabs for spaces": line(b"GET\t/functions/default/echo\tHTTP/1.1"),
    "bare line feed after the first line": b"GET /functions/default/echo HTTP/1.1\n" + HOST + b"\r\n",
    "bare carriage return after the first line": b"GET /functions/default/echo HTTP/1.1\r" + HOST + b"\r\n",
    "method in lower case": line(b"get /functions/default/echo HTTP/1.1"),
    "unknown method": line(b"FOO /functions/default/echo HTTP/1.1"),
    "no method": line(b"/functions/default/echo HTTP/1.1"),
    "CONNECT": line(b"CONNECT localhost:443 HTTP/1.1"),
    "fragment": line(b"GET /functions/default/echo#x HTTP/1.1"),
    "NUL in the path": line(b"GET /functions/default/e\0cho HTTP/1.1"),
    "control character in the path": line(b"GET /functions/default/e\x01cho HTTP/1.1"),
    "raw byte in the path": line(b"GET /functions/default/e\xe9cho HTTP/1.1"),
    "relative path": line(b"GET functions/default/echo HTTP/1.1"),
    "backslash path": line(b"GET \\functions HTTP/1.1"),
    "another scheme": line(b"GET ftp://localhost/functions/default/echo HTTP/1.1"),
    "user in the target": line(b"GET http://a@localhost/functions/default/echo HTTP/1.1"),
    # Chunks
    "size with space behind": chunked(b"4 \r\nabcd\r\n" + END),
    "size with space before": chunked(b" 4\r\nabcd\r\n" + END),
    "size with plus": chunked(b"+4\r\nabcd\r\n" + END),
    "size with minus": chunked(b"-4\r\nabcd\r\n" + END),
    "size with 0x": chunked(b"0x4\r\nabcd\r\n" + END),
    "size with underscore": chunked(b"0_4\r\nabcd\r\n" + END),
    "size over 64 bits": chunked(b"10000000000000004\r\nabcd\r\n" + END),
    "no size": chunked(b"\r\nabcd\r\n" + END),
    "size not hexadecimal": chunked(b"g\r\nabcd\r\n" + END),
    "bare line feeds": chunked(b"4\nabcd\n0\n\n"),
    "bare line feed after data": chunked(b"4\r\nabcd\n" + END),
    "no line end after data": chunked(b"4\r\nabcd" + END),
    "data longer than said": chunked(b"3\r\nabcd\r\n" + END),
    "bare line feed in an extension": chunked(b"4;a\nabcd\r\n" + END),
    "bare carriage return in an extension": chunked(b"4;a\rb\r\nabcd\r\n" + END),
    "NUL in an extension": chunked(b"4;a\0b\r\nabcd\r\n" + END),
    "empty extension": chunked(b"4;\r\nabcd\r\n" + END),
    "two carriage returns": chunked(b"4\r\r\nabcd\r\n" + END),
    "bare line feed at the last chunk": chunked(b"4\r\nabcd\r\n0\n\r\n"),
    "bare line feed at the end": chunked(b"4\r\nabcd\r\n0\r\n\n"),
    "length in a trailer": chunked(b"4\r\nabcd\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "coding in a trailer": chunked(b"4\r\nabcd\r\n0\r\n" + TE + b"\r\n"),
    "folded trailer": chunked(b"4\r\nabcd\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "bare line feed after a trailer": chunked(b"4\r\nabcd\r\n0\r\nX: a\n\r\n"),
    # An offer to change the protocol
    "two offers to upgrade": 2 * headers(b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b""),
}
"""Refused with 400, and the connection closed; those that llhttp reads as a whole request before are listed below."""

ANSWERED_FIRST = frozenset({"two offers to upgrade"})

IN_STEP = {
    "plain": headers(b"Content-Length: 4\r\n"),
    "length with zeros": headers(b"Content-Length: 0004\r\n"),
    "length with space around": headers(b"Content-Length: \t 4 \t\r\n"),
    "body of a GET": line(b"GET /functions/default/echo HTTP/1.1", HOST + b"Content-Length: 4\r\n") + b"abcd",
    "chunked": chunked(CHUNKS),
    "chunked in capitals": headers(b"TRANSFER-ENCODING: CHUNKED\r\n", CHUNKS),
    "chunk with extension": chunked(b"4;a=b\r\nabcd\r\n" + END),
    "chunk with quoted extension": chunked(b'4;a="b c"\r\nabcd\r\n' + END),
    "size with zeros": chunked(b"0000000000000000000004\r\nabcd\r\n" + END),
    "trailer": chunked(b"4\r\nabcd\r\n0\r\nX: y\r\n\r\n"),
    "a header that looks like a length": headers(b"Content_Length: 9\r\nContent-Length: 4\r\n"),
    # RFC 9112, section 2.2: empty lines before a request are skipped
    "empty lines before": b"\r\n\r\n" + headers(b"Content-Length: 4\r\n"),
    # section 3: lenient about spaces in the request line; there is no other reading of these bytes
    "two spaces in the first line": line(b"POST  /functions/default/echo  HTTP/1.1", HOST + b"Content-Length: 4\r\n")
    + b"abcd",
    "upgrade with a body": headers(b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n"),
    "upgrade with chunks": headers(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + TE, CHUNKS),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def canaries(server: Server) -> int:
    """How many canaries have reached the dispatcher; and forgets them."""
    count = sum(1 for name, _ in server.dispatcher.requests if name == "canary")
    server.dispatcher.requests.clear()
    return count


def test_there_are_enough_cases() -> None:
    """As many as the tables of those who collect them."""
    assert len(CLOSED) + len(IN_STEP) >= 113


@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("case", CLOSED)
def test_an_ambiguous_request_ends_its_connection(server: Server, case: str, bytewise: bool) -> None:
    """400, the end of the connection, and no canary, however the bytes arrive."""
    message = CLOSED[case] + CANARY
    with server.connect() as sock:
        for piece in [message[i : i + 1] for i in range(len(message))] if bytewise else [message]:
            send(sock, piece)
        answers = list(split_answers(read_all(sock)))
    expected = [200, 400] if case in ANSWERED_FIRST else [400]
    assert [status for status, _ in answers] == expected
    assert canaries(server) == 0


@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("case", IN_STEP)
def test_an_unusual_request_with_one_meaning_is_answered(server: Server, case: str, bytewise: bool) -> None:
    """The body is exactly the body, and the canary behind it is the next request."""
    message = IN_STEP[case] + CANARY
    with server.connect() as sock:
        for piece in [message[i : i + 1] for i in range(len(message))] if bytewise else [message]:
            send(sock, piece)
        assert read_answers(sock, 2) == [(200, b"abcd"), (200, b"")]
    assert canaries(server) == 1


def test_what_follows_connection_close_is_not_a_request(server: Server) -> None:
    """A client that said close gets one answer."""
    with server.connect() as sock:
        send(sock, headers(b"Connection: close\r\nContent-Length: 4\r\n") + CANARY)
        assert list(split_answers(read_all(sock))) == [(200, b"abcd")]
    assert canaries(server) == 0


def test_an_early_answer_does_not_turn_the_rest_of_the_body_into_a_request(server: Server) -> None:
    """Refused before its body came: the body is thrown away, and the connection closes."""
    with server.connect() as sock:
        send(
            sock,
            b"POST /functions/default/nobody HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + CANARY,
        )
        send(sock, CANARY * 10)
        answers = list(split_answers(read_all(sock)))
    assert [status for status, _ in answers] == [404]
    assert canaries(server) == 0


def test_a_trailer_is_not_a_header(server: Server) -> None:
    """What comes behind a body cannot add to what came before it."""
    with server.connect() as sock:
        send(sock, chunked(b"4\r\nabcd\r\n0\r\nAuthorization: forged\r\n\r\n"))
        assert read_answers(sock, 1) == [(200, b"abcd")]
    ((_, request),) = server.dispatcher.requests
    assert "authorization" not in dict(request.headers)
    server.dispatcher.requests.clear()


def test_garbage_behind_a_slow_request_does_not_cut_its_answer(server: Server) -> None:
    """The refusal waits for the answers before it."""
    with server.connect() as sock:
        send(sock, headers(b"Content-Length: 4\r\n") + headers(b"Content-Length: 4\r\n") + b"\0\0\0\0")
        answers = list(split_answers(read_all(sock)))
    assert [status for status, _ in answers] == [200, 200, 400]
    server.dispatcher.requests.clear()
