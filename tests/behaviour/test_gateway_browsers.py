"""While there is no token: what a page of another site makes the browser on this machine send is not obeyed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway_server import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(None, "echo") as server:
        yield server


@pytest.mark.parametrize("origin", ["https://example.com", "http://127.0.0.1.example.com:8080", "null", "nonsense"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/functions/default/echo"), ("GET", "/functions/manage")])
def test_a_page_of_another_site_is_refused(server: Server, origin: str, method: str, path: str) -> None:
    """Browsers say where a request comes from; without tokens that is all there is to go by."""
    body = b"x" if method == "POST" else None
    assert server.request(method, path, body, {"Origin": origin}).status == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:8080"])
def test_a_page_of_this_machine_is_answered(server: Server, origin: str) -> None:
    """Somebody who develops a page on this machine may call functions from it."""
    assert server.request("POST", "/functions/default/echo", b"x", {"Origin": origin}).status == 200
