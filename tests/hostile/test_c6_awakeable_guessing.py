"""C6: guessing the id of an awakeable, or making one out of another."""

from __future__ import annotations

import base64
import random
from http.client import HTTPConnection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_server import TIMEOUT
from guesthouse.dispatch.awakeables import MOST_LENGTH, AwakeableIds
from guesthouse.interfaces.durable import NoSuchAwakeable
from hosted import Hosted

IDS = AwakeableIds(b"k" * 32)
OWNER = "5f0c2c3d9a8b7e6f00000000002a11"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def refused(text: str, ids: AwakeableIds = IDS) -> bool:
    try:
        ids.read(text)
    except NoSuchAwakeable:
        return True
    return False


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f]{2,40}", fullmatch=True), st.integers(1, (1 << 53) - 1))
def test_an_id_stands_for_its_promise_and_is_safe_in_urls_and_headers(owner: str, number: int) -> None:
    """Whatever invocations are called."""
    made = IDS.make(owner, number)
    assert IDS.read(made) == (owner, number)
    assert set(made.removeprefix("sign_1")) <= set(ALPHABET)


def test_every_flipped_bit_and_every_other_character_is_refused() -> None:
    """At each place: base64 has no spare bits here that could be changed unnoticed."""
    made = IDS.make(OWNER, 77)
    for place in range(len(made)):
        for letter in ALPHABET:
            if letter != made[place]:
                assert refused(made[:place] + letter + made[place + 1 :])


@pytest.mark.parametrize("length", range(34))
def test_no_other_text_is_the_same_id(length: int) -> None:
    """Neither longer nor shorter ones, nor with padding, spaces or the other alphabet, for names of any length."""
    made = IDS.make("x" * length, 77)
    body = made.removeprefix("sign_1")
    data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    others = [made + "=", made + "A", made[:-1], f" {made}", f"{made}\n", made.replace("sign_1", "prom_1"), body]
    others += ["sign_1" + base64.b64encode(data).decode(), "sign_1" + base64.urlsafe_b64encode(data + b"\0").decode()]
    others += [made[:-1] + letter for letter in ALPHABET if letter != made[-1]]
    assert all(refused(other) for other in others if other != made)


def test_an_id_is_good_for_its_promise_its_invocation_and_its_host() -> None:
    """Nothing of one can be used for another."""
    made = IDS.make(OWNER, 77)
    assert refused(made, AwakeableIds(b"j" * 32))
    other = IDS.make(OWNER[:-2] + "12", 77)
    assert refused(made[:28] + other[28:])
    assert refused(other[:28] + made[28:])
    assert IDS.make(OWNER, 78)[6:27] != made[6:27]


def test_random_ids_are_refused() -> None:
    """100,000 of the right form; what is guessed has 128 bits to be right about."""
    source = random.Random(6)
    for _ in range(100_000):
        body = source.randbytes(39)
        assert refused("sign_1" + base64.urlsafe_b64encode(body).decode())


@given(st.text(max_size=2 * MOST_LENGTH))
def test_anything_at_all_is_refused(text: str) -> None:
    """As an id of nothing, and not as an error of ours."""
    assert refused(text)
    assert refused("sign_1" + text)


def test_all_that_is_no_awakeable_is_answered_alike() -> None:
    """Forged, of another host, of nothing: 404 with the same words; and what was looked up is nothing."""
    with Hosted("echo") as server:
        looked: list[Any] = []

        async def watch(host: Any) -> str:
            complete = host.queue.complete

            async def noted(*args: Any) -> Any:
                looked.append(args)
                return await complete(*args)

            host.queue.complete = noted
            made: str = host.workflows.ids.make(OWNER, 77)
            return made

        unknown = server.run(watch)
        forged = [IDS.make(OWNER, 77), "sign_1", "x", "%00", "a" * 3_000, unknown[:-1], unknown + "A", "sign_1%FF%FE"]
        answers = {}
        for awakeable in (*forged, unknown):
            for verb in ("resolve", "reject"):
                connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
                connection.request("POST", f"/restate/awakeables/{awakeable}/{verb}", b"{}")
                response = connection.getresponse()
                assert response.status == 404, awakeable
                assert response.getheader("content-type") == "application/problem+json"
                answers[awakeable] = response.read().split(b'"request_id"')[0]
                connection.close()
        assert len(set(answers.values())) == 1
        assert {args[:2] for args in looked} == {(OWNER, 77)}  # the one that this host could have made
