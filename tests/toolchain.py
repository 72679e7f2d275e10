"""The Rust toolchain on PATH, for tests that build guests, and a `guesthouse` command for what they start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from support import ROOT

TARGET = "wasm32-wasip2"
PATIENCE = 400
"""Seconds in which a busy machine builds a guest and all that it depends on."""


@cache
def missing() -> str:
    """Why guests cannot be built here; empty if they can."""
    rustc = os.environ.get("RUSTC") or "rustc"
    if shutil.which("cargo") is None or shutil.which(rustc) is None:
        return "cargo and rustc are not on PATH: install Rust from https://rustup.rs"
    command = [rustc, "--print", "target-libdir", "--target", TARGET]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode or not any(Path(found.stdout.strip()).glob("libstd-*.rlib")):
        return f"{rustc} lacks {TARGET}: rustup target add {TARGET}"
    return ""


needed = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a toolchain")
"""Marks a test that builds guests."""


QUICKLY = {"LTO": "false", "OPT_LEVEL": "0", "CODEGEN_UNITS": "16", "STRIP": "none"}
"""Settings of the release profile, over those of a crate: it is to be built, not to be fast."""


def environment(folder: Path) -> dict[str, str]:
    """Variables for cargo and what it starts: the command `guesthouse`, made in `folder`, and a shared target folder."""
    command = folder / "bin" / "guesthouse"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m guesthouse "$@"\n')
    command.chmod(0o755)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GUESTHOUSE_")}
    return {
        "CARGO_TARGET_DIR": str(ROOT / ".cache" / "target"),
        **ours,
        "PATH": f"{command.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT / "host"),
        "CARGO_TERM_COLOR": "never",
        **{f"CARGO_PROFILE_RELEASE_{name}": value for name, value in QUICKLY.items()},
    }


def pin_dependencies(crate: Path) -> None:
    """Has a crate use the very versions that the guests here use, so that nothing is fetched or built twice."""
    shutil.copyfile(ROOT / "guests" / "Cargo.lock", crate / "Cargo.lock")
