"""The outgoing HTTP client and TLS: which servers it believes, with a certificate authority made for the test."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from guesthouse.net import failures
from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.policy import OutboundPolicy
from upstream import Upstream

pytestmark = pytest.mark.anyio
HOST = "upstream.example"
POLICY = OutboundPolicy.of(schemes=("http", "https"), overrides={HOST: "127.0.0.1", "other.example": "127.0.0.1"})


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(OutboundConfig(POLICY, connect_timeout_ms=2_000))
    yield client
    await client.close()


def get(upstream: Upstream, url: str = "", timeout_ms: int = 5_000) -> OutboundRequest:
    return OutboundRequest("GET", url or upstream.url("/", HOST), timeout_ms=timeout_ms)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
async def tls_client(authority: trustme.CA, tmp_path: Path) -> AsyncIterator[OutboundClient]:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    client = OutboundClient(OutboundConfig(POLICY, ca_file=str(file)))
    yield client
    await client.close()


async def test_an_extra_certificate_authority_is_trusted(tls_client: OutboundClient, authority: trustme.CA) -> None:
    """With the CA file the name is verified, and sent in SNI and Host."""
    names: list[str] = []
    context = tls_server(authority, HOST)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with Upstream(tls=context) as upstream:
        assert (await tls_client.fetch(get(upstream))).body == b"hello"
        assert upstream.requests[0].values("host") == [f"{HOST}:{upstream.port}"]
    assert names == [HOST]


async def test_a_certificate_that_does_not_fit_is_a_tls_error(
    client: OutboundClient, tls_client: OutboundClient, authority: trustme.CA
) -> None:
    """Unknown authority, another name, no TLS at all: nothing of the request is sent."""
    async with Upstream(tls=tls_server(authority, HOST)) as upstream:
        with pytest.raises(failures.TlsError):
            await client.fetch(get(upstream))
        with pytest.raises(failures.TlsError):
            await tls_client.fetch(get(upstream, url=upstream.url("/", "other.example")))
        assert upstream.requests == []
    async with Upstream() as plain:
        with pytest.raises(failures.OutboundError) as caught:
            await tls_client.fetch(get(plain, url=f"https://{HOST}:{plain.port}/", timeout_ms=300))
        assert str(caught.value) in (failures.TlsError.text, failures.ConnectTimeout.text)
        assert plain.requests == []


async def test_a_wrong_ca_file_shows_when_the_host_starts(tmp_path: Path) -> None:
    """Not at the first request of a guest."""
    with pytest.raises(OSError, match="No such file"):
        OutboundClient(OutboundConfig(ca_file=str(tmp_path / "missing.pem")))
