"""Loads the wheel's wasmtime library and the glue compiled for it, and offers the glue behind one typed protocol.

This package is the only one that knows cffi.  Nothing of cffi leaves it but opaque pointers inside handles.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from guesthouse.errors import HostError

DONE, HOST_CALL, YIELDED, FAILED = range(4)
"""What a step of a guest ends with (glue.h)."""

REASON_TRAP, REASON_DEADLINE, REASON_CANCELLED, REASON_REALLOC, REASON_MAY_LEAVE, REASON_HOST = range(6)
"""Why a guest failed (glue.h)."""


class GuestPointer(Protocol):
    """The fields of `gh_guest` that Python reads (glue.h says what they mean)."""

    memory: Any
    memory_size: int
    values: Any
    slot: int
    slices: int
    reason: int
    trap_code: int
    fuel_known: bool
    fuel_left: int
    peak_memory: int
    message: Any


class Glue(Protocol):
    """Statically typed view of the glue's functions (glue.h)."""

    GH_WASMTIME_VERSION: Any
    gh_free: Callable[[Any], None]
    gh_engine_new: Callable[[Any, Any], Any]
    gh_engine_delete: Callable[[Any], None]
    gh_compile: Callable[[Any, Any, int, Any, Any], Any]
    gh_module_load: Callable[[Any, Any, int, Any], Any]
    gh_module_delete: Callable[[Any], None]
    gh_linker_new: Callable[[Any], Any]
    gh_linker_define: Callable[[Any, bytes, int, bytes, int, bytes, bytes, int], Any]
    gh_linker_delete: Callable[[Any], None]
    gh_program_new: Callable[[Any, Any, bytes, bytes, bytes, Any], Any]
    gh_program_export: Callable[[Any, bytes, bytes, bytes, bytes], int]
    gh_program_delete: Callable[[Any], None]
    gh_guest_new: Callable[[], Any]
    gh_guest_delete: Callable[[Any], None]
    gh_continue: Callable[[Any], int]
    gh_answer: Callable[[Any, Any, int, Any, int], int]
    gh_answer_trap: Callable[[Any, bytes], int]
    gh_finish: Callable[[Any], None]
    gh_measure: Callable[[Any], None]
    gh_start_released: Callable[[Any, Any, int, Any, int, Any, int], int]
    gh_continue_released: Callable[[Any], int]
    gh_call_released: Callable[[Any, Any, Any, int, Any, int], int]
    gh_answer_released: Callable[[Any, Any, int, Any, int], int]
    gh_cancel: Callable[[Any], int]
    gh_new_slice: Callable[[Any], None]
    gh_renew: Callable[[Any, Any, int], None]
    gh_request_cancel: Callable[[Any], None]
    gh_stores_made: Callable[[], int]
    gh_stores_deleted: Callable[[], int]


class Calls(Protocol):
    """Statically typed view of the functions that make Python objects (call.c)."""

    HandleTable: type
    compile: Callable[[Any, str, bool, tuple[Callable[..., Any], ...]], Callable[..., Any]]
    callee: Callable[[int, int, Callable[..., Any] | None, int], tuple[Callable[..., Any], Callable[..., Any]]]


def _library() -> Path:
    """The shared library inside the wasmtime wheel, found without importing the wheel (that takes 100 ms)."""
    spec = importlib.util.find_spec("wasmtime")
    for folder in (spec and spec.submodule_search_locations) or ():
        for found in Path(folder).glob("*/_libwasmtime.*"):
            return found
    raise HostError("the wasmtime wheel is not installed: `pip install .` brings it")


def _second_module(name: str, path: str) -> Any:
    """The other module in the same shared object, for which there is no file of its own to be found."""
    spec = importlib.util.spec_from_file_location(name, path, loader=ExtensionFileLoader(name, path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


def _load() -> tuple[Any, Glue, Calls]:
    """The cffi `ffi` and the glue; raises `HostError` where the two do not fit."""
    # The glue's undefined symbols are wasmtime's: they are found because the library's symbols are made global.
    ctypes.CDLL(str(_library()), mode=ctypes.RTLD_GLOBAL)
    try:
        from guesthouse._native import _glue  # type: ignore[attr-defined]  # made by build.py
    except ImportError as error:
        raise HostError(f"the native part of guesthouse is not built ({error}); `pip install .` builds it") from error
    glue = cast(Glue, _glue.lib)
    compiled_for = _glue.ffi.string(glue.GH_WASMTIME_VERSION).decode()
    installed = importlib.metadata.version("wasmtime")
    if compiled_for != installed:
        raise HostError(
            f"guesthouse was compiled for wasmtime {compiled_for}, but {installed} is installed: "
            f"`pip install wasmtime=={compiled_for}`, or build guesthouse again"
        )
    return _glue.ffi, glue, cast(Calls, _second_module("guesthouse._native._call", _glue.__file__))


ffi, glue, calls = _load()
if TYPE_CHECKING:

    class HandleTable:
        """The handles of one guest (table.c); `borrowed`, `lent` and `moving` are `None` until there is one."""

        owned: dict[int, tuple[Any, Any]]
        borrowed: dict[int, tuple[Any, Any]] | None
        lent: set[int] | None
        moving: list[Any] | None
        limit: int
        last: int

        def __init__(self, limit: int) -> None: ...
        def insert_own(self, resource: Any, obj: Any) -> int: ...
        def take_own(self, resource: Any, handle: int) -> Any: ...

else:
    HandleTable = calls.HandleTable

WASMTIME_VERSION: str = ffi.string(glue.GH_WASMTIME_VERSION).decode()


def check(text: Any) -> str | None:
    """The text behind a `char *` that a glue function returned, freed; `None` where it succeeded."""
    if text == ffi.NULL:
        return None
    message = ffi.string(text).decode(errors="replace")
    glue.gh_free(text)
    return cast(str, message)
