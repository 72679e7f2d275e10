"""Builds the extension module `guesthouse._native._glue` with cffi in API mode, as an abi3 wheel.

The same shared object holds a second module, `_call` (call.c), of the functions that make Python objects: cffi has no way
to declare those.

setuptools runs this (see `cffi_modules` in setup.py); `python host/guesthouse/_native/build.py` builds in place.
"""

from __future__ import annotations

import importlib.metadata
import os
import runpy
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
GENERATED = HERE.parents[2] / "build" / "native"
KEEP_GIL = """
#undef Py_BEGIN_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS {
#undef Py_END_ALLOW_THREADS
#define Py_END_ALLOW_THREADS }
"""
"""Makes the wrappers that cffi generates keep the GIL, which they otherwise give up for every call.

A guest's first slice is a few microseconds.  Giving up the GIL for it costs nothing alone; but where another thread
computes in Python, getting it back takes a switch interval (5 ms by default), each time.  What takes longer gives up
the GIL itself: released.c.
"""
VERSION = importlib.metadata.version("wasmtime")
SOURCES = ("engine.c", "guest.c", "lower.c", "released.c", "lift.c", "program.c", "table.c", "call.c")


def _generate_header(declarations: str, assertions: str) -> None:
    """glue.h for the C compiler: with gh_guest's private fields, and the sizes of wasmtime's structs asserted."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    text = declarations.replace("  ...;\n", "  GH_GUEST_PRIVATE\n")
    (GENERATED / "glue_generated.h").write_text(f"#pragma once\n{text}\n{assertions}\n")


def _relative(name: str) -> str:
    """A file of this folder as setuptools wants it: relative to where it runs."""
    return os.path.relpath(HERE / name)


def make_builder() -> cffi.FFI:
    """The cffi builder, after everything that it is told was checked against the installed wasmtime."""
    checks = runpy.run_path(str(HERE / "declarations.py"))
    checks["check"](HERE)
    declarations = (HERE / "glue.h").read_text()
    _generate_header(declarations, checks["size_assertions"]())
    builder = cffi.FFI()
    builder.cdef(declarations + "\nstatic char *const GH_WASMTIME_VERSION;\n")
    builder.set_source(
        "guesthouse._native._glue",
        KEEP_GIL + f'#include "internal.h"\nstatic char *const GH_WASMTIME_VERSION = "{VERSION}";\n',
        sources=[_relative(name) for name in SOURCES],
        include_dirs=[str(HERE), str(GENERATED)],
        depends=[_relative(name) for name in ("glue.h", "internal.h", "lift.h", "wasmtime.h")],
        extra_compile_args=[
            "-O2",
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-Werror=implicit-function-declaration",
        ],
        libraries=["pthread"],
        py_limited_api=True,
    )
    return builder


ffibuilder = make_builder()

if __name__ == "__main__":
    os.chdir(HERE.parents[1])  # cffi compiles there
    make_builder().compile(tmpdir=".", verbose=True)
