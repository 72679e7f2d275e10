"""Where no guest may get to, in every spelling that some parser is known to read as it (G17 to G19).

`VECTORS` are URLs; `INSIDE` addresses that a public name may turn out to stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

T = TypeVar("T")

SAMPLE = 20
"""Vectors that the other forms of a guest are tried with: what decides is the host's, and the same for all of them."""


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
INSIDE = [*INSIDE_V4, *INSIDE_V6]
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


MORE_TRICKS = [
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.%31/",
    "http://127%2e0%2e0%2e1/",
    "http://loc%61lhost/",
    "http://localhost%2e/",
    "http://localhost%00/",
    "http://localhost%0d%0aX:y/",
    "http://[::ffff:7f00:1%25eth0]/",
    "http://[%3a%3a1]/",
    "http://[::1/",
    "http://::1/",
    "http://0:0:0:0:0:0:0:1/",
    "http://[::1]]/",
    "http://[::1]:80@ok.example/",
    "http://ok.example:@127.0.0.1/",
    "http://ok.example;@127.0.0.1/",
    "http://ok.example,127.0.0.1/",
    "http://ok.example;127.0.0.1/",
    "http://ok.example|127.0.0.1/",
    "http://ok.example&@127.0.0.1#@ok.example/",
    "http://ok.example%40127.0.0.1/",
    "http://127.0.0.1:80%40ok.example/",
    "http://127.0.0.1\u2044@ok.example/",
    "http://127.0.0.1\u2215.ok.example/",
    "http://127.0.0.1\uff0f.ok.example/",
    "http://127.0.0.1\uff1a80/",
    "http://127.0.0.1\ufe5580/",
    "http://127.0.0.1\uff03.ok.example/",
    "http://127.0.0.1\uff1f.ok.example/",
    "http://ok.example\uff20127.0.0.1/",
    "http://127.0.0.1\u2024ok.example/",
    "http://127\u20240\u20240\u20241/",
    "http://127.0.0.1\u00ad/",
    "http://127.0.0.\u200b1/",
    "http://127.0.0.1\ufeff/",
    "http://127.0.0.1\u202e/",
    "http://\u00b9\u00b2\u2077.0.0.1/",
    "http://\u0660x7f.1/",
    "http://\u017fecret.local/",
    "http://localho\u017ft/",
    "http://l\u1d52calhost/",
    "http://\u2113ocalhost/",
    "http://loca\u217chost/",
    "http://LOCALHO\u1e9eT.local/",
    "http://metadata.goog\u2113e.internal/",
    "http://metadata\u3002google\u3002internal/",
    "http://xn--localhost-/",
    "http://xn--127-.local/",
    "http://xn--l-8ga.local/",
    "http://metadata.google.internal:80/computeMetadata/v1/",
    "http://metadata.google.internal.:80/",
    "http://169.254.169.254:80/latest/api/token",
    "http://169.254.169.254:00080/",
    "http://169.254.169.254:/",
    "http://169.254.169.254:+80/",
    "http://169.254.169.254:8\uff10/",
    "http://169.254.169.254?@ok.example/",
    "http://169.254.169.254#ok.example/",
    "http://169.254.169.254/..;/ok.example",
    "http://0xa9fea9fe/",
    "http://0xA9.0xFE.0xA9.0xFE/",
    "http://0251.0376.0251.0376/",
    "http://0251.254.169.254/",
    "http://2852039166/",
    "http://425.510.425.510/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://[::a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fe80::a9fe:a9fe]/",
    "http://user:pass@[::1]/",
    "http://[v1.127.0.0.1]/",
    "http://[vF.::1]/",
    "https://localhost:443",
    "https:///127.0.0.1",
    "http:\t//127.0.0.1/",
    "ht\ntp://127.0.0.1/",
    "\x01http://127.0.0.1/",
    " http://127.0.0.1/",
    "http://127.0.0.1/\x7f",
    "http://127.0.0.1/ HTTP/1.1\r\nHost: ok.example",
    "http:/ /127.0.0.1/",
    "http://ok.example:80\\@127.0.0.1/",
    "http://\\127.0.0.1/",
    "http:\\/127.0.0.1/",
    "url:http://127.0.0.1/",
    "http:http://127.0.0.1/",
    "http::127.0.0.1/",
    "http//127.0.0.1/",
    "0://127.0.0.1:80;http://ok.example:80/",
    "netdoc:///etc/passwd",
    "phar://127.0.0.1/",
    "sftp://127.0.0.1/",
    "smb://127.0.0.1/share",
    "ssh://127.0.0.1/",
    "telnet://127.0.0.1:23/",
    "redis://127.0.0.1:6379/0",
    "blob:http://127.0.0.1/x",
    "about:blank",
    "mailto:root@localhost",
    "wss://127.0.0.1/",
    "http3://127.0.0.1/",
    "h2c://127.0.0.1/",
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
    dict.fromkeys(
        [*(f"http://{host}/" for host in HOSTS), *(f"https://{host}:443/x" for host in HOSTS), *TRICKS, *MORE_TRICKS]
    )
)


def of_form(form: str, vectors: Sequence[T], most: int | None = None) -> list[T]:
    """What to try with a guest in this form: in the first one all of it (or `most`), in the others some of each part."""
    wanted = (most or len(vectors)) if form == "wasip2" else SAMPLE
    return list(vectors[:: max(1, len(vectors) // wanted)])


class Everything:
    """A resolver to whom every name is an address inside."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers or ("127.0.0.1",)

    async def resolve(self, host: str) -> list[str]:
        return list(self.answers)
