"""WIT trees to the types of `engine.types`: follows names across interfaces, packages and texts.

Promises: every type it answers is at most `MAX_TYPE_DEPTH` deep and spells out to at most `MAX_TYPE_SIZE` parts, so
that whoever walks types may recurse; circles and dangling names are refused with their place.  Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from guesthouse.engine.types import BorrowType, InterfaceType, Type, WorldType
from guesthouse.engine.wit_lexer import Name
from guesthouse.engine.wit_scope import MAX_CHAIN, Scope
from guesthouse.engine.wit_tree import Interface, Package, Path, World
from guesthouse.engine.wit_version import track
from guesthouse.engine.wit_world import MAX_ITEMS, FlatWorld

MAX_TYPE_DEPTH = 64
MAX_TYPE_SIZE = 10_000


class Resolver:
    """A set of WIT packages and what their names mean."""

    def __init__(self) -> None:
        self.items: dict[str, tuple[Package, Interface | World]] = {}
        self._tracks: dict[str, list[tuple[tuple[int, int, int], str]]] = {}
        self._scopes: dict[str, Scope] = {}
        self._interfaces: dict[str, InterfaceType] = {}
        self._flat: dict[str, FlatWorld] = {}
        self._worlds: dict[str, WorldType] = {}
        self._weights: dict[int, tuple[Type, tuple[int, int, bool]]] = {}
        self._open: list[str] = []
        self._depth = 0

    def insert(self, packages: Iterable[Package]) -> list[str]:
        """Takes packages in, unresolved, and answers their ids; refuses two items of one id among them."""
        made: dict[str, None] = {}
        for package in packages:
            for name, item in package.items.items():
                item_id = f"{package.name}/{name}{package.version}"
                if item_id in made:
                    raise package.source.error(item.name.at, f"`{item_id}` is defined twice")
                if len(made) >= MAX_ITEMS:
                    raise package.source.error(item.name.at, f"more than {MAX_ITEMS} interfaces and worlds")
                made[item_id] = None
                self.restore(item_id, package, item)
        return list(made)

    def restore(self, item_id: str, package: Package, item: Interface | World) -> None:
        """Takes one item in, unresolved; it replaces one of the same id."""
        place = track(item_id)
        if place is not None and item_id not in self.items:
            versions = self._tracks.setdefault(place[0], [])
            versions.append((place[1], item_id))
            versions.sort(reverse=True)
        self.items[item_id] = (package, item)

    def match(self, item_id: str) -> str | None:
        """The id of the item itself, or of the newest compatible version."""
        if item_id in self.items:
            return item_id
        place = track(item_id)
        versions = self._tracks.get(place[0]) if place is not None else None
        return versions[0][1] if versions else None

    def interface(self, interface_id: str) -> InterfaceType | None:
        """The interface of exactly this id."""
        known = self._interfaces.get(interface_id)
        if known is not None:
            return known
        item = self.items.get(interface_id)
        if item is None or not isinstance(item[1], Interface):
            return None
        made = self.scope(interface_id, item[0], item[1]).interface()
        self._interfaces[interface_id] = made
        return made

    def world(self, world_id: str) -> WorldType | None:
        """The world of exactly this id: with all it includes, and all that its imports and exports use."""
        item = self.items.get(world_id)
        if item is None or not isinstance(item[1], World):
            return None
        if world_id not in self._worlds:
            self._worlds[world_id] = self._flatten(world_id, item[0], item[1]).resolve()
        return self._worlds[world_id]

    def scope(self, interface_id: str, package: Package, body: Interface) -> Scope:
        """The meaning of the names in an interface of a package."""
        known = self._scopes.get(interface_id)
        if known is None:
            with self._entered(interface_id, package, body.name):
                known = Scope(self, package, interface_id, body)
            self._scopes[interface_id] = known
        return known

    def target(self, package: Package, path: Path) -> tuple[str, Package, Interface | World]:
        """What a path means inside a package."""
        alias = None if path.package else package.aliases.get(path.name)
        asked = (alias or path).within(package.name, package.version)
        found = self.match(asked)
        if found is None:
            raise package.source.error(path.at, f"`{asked}` is not defined")
        return found, *self.items[found]

    def used(self, package: Package, path: Path) -> Scope:
        """The scope of the interface that a path means."""
        found, owner, body = self.target(package, path)
        if not isinstance(body, Interface):
            raise package.source.error(path.at, f"`{found}` is a world; an interface is needed here")
        return self.scope(found, owner, body)

    def _flatten(self, world_id: str, package: Package, world: World) -> FlatWorld:
        known = self._flat.get(world_id)
        if known is None:
            with self._entered(world_id, package, world.name):
                known = FlatWorld(self, package, world)
            self._flat[world_id] = known
        return known

    def included(self, package: Package, path: Path) -> FlatWorld:
        """The world that a path in an `include` means."""
        found, owner, body = self.target(package, path)
        if not isinstance(body, World):
            raise package.source.error(path.at, f"`{found}` is an interface; a world is needed here")
        return self._flatten(found, owner, body)

    @contextmanager
    def _entered(self, item_id: str, package: Package, name: Name) -> Iterator[None]:
        if item_id in self._open:
            raise package.source.error(name.at, f"`{item_id}` is defined in terms of itself")
        self._open.append(item_id)
        try:
            with self.deeper(package, name.at):
                yield
        finally:
            self._open.pop()

    @contextmanager
    def deeper(self, package: Package, at: int) -> Iterator[None]:
        """Counts one step into a definition inside a definition."""
        self._depth += 1
        try:
            if self._depth > MAX_CHAIN:
                raise package.source.error(at, f"more than {MAX_CHAIN} definitions lie inside one another")
            yield
        finally:
            self._depth -= 1

    def weigh(self, package: Package, at: int, made: Type, parts: Iterable[Type | None]) -> Type:
        """Notes how deep and large a type is, and whether it borrows; answers it, or refuses it."""
        depth, size, borrows = 0, 1, isinstance(made, BorrowType)
        for part in parts:
            if part is not None:
                weight = self.weight(part)
                depth, size, borrows = max(depth, weight[0]), size + weight[1], borrows or weight[2]
        if depth >= MAX_TYPE_DEPTH:
            raise package.source.error(at, f"this type is more than {MAX_TYPE_DEPTH} types deep")
        if size > MAX_TYPE_SIZE:
            raise package.source.error(at, f"this type has more than {MAX_TYPE_SIZE} parts when it is spelled out")
        self._weights[id(made)] = (made, (depth + 1, size, borrows))  # keeping `made` keeps its id its own
        return made

    def weight(self, made: Type) -> tuple[int, int, bool]:
        """Depth, size, and whether it borrows."""
        known = self._weights.get(id(made))
        return known[1] if known is not None else (1, 1, False)
