"""Checks our declarations of wasmtime's C API (wasmtime.h) against the bindings of the installed wheel.

The wheel ships no C headers, but its `wasmtime._bindings` names every function and struct of the library inside it.
Building against declarations that differ from it would corrupt memory, so the build stops instead.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

STRUCTS = {
    "wasm_byte_vec_t": "wasm_byte_vec_t",
    "wasm_valtype_vec_t": "wasm_valtype_vec_t",
    "wasmtime_func_t": "wasmtime_func_t",
    "wasmtime_memory_t": "wasmtime_memory_t",
    "wasmtime_instance_t": "wasmtime_instance_t",
    "wasmtime_extern_t": "wasmtime_extern_t",
    "wasmtime_val_t": "wasmtime_val_t",
    "wasmtime_val_raw_t": "wasmtime_val_raw_t",
    "wasmtime_async_continuation_t": "wasmtime_async_continuation_t",
}
"""Structs that we lay out ourselves, and their names in the bindings."""

_SCALARS = {
    "bool": ctypes.c_bool,
    "uint8_t": ctypes.c_uint8,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
}
_FUNCTION = re.compile(r"^  F\((?P<result>[^,]+), (?P<name>\w+), \((?P<params>.*)\)\)", re.MULTILINE)


def declared(header: str) -> dict[str, tuple[str, list[str]]]:
    """Every function of the header's list: name -> (result type, parameter types)."""
    found = {}
    for match in _FUNCTION.finditer(header):
        text = match["params"].replace("void (*)(void *)", "void *")
        params = [] if text == "void" else [part.strip() for part in text.split(",")]
        found[match["name"]] = (match["result"].strip(), params)
    return found


def _agrees(declared_type: str, actual: Any) -> bool:
    if actual is None:
        return declared_type == "void"
    if declared_type in _SCALARS:
        return bool(_SCALARS[declared_type] is actual)
    is_pointer = issubclass(actual, ctypes._Pointer | type(ctypes.CFUNCTYPE(None)()).__base__ | ctypes.c_void_p)
    # Callback types have names of their own in the header.
    return bool(is_pointer) and (declared_type.endswith(("*", "callback_t")))


def differences(header: str) -> list[str]:
    """What in wasmtime.h does not fit the installed wheel, one line each; empty when all fits."""
    from wasmtime import _bindings

    problems = []
    for name, (result, params) in declared(header).items():
        function = getattr(_bindings, f"_{name}", None)
        if function is None:
            problems.append(f"{name}: not in the installed library")
            continue
        actual = function.argtypes or []
        if len(actual) != len(params) or not all(map(_agrees, params, actual)):
            problems.append(f"{name}: parameters are {[t.__name__ for t in actual]}, declared ({', '.join(params)})")
        if not _agrees(result, function.restype):
            problems.append(f"{name}: result is {function.restype}, declared {result}")
    return problems


def size_assertions() -> str:
    """C assertions that our structs have the sizes that the installed bindings have."""
    from wasmtime import _bindings

    return "\n".join(
        f'_Static_assert(sizeof({ours}) == {ctypes.sizeof(getattr(_bindings, theirs))}, "{ours}");'
        for ours, theirs in STRUCTS.items()
    )


def check(folder: Path) -> None:
    """Raises `SystemExit` with every difference between the header in `folder` and the installed wheel."""
    problems = differences((folder / "wasmtime.h").read_text())
    if problems:
        raise SystemExit("wasmtime.h does not fit the installed wasmtime:\n  " + "\n  ".join(problems))
