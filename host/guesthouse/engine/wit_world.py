"""Worlds: what one imports and exports once its includes and the interfaces that those need are counted in.

Knows nothing of how a world is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.engine.types import FuncType, InterfaceType, WorldType
from guesthouse.engine.wit_scope import Scope
from guesthouse.engine.wit_tree import External, Function, Include, Package, Path, World

if TYPE_CHECKING:
    from guesthouse.engine.wit_resolver import Resolver

MAX_ITEMS = 1_000
"""Most interfaces and worlds in one text, and most imports and exports of one world."""

ROOT = "$root"
"""The owner of what stands in a world itself, as core modules name it."""

Entry = tuple[Scope, External]
"""An import or export and the scope that its names have their meaning in."""


class FlatWorld:
    """A world with what it includes: each import and export with the scope that it stands in."""

    def __init__(self, resolver: Resolver, package: Package, world: World) -> None:
        self.resolver = resolver
        scope = Scope(resolver, package, ROOT, world.scope)
        self.scopes = {id(scope): scope}
        self.imports = self._own(scope, world.imports)
        self.exports = self._own(scope, world.exports)
        for include in world.includes:
            self._include(package, include)
        if len(self.scopes) + len(self.imports) + len(self.exports) > MAX_ITEMS:
            raise package.source.error(
                world.name.at, f"`{world.name.text}` has more than {MAX_ITEMS} imports and exports"
            )

    def _own(self, scope: Scope, externals: list[External]) -> dict[str, Entry]:
        made: dict[str, Entry] = {}
        taken = set(scope.body.taken)
        for external in externals:
            name, item = external.name, external.item
            if isinstance(item, Path):
                name = self.resolver.used(scope.package, item).owner
            if name.lower() in taken:
                raise scope.package.source.error(external.at, f"`{name}` stands in `{scope.body.name.text}` twice")
            taken.add(name.lower())
            made[name] = (scope, external)
        return made

    def _include(self, package: Package, include: Include) -> None:
        other = self.resolver.included(package, include.path)
        renames = {old.text: new.text for old, new in include.renames}
        for old, _ in include.renames:
            if old.text not in other.imports and old.text not in other.exports:
                message = f"`{old.text}` is no function or interface that `{include.path.name}` names itself"
                raise package.source.error(old.at, message)
        self.scopes.update(other.scopes)
        for theirs, ours in ((other.imports, self.imports), (other.exports, self.exports)):
            for old_name, entry in theirs.items():
                name = renames.get(old_name, old_name)
                present = ours.setdefault(name, entry)
                if present[1] is not entry[1] and ":" not in name:
                    raise package.source.error(
                        include.path.at, f"`{name}` comes from two places; rename one with `with`"
                    )

    def resolve(self) -> WorldType:
        made = WorldType({}, {})
        for scope in self.scopes.values():
            _need(scope, made.imports)
            made.function_imports.update(scope.functions())
        needed: dict[str, InterfaceType] = {}
        for name, entry in self.imports.items():
            self._add(name, entry, made.imports, made.function_imports, made.imports)
        for name, entry in self.exports.items():
            self._add(name, entry, made.exports, made.function_exports, needed)
        for name, interface in needed.items():
            if name not in made.exports:
                made.imports.setdefault(name, interface)
        return made

    def _add(
        self,
        name: str,
        entry: Entry,
        interfaces: dict[str, InterfaceType],
        functions: dict[str, FuncType],
        needed: dict[str, InterfaceType],
    ) -> None:
        scope, external = entry
        item = external.item
        if isinstance(item, Function):
            functions[name] = scope.function(item)
            return
        if isinstance(item, Path):
            inner = self.resolver.used(scope.package, item)
        else:
            inner = Scope(self.resolver, scope.package, name, item)
        _need(inner, needed)
        interfaces[name] = inner.interface()


def _need(scope: Scope, imports: dict[str, InterfaceType]) -> None:
    """Adds the interfaces whose types a scope uses, those that they use first."""
    for used in scope.uses:
        if used.owner not in imports:
            _need(used, imports)
            imports[used.owner] = used.interface()
