"""Writing Python source that is specialised for one function's types: lines, variables, constants, helper functions.

Types may come from guests, so nothing of theirs is ever written into source: every identifier is a letter and a number
that this module counts up, every name, table and class is a constant that the source refers to by such an identifier.
"""

from __future__ import annotations

import keyword
import re
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from guesthouse.engine.types import RecordType, ResourceType

MAX_NESTING = 8
"""Nested blocks in one generated function; deeper types go on in a helper function (Python allows 20 nested loops)."""

WIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*", re.ASCII)


class Source:
    """One generated module: its functions' text and the constants they refer to."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = dict(names)
        self._functions: list[str] = []
        self._constants: dict[tuple[str, Any], str] = {}
        self._count = 0

    def fresh(self, letter: str) -> str:
        """An identifier that nothing else in this module has."""
        self._count += 1
        return f"{letter}{self._count}"

    def constant(self, letter: str, value: Any, key: Any = None) -> str:
        """The identifier of a constant; equal keys (by default the identity of the value) share one."""
        known = self._constants.get((letter, id(value) if key is None else key))
        if known is None:
            known = self._constants[letter, id(value) if key is None else key] = self.fresh(letter)
            self.names[known] = value
        return known

    def add(self, body: Body) -> None:
        """Adds a finished function."""
        self._functions.append("\n".join(body.lines))

    @property
    def text(self) -> str:
        """All functions, in the order in which they were finished."""
        return "\n\n\n".join(self._functions) + "\n"

    def build(self, function: str) -> Callable[..., Any]:
        """Compiles everything and returns one function; its text stays readable as `__doc__`."""
        text = self.text
        exec(compile(text, "<canonical ABI>", "exec"), self.names)
        built: Callable[..., Any] = self.names[function]
        built.__doc__ = text
        return built


class Body:
    """One generated function while it is being written."""

    def __init__(self, source: Source, name: str, parameters: str) -> None:
        self.source = source
        self.name = name
        self.lines = [f"def {name}({parameters}):"]
        self.depth = 1
        self.begin = ""
        """A statement that has to come before the first block is planned, where not every value needs one."""
        self.uses: set[str] = set()
        """What the finished function needs at its beginning or end, by words of the generator that writes it."""

    def line(self, text: str) -> None:
        """One statement."""
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """A compound statement."""
        self.line(head)
        self.depth += 1
        yield
        self.depth -= 1

    def name_of(self, expression: str, letter: str = "v") -> str:
        """A variable that holds the expression; a variable is its own."""
        if expression.isidentifier():
            return expression
        name = self.source.fresh(letter)
        self.line(f"{name} = {expression}")
        return name

    @property
    def deep(self) -> bool:
        """Whether what comes next should go on in a helper function."""
        return self.depth > MAX_NESTING


@lru_cache(maxsize=4096)
def interned(resource: ResourceType) -> ResourceType:
    """The first equal resource type that was seen: tables compare identities first."""
    return resource


@lru_cache(maxsize=4096)
def _record_class(record: RecordType, name: str) -> type[tuple[Any, ...]]:
    fields = [field.replace("-", "_").lower() if WIT_NAME.fullmatch(field) else "" for field, _ in record.fields]
    fields = [f"{field}_" if keyword.iskeyword(field) else field for field in fields]
    title = "".join(part.capitalize() for part in name.split("-")) if WIT_NAME.fullmatch(name) else "Record"
    return namedtuple(title if not keyword.iskeyword(title) else f"{title}_", fields, rename=True)


def record_class(record: RecordType) -> type[tuple[Any, ...]]:
    """The NamedTuple class of a record: fields in snake_case, `_` behind Python's keywords, `_0`, `_1` … for names that
    cannot be fields."""
    return _record_class(record, record.name)
