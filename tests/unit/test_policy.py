"""The outbound policy: URLs taken apart, rules by name, addresses by table."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.errors import BadRequest
from guesthouse.net.addresses import DENIED_V4, DENIED_V6, embedded, is_denied, is_this_machine
from guesthouse.net.destination import parse_url
from guesthouse.net.failures import InvalidUrl, OutboundError, Prohibited
from guesthouse.net.policy import PUBLIC, HostRule, OutboundPolicy


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target", "authority"),
    [
        ("https://example.com", "https", "example.com", 443, "/", "example.com"),
        ("HTTP://EXAMPLE.com:80/A", "http", "example.com", 80, "/A", "example.com"),
        ("https://example.com:8443/a?b=c#d", "https", "example.com", 8443, "/a?b=c", "example.com:8443"),
        ("https://example.com./", "https", "example.com", 443, "/", "example.com"),
        ("https://example.com?q", "https", "example.com", 443, "/?q", "example.com"),
        ("https://my_bucket.example.com//x//", "https", "my_bucket.example.com", 443, "//x//", "my_bucket.example.com"),
        (
            "https://bücher.example/ü?ö",
            "https",
            "xn--bcher-kva.example",
            443,
            "/%C3%BC?%C3%B6",
            "xn--bcher-kva.example",
        ),
        ("https://xn--bcher-kva.example/", "https", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ("https://8.8.8.8/%7e~%zz", "https", "8.8.8.8", 443, "/%7e~%zz", "8.8.8.8"),
        ("https://[2606:4700:0:0::1111]:1/", "https", "2606:4700::1111", 1, "/", "[2606:4700::1111]:1"),
        ('https://example.com/a|b{c}"<>', "https", "example.com", 443, "/a%7Cb%7Bc%7D%22%3C%3E", "example.com"),
        ("https://example.com/?q=\\d", "https", "example.com", 443, "/?q=%5Cd", "example.com"),
        ("https://example.com/user@host", "https", "example.com", 443, "/user@host", "example.com"),
    ],
)
def test_a_url_is_taken_apart(url: str, scheme: str, host: str, port: int, target: str, authority: str) -> None:
    """Scheme and host are canonical; path and query stay as they were, percent-encoded where they have to be."""
    found = parse_url(url)
    assert (found.scheme, found.host, found.port) == (scheme, host, port)
    assert (found.target, found.authority) == (target, authority)


@given(st.text("abé|%2f/?=\\\\ ", max_size=60), st.sampled_from([1, 150]))
def test_a_url_that_is_accepted_is_accepted_in_its_canonical_form(path: str, times: int) -> None:
    """It is stored like that and taken apart again, and percent-encoding makes it up to six times as long."""
    try:
        found = parse_url("https://EXAMPLE.com./" + path * times)
    except OutboundError:
        return
    assert parse_url(found.url) == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "/path",
        "//example.com/",
        "https:example.com",
        "https:/example.com",
        "https://",
        "https:///path",
        "https://:443/",
        "https://?q",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:-1/",
        "https://example.com:+80/",
        "https://example.com:8 0/",
        "https://example.com:80a/",
        "https://example.com:/",
        "https://example.com:\uff18\uff10/",
        "https://example.com:80:80/",
        "https://exa mple.com/",
        "https://example.com/a b",
        " https://example.com/",
        "https://example.com/\n",
        "https://example.com/\r\nX: y",
        "https://example.com/\x00",
        "https://example.com/\x7f",
        "https://example.com/\u0085",
        "https://example.com/\u2028",
        "https://example..com/",
        "https://.example.com/",
        "https://example.com../",
        "https://-a.example/",
        "https://a-.example/",
        "https://" + "a" * 64 + ".example/",
        "https://" + ".".join(["a" * 60] * 5) + "/",
        "https://exam%70le.com/",
        "https://%31%32%37.0.0.1.example/",
        "https://[::1",
        "https://::1/",
        "https://[]/",
        "https://[::1]x/",
        "https://[12345::]/",
        "https://[1.2.3.4]/",
        "https://[v1.x]/",
        "https://exam*ple.com/",
        "https://exam,ple.com/",
        "https://example.com/" + "a" * 8192,
        "https://example.com/\ud800",
    ],
)
def test_what_is_no_url_is_an_invalid_url(url: str) -> None:
    """Malformed input is told apart from forbidden destinations, with the URL and a reason."""
    with pytest.raises(InvalidUrl) as caught:
        parse_url(url)
    assert url.startswith(caught.value.url)


@pytest.mark.parametrize(
    "host", ["\uff25\uff38.example", "\u212aelvin.example", "B\u00dcCHER.example", "a\u200db.example"]
)
def test_letters_are_not_folded_into_others(host: str) -> None:
    """What a browser would map to another name is refused: the name that was written is the name that is asked for."""
    with pytest.raises(Prohibited):
        parse_url(f"https://{host}/")


@given(st.text(max_size=60))
def test_no_text_at_all_breaks_the_parser(text: str) -> None:
    """Whatever follows the scheme, the answer is a destination that reads back as itself, or one of two errors."""
    for url in (text, f"http://{text}", f"http://example.com{text}"):
        try:
            found = parse_url(url)
        except OutboundError:
            continue
        again = parse_url(found.url)
        assert (again.scheme, again.host, again.port) == (found.scheme, found.host, found.port)
        assert found.url.isascii()
        assert found.url.isprintable()
        assert " " not in found.url


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_wherever_it_hides(address: IPv4Address) -> None:
    """Mapped, translated, NAT64, 6to4, Teredo and ISATAP forms are never more reachable than the address itself."""
    value = int(address)
    hidden = [
        IPv6Address(value),
        IPv6Address(0xFFFF << 32 | value),
        IPv6Address(0xFFFF << 48 | value),
        IPv6Address(0x64FF9B << 96 | value),
        IPv6Address(0x2002 << 112 | value << 80),
        IPv6Address(0x20010000 << 96 | value ^ 0xFFFFFFFF),
        IPv6Address(0x20010000 << 96 | value << 64),
    ]
    for inner in hidden:
        assert is_denied(inner)
        assert address in embedded(inner)
        opened = [ip_network("::/3"), ip_network("2000::/3")]
        if is_denied(address) and not (inner.is_loopback or inner.is_unspecified):
            assert is_denied(inner, opened)
    isatap = IPv6Address(0x26064700 << 96 | 0x00005EFE << 32 | value)
    assert is_denied(isatap) == is_denied(address)


@given(st.ip_addresses(v=6))
def test_nothing_outside_global_unicast_is_reached(address: IPv6Address) -> None:
    """IPv6 is closed but for what is given out for public use."""
    if address not in ip_network("2000::/3"):
        assert is_denied(address)


@pytest.mark.parametrize("network", [*DENIED_V4, *DENIED_V6], ids=str)
def test_denied_networks_are_denied_from_end_to_end(network: object) -> None:
    """First, middle and last address of each network; an exception opens exactly that network."""
    for position in (0, network.num_addresses // 2, network.num_addresses - 1):  # type: ignore[attr-defined]
        assert is_denied(network[position])  # type: ignore[index]


NEIGHBOURS = (
    "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 "
    "169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 "
    "203.0.112.255 203.0.114.0 223.255.255.255 2606:4700:4700::1111 2a00:1450::1 2001:200::1 2400::1"
)


@pytest.mark.parametrize("text", NEIGHBOURS.split())
def test_public_addresses_are_not_denied(text: str) -> None:
    """The neighbours of every denied network can be reached."""
    assert not is_denied(ip_address(text))


def test_an_exception_opens_only_what_it_names() -> None:
    """10.1.0.0/16 opens itself, and NAT64 without the private addresses behind it."""
    policy = OutboundPolicy.of(allow_addresses=["10.1.0.0/16", "64:ff9b::/96"])
    assert policy.allows(ip_address("10.1.2.3"), 443)
    assert not policy.allows(ip_address("10.2.0.1"), 443)
    assert policy.allows(ip_address("64:ff9b::8.8.8.8"), 443)
    assert policy.allows(ip_address("64:ff9b::10.1.2.3"), 443)
    assert not policy.allows(ip_address("64:ff9b::10.2.0.1"), 443)


def test_our_own_listeners_are_never_reached() -> None:
    """Not by an exception, not by an override, not through an unspecified address."""
    policy = OutboundPolicy.of(
        schemes=("http",),
        allow_addresses=["127.0.0.0/8", "::1/128", "::ffff:0:0/96"],
        overrides={"dev.example": "127.0.0.1"},
        listeners=[("127.0.0.1", 8080), ("0.0.0.0", 8081), ("::", 8082)],
    )
    assert not policy.allows(ip_address("127.0.0.1"), 8080, "dev.example")
    assert not policy.allows(ip_address("::ffff:127.0.0.1"), 8080)
    assert not policy.allows(ip_address("127.0.0.1"), 8081)
    assert not policy.allows(ip_address("127.0.0.1"), 8082)
    assert policy.allows(ip_address("127.0.0.1"), 8083)
    with pytest.raises(Prohibited):
        policy.check("http://127.0.0.1:8080/", "GET")
    assert is_this_machine(ip_address("127.0.0.1"))
    assert not is_this_machine(ip_address("8.8.8.8"))


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("api.example.com", ["https://api.example.com/"], ["https://example.com/", "https://api.example.com:444/"]),
        ("*.example.com", ["https://a.example.com/", "https://a.b.example.com/"], ["https://example.com/"]),
        ("*.example.com", [], ["https://evilexample.com/", "https://example.com.evil.org/", "https://8.8.8.8/"]),
        ("*", ["https://any.example/", "https://8.8.8.8/"], ["https://any.example:444/", "https://127.0.0.1/"]),
        ("*:*", ["https://any.example:9/"], ["http://any.example/"]),
        ("http://up.example:8000", ["http://up.example:8000/"], ["http://up.example/", "https://up.example:8000/"]),
        ("EXAMPLE.com:*", ["https://example.com:1/", "https://example.COM./"], ["http://example.com/"]),
        ("bücher.example", ["https://xn--bcher-kva.example/"], []),
        ("[2606:4700::1111]", ["https://[2606:4700:0::1111]/"], ["https://[2606:4700::1112]/"]),
        ("8.8.8.8", ["https://8.8.8.8/"], ["https://8.8.4.4/"]),
        ("10.0.0.1", [], ["https://10.0.0.1/"]),
        ("minio.internal", ["https://minio.internal/"], ["https://other.internal/"]),
    ],
)
def test_rules_allow_what_they_name(rule: str, yes: list[str], no: list[str]) -> None:
    """Host, subdomains, port and scheme; without a port the scheme's own, without a scheme what the policy allows."""
    policy = OutboundPolicy.of(hosts=[rule])
    for url in yes:
        policy.check(url, "GET")
    for url in no:
        with pytest.raises(Prohibited):
            policy.check(url, "GET")


def test_rules_bound_methods() -> None:
    """`GET,HEAD host` allows these and no others, in any case."""
    policy = OutboundPolicy.of(hosts=["GET,HEAD example.com"])
    policy.check("https://example.com/", "GET")
    policy.check("https://example.com/", "head")
    with pytest.raises(Prohibited):
        policy.check("https://example.com/", "POST")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b c",
        "get example.com",
        "ftp://example.com",
        "exa*mple.com",
        "*.",
        "example.com/path",
        "a.b:0",
        "a.b:70000",
        "u@a.b",
        "127.1",
    ],
)
def test_a_wrong_rule_is_refused_when_it_is_configured(text: str) -> None:
    """With a message that quotes it."""
    with pytest.raises(BadRequest, match="is not an allowed host"):
        HostRule.parse(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schemes": ["ftp"]},
        {"allow_addresses": ["10.0.0.0/33"]},
        {"allow_addresses": ["10.0.0.1/8"]},
        {"overrides": {"127.0.0.1": "127.0.0.1"}},
        {"overrides": {"a b": "127.0.0.1"}},
        {"overrides": {"a.example": "localhost"}},
        {"overrides": {"a.example": "fe80::1%eth0"}},
        {"listeners": [("localhost", 80)]},
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    """Before anything listens or runs."""
    with pytest.raises(BadRequest):
        OutboundPolicy.of(**wrong)  # type: ignore[arg-type]


def test_plain_http_has_to_be_allowed() -> None:
    """https only, unless the configuration says otherwise."""
    with pytest.raises(Prohibited):
        OutboundPolicy().check("http://example.com/", "GET")
    assert PUBLIC.check("http://example.com/", "GET").port == 80


def test_an_override_is_for_its_host_alone() -> None:
    """The address behind an override is not opened for other names, nor as a literal."""
    policy = OutboundPolicy.of(overrides={"Up.Example": "127.0.0.1"})
    assert policy.override("up.example") == ip_address("127.0.0.1")
    assert policy.allows(ip_address("127.0.0.1"), 443, "up.example")
    assert not policy.allows(ip_address("127.0.0.1"), 443, "other.example")
    assert not policy.allows(ip_address("127.0.0.1"), 443)
    with pytest.raises(Prohibited):
        policy.check("https://127.0.0.1/", "GET")
