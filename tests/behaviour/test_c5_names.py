"""C5: a name that cannot exist does not exist, however it is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway_server import Server, read_all, serving, split_answers

NAMES = [
    "..",
    ".",
    "..%2f",
    "..%2fecho",
    "%2e%2e",
    "%252e%252e%252f",
    "%252e",
    "echo%00",
    "%00",
    "echo%2f",
    "echo%5c",
    "a%2f..%2fecho",
    "..;",
    "echo;x",
    "echo%20",
    "%20echo",
    "Echo",
    "ECHO",
    "e_cho",
    "-echo",
    "echo-",
    "e--cho",
    "echo.wasm",
    "a" * 64,
    "a" * 1000,
    "a" + "-a" * 40,
    "%D0%B5cho",  # CYRILLIC SMALL LETTER IE
    "%EF%BD%85cho",  # FULLWIDTH LATIN SMALL LETTER E
    "ech%C3%B6",
    "e%CC%81cho",
    "%65cho",
    "ec%E2%80%8Bho",  # ZERO WIDTH SPACE
    "~",
    "$(id)",
    "*",
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def status(server: Server, method: bytes, path: str) -> int:
    """The status for a path that no client library has tidied up."""
    with server.connect() as sock:
        sock.sendall(method + b" " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        ((found, _),) = split_answers(read_all(sock))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_function_has_such_a_name(server: Server, name: str) -> None:
    """404 to invoke, show, delete and read the log, and nothing reaches the dispatcher."""
    assert status(server, b"POST", f"/functions/default/{name}") == 404
    assert status(server, b"POST", f"/functions/{name}/echo") == 404
    for path in (f"default/{name}", f"{name}/echo", f"default/{name}/logs", f"default/{name}/versions"):
        assert status(server, b"GET", f"/functions/manage/{path}") == 404
    assert status(server, b"DELETE", f"/functions/manage/default/{name}") == 404
    assert server.dispatcher.requests == []


@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name])
def test_no_function_can_get_such_a_name(server: Server, name: str) -> None:
    """A deploy answers 404 too, and deploys nothing."""
    with server.connect() as sock:
        sock.sendall(
            f"PUT /functions/manage/default/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
            + b"Content-Type: application/wasm\r\nContent-Length: 8\r\n\r\n\0asm\1\0\0\0"
        )
        ((found, _),) = split_answers(read_all(sock))
    assert found == 404
    assert server.deployer.deployed == []


def test_the_namespace_manage_is_the_management_routes_own(server: Server) -> None:
    """Nothing can be deployed into it or called in it."""
    assert status(server, b"POST", "/functions/manage/echo") == 405
    assert status(server, b"GET", "/functions/manage/manage/echo") == 404


@pytest.mark.parametrize(
    "path", ["/functions/default/a/../echo", "/functions/default/../default/echo", "//functions/default/echo"]
)
def test_paths_are_taken_as_they_are(server: Server, path: str) -> None:
    """No segment is resolved away."""
    assert status(server, b"POST", path) == 404


def test_a_rest_that_looks_like_a_way_up_is_the_functions_to_read(server: Server) -> None:
    """It names nothing on this host."""
    assert status(server, b"POST", "/functions/default/echo/../../etc/passwd") == 200
    ((_, request),) = server.dispatcher.requests
    assert request.path == "../../etc/passwd"
    server.dispatcher.requests.clear()
