"""Connection URLs of Valkey: what they mean, and that what could mean two servers means none."""

from __future__ import annotations

import pytest

from guesthouse.net.failures import InvalidUrl, OutboundError
from guesthouse.net.valkey_url import parse_server


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "database", "username", "password"),
    [
        ("redis://cache.example", "cache.example", 6379, False, 0, b"", None),
        ("valkey://cache.example:7000/", "cache.example", 7000, False, 0, b"", None),
        ("rediss://cache.example/2", "cache.example", 6379, True, 2, b"", None),
        ("valkeys://cache.example:443/15", "cache.example", 443, True, 15, b"", None),
        ("redis://cache.example:80", "cache.example", 80, False, 0, b"", None),
        ("redis://CACHE.Example.", "cache.example", 6379, False, 0, b"", None),
        ("redis://:secret@cache.example", "cache.example", 6379, False, 0, b"", b"secret"),
        ("redis://me:s%40%3A%2F%ff@cache.example", "cache.example", 6379, False, 0, b"me", b"s@:/\xff"),
        ("redis://me:@cache.example", "cache.example", 6379, False, 0, b"me", b""),
        ("redis://127.0.0.1:1", "127.0.0.1", 1, False, 0, b"", None),
        ("redis://[2001:DB8::1]:6380/1", "2001:db8::1", 6380, False, 1, b"", None),
    ],
)
def test_a_url_says_where_as_whom_and_which_database(
    url: str, host: str, port: int, tls: bool, database: int, username: bytes, password: bytes | None
) -> None:
    """With the default port, names in their canonical form, and escapes undone in the credentials."""
    server = parse_server(url)
    assert (server.destination.host, server.destination.port) == (host, port)
    assert (server.tls, server.database, server.username, server.password) == (tls, database, username, password)
    assert server.path is None


def test_a_new_connection_begins_with_the_credentials_and_the_database() -> None:
    """Where there are any."""
    assert parse_server("redis://h.example").greeting == []
    assert parse_server("redis://:p@h.example").greeting == [(b"AUTH", b"p")]
    assert parse_server("redis://u:p@h.example/7").greeting == [(b"AUTH", b"u", b"p"), (b"SELECT", b"7")]


def test_a_server_shows_no_password() -> None:
    """Neither printed nor as an origin."""
    server = parse_server("rediss://user:secret@h.example:80")
    assert "secret" not in repr(server)
    assert server.origin == "rediss://h.example:80"
    assert parse_server("redis://[2001:db8::1]").origin == "redis://[2001:db8::1]:6379"


@pytest.mark.parametrize("url", ["unix:///run/valkey.sock", "unix:/run/valkey.sock"])
def test_a_file_is_named_by_its_path(url: str) -> None:
    """With two slashes more or without."""
    assert parse_server(url).path == "/run/valkey.sock"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis:",
        "redis://",
        "cache.example:6379",
        "http://cache.example",
        "REDIS://cache.example",
        "redis://a b",
        "redis://cache.example ",
        "redis://cache.example\n",
        "redis://cache.example:0",
        "redis://cache.example:65536",
        "redis://cache.example:x",
        "redis://cache.example/x",
        "redis://cache.example/0/1",
        "redis://cache.example/0?protocol=resp3",
        "redis://cache.example#insecure",
        "redis://user@cache.example",
        "redis://u:p@v:q@cache.example",
        "redis://u:p%4@cache.example",
        "redis://u:p@",
        "redis://cache.example@",
        "redis://a.example\\@b.example",
        "redis://a.example\\.b.example",
        "redis://0x7f000001",
        "redis://2130706433",
        "redis://127.1",
        "redis://[::1",
        "redis://[fe80::1%25eth0]",
        "redis://ⓔxample.com",
        "unix:relative",
        "unix://",
        "redis://" + "a" * 10_000,
    ],
)
def test_what_could_mean_two_servers_means_none(url: str) -> None:
    """Or none at all; the error does not repeat the URL, which may hold a password."""
    with pytest.raises(OutboundError) as raised:
        parse_server(url)
    assert "cache.example" not in str(raised.value)
    if isinstance(raised.value, InvalidUrl):
        assert raised.value.url == ""
