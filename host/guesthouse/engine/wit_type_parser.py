"""The WIT parser's lower half: type expressions, type definitions, resources and functions.

Promises: a type is never nested deeper than `MAX_DEPTH`, whatever the text says.  Knows nothing of packages and worlds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from guesthouse.engine.types import Primitive
from guesthouse.engine.wit_lexer import Name, Source, Words
from guesthouse.engine.wit_tree import Compound, Definition, Function, Interface, Reference, TypeText

MAX_DEPTH = 64
"""Deepest nesting of types: far above what people write, far below Python's stack."""

MAX_FLAGS = 32
"""Most names of one flags type: what fits into one core value."""

_PRIMITIVES = ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string")
PRIMITIVES = {name: Primitive(name) for name in _PRIMITIVES}

_LATER = {
    "stream": "streams",
    "future": "futures",
    "map": "maps",
    "error-context": "error contexts",
}
_GATES = {"since": "version", "deprecated": "version", "unstable": "feature"}

Item = TypeVar("Item")


class TypeParser:
    """Reads from `words` what may stand in an interface and in a world alike."""

    def __init__(self, source: Source) -> None:
        self.words = Words(source)
        self.depth = 0

    def until(self, end: str, item: Callable[[], Item]) -> tuple[Item, ...]:
        """Items with commas between them, and maybe after the last, up to `end`."""
        words, items = self.words, []
        while not words.take(end):
            items.append(item())
            if not words.take(","):
                words.expect(end)
                break
        return tuple(items)

    def gates(self) -> None:
        words = self.words
        while words.take("@"):
            gate = words.word
            if gate not in _GATES:
                words.fail("`since`, `unstable` or `deprecated`")
            words.advance()
            words.expect("(")
            words.expect(_GATES[gate])
            words.expect("=")
            if gate == "unstable":
                words.name("a feature")
            else:
                words.version()
            words.expect(")")

    def define(self, owner: Interface, name: Name) -> None:
        folded = name.text.lower()
        if folded in owner.taken:
            raise self.words.source.error(name.at, f"`{name.text}` is defined twice in `{owner.name.text}`")
        owner.taken.add(folded)

    # Functions

    def function(self, core_name: str, at: int, before: tuple[tuple[str, TypeText], ...] = ()) -> Function:
        words = self.words
        if words.word == "async":
            raise words.error("async functions are not supported")
        words.expect("func")
        params = self.params()
        result = self.type() if words.take("->") else None
        return Function(core_name, at, before + params, result)

    def params(self) -> tuple[tuple[str, TypeText], ...]:
        words = self.words
        words.expect("(")
        seen: set[str] = set()

        def param() -> tuple[str, TypeText]:
            name = self.member("a parameter", seen)
            words.expect(":")
            return name, self.type()

        return self.until(")", param)

    def member(self, what: str, seen: set[str]) -> str:
        """The name of a parameter, field, case or flag, which its siblings must not have."""
        name = self.words.name(what)
        if name.text.lower() in seen:
            raise self.words.source.error(name.at, f"`{name.text}` stands here twice")
        seen.add(name.text.lower())
        return name.text

    def resource(self, owner: Interface) -> None:
        words = self.words
        words.expect("resource")
        name = words.name("a resource")
        self.define(owner, name)
        owner.types[name.text] = Definition("resource", name)
        if words.take(";"):
            return
        words.expect("{")
        seen: set[str] = {name.text.lower()}
        while not words.take("}"):
            self.gates()
            function = self.constructor(name) if words.word == "constructor" else self.method(name, seen)
            words.expect(";")
            if function.name in owner.functions:
                raise words.source.error(function.at, f"`{name.text}` has two constructors")
            owner.functions[function.name] = function

    def constructor(self, resource: Name) -> Function:
        words, at = self.words, self.words.at
        words.advance()
        params = self.params()
        result: TypeText = Reference(resource.text, at)
        if words.take("->"):
            result = self.type()
            made = result.items[0] if isinstance(result, Compound) and result.kind == "result" else None
            if not (isinstance(made, Reference) and made.name == resource.text and made.handle != "borrow"):
                raise words.source.error(at, f"a constructor answers nothing, or `result<{resource.text}, …>`")
        return Function(f"[constructor]{resource.text}", at, params, result)

    def method(self, resource: Name, seen: set[str]) -> Function:
        words, at = self.words, self.words.at
        name = self.member("a method", seen)
        words.expect(":")
        if words.take("static"):
            return self.function(f"[static]{resource.text}.{name}", at)
        self_param = ("self", Reference(resource.text, at, "borrow"))
        made = self.function(f"[method]{resource.text}.{name}", at, (self_param,))
        if any(param == "self" for param, _ in made.params[1:]):
            raise words.source.error(at, "a method has its own `self` already")
        return made

    # Types

    def record(self) -> Definition:
        words = self.words

        def member(seen: set[str]) -> tuple[str, TypeText]:
            name = self.member("a field", seen)
            words.expect(":")
            return name, self.type()

        return self.body("record", member)

    def variant(self) -> Definition:
        words = self.words

        def member(seen: set[str]) -> tuple[str, TypeText | None]:
            name = self.member("a case", seen)
            if not words.take("("):
                return name, None
            payload = self.type()
            words.expect(")")
            return name, payload

        return self.body("variant", member)

    def enum(self) -> Definition:
        return self.body("enum", lambda seen: (self.member("a case", seen), None))

    def flags(self) -> Definition:
        made = self.body("flags", lambda seen: (self.member("a flag", seen), None))
        if len(made.members) > MAX_FLAGS:
            raise self.words.source.error(made.name.at, f"`{made.name.text}` has more than {MAX_FLAGS} flags")
        return made

    def body(self, keyword: str, member: Callable[[set[str]], tuple[str, TypeText | None]]) -> Definition:
        words = self.words
        words.expect(keyword)
        name = words.name(f"a {keyword}")
        words.expect("{")
        seen: set[str] = set()
        members = self.until("}", lambda: member(seen))
        if not members:
            raise words.source.error(name.at, f"the {keyword} `{name.text}` is empty")
        return Definition(keyword, name, members)

    def type_alias(self) -> Definition:
        words = self.words
        words.expect("type")
        name = words.name("a type")
        words.expect("=")
        target = self.type()
        words.expect(";")
        return Definition("type", name, (("", target),))

    def type(self) -> TypeText:
        words, word = self.words, self.words.word
        primitive = PRIMITIVES.get(word)
        if primitive is not None:
            words.advance()
            return primitive
        if word in _LATER and (word != "map" or words.follows(1) == "<"):
            raise words.error(f"{_LATER[word]} are not supported: this is WIT 0.2")
        if word not in ("list", "option", "result", "tuple", "own", "borrow"):
            name = words.name("a type")
            return Reference(name.text, name.at)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise words.error(f"types are nested deeper than {MAX_DEPTH}")
        at = words.at
        made = self.generic(words.advance(), at)
        self.depth -= 1
        return made

    def generic(self, kind: str, at: int) -> TypeText:
        words = self.words
        if kind == "result":
            return Compound(kind, self.result_items(), at)
        words.expect("<")
        if kind == "tuple":
            items = self.until(">", self.type)
            if not items:
                raise words.source.error(at, "this tuple is empty")
            return Compound(kind, items, at)
        if kind in ("own", "borrow"):
            name = words.name("a resource")
            words.expect(">")
            return Reference(name.text, name.at, kind)
        item = self.type()
        if kind == "list" and words.word == ",":
            raise words.error("lists of a fixed length are not supported")
        words.expect(">")
        return Compound(kind, (item,), at)

    def result_items(self) -> tuple[TypeText | None, TypeText | None]:
        words = self.words
        if not words.take("<"):
            return None, None
        good = None if words.take("_") else self.type()
        if good is None:
            words.expect(",")
            bad: TypeText | None = self.type()
        else:
            bad = self.type() if words.take(",") else None
        words.expect(">")
        return good, bad


DEFINITIONS: dict[str, Callable[[TypeParser], Definition]] = {
    "record": TypeParser.record,
    "variant": TypeParser.variant,
    "enum": TypeParser.enum,
    "flags": TypeParser.flags,
    "type": TypeParser.type_alias,
}
