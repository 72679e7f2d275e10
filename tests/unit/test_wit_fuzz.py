"""Random texts and random types through the WIT parser."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

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
)
from guesthouse.engine.wit import Abi
from guesthouse.errors import BadRequest

U64 = Primitive("u64")
FILES = {file.name: file.read_text() for file in (Path(__file__).resolve().parents[2] / "abi").rglob("*.wit")}

WORDS = [*"{}()<>,;:=.@/%_", "->", "package a:b;", "interface", "world", "i", "use", "i.{", "func(", "record", "list<"]
WORDS += [
    "result<",
    "tuple<",
    "borrow<",
    "resource",
    "u8",
    "string",
    "type",
    "import",
    "export",
    "include",
    "1.0.0",
    "\n",
]


def is_read_or_refused(text: str, abi: Abi | None = None) -> None:
    said = None
    try:
        (abi or Abi()).add(text)
    except BadRequest as error:
        said = str(error)
    assert said is None or re.match(r"<wit>:\d+:\d+: \S", said)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but the typed error ever comes out."""
    is_read_or_refused(text)


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS)))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    """Not even when they look like WIT."""
    is_read_or_refused("package a:b; interface i { " + " ".join(words))


@st.composite
def damaged_files(draw: st.DrawFn) -> str:
    """An abi file with words cut out, put in or swapped."""
    words = re.findall(r"\w+(?:-\w+)*|\s+|[^\w\s]", FILES[draw(st.sampled_from(sorted(FILES)))])
    for _ in range(draw(st.integers(1, 3))):
        start, other, length = (draw(st.integers(0, last)) for last in (len(words), len(words), 3))
        put_in = st.lists(st.sampled_from(WORDS), max_size=2) | st.just(words[other : other + 2])
        words[start : start + length] = draw(put_in)
    return "".join(words)


@settings(max_examples=150, deadline=None)
@given(damaged_files())
def test_any_damaged_abi_file_is_read_or_refused(text: str) -> None:
    """Close to sound is no easier to break."""
    is_read_or_refused(text)


@settings(max_examples=40, deadline=None)
@given(damaged_files())
def test_any_damaged_abi_file_beside_the_sound_ones_is_read_or_refused(text: str) -> None:
    """What it repeats is compared with what is known."""
    is_read_or_refused(text, Abi.load())


# There and back

NAME_POOL = "a b2 c-d e-2f G-H type list record own map async func world stream get-it x y z value data"
NAMES = st.sampled_from(NAME_POOL.split())
PRIMITIVE = st.sampled_from(
    ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"]
)
OWNER = "x:y/z@1.2.3"


def members(draw: st.DrawFn, values: st.SearchStrategy[Type | None]) -> tuple[tuple[str, Type | None], ...]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    return tuple((name, draw(values)) for name in names)


def expressions(known: list[Type]) -> st.SearchStrategy[Type]:
    base: st.SearchStrategy[Type] = PRIMITIVE.map(Primitive)
    if known:
        base = st.one_of(base, st.sampled_from(known))
    return st.recursive(
        base,
        lambda inner: st.one_of(
            inner.map(ListType),
            inner.map(OptionType),
            st.lists(inner, min_size=1, max_size=3).map(lambda items: TupleType(tuple(items))),
            st.builds(ResultType, st.none() | inner, st.none() | inner),
        ),
        max_leaves=4,
    )


@st.composite
def interfaces(draw: st.DrawFn) -> tuple[list[Type], InterfaceType]:
    """Definitions in order, and the interface with functions over them; every definition has a name."""
    names = draw(st.lists(NAMES, min_size=1, max_size=10, unique=True))
    cut = draw(st.integers(0, len(names)))
    known: list[Type] = []
    made: list[Type] = []
    resources: list[str] = []
    for name in names[:cut]:
        kind = draw(st.sampled_from(["record", "variant", "enum", "flags", "resource"]))
        inner = expressions(known)
        definition: Type
        if kind == "resource":
            resources.append(name)
            definition = OwnType(ResourceType(OWNER, name))
        elif kind == "record":
            definition = RecordType(members(draw, inner), name)  # type: ignore[arg-type]
        elif kind == "variant":
            definition = VariantType(members(draw, st.none() | inner), name)
        else:
            cases = tuple(case for case, _ in members(draw, st.none()))
            definition = EnumType(cases, name) if kind == "enum" else FlagsType(cases, name)
        made.append(definition)
        known.append(definition)
    lent: list[Type] = [BorrowType(ResourceType(OWNER, name)) for name in resources]
    functions: dict[str, FuncType] = {}
    for name in names[cut:]:
        params = draw(st.lists(NAMES, max_size=3, unique=True))
        result = draw(st.none() | expressions(known))
        functions[name] = FuncType(tuple((param, draw(expressions(known + lent))) for param in params), result)
    for name in resources:
        constructor = FuncType((("n", U64),), OwnType(ResourceType(OWNER, name)))
        functions[f"[constructor]{name}"] = constructor
        functions[f"[method]{name}.m"] = FuncType(
            (("self", BorrowType(ResourceType(OWNER, name))),), draw(st.none() | expressions(known))
        )
        functions[f"[static]{name}.s"] = FuncType(())
    return made, InterfaceType(OWNER, functions, tuple(resources))


def printed(made: Type | None) -> str:
    match made:
        case None:
            return "_"
        case ListType():
            return f"list<{printed(made.element)}>"
        case OptionType():
            return f"option<{printed(made.some)}>"
        case TupleType():
            return f"tuple<{', '.join(map(printed, made.items))}>"
        case ResultType(ok, None):
            return "result" if ok is None else f"result<{printed(ok)}>"
        case ResultType():
            return f"result<{printed(made.ok)}, {printed(made.error)}>"
        case OwnType():
            return f"%{made.resource.name}"
        case BorrowType():
            return f"borrow<%{made.resource.name}>"
        case Primitive():
            return made.name
    return f"%{made.name}"


def printed_function(made: FuncType, skip: int = 0) -> str:
    arrow = "" if made.result is None else f" -> {printed(made.result)}"
    return f"func({', '.join(f'%{name}: {printed(param)}' for name, param in made.params[skip:])}){arrow}"


def printed_definition(made: Type, functions: dict[str, FuncType]) -> str:
    match made:
        case RecordType():
            return f"record %{made.name} {{ {', '.join(f'%{name}: {printed(t)}' for name, t in made.fields)} }}"
        case VariantType():
            cases = (f"%{name}" if t is None else f"%{name}({printed(t)})" for name, t in made.cases)
            return f"variant %{made.name} {{ {', '.join(cases)} }}"
        case EnumType():
            return f"enum %{made.name} {{ {', '.join(f'%{name}' for name in made.cases)} }}"
        case FlagsType():
            return f"flags %{made.name} {{ {', '.join(f'%{name}' for name in made.names)} }}"
        case OwnType():
            name = made.resource.name
            method = printed_function(functions[f"[method]{name}.m"], skip=1)
            return f"resource %{name} {{ constructor(n: u64); m: {method}; s: static func(); }}"
    raise AssertionError(made)


@settings(max_examples=100, deadline=None)
@given(interfaces(), st.randoms(use_true_random=False))
def test_a_printed_world_reads_back_as_the_same_types(drawn: tuple[list[Type], InterfaceType], random: Random) -> None:
    """Whatever the types and whatever the order of the items in the text."""
    definitions, expected = drawn
    items = [printed_definition(definition, expected.functions) for definition in definitions]
    plain = {name: made for name, made in expected.functions.items() if not name.startswith("[")}
    items += [f"%{name}: {printed_function(made)};" for name, made in plain.items()]
    random.shuffle(items)
    functions = "".join(f"export %{name}: {printed_function(made)};" for name, made in plain.items())
    uses = "".join(f"use z.{{{printed(definition)}}};" for definition in definitions)
    abi = Abi()
    abi.add(
        f"package x:y@1.2.3; interface z {{ {' '.join(items)} }} world w {{ import z; {uses} export z; {functions} }}"
    )
    found, world = abi.find(OWNER), abi.world("x:y/w@1.2.3")
    assert found is not None
    assert world is not None
    assert found.functions == expected.functions
    assert set(found.resources) == set(expected.resources)
    assert world.imports == world.exports == {OWNER: found}
    assert world.function_exports == plain
