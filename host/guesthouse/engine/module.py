"""`GuestModule`: what unbundling leaves of a guest, as plain data.

It promises to be complete: whoever links and runs a guest needs nothing else of the file it came from.  It must not
know how a component is encoded, nor how a module is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.engine.types import WorldType


@dataclass(frozen=True, slots=True)
class CoreImport:
    """A function that the core module imports; its types are letters: i32 i, i64 I, f32 f, f64 F."""

    module: str
    name: str
    params: str
    results: str


@dataclass(frozen=True, slots=True)
class GuestModule:
    """A guest: one core module, what it imports and exports, and the WIT types of both where the file tells them."""

    core: bytes
    """The main core module without any custom section."""
    world: WorldType | None
    """From the component, or from the `component-type:*` sections of a core module; `None`: core signatures only."""
    imports: tuple[CoreImport, ...]
    """Function imports, in the module's order; any other kind of import is refused."""
    exports: dict[str, tuple[str, str]]
    """Exported core functions: name -> (params, results) as letters; left out where a type has no letter."""
    memory: str | None
    """The name under which the memory is exported."""
    memory_min: int
    """Pages of 64 KiB."""
    memory_max: int | None
    """Pages of 64 KiB."""
    form: str
    """`component` or `core`."""
    aliases: dict[str, str]
    """Core import module -> interface id in the component, where they differ (`wasi:io/poll@0.2.0` -> `…@0.2.12`)."""
    dropped: tuple[str, ...]
    """Inner modules that were recognised and left out: the shim, the fix-up, the preview 1 adapter."""
