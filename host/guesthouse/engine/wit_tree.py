"""WIT as it is written: packages, interfaces, worlds, types and functions, names unresolved.

Plain data, without a promise of sense: the parser fills it, the resolver gives it meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from guesthouse.engine.types import Primitive
from guesthouse.engine.wit_lexer import Name, Source


class Path(NamedTuple):
    """A reference to an interface or world: `streams` or `wasi:io/streams@0.2.12`."""

    package: str
    name: str
    version: str
    at: int

    def within(self, package: str, version: str) -> str:
        """The full id, seen from inside a package."""
        prefix, suffix = (self.package, self.version) if self.package else (package, version)
        return f"{prefix}/{self.name}{suffix}"


class Reference(NamedTuple):
    """A type by its name; `handle` is "own" or "borrow" where that is written around it."""

    name: str
    at: int
    handle: str = ""


class Compound(NamedTuple):
    """list, option, result (with two items, either may be `None`) or tuple."""

    kind: str
    items: tuple[TypeText | None, ...]
    at: int


TypeText = Primitive | Reference | Compound


class Definition(NamedTuple):
    """A named type; `kind` is its keyword, members are fields, cases, flags, or the one target of an alias."""

    kind: str
    name: Name
    members: tuple[tuple[str, TypeText | None], ...] = ()


class Function(NamedTuple):
    """A function by its core name."""

    name: str
    at: int
    params: tuple[tuple[str, TypeText], ...]
    result: TypeText | None


class Use(NamedTuple):
    """`use path.{name as alias}`, with (name, alias) pairs."""

    path: Path
    names: tuple[tuple[Name, Name], ...]


class Include(NamedTuple):
    """`include path with { old as new }`."""

    path: Path
    renames: tuple[tuple[Name, Name], ...]


class External(NamedTuple):
    """An import or export of a world; a path carries its own name."""

    name: str
    at: int
    item: Path | Interface | Function


@dataclass(slots=True)
class Interface:
    """An interface, or what a world holds of its own: types and functions."""

    name: Name
    uses: list[Use] = field(default_factory=list)
    types: dict[str, Definition] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)


@dataclass(slots=True)
class World:
    """A world as written; `scope` holds its uses, types and the functions of its resources."""

    name: Name
    scope: Interface
    imports: list[External] = field(default_factory=list)
    exports: list[External] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)


@dataclass(slots=True)
class Package:
    """One package block of one text: `name` is `momento:http`, `version` is `@1.0.0` or empty."""

    source: Source
    name: str
    version: str
    items: dict[str, Interface | World] = field(default_factory=dict)
    aliases: dict[str, Path] = field(default_factory=dict)
