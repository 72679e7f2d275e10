"""G17: a real guest reaches nothing inside either, whatever URL it asks for (`test_g17_ssrf` has all the vectors)."""

from __future__ import annotations

import asyncio
import json

import pytest

from guesthouse import AsyncHost
from harness import often
from support import FORMS, guest
from upstream import Upstream

URLS = [
    "http://127.0.0.1:PORT/",
    "http://localhost:PORT/",
    "http://localhost.:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "http://[fd00:ec2::254]/",
    "http://metadata.google.internal/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://ok@127.0.0.1:PORT/",
    "http://ok#@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT\\@example.com/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:PORT/",
    "http://127\u30020\u30020\u30021:PORT/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/",
    "unix:///var/run/docker.sock",
    "http://127.0.0.1:PORT/\r\nHost: example.com",
    "//127.0.0.1:PORT/",
    "127.0.0.1:PORT",
    "",
    "http://" + "a" * 100_000,
]


@pytest.mark.parametrize("form", FORMS)
def test_no_url_of_a_guest_leads_inside(form: str) -> None:
    """Each is an error that the guest gets as a value, in words that say nothing of what is there; no socket is opened."""

    async def attack() -> None:
        async with Upstream() as inside, AsyncHost(slots=16) as host:
            await host.deploy("fetch", guest("fetch", form))
            for _ in range(often(1)):
                for url in URLS:
                    order = {"verb": "GET", "url": url.replace("PORT", str(inside.port)), "timeout_ms": 2_000}
                    outcome = await host.invoke("fetch", json.dumps(order).encode())
                    assert outcome.result == "ok", url
                    answer = json.loads(outcome.body)
                    assert answer.keys() == {"error"}, url
                    assert "refused" not in answer["error"]
            assert inside.connections == 0

    asyncio.run(attack())


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_reached_without_the_grant(form: str) -> None:
    """A function that was not granted `http` cannot even be deployed with it."""

    async def attack() -> None:
        async with AsyncHost(slots=16) as host:
            with pytest.raises(ValueError, match="http"):
                await host.deploy("fetch", guest("fetch", form), grants=["cache"])

    asyncio.run(attack())
