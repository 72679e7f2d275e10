"""`Abi`: every interface that guesthouse knows by its WIT, those that come with it and those that users add.

Promises: an interface that is found is complete and its types are bounded; a bad text is refused as a whole, with its
place.  Knows nothing of wasm bytes, of what the host answers, or of how a value looks.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock

from guesthouse.engine.types import InterfaceType, WorldType
from guesthouse.engine.wit_difference import describe_difference
from guesthouse.engine.wit_parser import parse
from guesthouse.engine.wit_resolver import Resolver
from guesthouse.engine.wit_tree import Interface, Package
from guesthouse.errors import HostError

__all__ = ["Abi", "describe_difference"]

_PACKAGE = Path(__file__).resolve().parent.parent


class Abi:
    """A set of interfaces and worlds by id; `Abi()` is empty."""

    def __init__(self) -> None:
        self._resolver = Resolver()
        self._lock = Lock()
        """Held while names are followed: guests are linked in several threads, and each would see the others' circles."""

    @classmethod
    def load(cls, directory: Path | None = None) -> Abi:
        """All WIT files under `directory`, or else those that come with guesthouse."""
        made = cls()
        made._resolver.insert(_shipped(_own_directory()) if directory is None else _read(directory))
        return made

    def find(self, interface_id: str) -> InterfaceType | None:
        """The interface of this id, or the newest one whose version may stand for it.

        What is found may have more functions than the asker knows, and its id names the version that it has.
        """
        with self._lock:
            found = self._resolver.match(interface_id)
            return None if found is None else self._resolver.interface(found)

    def world(self, world_id: str) -> WorldType | None:
        """The world of this id, or the newest one whose version may stand for it."""
        with self._lock:
            found = self._resolver.match(world_id)
            return None if found is None else self._resolver.world(found)

    def interfaces(self) -> tuple[str, ...]:
        """The ids of all interfaces."""
        return tuple(name for name, (_, item) in self._resolver.items.items() if isinstance(item, Interface))

    def worlds(self) -> tuple[str, ...]:
        """The ids of all worlds."""
        return tuple(name for name, (_, item) in self._resolver.items.items() if not isinstance(item, Interface))

    def add(self, wit_text: str, name: str = "<wit>") -> None:
        """Adds all packages of a WIT text, or nothing and raises `BadRequest` with name:line:column.

        The text may use what is here already, and may repeat it (as vendored copies do) in the same shape.
        """
        packages = parse(wit_text, name)
        trial = self._copy()
        added = trial.insert(packages)
        for item_id in added:
            package, item = trial.items[item_id]
            difference = self._repeated(item_id, trial)
            if difference is not None:
                raise package.source.error(
                    item.name.at, f"`{item_id}` is known already, in another shape: {difference}"
                )
        final = self._copy()
        for item_id in added:
            if item_id not in self._resolver.items:
                final.restore(item_id, *trial.items[item_id])
        for package in packages:
            for alias in package.aliases.values():
                final.target(package, alias)
        for item_id in added:  # once more, with the known shapes in place of the repeated ones
            final.interface(item_id)
            final.world(item_id)
        self._resolver = final

    def _copy(self) -> Resolver:
        made = Resolver()
        for item_id, (package, item) in self._resolver.items.items():
            made.restore(item_id, package, item)
        return made

    def _repeated(self, item_id: str, trial: Resolver) -> str | None:
        """Resolves a new item; says how it differs from the known one of the same id, if there is one."""
        found, world = trial.interface(item_id), trial.world(item_id)
        if item_id not in self._resolver.items:
            return None
        known = self._resolver.interface(item_id)
        if known is None or found is None:
            return None if _outline(world) == _outline(self._resolver.world(item_id)) else "the world differs"
        for function, found_type in found.functions.items():
            known_type = known.functions.get(function)
            if known_type is None:
                return f"there is no `{function}`"
            difference = describe_difference(known_type, found_type)
            if difference is not None:
                return f"`{function}`: {difference}"
        missing = set(found.resources) - set(known.resources)
        return f"there is no resource `{min(missing)}`" if missing else None


def _outline(world: WorldType | None) -> object:
    """What makes two worlds the same when their interfaces are compared on their own."""
    return world and (world.imports.keys(), world.exports.keys(), world.function_imports, world.function_exports)


def _read(directory: Path) -> list[Package]:
    packages: list[Package] = []
    for file in sorted(directory.rglob("*.wit")):
        packages += parse(file.read_text(encoding="utf-8"), str(file.relative_to(directory)))
    return packages


@cache
def _shipped(directory: Path) -> list[Package]:
    """What comes with guesthouse: read once for all hosts of a process, which takes fifteen milliseconds."""
    return _read(directory)


def _own_directory() -> Path:
    for directory in (_PACKAGE / "abi", _PACKAGE.parent.parent / "abi"):
        if directory.is_dir():
            return directory
    raise HostError(
        f"the WIT files that come with guesthouse are in neither {_PACKAGE / 'abi'} nor the repository's abi/"
    )
