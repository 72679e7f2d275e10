"""G22: a module that is made to keep the compiler busy is refused, and costs nobody but who deploys it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import guesthouse
from guesthouse import AsyncHost, Host
from guesthouse.engine.engine import engine_of_process
from guesthouse.errors import InvalidModule
from harness import LATE, SOAK, run


def leb(number: int) -> bytes:
    """Unsigned LEB128."""
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def section(number: int, items: Iterable[bytes]) -> bytes:
    """A section that is a vector."""
    content = list(items)
    data = leb(len(content)) + b"".join(content)
    return bytes([number]) + leb(len(data)) + data


def module(*bodies: bytes, more: bytes = b"") -> bytes:
    """Functions of nothing to nothing with these bodies."""
    code = (leb(len(body)) + body for body in bodies)
    return b"".join(
        (
            b"\0asm\x01\0\0\0",
            section(1, [b"\x60\x00\x00"]),
            section(3, [b"\x00"] * len(bodies)),
            section(5, [b"\x00\x01"]),
            section(7, [b"\x06memory\x02\x00"]),
            more,
            section(10, code),
        )
    )


def body(code: bytes, local_groups: Iterable[bytes] = ()) -> bytes:
    """One function's body."""
    groups = list(local_groups)
    return leb(len(groups)) + b"".join(groups) + code + b"\x0b"


BLOCK, LOOP, IF, END = b"\x02\x40", b"\x03\x40", b"\x41\x01\x04\x40", b"\x0b"


def nested(opening: bytes, depth: int) -> bytes:
    """Blocks in blocks."""
    return module(body(opening * depth + END * depth))


def jumps(targets: int) -> bytes:
    """A jump table."""
    return module(body(BLOCK + b"\x41\x00\x0e" + leb(targets) + b"\x00" * (targets + 1) + END))


REFUSED = {
    "a million functions": lambda: module(*[body(b"")] * 1_000_000),
    "50,000 locals in 1,000 functions": lambda: module(*[body(b"", [leb(50_000) + b"\x7e"])] * 1_000),
    "locals in many groups": lambda: module(*[body(b"", [b"\x01\x7e"] * 9_000)] * 200),
    "two to the 32 locals": lambda: module(body(b"", [leb(0xFFFFFFFF) + b"\x7f"] * 2)),
    "a jump table of five million": lambda: jumps(5_000_000),
    "a jump table of a million": lambda: jumps(1_000_000),
    "a body of two mebibytes": lambda: module(body(b"\x01" * (2 << 20))),
    "70 mebibytes": lambda: module(more=section(0, [b"\x01" * (70 << 20)])),
    "custom sections without end": lambda: module(more=b"\x00\x02\x01x" * 5_000),
    "a count without contents": lambda: b"\0asm\x01\0\0\0" + b"\x03\x05" + leb(0xFFFFFFFF),
    "a section longer than the file": lambda: b"\0asm\x01\0\0\0" + b"\x01" + leb(0x7FFFFFFF) + b"\x00",
    "not to be balanced": lambda: module(body(BLOCK * 100)),
    "only its beginning": lambda: module(body(b"\x01" * 1_000))[:-500],
}
HEAVY = {
    "loops in loops": lambda: nested(LOOP, 300_000),
    "ifs in ifs": lambda: nested(IF, 100_000),
}


@pytest.mark.parametrize("bomb", REFUSED.values(), ids=REFUSED)
def test_what_no_compiler_emits_is_refused_at_once(host: Host, bomb: Callable[[], bytes]) -> None:
    """By its numbers, before it is compiled, or by the compiler's first look; 422, and nothing is stored."""
    wasm = bomb()
    began = time.monotonic()
    with pytest.raises(InvalidModule):
        host.deploy("bomb", wasm)
    assert time.monotonic() - began < 5 + LATE
    assert host.inner.registry.get("default", "bomb") is None


if SOAK > 1:  # it takes as long as the compiler may

    @pytest.mark.parametrize("bomb", HEAVY.values(), ids=HEAVY)
    def test_the_compiler_has_a_minute_and_four_gibibytes(host: Host, bomb: Callable[[], bytes]) -> None:
        """What it cannot do with them is refused: within 60 s of processor time."""
        began = time.monotonic()
        with pytest.raises(InvalidModule, match="more than 60 s or 4 GiB"):
            host.deploy("bomb", bomb())
        assert time.monotonic() - began < 120


def test_calls_go_on_while_a_bomb_is_compiled(host: Host) -> None:
    """In a process of its own, which comes last where processors are short: the target is an unchanged p99."""
    heavy = module(*[body(b"")] * 60_000)  # valid, seconds of work, and nothing in it that could be called

    async def attack(inner: AsyncHost) -> list[float]:
        deploying = asyncio.ensure_future(inner.deploy("heavy", heavy))
        taken = []
        while not deploying.done():
            began = time.monotonic()
            assert (await inner.invoke("echo", b"x")).result == "ok"
            taken.append(time.monotonic() - began)
            await asyncio.sleep(0.005)
        with pytest.raises(InvalidModule):
            await deploying
        return sorted(taken)

    taken = run(host, attack)
    assert len(taken) > 50
    assert taken[int(len(taken) * 0.99)] < 0.1


def test_the_compiling_process_is_small_before_the_world(host: Host) -> None:
    """Its limits: processor time, memory, no core dump, no new privileges, and it comes after everybody else."""
    probe = """
import os, resource, sys
from guesthouse._native import compile
compile._limit_process()
status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)
print(*[resource.getrlimit(getattr(resource, 'RLIMIT_' + name))[1] for name in ('CPU', 'AS', 'CORE')],
      status.get('NoNewPrivs', '1').strip(), os.nice(0))
"""
    path = {"PYTHONPATH": str(Path(guesthouse.__file__).parents[1]), "PATH": os.defpath}
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=path, check=True).stdout
    cpu, memory, core, privileges, niceness = map(int, said.split())
    assert (cpu, memory, core, privileges) == (60, 4 << 30, 0, 1)
    assert niceness >= 10


def test_an_artefact_is_not_taken_for_a_module(host: Host) -> None:
    """What was compiled elsewhere would be code of the machine: only WebAssembly is accepted."""
    artefact = engine_of_process().compile(module(body(b"")))
    assert artefact.startswith(b"\x7fELF")
    with pytest.raises(InvalidModule, match="not WebAssembly"):
        host.deploy("artefact", artefact)
    with pytest.raises(InvalidModule):
        host.deploy("artefact", b"\0asm" + artefact[4:])
