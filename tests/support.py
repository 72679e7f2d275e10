"""What many tests share: guests by name and form, WAT, and hosts that are closed again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import wasmtime

from guesthouse import Host

ROOT = Path(__file__).parents[1]
GUESTS = Path(os.environ.get("TEST_GUESTS", ROOT / "guests" / "prebuilt"))
"""Where the built guests are: the committed ones, or those that CI has just built from source."""
FORMS = ("wasip2", "wasip1")
"""The forms in which every behaviour is tested."""


@cache
def manifest() -> dict[tuple[str, str], dict[str, Any]]:
    """The entries of the guests' manifest by (name, form)."""
    entries = json.loads((GUESTS / "manifest.json").read_text())["guests"]
    return {(entry["name"], entry["form"]): entry for entry in entries}


@cache
def guest(name: str, form: str = "wasip2") -> bytes:
    """A built guest."""
    return (GUESTS / manifest()[name, form]["file"]).read_bytes()


@cache
def wat(text: str) -> bytes:
    """A module or component from its text."""
    return bytes(wasmtime.wat2wasm(text))


@contextmanager
def host_with(*names: str, form: str = "wasip2", **options: Any) -> Iterator[Host]:
    """A host in memory with these guests deployed under their names."""
    with Host(**options) as host:
        for name in names:
            host.deploy(name, guest(name, form))
        yield host
