"""The component decoder: types with their names and resources, worlds, and refusals in bounded time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasmtime import wat2wasm

from guesthouse.engine.component import read_component, read_world, world_of
from guesthouse.engine.component_syntax import PREAMBLE
from guesthouse.engine.component_types import merge_worlds
from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FuncType,
    InterfaceType,
    ListType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    Type,
    VariantType,
    WorldType,
)
from guesthouse.engine.wasm_binary import read_module
from guesthouse.errors import InvalidModule
from unit.component_text import COMMANDS, PREBUILT

STRING, U8, U32 = Primitive("string"), Primitive("u8"), Primitive("u32")
BUFFER = ResourceType("momento:bytes/bytes@1.0.0", "buffer")
DATA = VariantType((("buffer", OwnType(BUFFER)), ("value", ListType(U8))), "data")


def world(wat: str) -> WorldType:
    return world_of(read_component(wat2wasm(wat)))


def result_of(wat: str) -> Type | None:
    """The result of the function that an interface with these declarations exports as f."""
    declarations = f'(component (import "a:b/c" (instance {wat} (export "f" (func (result $t))))))'
    return world(declarations).imports["a:b/c"].functions["f"].result


VALUES = {
    '(type $t\' (record (field "a" u8) (field "b-c" string))) (export "r" (type $t (eq $t\')))': RecordType(
        (("a", U8), ("b-c", STRING)), "r"
    ),
    '(type $t\' (variant (case "x") (case "y" u32))) (export "v" (type $t (eq $t\')))': VariantType(
        (("x", None), ("y", U32)), "v"
    ),
    '(type $t\' (enum "a" "b")) (export "e" (type $t (eq $t\')))': EnumType(("a", "b"), "e"),
    '(type $t\' (flags "a" "b")) (export "s" (type $t (eq $t\')))': FlagsType(("a", "b"), "s"),
    "(type $t (list (list u8)))": ListType(ListType(U8)),
    "(type $t (tuple u8 string))": TupleType((U8, STRING)),
    "(type $t (option (option u32)))": OptionType(OptionType(U32)),
    "(type $t (result))": ResultType(None, None),
    "(type $t (result u8))": ResultType(U8, None),
    "(type $t (result (error u8)))": ResultType(None, U8),
    "(type $t (result u8 (error string)))": ResultType(U8, STRING),
    '(export "r" (type $r (sub resource))) (type $t (own $r))': OwnType(ResourceType("a:b/c", "r")),
    '(export "r" (type $r (sub resource))) (type $t (borrow $r))': BorrowType(ResourceType("a:b/c", "r")),
}


@pytest.mark.parametrize(("wat", "expected"), VALUES.items())
def test_every_kind_of_value_type_is_decoded(wat: str, expected: Type) -> None:
    """Shape, names in order, and the name that the export gives."""
    found = result_of(wat)
    assert found == expected
    assert str(found) == str(expected)


PRIMITIVES = ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"]


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive_type_is_decoded(name: str) -> None:
    """All thirteen are known by their WIT names."""
    assert result_of(f"(type $t {name})") == Primitive(name)


def test_a_used_resource_belongs_to_the_interface_that_declares_it() -> None:
    """`use` leads through aliases and equalities to the owner, and only the owner lists it."""
    found = world("""(component
      (import "wasi:io/poll@0.2.12" (instance $poll
        (export "pollable" (type $p (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $p))))))
      (alias export $poll "pollable" (type $pollable))
      (import "wasi:clocks/monotonic-clock@0.2.12" (instance
        (alias outer 1 $pollable (type $p'))
        (export "pollable" (type $p (eq $p')))
        (export "subscribe-duration" (func (param "when" u64) (result (own $p)))))))""").imports
    pollable = ResourceType("wasi:io/poll@0.2.12", "pollable")
    clock = found["wasi:clocks/monotonic-clock@0.2.12"]
    assert clock.functions["subscribe-duration"] == FuncType((("when", Primitive("u64")),), OwnType(pollable))
    assert clock.resources == ()
    poll = found["wasi:io/poll@0.2.12"]
    assert poll.resources == ("pollable",)
    assert poll.functions["[method]pollable.block"] == FuncType((("self", BorrowType(pollable)),))


def test_functions_may_stand_in_the_world_itself() -> None:
    """They are listed by name, apart from the interfaces."""
    found = world('(component (import "log" (func (param "line" string))))')
    assert found == WorldType({}, {}, {"log": FuncType((("line", STRING),))})


def test_the_world_of_a_real_component_is_the_one_it_was_built_for() -> None:
    """The echo guest: types of the exported interface come with their names and with the imported resource."""
    found = world_of(read_component((PREBUILT / "echo.wasip2.wasm").read_bytes()))
    header = RecordType((("name", STRING), ("value", STRING)), "header")
    response = RecordType((("status", Primitive("u16")), ("headers", ListType(header)), ("body", DATA)), "response")
    name = "momento:web-function/guest-function-web@1.0.0"
    assert found.exports == {name: InterfaceType(name, {"invoke": FuncType((("request", DATA),), response)})}
    assert str(found.exports[name].functions["invoke"]) == "func(request: data) -> response"
    assert found.imports["momento:bytes/bytes@1.0.0"].resources == ("buffer",)


@pytest.mark.parametrize(
    "name", sorted({path.name.split(".")[0] for path in PREBUILT.glob("*.wasip2.wasm")} - COMMANDS)
)
def test_component_and_core_module_of_one_guest_agree(name: str) -> None:
    """What the component says of the guest's own interfaces is what the custom sections of its core module say."""
    component = world_of(read_component((PREBUILT / f"{name}.wasip2.wasm").read_bytes()))
    wasm = (PREBUILT / f"{name}.wasip1.wasm").read_bytes()
    core = read_world(wasm, component_type_sections(wasm))
    assert component.exports == core.exports
    assert component.function_exports == core.function_exports
    for interface in component.imports.values():
        if not interface.name.startswith("wasi:"):  # preview 1 has others
            assert interface.functions.items() <= core.imports[interface.name].functions.items()
            assert set(interface.resources) <= set(core.imports[interface.name].resources)


def component_type_sections(wasm: bytes) -> list[tuple[int, int]]:
    return [(start, end) for name, start, end in read_module(wasm).customs if name.startswith("component-type:")]


def test_a_component_type_section_of_another_version_is_refused() -> None:
    """The version stands in a custom section of its own."""
    wasm = (PREBUILT / "echo.unknown-unknown.wasm").read_bytes()
    old = wasm.replace(b"wit-component-encoding\x04\x00", b"wit-component-encoding\x03\x00")
    utf16 = wasm.replace(b"wit-component-encoding\x04\x00", b"wit-component-encoding\x04\x01")
    for changed in (old, utf16):
        assert changed != wasm
        with pytest.raises(InvalidModule, match="version 4, or its strings"):
            read_world(changed, component_type_sections(changed))


def test_worlds_that_disagree_are_not_merged() -> None:
    """The same function with two types is an error that names it."""
    one = WorldType({"a:b/c": InterfaceType("a:b/c", {"f": FuncType((), U8), "g": FuncType(())}, ("r",))}, {})
    other = WorldType({"a:b/c": InterfaceType("a:b/c", {"f": FuncType((), U8), "h": FuncType(())}, ("s",))}, {})
    assert merge_worlds([one, other]).imports["a:b/c"].functions.keys() == {"f", "g", "h"}
    assert merge_worlds([one, other]).imports["a:b/c"].resources == ("r", "s")
    third = WorldType({"a:b/c": InterfaceType("a:b/c", {"f": FuncType((), U32)})}, {})
    with pytest.raises(InvalidModule, match=r"a:b/c: f has two types, func\(\) -> u8 and func\(\) -> u32"):
        merge_worlds([one, third])


REFUSED = {
    "async function": ('(component (type (func async (param "a" u8))))', "type 0x43"),
    "stream": ("(component (type (stream u8)))", "type 0x66"),
    "future": ("(component (type (future u8)))", "type 0x65"),
    "error context": ("(component (type (list error-context)))", "no value type"),
    "own resource": ("(component (type (resource (rep i32))))", "resource of its own"),
    "imported resource": ('(component (import "r" (type (sub resource))))', "no interface, function or value type"),
    "imported component": ('(component (import "c" (component)))', "no interface, function or value type"),
    "imported module": ('(component (import "m" (core module)))', "core type"),
    "core type": ("(component (core type (func)))", "core type"),
    "method of nothing": (
        '(component (import "a:b/c" (instance (export "[method]r.f" (func)))))',
        "belongs to a resource that the interface does not have",
    ),
    "method without self": (
        '(component (import "a:b/c" (instance (export "r" (type (sub resource))) (export "[method]r.f" (func)))))',
        "is not self",
    ),
    "odd function name": ('(component (import "a:b/c" (instance (export "a.b" (func)))))', "no name of a function"),
    "odd interface": ('(component (import "a:b/c d" (instance)))', "no name of an interface"),
    "field twice": ('(component (type (record (field "a" u8) (field "A" u8))))', "repeated"),
    "odd field": ('(component (type (record (field "a_b" u8))))', "no WIT name"),
    "field of Python": ('(component (type (record (field "a: int = exec()" u8))))', "no WIT name"),
    "empty record": ("(component (type (record)))", "empty"),
    "33 flags": (
        f"(component (type (flags {' '.join(f'{chr(34)}f{n}{chr(34)}' for n in range(33))})))",
        "33 names",
    ),
    "import twice": ('(component (import "a" (func)) (import "a" (func)))', "repeated"),
    "type is a function": ("(component (type $f (func)) (type (list $f)))", "no value type"),
    "handle of a value": ("(component (type $f u8) (type (own $f)))", "of no resource"),
}


@pytest.mark.parametrize(("wat", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_supported_is_refused_by_name(wat: str, reason: str) -> None:
    """Async, a guest's own resources, imported code, and what WIT does not allow."""
    with pytest.raises(InvalidModule, match=reason):
        world(wat)


def leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def reference(index: int) -> bytes:
    """A type index as signed LEB128 of two bytes."""
    return bytes([index & 0x7F | 0x80, index >> 7])


def types_section(*types: bytes) -> bytes:
    content = leb(len(types)) + b"".join(types)
    return b"\x07" + leb(len(content)) + content


def nested_components(levels: int) -> bytes:
    wasm = PREAMBLE
    for _ in range(levels):
        wasm = PREAMBLE + b"\x04" + leb(len(wasm)) + wasm
    return wasm


def instance_chain(length: int) -> bytes:
    """Each instance type exports two instances of the one before."""
    first = b"\x42\0"
    link = [b"\x42\x03\x02\x03\x02\x01" + leb(n) + b"\x04\0\x01a\x05\0\x04\0\x01b\x05\0" for n in range(length)]
    content = b"\x01\0\x05a:b/c\x05" + leb(length)
    return PREAMBLE + types_section(first, *link) + b"\x0a" + leb(len(content)) + content


def type_chain(length: int) -> bytes:
    """Each type is a pair of the one before."""
    return PREAMBLE + types_section(b"\x73", *[b"\x6f\x02" + reference(n) * 2 for n in range(length)])


def list_chain(length: int) -> bytes:
    return PREAMBLE + types_section(b"\x73", *[b"\x70" + reference(n) for n in range(length)])


def used_often() -> bytes:
    """One instance type with 500 functions, imported 500 times."""
    functions = b"".join(b"\x04\0" + leb(4) + b"f%03d" % n + b"\x01\0" for n in range(500))
    instance = b"\x42" + leb(501) + b"\x01\x40\0\x01\0" + functions
    imports = leb(500) + b"".join(b"\0" + leb(4) + b"i%03d" % n + b"\x05\0" for n in range(500))
    return PREAMBLE + types_section(instance) + b"\x0a" + leb(len(imports)) + imports


BOMBS = {
    "nested components": nested_components(1_000),
    "nested instance types": PREAMBLE + types_section(b"\x42\x01\x01" * 100_000 + b"\x73"),
    "nested component types": PREAMBLE + types_section(b"\x41\x01\x01" * 100_000 + b"\x73"),
    "many types": PREAMBLE + types_section(*[b"\x73"] * 100_000),
    "many sections": PREAMBLE + b"\0\x01\0" * 100_000,
    "much": PREAMBLE + types_section(*[b"\x6d" + leb(1000) + b"\x01a" * 1000] * 1000),
    "instances that double": instance_chain(30),
    "instances in a long chain": instance_chain(5_000),
    "types that double": type_chain(60),
    "types in a long chain": list_chain(5_000),
    "one type, used often": used_often(),
    "count without content": PREAMBLE + b"\x07\x05\xff\xff\xff\xff\x0f",
}


@pytest.mark.parametrize("wasm", BOMBS.values(), ids=BOMBS)
def test_g6_a_nesting_bomb_is_refused_at_once(wasm: bytes) -> None:
    """Depth, number and growth are bounded: a refusal takes less than a second, of a quiet machine's."""
    begin = time.process_time()
    with pytest.raises(InvalidModule, match=r"more than|deep|do not fit"):
        read_component(wasm)
    assert time.process_time() - begin < 5


def test_a_type_that_refers_to_itself_is_refused() -> None:
    """A scope sees only what was defined before it."""
    itself = b"\x42\x02\x02\x03\x02\x01\0\x04\0\x01a\x05\0"
    content = b"\x01\0\x05a:b/c\x05\0"
    with pytest.raises(InvalidModule, match="no type 0 outside"):
        read_component(PREAMBLE + types_section(itself) + b"\x0a" + leb(len(content)) + content)


@given(st.binary(max_size=200))
def test_random_bytes_do_no_harm(raw: bytes) -> None:
    """Whatever stands behind the preamble, it is read or refused."""
    try:
        world_of(read_component(PREAMBLE + raw))
    except InvalidModule:
        return


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_types_do_no_harm(data: st.DataObject) -> None:
    """A real world, cut off or with other bytes in it, is read or refused."""
    wasm = (PREBUILT / "calculator.unknown-unknown.wasm").read_bytes()
    (start, end), *_ = component_type_sections(wasm)
    damaged = bytearray(wasm[start:end])
    del damaged[data.draw(st.integers(8, len(damaged))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_world(bytes(damaged), [(0, len(damaged))])
    except InvalidModule:
        return
