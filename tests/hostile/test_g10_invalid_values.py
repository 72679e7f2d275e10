"""G10: bytes that are no value of the type that they claim to be are a trap that names the rule, in every direction."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from guesthouse import Err, Host, Interface, Ok, host_call
from guesthouse.errors import Trap
from harness import failure, often
from support import wat

HOST = "test:g10/host@1.0.0"
RUNNER = "test:g10/runner@1.0.0"
TYPES = {
    "letter": "char",
    "truth": "bool",
    "choice": "enum-of",
    "case": "variant-of",
    "maybe": "option<u32>",
    "outcome": "result<u32, u32>",
    "set": "flags-of",
    "letters": "list<char>",
    "truths": "list<bool>",
    "choices": "list<enum-of>",
    "cases": "list<variant-of>",
    "maybes": "list<option<u32>>",
    "outcomes": "list<result<u8, u8>>",
    "sets": "list<flags-of>",
    "words": "list<u32>",
    "wides": "list<u64>",
    "texts": "list<string>",
    "small": "u8",
    "signed": "s16",
    "real": "f32",
    "spilled": "tuple<char, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64>",
}


class Takes(Interface):
    """Keeps what it is given, and answers what it is told to."""

    name = "takes"
    wit = f"""
    package test:g10@1.0.0;
    interface host {{
      enum enum-of {{ a, b, c }}
      flags flags-of {{ a, b, c }}
      variant variant-of {{ none, number(u32), text(string), letter(char) }}
      {" ".join(f"{name}: func(value: {kind});" for name, kind in TYPES.items())}
      text: func() -> string;
      texts-back: func() -> list<string>;
      int: func(value: u32) -> u32; long: func(value: u64) -> u64;
      float: func(value: f32) -> f32; double: func(value: f64) -> f64;
      many: func(a: u32, b: u64, c: f32, d: f64, e: u32, f: u64, g: f32, h: f64, i: u32, j: u64, k: f32, l: f64,
                 m: u32, n: u64, o: f32, p: f64) -> string;
    }}
    interface runner {{
      use host.{{variant-of, enum-of}};
      letter: func() -> char; choice: func() -> enum-of; case: func() -> variant-of; texts: func() -> list<string>;
      maybe: func() -> option<option<char>>; run: func() -> u32; wide: func() -> u64; float: func() -> f32;
      double: func() -> f64;
      long-list: func(values: tuple<u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, string>)
        -> u64;
    }}
    """
    taken: Any = None

    def take(self, invocation: Any, value: Any) -> None:
        """Keeps it."""
        Takes.taken = value

    @host_call(HOST, "text")
    def text(self, invocation: Any) -> str:
        return "some text"

    @host_call(HOST, "texts-back")
    async def texts_back(self, invocation: Any) -> list[str]:
        return ["one", "two", "three"]

    @host_call(HOST, "int")
    @host_call(HOST, "long")
    @host_call(HOST, "float")
    @host_call(HOST, "double")
    async def same(self, invocation: Any, value: Any) -> Any:
        return value

    @host_call(HOST, "many")
    async def many(self, invocation: Any, *values: Any) -> str:
        return repr(values)


for _name in TYPES:
    Takes.take = host_call(HOST, _name)(Takes.take)  # type: ignore[method-assign]
INTERFACES = (Takes,)
REALLOC = '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))'


def text(data: bytes) -> str:
    """Bytes as WAT writes them."""
    return "".join(f"\\{byte:02x}" for byte in data)


def passes(name: str, params: str, values: str, data: bytes = b"") -> bytes:
    """A guest that calls one host function with core values, and has some bytes at 1,024."""
    return wat(f"""(module (import "{HOST}" "{name}" (func $take (param {params})))
      (memory (export "memory") 1) (data (i32.const 1024) "{text(data)}") {REALLOC}
      (func (export "{RUNNER}#run") (result i32) (call $take {values}) (i32.const 1)))""")


def i32s(*values: int) -> str:
    """Core constants."""
    return " ".join(f"(i32.const {value})" for value in values)


def words(*values: int) -> bytes:
    """Little-endian 32-bit words."""
    return b"".join(struct.pack("<I", value & 0xFFFFFFFF) for value in values)


JOINED = "i32 i32 i32"
FLAT = {
    "a surrogate": ("letter", "i32", i32s(0xD800), "char 0xd800"),
    "the last surrogate": ("letter", "i32", i32s(0xDFFF), "char 0xdfff"),
    "past Unicode": ("letter", "i32", i32s(0x110000), "char 0x110000"),
    "a negative char": ("letter", "i32", i32s(-1), "char 0xffffffff"),
    "an enum past its end": ("choice", "i32", i32s(3), "discriminant 3"),
    "a negative enum": ("choice", "i32", i32s(-1), "discriminant"),
    "a variant past its end": ("case", JOINED, i32s(4, 0, 0), "discriminant 4"),
    "a char inside a variant": ("case", JOINED, i32s(3, 0xD800, 0), "char 0xd800"),
    "a text inside a variant": ("case", JOINED, i32s(2, -1, 2), "outside the memory"),
    "an option past its end": ("maybe", "i32 i32", i32s(2, 0), "discriminant 2"),
    "a result past its end": ("outcome", "i32 i32", i32s(2, 0), "discriminant 2"),
    "an unaligned list": ("words", "i32 i32", i32s(1026, 1), "not aligned to 4"),
    "an unaligned wide list": ("wides", "i32 i32", i32s(1028, 1), "not aligned to 8"),
    "an unaligned empty list": ("words", "i32 i32", i32s(1, 0), "not aligned to 4"),
    "an unaligned list of texts": ("texts", "i32 i32", i32s(1022, 1), "not aligned to 4"),
    "an unaligned spilled value": ("spilled", "i32", i32s(1028), "not aligned to 8"),
    "a spilled value outside": ("spilled", "i32", i32s(65536 - 128), "outside the memory"),
    "an empty list outside": ("words", "i32 i32", i32s(65540, 0), "outside the memory"),
}
IN_MEMORY = {
    "letters": (words(0x41, 0xD800), "char 0xd800"),
    "choices": (bytes([0, 1, 2, 3]), "discriminant 3"),
    "maybes": (words(0, 0, 2, 0), "discriminant 2"),
    "outcomes": (bytes([0, 0, 2, 0]), "discriminant 2"),
    "cases": (words(0, 0, 0, 9, 0, 0), "discriminant 9"),
    "texts": (words(1024, 1, 0xFFFFFFFF, 1), "outside the memory"),
    "spilled": (words(0xD800, 0) + bytes(128), "char 0xd800"),
}


@pytest.mark.parametrize(("name", "params", "values", "rule"), FLAT.values(), ids=FLAT)
def test_an_invalid_argument_traps_and_names_the_rule(
    host: Host, name: str, params: str, values: str, rule: str
) -> None:
    """As core values: out of range, out of bounds, not aligned.  The host function is never called."""
    Takes.taken = "untouched"
    host.deploy("invalid", passes(name, params, values))
    for _ in range(often(1)):
        error = failure(host, "invalid", "run", interface=RUNNER)
        assert isinstance(error, Trap)
        assert (error.reason, rule in str(error)) == ("canonical-abi", True), error
    assert Takes.taken == "untouched"


@pytest.mark.parametrize("name", IN_MEMORY)
def test_an_invalid_value_in_memory_traps_and_names_the_rule(host: Host, name: str) -> None:
    """The same inside lists and behind pointers, wherever in the list."""
    data, rule = IN_MEMORY[name]
    Takes.taken = "untouched"
    size = {"letters": 4, "choices": 1, "maybes": 8, "outcomes": 2, "cases": 12, "texts": 8}.get(name)
    values = i32s(1024) if size is None else i32s(1024, len(data) // size)
    host.deploy("invalid", passes(name, "i32" if size is None else "i32 i32", values, data))
    error = failure(host, "invalid", "run", interface=RUNNER)
    assert isinstance(error, Trap)
    assert (error.reason, rule in str(error)) == ("canonical-abi", True), error
    assert Takes.taken == "untouched"


@pytest.mark.parametrize(
    ("name", "params", "values", "data", "expected"),
    [
        ("truth", "i32", i32s(2), b"", True),
        ("truth", "i32", i32s(-1), b"", True),
        ("truths", "i32 i32", i32s(1024, 4), bytes([0, 1, 2, 255]), [False, True, True, True]),
        ("set", "i32", i32s(-7), b"", frozenset("a")),
        ("sets", "i32 i32", i32s(1024, 2), bytes([0xF8, 0xFF]), [frozenset(), frozenset("abc")]),
        ("small", "i32", i32s(0x1FF), b"", 255),
        ("signed", "i32", i32s(0x18000), b"", -0x8000),
        ("case", JOINED, i32s(0, -1, -1), b"", ("none", None)),
        ("maybe", "i32 i32", i32s(0, -1), b"", None),
        ("outcome", "i32 i32", i32s(1, -1), b"", Err(0xFFFFFFFF)),
        ("outcome", "i32 i32", i32s(0, 1), b"", Ok(1)),
        ("words", "i32 i32", i32s(65536, 0), b"", []),
    ],
)
def test_what_the_specification_allows_is_taken(
    host: Host, name: str, params: str, values: str, data: bytes, expected: Any
) -> None:
    """Any bool but 0 is true, flags without a name and the bits of other cases are ignored, small numbers are cut."""
    host.deploy("allowed", passes(name, params, values, data))
    assert host.call("allowed", "run", interface=RUNNER) == 1
    assert Takes.taken == expected


ANSWERS = {
    "letter": ("i32", i32s(0xD800), "char"),
    "choice": ("i32", i32s(3), "discriminant"),
    "case": ("i32", i32s(1024), "discriminant"),
    "texts": ("i32", i32s(1024), "not aligned"),
    "maybe": ("i32", i32s(1040), "discriminant"),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("pointer", [None, 1, 65536, 65535, -1, -4])
def test_an_invalid_answer_traps(host: Host, name: str, pointer: int | None) -> None:
    """What an export returns is lifted by the same rules, wherever its pointer leads."""
    result, value, rule = ANSWERS[name]
    if pointer is not None and name not in ("letter", "choice"):
        value, rule = i32s(pointer), "pointer"
    data = words(7, 7, 7, 7) + words(1, 1, 0xD800)
    host.deploy(
        "answers",
        wat(f"""(module (memory (export "memory") 1) (data (i32.const 1024) "{text(data)}") {REALLOC}
          (func (export "{RUNNER}#{name}") (result {result}) {value}))"""),
    )
    error = failure(host, "answers", name, interface=RUNNER)
    assert isinstance(error, Trap)
    assert error.reason == "canonical-abi"
    assert rule in str(error) or "char" in str(error)


REALLOCS = {"zero": 0, "unaligned": 4097, "at the end": 65536, "just too far": 65534, "far": -1, "negative": -65536}


@pytest.mark.parametrize("pointer", [value for name, value in REALLOCS.items() if name != "zero"])
@pytest.mark.parametrize("way", ["argument", "answer", "later answer"])
def test_an_allocator_that_answers_nonsense_traps(host: Host, pointer: int, way: str) -> None:
    """A pointer outside memory, or not aligned for what comes there."""
    calls = {
        "argument": "(nop)",
        "answer": "(call $text (i32.const 16))",
        "later answer": "(call $texts (i32.const 16))",
    }
    host.deploy(
        "allocates",
        wat(f"""(module (import "{HOST}" "text" (func $text (param i32)))
          (import "{HOST}" "texts-back" (func $texts (param i32)))
          (memory (export "memory") 1)
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const {pointer}))
          (func (export "{RUNNER}#long-list") (param i32) (result i64) (i64.const 1))
          (func (export "{RUNNER}#run") (result i32) {calls[way]} (i32.const 1)))"""),
    )
    if way == "answer" and pointer == 4097:
        assert host.call("allocates", "run", interface=RUNNER) == 1  # text may lie anywhere
        return
    call = ("long-list", (*range(16), "text")) if way == "argument" else ("run",)
    error = failure(host, "allocates", *call, interface=RUNNER)
    assert isinstance(error, Trap)
    assert error.reason == "realloc"


@pytest.mark.parametrize("pointer", [1, 2, 65532, 65536, -8, -1])
@pytest.mark.parametrize("way", ["text", "texts-back"])
def test_an_answer_that_has_no_place_traps(host: Host, pointer: int, way: str) -> None:
    """The pointer to where the guest wants the answer is checked like any other."""
    host.deploy("places", passes(way, "i32", i32s(pointer)))
    error = failure(host, "places", "run", interface=RUNNER)
    assert isinstance(error, Trap)
    assert "return pointer" in str(error) or "realloc" in error.reason


@pytest.mark.parametrize(
    ("name", "letter", "values"),
    [
        ("int", "i32", ("0", "1", "0x7fffffff", "-1")),
        ("long", "i64", ("0", "1", "0x7fffffffffffffff", "-1")),
        ("float", "f32", ("0", "-0", "1.5", "inf", "-inf", "nan", "nan:0x200001", "0x1p-149")),
        ("double", "f64", ("0", "-0", "1.5", "inf", "-inf", "nan", "nan:0x4000000000001", "0x1p-1074")),
    ],
)
def test_every_core_type_comes_back_as_it_went(host: Host, name: str, letter: str, values: tuple[str, ...]) -> None:
    """As the argument and the result of a host function that waits; the guest compares the bits (of a NaN: that it is one)."""
    compare = f"({letter}.eq (local.get $a) (local.get $b))"
    if letter[0] == "f":
        nan_a, nan_b = (f"(f64.ne {wide(name, letter)} {wide(name, letter)})" for name in "ab")
        compare = f"(i32.or {compare} (i32.and {nan_a} {nan_b}))"
    for value in values:
        host.deploy(
            "core",
            wat(f"""(module (import "{HOST}" "{name}" (func $same (param {letter}) (result {letter})))
              (memory (export "memory") 1)
              (func (export "{RUNNER}#run") (result i32) (local $a {letter}) (local $b {letter})
                (local.set $a ({letter}.const {value})) (local.set $b (call $same (local.get $a))) {compare}))"""),
        )
        assert host.call("core", "run", interface=RUNNER) == 1, value


def wide(name: str, letter: str) -> str:
    """A local as f64."""
    return f"(local.get ${name})" if letter == "f64" else f"(f64.promote_f32 (local.get ${name}))"


def test_sixteen_arguments_and_the_place_of_the_answer_arrive(host: Host) -> None:
    """As many core values as a host call can have, of each type in turn."""
    letters = ("i32", "i64", "f32", "f64") * 4
    values = " ".join(f"({letter}.const {index})" for index, letter in enumerate(letters))
    host.deploy(
        "many",
        wat(f"""(module (import "{HOST}" "many" (func $many (param {" ".join(letters)} i32)))
          (memory (export "memory") 1) {REALLOC}
          (func (export "{RUNNER}#texts") (result i32)
            (call $many {values} (i32.const 1032)) (i32.store (i32.const 1024) (i32.const 1032))
            (i32.store (i32.const 1028) (i32.const 1)) (i32.const 1024)))"""),
    )
    expected = tuple(float(n) if letter[0] == "f" else n for n, letter in enumerate(letters))
    assert host.call("many", "texts", interface=RUNNER) == [repr(expected)]
