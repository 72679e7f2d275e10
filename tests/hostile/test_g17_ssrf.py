"""G17: no guest reaches an address inside, however the URL spells it or whatever name stands for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address

import pytest

from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.failures import InvalidUrl, OutboundError, Prohibited
from guesthouse.net.policy import PUBLIC, OutboundPolicy
from upstream import Upstream


def words(text: str) -> list[str]:
    return text.split()


INSIDE_V4 = words(
    "0.0.0.0 0.0.0.1 0.1.2.3 10.0.0.1 10.255.255.254 100.64.0.1 100.100.100.200 100.127.255.254 127.0.0.1 "
    "127.0.0.2 127.1.2.3 127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.253 169.254.169.254 169.254.170.2 "
    "172.16.0.1 172.31.255.254 192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 "
    "192.168.255.254 198.18.0.1 198.19.255.254 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 "
    "255.255.255.254 255.255.255.255"
)
INSIDE_V6 = words(
    ":: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:8.8.8.8 ::ffff:0:7f00:1 "
    "::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::169.254.169.254 64:ff9b::8.8.8.8 64:ff9b:1::7f00:1 "
    "64:ff9b:1:ffff::1 100::1 2001::1 2001:0:7f00:1::1 2001:0:808:808::80ff:fffe 2001:2::1 2001:10::1 2001:20::1 "
    "2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:808:808::1 3fff::1 4000::1 5f00::1 8000::1 fc00::1 fd00::1 "
    "fd00:ec2::254 fd20:ce::254 fdff:ffff::1 fe80::1 febf::1 fec0::1 feff::1 ff01::1 ff02::1 ff05::2 ff0e::1 "
    "2606:4700::5efe:127.0.0.1 2606:4700::200:5efe:10.0.0.1"
)
NAMES = words(
    "localhost LOCALHOST localhost. LocalHost a.localhost a.b.localhost. localhost.localdomain metadata "
    "instance-data metadata.google.internal metadata.google.internal. METADATA.google.INTERNAL printer.local "
    "db.lan router.home nas.home.arpa wiki.corp api.intranet kubernetes.default.svc.cluster.local ok intranet "
    "host.docker.internal gateway.docker.internal x.private"
)
TRICKS = [
    "http://ok@127.0.0.1/",
    "http://ok:pw@127.0.0.1/",
    "http://ok.example@127.0.0.1/",
    "http://127.0.0.1@ok.example/",
    "http://ok.example:80@127.0.0.1:80/",
    "http://@127.0.0.1/",
    "http://@ok.example/",
    "http://ok#@127.0.0.1/",
    "http://ok?@127.0.0.1/",
    "http://ok.example\\@127.0.0.1/",
    "http://ok.example\\.127.0.0.1/",
    "http://127.0.0.1\\@ok.example/",
    "http://127.0.0.1\\/",
    "http:\\\\127.0.0.1/",
    "http:/\\127.0.0.1/",
    "http:127.0.0.1/",
    "http:/127.0.0.1/",
    "http:///127.0.0.1/",
    "http:////127.0.0.1/",
    "//127.0.0.1/",
    "127.0.0.1",
    "http://127.0.0.1%00.ok.example/",
    "http://127.0.0.1%2f@ok.example/",
    "http://127.0.0.1%23.ok.example/",
    "http://127.0.0.1\x00.ok.example/",
    "http://127.0.0.1\t/",
    "http://127.0.0.1 /",
    "http:// 127.0.0.1/",
    "http://\n127.0.0.1/",
    "http://ok.example\r\nHost: 127.0.0.1/",
    "http://127.0.0.1:80:80/",
    "http://127.0.0.1:65616/",
    "http://127.0.0.1:080000/",
    "http://[::1]/",
    "http://[::1%25lo]/",
    "http://[::1%lo]/",
    "http://[fe80::1%25eth0]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "http://[::127.1]/",
    "http://[::]/",
    "http://[127.0.0.1]/",
    "http://[::1].ok.example/",
    "http://ok.example[::1]/",
    "http://[[::1]]/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "http://127\u30020\u30020\u30021/",
    "http://127\uff0e0\uff0e0\uff0e1/",
    "http://127\uff610\uff610\uff611/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "http://\u0661\u0662\u0667.\u0660.\u0660.\u0661/",
    "http://\u0967\u0968\u096d.\u0966.\u0966.\u0967/",
    "http://\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1/",
    "http://loc\u0430lhost\u200b/",
    "http://\uff4cocalhost/",
    "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "http://local\u00adhost/",
    "http://local\u200dhost/",
    "http://localhost\u3002/",
    "http://\u212aubernetes.example/",
    "http://127.0.0.1.\u3002/",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ftp://127.0.0.1/",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/",
    "tftp://127.0.0.1/x",
    "jar:http://127.0.0.1!/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "ws://127.0.0.1/",
    "HTTP://127.0.0.1/",
    "hTtPs://127.0.0.1/",
]


def spellings(text: str) -> Iterator[str]:
    """Every way that some parser is known to read as this IPv4 address."""
    a, b, c, d = IPv4Address(text).packed
    value = int(IPv4Address(text))
    yield text
    yield f"{text}."
    yield from (str(value), hex(value), hex(value).upper(), f"0{value:o}", f"0x{value:08X}", f"000{value:o}")
    yield from (f"{a}.{value & 0xFFFFFF}", f"{a}.{b}.{value & 0xFFFF}", f"{a:#x}.{value & 0xFFFFFF:#x}")
    yield from (f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:03d}.{b:03d}.{c:03d}.{d:03d}")
    yield from (f"{a}.{b}.{c}.{d:#x}", f"{a:#x}.{b}.{c}.{d}", f"{a}.{b}.0{c:o}.{d}", f"0{a}.{b}.{c}.{d}")
    yield from (f"{a + 256}.{b}.{c}.{d}", str(value + (1 << 32)), f"{a}.{b}.{c}.{d}.0", f"0x{a:x}.{b}.{c}.0{d:o}")


def embeddings(text: str) -> Iterator[str]:
    """IPv6 literals that hold this IPv4 address."""
    value = int(IPv4Address(text))
    high, low = f"{value >> 16:x}", f"{value & 0xFFFF:x}"
    inverted = value ^ 0xFFFFFFFF
    yield from (f"[::{text}]", f"[::ffff:{text}]", f"[::FFFF:{high}:{low}]", f"[::ffff:0:{text}]", f"[64:ff9b::{text}]")
    yield from (f"[64:ff9b:1::{text}]", f"[2002:{high}:{low}::1]", f"[2001:0:{high}:{low}::1]")
    yield f"[2001:0:808:808:0:0:{inverted >> 16:x}:{inverted & 0xFFFF:x}]"
    yield f"[2606:4700::5efe:{high}:{low}]"
    yield f"[0:0:0:0:0:ffff:{high}:{low}]"


METADATA, LOOPBACK, PRIVATE = "169.254.169.254", "127.0.0.1", "10.0.0.1"
HOSTS = [
    *INSIDE_V4,
    *(f"[{address}]" for address in INSIDE_V6),
    *NAMES,
    *(spelling for text in (METADATA, LOOPBACK, PRIVATE, "0.0.0.0", "192.168.1.1") for spelling in spellings(text)),
    *(spelling for text in (METADATA, LOOPBACK, PRIVATE, "192.168.1.1") for spelling in embeddings(text)),
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "0",
    "0x0",
    "00",
    "0x7f000001",
    "017700000001",
    "0x7f.0x0.0x0.0x1",
    "127.0.0.1.",
    "127.0.0.1..",
    "127.000.000.001",
    "1.1.1.1.127",
    "ok.example.127",
    "ok.0x7f",
]
VECTORS = list(
    dict.fromkeys([*(f"http://{host}/" for host in HOSTS), *(f"https://{host}:443/x" for host in HOSTS), *TRICKS])
)


class Everything:
    """A resolver to whom every name is an address inside."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers or ("127.0.0.1",)

    async def resolve(self, host: str) -> list[str]:
        return list(self.answers)


def refusal(error: OutboundError) -> str:
    """How a vector was stopped: `prohibited`, `invalid`, or the name of another failure."""
    if isinstance(error, Prohibited):
        return "prohibited" if str(error) == "destination prohibited" else f"talkative: {error}"
    return "invalid" if isinstance(error, InvalidUrl) else type(error).__name__


def test_there_are_enough_vectors() -> None:
    """The promise is 300 or more."""
    assert len(VECTORS) >= 300


@pytest.mark.parametrize(
    "policy", [PUBLIC, OutboundPolicy.of(schemes=("http", "https"), hosts=["*:*"])], ids=["public", "rules"]
)
def test_no_vector_passes(policy: OutboundPolicy) -> None:
    """Each is refused in stable words, and none opens a socket, though every name leads to a server that listens."""

    async def attack() -> None:
        async with Upstream() as upstream:
            client = OutboundClient(OutboundConfig(policy), resolver=Everything())
            verdicts: dict[str, list[str]] = {}
            for vector in [*VECTORS, *(f"http://{host}:{upstream.port}/" for host in HOSTS)]:
                try:
                    await client.fetch(OutboundRequest("GET", vector, timeout_ms=2_000))
                    verdict = "passed"
                except OutboundError as error:
                    verdict = refusal(error)
                verdicts.setdefault(verdict, []).append(vector)
            assert verdicts.keys() == {"prohibited", "invalid"}, verdicts
            assert len(verdicts["prohibited"]) > 15 * len(verdicts["invalid"])
            assert upstream.connections == 0
            await client.close()

    asyncio.run(attack())


@pytest.mark.parametrize("url", ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://[::]/",
    "http://localhost./", "http://ok@127.0.0.1", "http://ok#@127.0.0.1", "http://\uff11\uff12\uff17.0.0.1/",
    "http://metadata.google.internal/", "http://169.254.169.254/latest/meta-data/"])  # fmt: skip
def test_the_known_tricks_are_prohibited_by_name(url: str) -> None:
    """These are a forbidden destination and not merely a wrong URL."""
    with pytest.raises(Prohibited, match=r"^destination prohibited$"):
        PUBLIC.check(url, "GET")


@pytest.mark.parametrize("answer", [*INSIDE_V4, *INSIDE_V6])
def test_a_public_name_that_leads_inside_is_prohibited(answer: str) -> None:
    """Such as 169.254.169.254.nip.io: the name is fine, its address is not."""

    async def attack() -> None:
        client = OutboundClient(resolver=Everything(answer))
        with pytest.raises(Prohibited, match=r"^destination prohibited$"):
            await client.fetch(OutboundRequest("GET", "http://169.254.169.254.nip.example/"))
        await client.close()

    assert ip_address(answer)
    asyncio.run(attack())


@pytest.mark.parametrize("answer", ["", "localhost", "fe80::1%eth0", "2130706433", "127.1", "::1%lo", "127.0.0.1\x00"])
def test_an_answer_that_is_no_address_is_not_used(answer: str) -> None:
    """Zones and other text from a resolver are not handed to anything that would interpret them."""

    async def attack() -> None:
        client = OutboundClient(resolver=Everything(answer))
        with pytest.raises(OutboundError, match="the host has no address"):
            await client.fetch(OutboundRequest("GET", "http://odd.example/"))
        await client.close()

    asyncio.run(attack())
