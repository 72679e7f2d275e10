"""What the WIT parser refuses, and how it says so."""

from __future__ import annotations

import pytest

from guesthouse.engine.wit import Abi
from guesthouse.errors import BadRequest


def read(text: str) -> Abi:
    abi = Abi()
    abi.add(text, "test.wit")
    return abi


def refusal(text: str) -> str:
    with pytest.raises(BadRequest) as caught:
        read(text)
    return str(caught.value)


BODY = "package a:b;\ninterface i {\n  "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", None),
        ("interface i {}", "test.wit:1:1: expected `package`, found `interface`"),
        ("package a;", "test.wit:1:10: expected `:`, found `;`"),
        ("package a:b@1;", "test.wit:1:13: expected a version such as `1.0.0`, found `1`"),
        ("package a:b;\nfunc", "test.wit:2:1: expected `interface`, `world` or `use`, found `func`"),
        ("package a:b;\ninterface i {", "test.wit:2:14: expected the name of a function, found the end of the text"),
        (BODY + "f: func() -> ;\n}", "test.wit:3:16: expected the name of a type, found `;`"),
        (BODY + "f: func() -> stream<u8>;", "test.wit:3:16: streams are not supported: this is WIT 0.2"),
        (BODY + "f: func() -> future;", "test.wit:3:16: futures are not supported: this is WIT 0.2"),
        (BODY + "f: func() -> map<u8, u8>;", "test.wit:3:16: maps are not supported: this is WIT 0.2"),
        (BODY + "f: func() -> error-context;", "test.wit:3:16: error contexts are not supported: this is WIT 0.2"),
        (BODY + "f: async func();", "test.wit:3:6: async functions are not supported"),
        (BODY + "f: func(l: list<u8, 4>);", "test.wit:3:21: lists of a fixed length are not supported"),
        (BODY + "f: func(a: u8, A: u8);", "test.wit:3:18: `A` stands here twice"),
        (BODY + "f: func(x: no-such);\n}", "test.wit:3:14: `no-such` is no type of `i`"),
        (BODY + "f: func(x: tuple<>);", "test.wit:3:14: this tuple is empty"),
        (BODY + "record r {}", "test.wit:3:10: the record `r` is empty"),
        (BODY + "type t = list<t>;\n}", "test.wit:3:17: the type `t` contains itself"),
        (BODY + "type a = b; type b = a;\n}", "test.wit:3:24: the type `a` contains itself"),
        (BODY + "type t = u8; t: func();\n}", "test.wit:3:16: `t` is defined twice in `i`"),
        (BODY + "type t = borrow<u8>;", "test.wit:3:19: expected the name of a resource, found the keyword `u8`"),
        (
            BODY + "type x = u8; type t = borrow<x>;\n}",
            "test.wit:3:32: `x` is no resource, so there is no `borrow` of it",
        ),
        (
            BODY + "resource r; f: func() -> list<borrow<r>>;\n}",
            "test.wit:3:15: `f` answers a borrow, which no function",
        ),
        (BODY + "resource r { constructor(); constructor(); }", "test.wit:3:31: `r` has two constructors"),
        (
            BODY + "resource r { constructor() -> u8; }",
            "test.wit:3:16: a constructor answers nothing, or `result<r, …>`",
        ),
        (BODY + "resource r { m: func(self: u8); }", "test.wit:3:16: a method has its own `self` already"),
        (BODY + "aB: func();", "test.wit:3:3: `aB` is not a name"),
        (BODY + "record: func();", "test.wit:3:9: expected the name of a record, found `:`"),
        (BODY + "type list = u8;", "expected the name of a type, found the keyword `list` (a name is written `%list`)"),
        (BODY + "use j.{x};\n}", "test.wit:3:7: `a:b/j` is not defined"),
        (BODY + "§", "test.wit:3:3: unexpected character '§'"),
        (BODY + "/* /* */", "test.wit:3:3: this comment has no end"),
        (BODY + "@later(version = 1.0.0)", "test.wit:3:4: expected `since`, `unstable` or `deprecated`, found `later`"),
        ("package a:b; interface i { use j.{x}; } interface j { use i.{x}; }", "is defined in terms of itself"),
        ("package a:b; interface i {} interface i {}", "`i` is defined twice in `a:b`"),
        ("package a:b { interface i {} } package a:b { interface i {} }", "`a:b/i` is defined twice"),
        ("package a:b; use c:d/e as f;", "`c:d/e` is not defined"),
        ("package a:b; world w { import i; }", "`a:b/i` is not defined"),
        ("package a:b; world w {} world v { import w; }", "`a:b/w` is a world; an interface is needed here"),
        ("package a:b; interface i {} world w { include i; }", "`a:b/i` is an interface; a world is needed here"),
        ("package a:b; interface i {} world w { import i; import i; }", "`a:b/i` stands in `w` twice"),
        ("package a:b; world w { import f: func(); import F: func(); }", "`F` stands in `w` twice"),
        ("package a:b; world w { include v; } world v { include w; }", "is defined in terms of itself"),
        ("package a:b; world w { include v with {x as y} } world v {}", "`x` is no function or interface"),
        (
            "package a:b; world w { import f: func(); } world v { import f: func(); } world u { include v; include w;}",
            "`f` comes from two places; rename one with `with`",
        ),
    ],
)
def test_a_wrong_text_is_refused_with_its_place(text: str, said: str | None) -> None:
    """file:line:column, what was expected, what was found."""
    if said is None:
        read(text)
    else:
        assert said in refusal(text)


def test_more_than_32_flags_are_refused() -> None:
    """They would not fit into one core value."""
    assert read(BODY + f"flags f {{ {', '.join(f'bit{i}' for i in range(32))} }} }}").find("a:b/i")
    assert "more than 32 flags" in refusal(BODY + f"flags f {{ {', '.join(f'bit{i}' for i in range(33))} }} }}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BODY + "type t = " + "list<" * 100_000, "types are nested deeper than 64"),
        (BODY + "type t0 = u8;" + "".join(f"type t{i + 1} = list<t{i}>;" for i in range(100)) + "}", "64 types deep"),
        (BODY + "".join(f"type t{i} = t{i + 1};" for i in range(5000)) + "type t5000 = u8; }", "inside one another"),
        (
            BODY + "type t0 = u8;" + "".join(f"type t{i + 1} = tuple<t{i}, t{i}>;" for i in range(60)) + "}",
            "more than 10000 parts",
        ),
        (
            "package a:b; interface i0 { type t = u8; }"
            + "".join(f"interface i{i + 1} {{ use i{i}.{{t}}; }}" for i in range(900)),
            "more than 128 deep",
        ),
        (
            "package a:b; "
            + "".join(f"interface i{i} {{ use i{i + 1}.{{t}}; }}" for i in range(900))
            + "interface i900 { type t = u8; }",
            "lie inside one another",
        ),
        (
            "package a:b; " + "".join(f"interface i{i} {{}}" for i in range(1001)),
            "more than 1000 interfaces and worlds",
        ),
        ("//" + "x" * (1 << 20), "longer than"),
        ("/*" * 100_000, "this comment has no end"),
    ],
)
def test_texts_made_to_exhaust_the_host_are_refused(text: str, said: str) -> None:
    """Depth, size and length are bounded before they hurt."""
    assert said in refusal(text)
