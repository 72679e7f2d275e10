"""G11: text from a guest is valid UTF-8 or a trap; nothing is patched up on the way."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse import Host, Interface, host_call
from guesthouse.errors import LinkError, Trap
from harness import failure, often
from support import wat

HOST = "test:g11/host@1.0.0"
RUNNER = "test:g11/runner@1.0.0"


class Takes(Interface):
    """Keeps the text it is given."""

    name = "takes"
    wit = """
    package test:g11@1.0.0;
    interface host { one: func(text: string); many: func(texts: list<string>); pair: func(pair: tuple<string, string>); }
    interface runner { run: func() -> u32; one: func() -> string; many: func() -> list<string>; }
    """
    taken: Any = None

    @host_call(HOST, "one")
    @host_call(HOST, "many")
    @host_call(HOST, "pair")
    def take(self, invocation: Any, value: Any) -> None:
        Takes.taken = value


INTERFACES = (Takes,)
INVALID = {
    "a continuation that is none": b"\xc3\x28",
    "a continuation alone": b"\x80",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "an overlong zero": b"\xc0\x80",
    "an overlong slash": b"\xc0\xaf",
    "overlong in three bytes": b"\xe0\x80\xaf",
    "overlong in four bytes": b"\xf0\x80\x80\xaf",
    "four bytes cut off": b"\xf0\x9f\x98",
    "three bytes cut off": b"\xe2\x82",
    "two bytes cut off": b"\xc3",
    "past Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "no lead byte": b"\xff",
    "a byte order mark of UTF-16": b"\xfe\xff",
    "at the end of long text": b"a" * 5_000 + b"\xff",
    "Latin-1": "für".encode("latin-1"),
}
VALID = {
    "zero": "\0",
    "a byte order mark": "\ufeffa",
    "the edges of surrogates": "\ud7ff\ue000",
    "the last character": "\U0010ffff",
    "non-characters": "\ufffe\uffff",
    "controls": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "right to left": "\u202eabc",
}


def module(data: bytes) -> bytes:
    """A guest with one text, which it passes and answers alone, in a list and in a pair."""
    shown = "".join(f"\\{byte:02x}" for byte in data)
    entry = "".join(f"\\{byte:02x}" for byte in (1024).to_bytes(4, "little") + len(data).to_bytes(4, "little"))
    return wat(f"""(module
      (import "{HOST}" "one" (func $one (param i32 i32)))
      (import "{HOST}" "many" (func $many (param i32 i32)))
      (import "{HOST}" "pair" (func $pair (param i32 i32 i32 i32)))
      (memory (export "memory") 1) (data (i32.const 1024) "{shown}") (data (i32.const 512) "{entry}{entry}")
      (data (i32.const 528) "\\00\\02\\00\\00\\02\\00\\00\\00")
      (global $way (export "way") (mut i32) (i32.const 0))
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 32768))
      (func (export "{RUNNER}#run") (result i32)
        (call $one (i32.const 1024) (i32.const {len(data)})) (i32.const 1))
      (func (export "{RUNNER}#one") (result i32) (i32.const 512))
      (func (export "{RUNNER}#many") (result i32) (i32.const 528)))""")


@pytest.mark.parametrize("data", INVALID.values(), ids=INVALID)
def test_invalid_text_traps_in_every_direction(host: Host, data: bytes) -> None:
    """As an argument and as an answer; the host function never sees it, and the error does not repeat it."""
    Takes.taken = "untouched"
    host.deploy("text", module(data))
    for _ in range(often(1)):
        for function in ("run", "one", "many"):
            error = failure(host, "text", function, interface=RUNNER)
            assert isinstance(error, Trap)
            assert (error.reason, "not valid UTF-8" in str(error)) == ("canonical-abi", True)
    assert Takes.taken == "untouched"


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
def test_every_valid_text_passes_unchanged(host: Host, text: str) -> None:
    """What is odd is not invalid."""
    host.deploy("text", module(text.encode()))
    assert host.call("text", "run", interface=RUNNER) == 1
    assert Takes.taken == text
    assert host.call("text", "one", interface=RUNNER) == text
    assert host.call("text", "many", interface=RUNNER) == [text, text]


@pytest.mark.parametrize("call", ["many", "pair"])
def test_invalid_text_inside_a_value_traps(host: Host, call: str) -> None:
    """The second of two texts."""
    values = (
        "(i32.const 512) (i32.const 2)"
        if call == "many"
        else "(i32.const 1024) (i32.const 2) (i32.const 1026) (i32.const 1)"
    )
    params = "i32 i32" if call == "many" else "i32 i32 i32 i32"
    host.deploy(
        "text",
        wat(f"""(module (import "{HOST}" "{call}" (func $take (param {params})))
          (memory (export "memory") 1) (data (i32.const 1024) "ok\\ff")
          (data (i32.const 512) "\\00\\04\\00\\00\\02\\00\\00\\00\\02\\04\\00\\00\\01\\00\\00\\00")
          (func (export "{RUNNER}#run") (result i32) (call $take {values}) (i32.const 1)))"""),
    )
    Takes.taken = "untouched"
    error = failure(host, "text", "run", interface=RUNNER)
    assert getattr(error, "reason", "") == "canonical-abi"
    assert Takes.taken == "untouched"


@pytest.mark.parametrize("name", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_module_with_invalid_names_is_refused(host: Host, name: bytes) -> None:
    """Names are text as well."""
    wasm = wat(f'(module (import "{HOST}" "{"~" * len(name)}" (func)) (memory (export "memory") 1))')
    with pytest.raises(ValueError, match="UTF-8"):
        host.deploy("name", wasm.replace(b"~" * len(name), name))


@pytest.mark.parametrize("name", ["one\0", "one\u200b", "One", "\u0585ne", ""])
def test_a_name_that_only_looks_right_is_refused(host: Host, name: str) -> None:
    """Look-alikes, zeros and other cases are other names."""
    shown = "".join(f"\\{byte:02x}" for byte in name.encode())
    with pytest.raises(LinkError):
        host.deploy(
            "name",
            wat(f"""(module (import "{HOST}" "{shown}" (func (param i32 i32))) (memory (export "memory") 1)
              (func (export "{RUNNER}#run") (result i32) (i32.const 1)))"""),
        )
