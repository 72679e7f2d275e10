"""What a disposable token opens on a real server, and what it does not: functions, topics, and nothing of management."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from command_line import guesthouse
from gateway_server import Answer
from harness import until
from served import Served, served
from support import guest

FUNCTION = "/functions/shop/"
ALL: list[Any] = [["function", "invoke", []], ["topic", "read_write", []], ["cache", "read_write", []]]


class Shop:
    """A server with functions in the namespace `shop`, one of which makes tokens."""

    def __init__(self, server: Served, token: str = "") -> None:
        self.server = server
        self._token = token
        """Of somebody who may call and manage everything; empty where nobody needs one."""

    def as_owner(self, method: str, path: str, body: bytes = b"") -> Answer:
        return self.ask(method, path, body, self._token)

    def ask(self, method: str, path: str, body: bytes = b"", token: str = "") -> Answer:
        return self.server.request(method, path, body, {"authorization": token} if token else {})

    def deploy(self, *names: str, namespace: str = "shop") -> None:
        for name in names:
            shown = {"authorization": self._token} if self._token else {}
            assert self.server.deploy(f"{namespace}/{name}", guest(name), **shown).status == 204

    def vend(self, permissions: list[Any], token_id: str | None = None, seconds: int = 300) -> str:
        """A token, as the function makes it."""
        request = {"seconds": seconds, "token_id": token_id, "permissions": permissions}
        answer = self.as_owner("POST", FUNCTION + "token-calls", json.dumps(request).encode())
        assert answer.status == 200
        self.endpoint = answer.json[1]
        return str(answer.json[0])


def where(shop: Shop) -> tuple[str, str]:
    return "--data-dir", shop.server.data_dir


def owner(data_dir: Path) -> str:
    said = guesthouse("token", "create", "owner", "--scope", "all", "--quiet", "--data-dir", data_dir)
    return said.out.strip()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    data_dir = tmp_path_factory.mktemp("shop") / "data"
    token = owner(data_dir)
    with served(data_dir) as server:
        shop = Shop(server, token)
        shop.deploy("token-calls", "old-token-calls", "echo", "headers")
        shop.deploy("echo", namespace="other")
        yield shop


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with served(tmp_path_factory.mktemp("open") / "data") as server:
        shop = Shop(server)
        shop.deploy("token-calls", "echo", "headers")
        yield shop


FUNCTIONS = [
    ([["function", "invoke", []]], [200, 200, 403]),
    ([["function", "invoke", [["function", "echo"]]]], [200, 403, 403]),
    ([["function", "invoke", [["function", "ech"]]]], [403, 403, 403]),
    ([["function", "invoke", [["prefix", "ech"]]]], [200, 403, 403]),
    ([["function", "invoke", [["prefix", "token"]]]], [403, 200, 403]),
    ([["function", "new", []]], [403, 403, 403]),
    ([["topic", "read_write", []], ["cache", "read_write", []]], [403, 403, 403]),
    ([], [403, 403, 403]),
]


@pytest.mark.parametrize(("permissions", "expected"), FUNCTIONS)
def test_it_calls_the_functions_that_it_names(shop: Shop, permissions: list[Any], expected: list[int]) -> None:
    """One, those that begin like this, all of its namespace; never one of another."""
    token = shop.vend(permissions)
    paths = (FUNCTION + "echo", FUNCTION + "token-calls", "/functions/other/echo")
    assert [shop.ask("POST", path, b"null", token).status for path in paths] == expected


@pytest.mark.parametrize(("permissions", "expected"), FUNCTIONS)
def test_a_server_without_tokens_shows_what_it_would_do(
    open_shop: Shop, permissions: list[Any], expected: list[int]
) -> None:
    """Whoever shows a disposable token is judged by it, whoever shows nothing is not."""
    token = open_shop.vend(permissions)
    paths = (FUNCTION + "echo", FUNCTION + "token-calls")
    assert [open_shop.ask("POST", path, b"null", token).status for path in paths] == expected[:2]
    assert [open_shop.ask("POST", path, b"null").status for path in paths] == [200, 200]


TOPICS = [
    (["topic", "read_write", []], [204, 200, 204]),
    (["topic", "read_only", []], [403, 200, 403]),
    (["topic", "write_only", []], [204, 403, 204]),
    (["topic", "read_write", [["topic", "news"]]], [204, 200, 403]),
    (["topic", "read_write", [["prefix", "new"]]], [204, 200, 403]),
    (["topic", "read_write", [["topic", "old"]]], [403, 403, 204]),
    (["cache", "read_write", []], [403, 403, 403]),
    (["function", "invoke", []], [403, 403, 403]),
]


@pytest.mark.parametrize(("permission", "expected"), TOPICS)
def test_it_publishes_and_subscribes_to_the_topics_that_it_names(
    shop: Shop, open_shop: Shop, permission: Any, expected: list[int]
) -> None:
    """Publishing to `news`, watching it, publishing to `old`; the same on a server that asks nobody for a token."""
    for place in (shop, open_shop):
        token = place.vend([permission])
        found = [
            place.ask("POST", "/topics/shop/news", b"x", token).status,
            status(place.server, "/topics/shop/news", token),
            place.ask("POST", "/topics/shop/old", b"x", token).status,
        ]
        assert found == expected
        assert place.ask("POST", "/topics/other/news", b"x", token).status == 403


CACHE = [
    (["cache", "read_write", []], [204, 200, 204, 204]),
    (["cache", "read_only", []], [403, 200, 403, 403]),
    (["cache", "write_only", []], [204, 403, 204, 204]),
    (["cache", "read_write", [["key", [107]]]], [204, 200, 204, 403]),
    (["cache", "read_write", [["prefix", [107]]]], [204, 200, 204, 403]),
    (["cache", "read_only", [["prefix", [120]]]], [403, 403, 403, 403]),
    (["cache", "write_only", [["prefix", [255]]]], [403, 403, 403, 204]),
    (["cache", "read_write", [["prefix", []]]], [204, 200, 204, 204]),
    (["topic", "read_write", []], [403, 403, 403, 403]),
    (["function", "invoke", []], [403, 403, 403, 403]),
]


@pytest.mark.parametrize(("permission", "expected"), CACHE)
def test_it_reads_and_writes_the_items_that_it_names(
    shop: Shop, open_shop: Shop, permission: Any, expected: list[int]
) -> None:
    """Storing, reading and deleting the key `k`, storing one that is no text; never in another namespace."""
    for place in (shop, open_shop):
        token = place.vend([permission])
        assert place.as_owner("PUT", "/cache/shop?key=k&ttl_seconds=60", b"x").status == 204
        found = [
            place.ask("PUT", "/cache/shop?key=k&ttl_seconds=60", b"x", token).status,
            place.ask("GET", "/cache/shop?key=k", token=token).status,
            place.ask("DELETE", "/cache/shop?key=k", token=token).status,
            place.ask("PUT", "/cache/shop?key_base64=_wA=&ttl_seconds=60", b"x", token).status,
        ]
        assert found == expected
        assert place.ask("GET", "/cache/other?key=k", token=token).status == 403
        assert place.ask("PUT", "/cache/other?key=k&ttl_seconds=60", b"x", token).status == 403


def status(server: Served, path: str, token: str) -> int:
    """The status of an answer that may have no end."""
    connection: HTTPConnection = server.connection()
    try:
        connection.request("GET", path, headers={"authorization": token})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/functions/manage/shop/echo"),
        ("GET", "/functions/manage/shop/echo"),
        ("DELETE", "/functions/manage/shop/echo"),
        ("GET", "/functions/manage/shop/echo/versions"),
        ("GET", "/functions/manage/shop/echo/logs"),
        ("GET", "/metrics"),
    ],
)
def test_it_never_manages_or_reads_or_measures(shop: Shop, open_shop: Shop, method: str, path: str) -> None:
    """Whatever its permissions are; also where nobody needs a token."""
    for place in (shop, open_shop):
        token = place.vend(ALL)
        answer = place.ask(method, path, b"", token)
        assert (answer.status, answer.problem) == (403, "forbidden")
        assert place.ask("GET", "/functions/manage", token=token).json == {"functions": []}
        assert place.ask("POST", FUNCTION + "echo", b"x", token).status == 200


@pytest.mark.parametrize("name", ["token-calls", "old-token-calls"])
@pytest.mark.parametrize("place", ["bare", "Bearer", "x-momento-authorization", "query"])
def test_its_id_is_what_the_function_learns_as_token_metadata(shop: Shop, name: str, place: str) -> None:
    """Wherever the token stands; without an id there is none."""
    for token_id in ("ada é", None):
        token = shop.vend([["function", "invoke", []]], token_id)
        headers = {
            "bare": {"authorization": token},
            "Bearer": {"authorization": f"Bearer {token}"},
            "x-momento-authorization": {"authorization": "for-upstream", "x-momento-authorization": token},
            "query": {},
        }[place]
        query = f"?token={token}" if place == "query" else ""
        answer = shop.server.request("POST", f"{FUNCTION}{name}{query}", b"null", headers)
        assert (answer.status, answer.json) == (200, token_id)


def test_the_function_never_sees_the_token(shop: Shop, open_shop: Shop) -> None:
    """Neither in its headers nor in its query, where it stood."""
    for place in (shop, open_shop):
        token = place.vend([["function", "invoke", []]])
        for query, headers in (("", {"authorization": token}), (f"?a=b&token={token}", {})):
            answer = place.server.request("POST", f"{FUNCTION}headers{query}", b"", headers)
            assert answer.status == 200
            assert "authorization" not in answer.json["headers"]
            assert token.encode() not in answer.body


def test_credentials_of_others_pass_through_a_server_without_tokens(open_shop: Shop) -> None:
    """They are the function's, as long as none of them is a disposable token."""
    for credential in ("Basic YTpi", "Bearer eyJhbGciOiJub25lIn0.e30.", "gh_nothing"):
        answer = open_shop.ask("POST", FUNCTION + "headers", b"", credential)
        assert (answer.status, answer.json["headers"]["authorization"]) == (200, "(hidden)")  # it does not tell it


def test_two_tokens_are_400(shop: Shop, open_shop: Shop) -> None:
    """Which one would count?"""
    for place in (shop, open_shop):
        token = place.vend(ALL)
        headers = {"authorization": token}
        assert place.server.request("POST", f"{FUNCTION}echo?token={token}", b"", headers).status == 400


def test_a_token_that_is_over_or_forged_is_401_everywhere(shop: Shop, open_shop: Shop) -> None:
    """And the problem says which; nobody falls back to what those without a token may do."""
    for place in (shop, open_shop):
        short, token = place.vend(ALL, seconds=1), place.vend(ALL)
        until(lambda: place.ask("POST", FUNCTION + "echo", b"", short).status == 401, "the token did not end")  # noqa: B023  # called before the loop goes on
        forged = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
        for shown, because in ((short, "expired"), (forged, "not one of this host"), ("ghd_", "not one of this host")):
            for method, path in (("POST", FUNCTION + "echo"), ("GET", "/functions/manage"), ("GET", "/metrics")):
                answer = place.ask(method, path, b"", shown)
                assert (answer.status, answer.problem) == (401, "unauthorized")
                assert because in answer.json["detail"]
        assert place.ask("POST", FUNCTION + "echo", b"", token).status == 200


def test_the_endpoint_is_where_the_server_listens(shop: Shop) -> None:
    """Unless its public URL is configured."""
    shop.vend(ALL)
    assert shop.endpoint == urlsplit(shop.server.url).netloc


def test_a_restart_keeps_tokens_and_the_configuration_says_where_and_how_long(tmp_path: Path) -> None:
    """The key is in the data directory, the rest in the configuration."""
    config = tmp_path / "guesthouse.toml"
    config.write_text(
        'public_urls = ["https://fn.example.org/", "http://fn.internal:8080"]\n[tokens]\nlongest_seconds = 300\n'
    )
    with served(tmp_path / "data") as server:
        shop = Shop(server)
        shop.deploy("token-calls", "echo")
        token = shop.vend([["function", "invoke", [["function", "echo"]]]])
    with served(tmp_path / "data", "--config", config) as server:
        shop = Shop(server)
        assert shop.ask("POST", FUNCTION + "echo", b"x", token).status == 200
        assert shop.ask("POST", FUNCTION + "token-calls", b"null", token).status == 403
        shop.vend(ALL)
        assert shop.endpoint == "fn.example.org"
        answer = shop.ask("POST", FUNCTION + "token-calls", json.dumps({"seconds": 301}).encode())
        assert answer.json["error"][0] == "invalid-argument"


def test_rotating_beside_the_server_keeps_tokens_and_revoking_ends_them(shop: Shop) -> None:
    """The server is not restarted for either; it notices within a second."""
    old = shop.vend(ALL)
    said = guesthouse("token", "rotate-key", "--json", *where(shop))
    assert (said.status, said.json["revoked"]) == (0, False)
    assert shop.ask("POST", FUNCTION + "echo", b"", old).status == 200
    new = shop.vend(ALL)
    said = guesthouse("token", "rotate-key", "--revoke", *where(shop))
    assert (said.status, "worthless" in said.err + said.out) == (0, True)
    for token in (old, new):
        until(lambda: shop.ask("POST", FUNCTION + "echo", b"", token).status == 401, "not revoked")  # noqa: B023  # called before the loop goes on
    assert shop.ask("POST", FUNCTION + "echo", b"", shop.vend(ALL)).status == 200
    assert shop.as_owner("GET", "/functions/manage").status == 200


PERMISSIONS = {
    "explicit": {
        "permissions": [
            {
                "function_permissions": {
                    "role": "FunctionInvoke",
                    "all_caches": None,
                    "function_selector": {"function_name": "echo"},
                }
            }
        ]
    }
}


def test_one_can_be_made_on_the_command_line(shop: Shop, tmp_path: Path) -> None:
    """With the same permissions as functions write; `all_caches` is every namespace here. Nothing is stored of it."""
    file = tmp_path / "permissions.json"
    file.write_text(json.dumps(PERMISSIONS))
    listed = guesthouse("token", "ls", "--json", *where(shop)).json
    options = ("token", "create", "--disposable", "--permissions", file, "--valid-for", "90s", "--token-id", "ci")
    said = guesthouse(*options, "--json", *where(shop))
    assert said.status == 0, said.err
    assert (said.json["token_id"], said.json["token"][:4]) == ("ci", "ghd_")
    for name, expected in (("echo", 200), ("token-calls", 403)):
        assert shop.ask("POST", FUNCTION + name, b"null", said.json["token"]).status == expected
    assert shop.ask("POST", "/functions/other/echo", b"null", said.json["token"]).status == 200
    assert guesthouse("token", "ls", "--json", *where(shop)).json == listed
    piped = guesthouse(*options[:4], "-", *options[5:], *where(shop), data=file.read_bytes())
    assert shop.ask("POST", FUNCTION + "echo", b"", piped.out.strip()).status == 200


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--disposable"], 2),
        (["--disposable", "--permissions", "FILE"], 2),
        (["--disposable", "--valid-for", "1h"], 2),
        (["--disposable", "--permissions", "FILE", "--valid-for", "1h", "--scope", "all"], 2),
        (["--disposable", "--permissions", "FILE", "--valid-for", "1h", "--functions", "a/*"], 2),
        (["name", "--disposable", "--permissions", "FILE", "--valid-for", "1h"], 2),
        (["name", "--scope", "all", "--valid-for", "1h"], 2),
        (["name", "--scope", "all", "--permissions", "FILE"], 2),
        (["--scope", "all"], 2),
        (["--disposable", "--permissions", "nowhere.json", "--valid-for", "1h"], 2),
        (["--disposable", "--permissions", "FILE", "--valid-for", "2d"], 1),
        (["--disposable", "--permissions", "WRONG", "--valid-for", "1h"], 1),
    ],
)
def test_what_makes_no_sense_on_the_command_line_is_refused(tmp_path: Path, options: list[str], expected: int) -> None:
    """Options of the one kind with the other, a life too long, permissions of another grammar."""
    (tmp_path / "right").write_text(json.dumps(PERMISSIONS))
    (tmp_path / "wrong").write_text('{"super_user":{}}')
    files = {"FILE": str(tmp_path / "right"), "WRONG": str(tmp_path / "wrong")}
    said = guesthouse("token", "create", *(files.get(option, option) for option in options), "--data-dir", tmp_path)
    assert said.status == expected, said.err
    assert not said.out


def test_no_file_of_the_server_holds_a_token_and_the_key_is_private(shop: Shop) -> None:
    """What was made and shown is stored nowhere."""
    token = shop.vend(ALL)
    shop.ask("POST", FUNCTION + "echo", b"", token)
    files = [path for path in Path(shop.server.data_dir).rglob("*") if path.is_file()]
    assert "token-keys.json" in {path.name for path in files}
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert token[12:60].encode() not in path.read_bytes()
