"""The core module reader: it reads what compilers emit, refuses what is malformed or a burden, and never breaks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasmtime import wat2wasm

from guesthouse.engine import wasm_limits
from guesthouse.engine.wasm_binary import PREAMBLE, Bounds, Import, read_module, sections, strip_custom
from guesthouse.engine.wasm_reader import Reader
from guesthouse.errors import InvalidModule
from unit.component_text import PREBUILT

CORE_GUESTS = sorted(path for path in PREBUILT.glob("*.wasm") if path.read_bytes().startswith(PREAMBLE))

EVERYTHING = """(module $everything
  (type (func (param i32 i64 f32 f64) (result i32)))
  (import "host" "call" (func $call (type 0)))
  (import "host" "table" (table 1 funcref))
  (import "host" "number" (global i32))
  (table 2 5 externref)
  (memory (export "memory") 3 7)
  (global $stack (mut i32) (i32.const -5))
  (global v128 (v128.const i64x2 1 2))
  (global funcref (ref.func $main))
  (func $main (export "main") (param v128 funcref) (result externref) (local i32 i32 i64) unreachable)
  (func $begin nop)
  (start $begin)
  (elem (i32.const 0) func $begin $main)
  (elem declare func $call)
  (elem externref (ref.null extern))
  (data (i32.const 8) "abc")
  (data "passive")
)"""


def leb(value: int, size: int = 0) -> bytes:
    """`value` as unsigned LEB128, padded to `size` bytes."""
    out = bytearray()
    while value > 0x7F or len(out) + 1 < size:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


def module(*parts: bytes) -> bytes:
    return PREAMBLE + b"".join(parts)


def test_everything_that_a_module_declares_is_read() -> None:
    """Types, imports, index spaces, exports, start and segments come out as they were written."""
    found = read_module(wat2wasm(EVERYTHING))
    assert found.imports == [
        Import("host", "call", "function", 0),
        Import("host", "table", "table", 0),
        Import("host", "number", "global", 0),
    ]
    assert found.functions == [("iIfF", "i"), ("vr", "x"), ("", "")]
    assert found.tables == [Bounds(1, None), Bounds(2, 5)]
    assert found.memories == [Bounds(3, 7)]
    assert found.globals == 4
    assert found.exports == {"memory": ("memory", 0), "main": ("function", 1)}
    assert found.start_function == 2
    assert found.imported_functions == 1
    assert [segment.table for segment in found.segments] == [0, None, None]
    assert found.segments[0].offset == 0
    assert found.segments[0].functions == (2, 1)
    assert found.segments[2].functions is None
    assert found.data_segments == 2
    assert found.name == "everything"


@pytest.mark.parametrize("path", CORE_GUESTS, ids=lambda path: path.name)
def test_real_core_modules_are_read(path: Path) -> None:
    """What the Rust toolchain makes for unknown-unknown and wasip1 is accepted."""
    found = read_module(path.read_bytes())
    assert found.exports["memory"] == ("memory", 0)
    entry, kind = ("_start", ("", "")) if "_start" in found.exports else ("cabi_realloc", ("iiii", "i"))
    assert found.functions[found.exports[entry][1]] == kind


@pytest.mark.parametrize("path", CORE_GUESTS, ids=lambda path: path.name)
def test_stripping_removes_the_custom_sections_and_nothing_else(path: Path) -> None:
    """All other sections stay byte for byte, in their order."""
    wasm = path.read_bytes()
    stripped = strip_custom(wasm)

    def plain(data: bytes) -> list[tuple[int, bytes]]:
        return [(n, data[part.position : part.end]) for n, part in sections(Reader(data)) if n]

    assert plain(stripped) == plain(wasm)
    assert read_module(stripped).customs == []
    assert strip_custom(stripped) == stripped


def test_a_module_of_several_megabytes_is_read_in_a_moment() -> None:
    """3.6 MB with 6,000 functions take less than 150 ms."""
    body = leb(600) + b"\x01\x03\x7f" + b"\x01" * 596 + b"\x0b"
    types = section(1, b"\x01\x60\0\0")
    wasm = module(types, section(3, leb(6000) + b"\0" * 6000), section(10, leb(6000) + body * 6000))
    assert len(wasm) > 3_600_000
    begin = time.process_time()
    assert len(read_module(wasm).bodies) == 6000
    assert time.process_time() - begin < 3


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_padded_integers_are_allowed_up_to_five_bytes(size: int) -> None:
    """Linkers pad what they fill in later, and the format allows it."""
    assert Reader(leb(5, size)).u32() == 5


@pytest.mark.parametrize("raw", [b"\x85\x80\x80\x80\x80\x00", b"\xff\xff\xff\xff\x1f", b"\xff\xff\xff\xff\x7f"])
def test_integers_that_are_too_long_or_too_large_are_refused(raw: bytes) -> None:
    """Six bytes, or a bit above the 32nd, are no u32."""
    with pytest.raises(InvalidModule, match="integer"):
        Reader(raw).u32()


@given(st.integers(-(2**32), 2**32 - 1))
def test_signed_integers_survive(value: int) -> None:
    """Reading a minimal signed LEB128 of 33 bits gives back the number."""
    raw = bytearray()
    rest = value
    while True:
        byte = rest & 0x7F
        rest >>= 7
        if (rest, byte & 0x40) in ((0, 0), (-1, 0x40)):
            break
        raw.append(byte | 0x80)
    raw.append(byte)
    assert Reader(bytes(raw)).signed(33) == value


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x70", b"\x80\x80\x80\x80\x80\x00"])
def test_signed_integers_out_of_range_are_refused(raw: bytes) -> None:
    """The unused bits of the last byte must be copies of the sign."""
    with pytest.raises(InvalidModule, match="integer"):
        Reader(raw).signed(32)


REFUSED = {
    "magic": b"\0asn\x01\0\0\0",
    "version": b"\0asm\x02\0\0\0",
    "truncated preamble": b"\0asm\x01",
    "section beyond the end": module(b"\x01\x05\x00"),
    "section repeated": module(section(1, b"\0"), section(1, b"\0")),
    "sections out of order": module(section(3, b"\0"), section(1, b"\0")),
    "unknown section": module(section(14, b"\0")),
    "tag section": module(section(13, b"\0")),
    "rest in a section": module(section(1, b"\0\0")),
    "GC type": module(section(1, b"\x01\x5f\0")),
    "value type": module(section(1, b"\x01\x60\x01\x64\0")),
    "count beyond the bytes": module(section(1, leb(9999) + b"\x60\0\0")),
    "no such type": module(section(3, b"\x01\0")),
    "name not UTF-8": module(section(2, b"\x01\x02\xc3\x28\x01a\x00\x00")),
    "overlong UTF-8": module(section(2, b"\x01\x02\xc0\x80\x01a\x00\x00")),
    "surrogate": module(section(2, b"\x01\x03\xed\xa0\x80\x01a\x00\x00")),
    "import of a tag": module(section(1, b"\x01\x60\0\0"), section(2, b"\x01\x01a\x01b\x04\0\0")),
    "function without code": module(section(1, b"\x01\x60\0\0"), section(3, b"\x01\0")),
    "code without a function": module(section(10, b"\x01\x02\0\x0b")),
    "shared memory": module(section(5, b"\x01\x03\x01\x01")),
    "64-bit memory": module(section(5, b"\x01\x04\x01")),
    "custom page size": module(section(5, b"\x01\x08\x01\0")),
    "maximum below minimum": module(section(5, b"\x01\x01\x02\x01")),
    "two memories": module(section(5, b"\x02\x00\x01\x00\x01")),
    "64-bit table": module(section(4, b"\x01\x70\x04\x01")),
    "table with initial value": module(section(4, b"\x01\x40\x00\x70\x00\x01\xd0\x70\x0b")),
    "export of nothing": module(section(7, b"\x01\x01a\x00\x00")),
    "export twice": module(section(5, b"\x01\0\x01"), section(7, b"\x02\x01a\x02\0\x01a\x02\0")),
    "start of nothing": module(section(8, b"\0")),
    "global without value": module(section(6, b"\x01\x7f\0")),
    "call in a constant": module(section(6, b"\x01\x7f\0\x10\0\x0b")),
    "element kind": module(section(9, b"\x01\x01\x01\0")),
    "element flags": module(section(9, b"\x01\x08\0")),
    "data flags": module(section(11, b"\x01\x03\0")),
    "data count": module(section(12, b"\x02"), section(11, b"\x01\x01\0")),
    "custom without a name": module(section(0, b"")),
}


@pytest.mark.parametrize("wasm", REFUSED.values(), ids=REFUSED)
def test_malformed_modules_are_refused(wasm: bytes) -> None:
    """Every broken rule is an `InvalidModule` that names the byte."""
    with pytest.raises(InvalidModule, match=r"not valid WebAssembly: .* \(at byte \d+\)"):
        read_module(wasm)


def code(*bodies: bytes) -> bytes:
    sized = b"".join(leb(len(body)) + body for body in bodies)
    types, functions = section(1, b"\x01\x60\0\0"), section(3, leb(len(bodies)) + b"\0" * len(bodies))
    return module(types, functions, section(10, leb(len(bodies)) + sized))


BOMBS = {
    "functions": module(section(1, b"\x01\x60\0\0"), section(3, leb(100_001) + b"\0" * 100_001)),
    "body": code(b"\0" + b"\x01" * wasm_limits.MAX_BODY + b"\x0b"),
    "locals": code(b"\x01" + leb(10_001) + b"\x7f\x0b"),
    "locals in two groups": code(b"\x02" + leb(10_000) + b"\x7f\x01\x7e\x0b"),
    "locals near 2^32, twice": code(b"\x02" + leb(2**32 - 1) + b"\x7f" + leb(2**32 - 1) + b"\x7f\x0b"),
    "table": module(section(4, b"\x01\x70\x00" + leb(2**32 - 1))),
    "tables": module(section(4, b"\x09" + b"\x70\x00\x01" * 9)),
    "memory": module(section(5, b"\x01\x00" + leb(2049))),
    "types": module(section(1, leb(10_001) + b"\x60\0\0" * 10_001)),
    "parameters": module(section(1, b"\x01\x60" + leb(1001) + b"\x7f" * 1001 + b"\0")),
    "imports": module(section(1, b"\x01\x60\0\0"), section(2, leb(1001) + b"\0\0\0\0" * 1001)),
    "exports": module(section(7, leb(10_001) + b"\0\0\0" * 10_001)),
    "globals": module(section(6, leb(10_001) + b"\x7f\0\x41\0\x0b" * 10_001)),
    "elements": module(section(9, b"\x01\x01\0" + leb(100_001) + b"\0" * 100_001)),
    "segments": module(section(11, leb(10_001) + b"\x01\0" * 10_001)),
    "sections": module(section(0, b"\0") * 1001),
    "constant": module(section(6, b"\x01\x7f\0" + b"\x41\0" * 17 + b"\x0b")),
    "size": PREAMBLE + section(0, b"\0" + bytes(wasm_limits.MAX_SIZE)),
}


@pytest.mark.parametrize("wasm", BOMBS.values(), ids=BOMBS)
def test_g22_a_compile_bomb_is_refused_at_once(wasm: bytes) -> None:
    """What is over a limit is refused with the limit, long before anything is compiled."""
    begin = time.process_time()
    with pytest.raises(InvalidModule, match=r"more than|larger than|fit into"):
        read_module(wasm)
    assert time.process_time() - begin < 3


def test_at_the_limits_a_module_is_accepted() -> None:
    """The limits themselves are allowed."""
    read_module(module(section(4, b"\x01\x70\x00" + leb(20_000)), section(5, b"\x01\x00" + leb(2048))))
    read_module(code(b"\x01" + leb(10_000) + b"\x7f\x0b"))


def test_a_broken_name_section_does_no_harm() -> None:
    """Names are for people, so nothing depends on them."""
    assert read_module(module(section(0, b"\x04name\x00\x7f\x03ab"))).name is None


@given(st.binary(max_size=300))
def test_random_bytes_do_no_harm(raw: bytes) -> None:
    """Whatever stands behind the preamble, it is read or refused."""
    for wasm in (raw, PREAMBLE + raw):
        try:
            read_module(wasm)
        except InvalidModule:
            continue


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_modules_do_no_harm(data: st.DataObject) -> None:
    """A real module, cut off or with other bytes in it, is read or refused, and stripping agrees."""
    wasm = bytearray(wat2wasm(EVERYTHING))
    del wasm[data.draw(st.integers(8, len(wasm))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        wasm[data.draw(st.integers(0, len(wasm) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_module(bytes(wasm))
    except InvalidModule:
        return
    read_module(strip_custom(bytes(wasm)))
