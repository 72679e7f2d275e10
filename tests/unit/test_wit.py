"""What the WIT parser and `Abi` promise."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

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
    VariantType,
)
from guesthouse.engine.wit import Abi, describe_difference
from guesthouse.errors import BadRequest, HostError

U8, U32, U64, STRING = Primitive("u8"), Primitive("u32"), Primitive("u64"), Primitive("string")
ABI = Path(__file__).resolve().parents[2] / "abi"
FILES = {str(file.relative_to(ABI)): file.read_text(encoding="utf-8") for file in sorted(ABI.rglob("*.wit"))}


def abi_of(text: str) -> Abi:
    abi = Abi()
    abi.add(text, "test.wit")
    return abi


def interface(body: str) -> InterfaceType:
    found = abi_of(f"package a:b@1.0.0;\ninterface i {{\n{body}\n}}").find("a:b/i@1.0.0")
    assert found is not None
    return found


def function(text: str, before: str = "") -> FuncType:
    return interface(f"{before}\nf: {text};").functions["f"]


# The files that come with guesthouse


def test_interfaces_can_be_found_in_several_threads_at_once() -> None:
    """Guests are linked beside the loop; a name that another thread is following is no circle."""
    abi, together = Abi.load(), Barrier(8)

    def find(_: int) -> list[str]:
        together.wait()
        return [found.name for name in abi.interfaces() if (found := abi.find(name)) is not None]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(find, range(8))) == [[*abi.interfaces()]] * 8
    finally:
        sys.setswitchinterval(before)


def test_every_interface_and_world_of_the_abi_resolves() -> None:
    """Nothing in abi/ is broken, and all of it is found by its own id."""
    abi = Abi.load()
    assert len(abi.interfaces()) >= 50
    for name in abi.interfaces():
        found = abi.find(name)
        assert found is not None
        assert found.name == name
    for name in abi.worlds():
        assert abi.world(name) is not None


def test_each_abi_interface_has_a_comment_and_no_file_is_long() -> None:
    """A reader of abi/ learns in one line what each interface is for."""
    for name, text in FILES.items():
        lines = text.splitlines()
        assert len(lines) < 400, name
        for number, line in enumerate(lines):
            if line.startswith("interface "):
                assert lines[number - 1].startswith("/// "), f"{name}:{number + 1}"


def test_a_missing_abi_directory_is_the_installations_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without its WIT files guesthouse says where it looked."""
    monkeypatch.setattr("guesthouse.engine.wit._PACKAGE", tmp_path / "a" / "b")
    with pytest.raises(HostError, match="abi"):
        Abi.load()


def test_both_generations_of_the_web_entry_are_known() -> None:
    """The new generation takes `data`, the older one bytes."""
    abi = Abi.load()
    new, old = (
        abi.find("momento:web-function/guest-function-web@1.0.0"),
        abi.find("momento:functions/guest-function-web@1.0.0"),
    )
    assert new is not None
    assert old is not None
    buffer = ResourceType("momento:bytes/bytes@1.0.0", "buffer")
    data = VariantType((("buffer", OwnType(buffer)), ("value", ListType(U8))))
    assert new.functions["invoke"].params == (("request", data),)
    assert old.functions["post"].params == (("payload", ListType(U8)),)


# Names and versions


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("wasi:io/poll@0.2.0", "wasi:io/poll@0.2.12"),
        ("wasi:io/poll@0.2.99", "wasi:io/poll@0.2.12"),
        ("wasi:io/poll@0.3.0", None),
        ("wasi:io/poll@0.2.0-rc.1", None),
        ("wasi:io/poll", None),
        ("momento:http/http@1.0.0", "momento:http/http@1.0.0"),
        ("momento:http/http@1.7.0", "momento:http/http@1.1.0"),
        ("momento:http/http@2.0.0", None),
        ("momento:http/none@1.0.0", None),
        ("momento:http/http@99999999999999999999.0.0", None),
        ("", None),
    ],
)
def test_an_id_finds_itself_or_the_newest_compatible_version(asked: str, found: str | None) -> None:
    """Same major number from 1.0.0 on, same minor one before; the exact version wins."""
    interface = Abi.load().find(asked)
    assert (interface.name if interface else None) == found


def test_versions_below_0_1_fit_only_themselves() -> None:
    """0.0.x promises nothing to anybody."""
    abi = abi_of("package a:b@0.0.2; interface i { f: func(); }")
    assert abi.find("a:b/i@0.0.2") is not None
    assert abi.find("a:b/i@0.0.1") is None


# Shapes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("func()", FuncType(())),
        ("func(a: u8,) -> u32", FuncType((("a", U8),), U32)),
        ("func() -> result", FuncType((), ResultType(None, None))),
        ("func() -> result<u8>", FuncType((), ResultType(U8, None))),
        ("func() -> result<_, string>", FuncType((), ResultType(None, STRING))),
        ("func() -> result<u8, string>", FuncType((), ResultType(U8, STRING))),
        ("func(t: tuple<u8, list<string>>)", FuncType((("t", TupleType((U8, ListType(STRING)))),))),
        ("func(%type: option<option<char>>)", FuncType((("type", OptionType(OptionType(Primitive("char")))),))),
        ("func(async: u8, map: u8)", FuncType((("async", U8), ("map", U8)))),
    ],
)
def test_function_types_read_as_written(text: str, expected: FuncType) -> None:
    """Parameters with their names, one result, every form of `result`."""
    assert function(text) == expected


def test_every_primitive_is_known() -> None:
    """bool, the integers, the floats, char and string."""
    names = ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"]
    made = function(f"func({', '.join(f'p{i}: {name}' for i, name in enumerate(names))})")
    assert [str(param) for _, param in made.params] == names


def test_definitions_keep_names_and_order_and_may_come_after_their_use() -> None:
    """Fields, cases and flags stay in the order of the text."""
    found = interface(
        """
        f: func(r: r) -> v;
        type also = r;
        record r { b: e, a: option<fl> }
        variant v { none, some(also), }
        enum e { z, y }
        flags fl { w, x }
        """
    )
    record = RecordType((("b", EnumType(("z", "y"))), ("a", OptionType(FlagsType(("w", "x"))))))
    assert found.functions["f"] == FuncType((("r", record),), VariantType((("none", None), ("some", record))))
    assert str(found.functions["f"]) == "func(r: r) -> v"


def test_resource_functions_have_their_core_names() -> None:
    """Constructors answer the resource, methods borrow it first, static functions do neither."""
    found = interface(
        """
        resource r {
            constructor(n: u32);
            go: func(other: borrow<r>) -> r;
            make: static func() -> own<r>;
        }
        resource maybe { constructor() -> result<maybe, string>; }
        resource bare;
        """
    )
    r, maybe = ResourceType("a:b/i@1.0.0", "r"), ResourceType("a:b/i@1.0.0", "maybe")
    assert found.resources == ("r", "maybe", "bare")
    assert found.functions == {
        "[constructor]r": FuncType((("n", U32),), OwnType(r)),
        "[method]r.go": FuncType((("self", BorrowType(r)), ("other", BorrowType(r))), OwnType(r)),
        "[static]r.make": FuncType((), OwnType(r)),
        "[constructor]maybe": FuncType((), ResultType(OwnType(maybe), STRING)),
    }


def test_a_used_resource_stays_with_its_owner() -> None:
    """Renaming, aliasing and passing it on do not change whose it is."""
    abi = abi_of(
        """
        package a:b@1.0.0 { interface one { resource r; } }
        package c:d { use a:b/one@1.0.3 as short;
          interface two { use short.{r as s}; type t = s; f: func(x: borrow<t>, y: t); }
          interface three { use two.{t as u}; g: func() -> u; } }
        """
    )
    r = ResourceType("a:b/one@1.0.0", "r")
    two, three = abi.find("c:d/two"), abi.find("c:d/three")
    assert two is not None
    assert three is not None
    assert two.functions["f"] == FuncType((("x", BorrowType(r)), ("y", OwnType(r))))
    assert three.functions["g"] == FuncType((), OwnType(r))
    assert two.resources == three.resources == ()


def test_comments_and_gates_mean_nothing() -> None:
    """Line, doc and nested block comments and all three gates are read over, wherever they may stand."""
    found = interface(
        """
        /// doc
        @since(version = 1.0.0) @deprecated(version = 1.2.0-rc.1+x)
        record r { /* a /* nested */ one */ a: u8, // end
        }
        @unstable(feature = some-thing)
        f: func(r: r);
        resource x { @since(version = 1.0.0) m: func(); }
        """
    )
    assert set(found.functions) == {"f", "[method]x.m"}


# Worlds

WORLDS = """
package a:b@1.0.0;
interface types { record point { x: u32 } resource r; }
interface draw { use types.{point}; dot: func(at: point); }
interface entry { use types.{point}; run: func() -> point; }
interface other { f: func(); }
world base { import draw; import log: func(text: string); }
world full {
  include base with { log as say }
  use types.{point, r};
  enum mood { good, bad }
  import other;
  import inline: interface { use types.{r}; resource own-one { m: func(); } take: func(r: r); }
  export entry;
  export start: func(at: point, mood: mood) -> r;
}
"""


def test_a_world_counts_in_what_it_includes_and_what_its_interfaces_use() -> None:
    """Types that only pass through still make their interface an import."""
    world = abi_of(WORLDS).world("a:b/full@1.0.0")
    assert world is not None
    assert set(world.imports) == {"a:b/types@1.0.0", "a:b/draw@1.0.0", "a:b/other@1.0.0", "inline"}
    assert set(world.exports) == {"a:b/entry@1.0.0"}
    assert world.function_imports == {"say": FuncType((("text", STRING),))}
    point, r = RecordType((("x", U32),)), ResourceType("a:b/types@1.0.0", "r")
    start = FuncType((("at", point), ("mood", EnumType(("good", "bad")))), OwnType(r))
    assert world.function_exports == {"start": start}
    assert world.imports["inline"].resources == ("own-one",)
    method = world.imports["inline"].functions["[method]own-one.m"]
    assert method.params == (("self", BorrowType(ResourceType("inline", "own-one"))),)


def test_a_world_may_have_resources_of_its_own() -> None:
    """Core modules know their owner as `$root`."""
    world = abi_of("package a:b; world w { resource r { constructor(); } export f: func() -> r; }").world("a:b/w")
    assert world is not None
    own = OwnType(ResourceType("$root", "r"))
    assert world.function_imports == {"[constructor]r": FuncType((), own)}
    assert world.function_exports == {"f": FuncType((), own)}


GUEST = """
package root:component;

world root {
  import momento:bytes/bytes@1.0.0;
  import momento:web-function/web-function-support@1.0.0;
  import wasi:io/error@0.2.3;
  import wasi:io/streams@0.2.3;

  export momento:web-function/guest-function-web@1.0.0;
}
package momento:bytes@1.0.0 {
  interface bytes {
    resource buffer { remaining: func() -> u32; }
    variant data { buffer(buffer), value(list<u8>), }
  }
  world imports { import bytes; }
}
package momento:web-function@1.0.0 {
  interface web-function-support {
    record header { name: string, value: string, }
    headers: func() -> list<header>;
  }
  interface guest-function-web {
    use momento:bytes/bytes@1.0.0.{data};
    use web-function-support.{header};
    record response { status: u16, headers: list<header>, body: data, }
    invoke: func(request: data) -> response;
  }
}
package wasi:io@0.2.3 {
  interface error { resource error; }
  interface streams {
    use error.{error};
    resource output-stream { blocking-flush: func() -> result<_, stream-error>; }
    variant stream-error { last-operation-failed(error), closed, }
  }
}
"""


def test_what_a_guest_says_of_itself_fits_the_abi() -> None:
    """A component's own WIT names fewer functions and another patch version of WASI, and links all the same."""
    guest, abi = abi_of(GUEST), Abi.load()
    world = guest.world("root:component/root")
    assert world is not None
    assert len(world.imports) == 4
    for name, found in (world.imports | world.exports).items():
        expected = abi.find(name)
        assert expected is not None, name
        for function_name, function_type in found.functions.items():
            assert describe_difference(expected.functions[function_name], function_type) is None


# Adding texts


def test_a_users_text_may_use_what_comes_with_guesthouse() -> None:
    """Any compatible version will do."""
    abi = Abi.load()
    abi.add("package me:mine; interface i { use wasi:io/poll@0.2.1.{pollable}; f: func(p: borrow<pollable>); }")
    found = abi.find("me:mine/i")
    assert found is not None
    pollable = ResourceType("wasi:io/poll@0.2.12", "pollable")
    assert found.functions["f"] == FuncType((("p", BorrowType(pollable)),))


def test_a_refused_text_leaves_nothing_behind() -> None:
    """Its good half is not added either."""
    abi = Abi()
    with pytest.raises(BadRequest):
        abi.add("package a:b; interface good { f: func(); } interface bad { f: func(x: nothing); }")
    assert abi.interfaces() == ()


def test_vendored_copies_are_taken_when_they_fit_and_change_nothing() -> None:
    """A copy may know fewer functions; the known interface stays as it was."""
    abi = Abi.load()
    before = abi.find("momento:bytes/bytes@1.0.0")
    abi.add(GUEST, "guest.wit")
    assert abi.find("momento:bytes/bytes@1.0.0") == before
    assert abi.world("root:component/root") is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("get: func();", "there is no `get`"),
        ("resource buffer; resource more;", "there is no resource `more`"),
        (
            "resource buffer { remaining: func() -> u64; }",
            "`[method]buffer.remaining`: result: expected u32, found u64",
        ),
    ],
)
def test_a_copy_in_another_shape_is_refused(body: str, said: str) -> None:
    """Two meanings of one id would be a trap for guests."""
    with pytest.raises(BadRequest, match=re.escape(said)):
        Abi.load().add(f"package momento:bytes@1.0.0; interface bytes {{ {body} }}")
