"""What the names in one interface mean: its own types, those it uses, and its functions.

Knows nothing of worlds or of how interfaces are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.engine import types
from guesthouse.engine.types import FuncType, InterfaceType, ResourceType, Type
from guesthouse.engine.wit_tree import Compound, Definition, Function, Interface, Package, Reference, TypeText

if TYPE_CHECKING:
    from guesthouse.engine.wit_resolver import Resolver

MAX_CHAIN = 128
"""Most definitions, nested types or `use`s that are resolved inside one another: a bound on Python's stack."""

Entity = Type | ResourceType


class Scope:
    """The meaning of the names in one interface, or of those that stand in a world itself."""

    def __init__(self, resolver: Resolver, package: Package, owner: str, body: Interface) -> None:
        self.resolver, self.package, self.owner, self.body = resolver, package, owner, body
        self.uses: list[Scope] = []
        self.level = 0
        self._known: dict[str, Entity] = {}
        self._open: set[str] = set()
        for use in body.uses:
            used = resolver.used(package, use.path)
            self.uses.append(used)
            self.level = max(self.level, used.level + 1)
            if self.level > MAX_CHAIN:
                raise package.source.error(use.path.at, f"interfaces use one another more than {MAX_CHAIN} deep")
            for name, alias in use.names:
                self._known[alias.text] = used.entity(name.text, name.at, self)

    def interface(self) -> InterfaceType:
        """The whole interface."""
        for name, definition in self.body.types.items():
            self.entity(name, definition.name.at)
        resources = tuple(name for name, made in self.body.types.items() if made.kind == "resource")
        return InterfaceType(self.owner, self.functions(), resources)

    def functions(self) -> dict[str, FuncType]:
        """All functions that stand here, methods among them."""
        return {name: self.function(function) for name, function in self.body.functions.items()}

    def function(self, function: Function) -> FuncType:
        """One function's type."""
        params = tuple((name, self.type(param)) for name, param in function.params)
        if function.result is None:
            return FuncType(params)
        result = self.type(function.result)
        if self.resolver.weight(result)[2]:
            raise self.package.source.error(function.at, f"`{function.name}` answers a borrow, which no function may")
        return FuncType(params, result)

    def entity(self, name: str, at: int, asker: Scope | None = None) -> Entity:
        """What a name means; it stands at offset `at` of the asker's text."""
        known = self._known.get(name)
        if known is not None:
            return known
        definition, source = self.body.types.get(name), (asker or self).package.source
        if definition is None:
            raise source.error(at, f"`{name}` is no type of `{self.body.name.text}`")
        if name in self._open:
            raise source.error(at, f"the type `{name}` contains itself")
        self._open.add(name)
        try:
            with self.resolver.deeper(self.package, definition.name.at):
                made = self._define(definition)
        finally:
            self._open.discard(name)
        self._known[name] = made
        return made

    def _define(self, definition: Definition) -> Entity:
        kind, (name, at), members = definition
        if kind == "resource":
            return ResourceType(self.owner, name)
        if kind == "type":
            target = members[0][1]
            if isinstance(target, Reference) and not target.handle:
                return self.entity(target.name, target.at)
            return self._some(target)
        if kind == "enum":
            return types.EnumType(tuple(case for case, _ in members), name)
        if kind == "flags":
            return types.FlagsType(tuple(flag for flag, _ in members), name)
        made: Type
        if kind == "record":
            fields = tuple((field, self._some(member)) for field, member in members)
            made = types.RecordType(fields, name)
            return self.resolver.weigh(self.package, at, made, (member for _, member in fields))
        cases = tuple((case, self._maybe(member)) for case, member in members)
        made = types.VariantType(cases, name)
        return self.resolver.weigh(self.package, at, made, (member for _, member in cases))

    def _maybe(self, text: TypeText | None) -> Type | None:
        return None if text is None else self.type(text)

    def _some(self, text: TypeText | None) -> Type:
        assert text is not None  # only cases and results may go without a type
        return self.type(text)

    def type(self, text: TypeText) -> Type:
        """The meaning of a type expression."""
        if isinstance(text, types.Primitive):
            return text
        with self.resolver.deeper(self.package, text.at):
            return self._reference(text) if isinstance(text, Reference) else self._compound(text)

    def _reference(self, text: Reference) -> Type:
        found = self.entity(text.name, text.at)
        if isinstance(found, ResourceType):
            if text.handle != "borrow":
                return types.OwnType(found)
            return self.resolver.weigh(self.package, text.at, types.BorrowType(found), ())
        if text.handle:
            raise self.package.source.error(
                text.at, f"`{text.name}` is no resource, so there is no `{text.handle}` of it"
            )
        return found

    def _compound(self, text: Compound) -> Type:
        items = tuple(map(self._maybe, text.items))
        first = items[0]
        made: Type
        if text.kind == "result":
            made = types.ResultType(first, items[1])
        elif text.kind == "tuple":
            made = types.TupleType(tuple(item for item in items if item is not None))
        else:
            assert first is not None  # the parser reads a type between the angle brackets
            made = types.ListType(first) if text.kind == "list" else types.OptionType(first)
        return self.resolver.weigh(self.package, text.at, made, items)
