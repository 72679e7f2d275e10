"""Where a token may stand, and what a guest sees of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from gateway_server import Server, inspect, read_answers

BOTH = {"authorization": "for-upstream", "x-momento-authorization": "secret"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    server.add("inspect", inspect)
    server.tokens.add("secret", "invoke", token_id="me")
    with server:
        yield server


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"authorization": "secret"}),
        ("", {"authorization": "Bearer secret"}),
        ("", {"authorization": "bearer  secret "}),
        ("", {"x-momento-authorization": "secret"}),
        ("", {"x-momento-authorization": "Bearer secret"}),
        ("", BOTH),
        ("?token=secret", {}),
        ("?a=b&token=secret&c=d", {}),
    ],
)
def test_a_token_is_found_wherever_it_may_stand(server: Server, query: str, headers: Mapping[str, str]) -> None:
    """And the guest is told whose it is, never the token itself."""
    answer = server.request("POST", "/functions/default/inspect" + query, headers=headers)
    assert answer.status == 200
    assert answer.json["token_id"] == "me"
    assert b"secret" not in answer.body


def test_authorization_is_the_guests_where_the_token_is_elsewhere(server: Server) -> None:
    """So that it can be passed on to somebody behind."""
    told = server.request("POST", "/functions/default/inspect", headers=BOTH).json
    assert dict(told["headers"])["authorization"] == "for-upstream"
    assert "x-momento-authorization" not in dict(told["headers"])


def test_other_parameters_stay(server: Server) -> None:
    """Only the token is taken out."""
    assert server.request("GET", "/functions/default/inspect?a=b&token=secret&c=d").json["query"] == [
        ["a", "b"],
        ["c", "d"],
    ]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?token=secret", {"authorization": "secret"}),
        ("?token=secret", {"x-momento-authorization": "secret"}),
        ("?token=secret&token=secret", {}),
    ],
)
def test_two_tokens_are_400(server: Server, query: str, headers: Mapping[str, str]) -> None:
    """Which one would count?"""
    assert server.request("POST", "/functions/default/inspect" + query, headers=headers).status == 400


def test_two_authorization_headers_are_400(server: Server) -> None:
    """No reader may take the first and another one the last."""
    with server.connect() as sock:
        sock.sendall(
            b"GET /functions/default/inspect HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: secret\r\nAuthorization: secret\r\n\r\n"
        )
        assert [status for status, _ in read_answers(sock, 1)] == [400]


def test_a_401_names_the_scheme(server: Server) -> None:
    """As RFC 9110 wants it."""
    answer = server.request("GET", "/functions/default/inspect")
    assert (answer.status, answer.headers["www-authenticate"]) == (
        401,
        'Bearer realm="guesthouse", Basic realm="guesthouse"',
    )


def test_the_token_is_asked_for_before_the_function_is_looked_up(server: Server) -> None:
    """Nobody can find out names without a token."""
    assert server.request("GET", "/functions/default/nobody").status == 401
    assert server.request("GET", "/functions/default/nobody", headers={"authorization": "secret"}).status == 404


def test_a_body_is_not_received_without_a_token(server: Server) -> None:
    """401 comes before the body."""
    with server.connect() as sock:
        sock.sendall(b"POST /functions/default/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert [status for status, _ in read_answers(sock, 1)] == [401]
