"""G14: guests with bytes changed at random are refused or end in a documented way; the process and its slots are whole."""

from __future__ import annotations

import random

import pytest

from guesthouse import Host
from guesthouse.errors import HostError, InvalidModule
from harness import often
from support import guest

SEED = 20_261_121
GUESTS = ("greet", "checksum", "clock", "headers", "old-post")
LIMITS = {"deadline_ms": 500, "fuel": 1_000_000_000, "host_calls": 10_000}


def mutated(wasm: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, swapped, cut out or doubled, mostly where they are code."""
    data = bytearray(wasm)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(8, len(data))
        match dice.randrange(6):
            case 0 | 1 | 2:
                data[at] ^= 1 << dice.randrange(8)
            case 3:
                data[at] = dice.choice((0x00, 0x0B, 0x0F, 0x10, 0x20, 0x41, 0x7F, 0xFF))
            case 4:
                other = dice.randrange(8, len(data))
                data[at], data[other] = data[other], data[at]
            case 5:
                size = dice.randrange(1, 5)
                data[at : at + size] = data[at + size : at + 2 * size]
    return bytes(data)


@pytest.mark.parametrize("form", ["wasip2", "wasip1", "unknown-unknown"])
@pytest.mark.parametrize("name", GUESTS)
def test_a_mutated_guest_harms_nobody(host: Host, name: str, form: str) -> None:
    """Most are refused; what runs answers, traps, or reaches a limit, and is never called the host's fault."""
    dice = random.Random(f"{SEED} {name} {form}")
    original = guest(name, form)
    for _ in range(40):
        try:
            deployment = host.deploy("mutated", mutated(original, dice), limits=LIMITS)
        except InvalidModule:
            continue
        assert deployment.kind == "web"
        outcome = host.invoke("mutated", b'{"name": "Ada"}')
        assert not isinstance(outcome.error, HostError)
