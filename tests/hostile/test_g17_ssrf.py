"""G17: no guest reaches an address inside, however the URL spells it or whatever name stands for it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from guesthouse.net.client import OutboundClient, OutboundConfig, OutboundRequest
from guesthouse.net.failures import InvalidUrl, OutboundError, Prohibited
from guesthouse.net.policy import PUBLIC, OutboundPolicy
from ssrf_vectors import HOSTS, INSIDE, VECTORS, Everything
from upstream import Upstream


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
            assert len(verdicts["prohibited"]) > 10 * len(verdicts["invalid"])
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


@pytest.mark.parametrize("answer", INSIDE)
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
