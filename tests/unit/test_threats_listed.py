"""What is promised in threats.toml is tested, and what is tested there is promised."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NAME = re.compile(r"test_([cfg]\d+)_\w+\.py")


def promised() -> list[str]:
    """The ids in threats.toml."""
    listed = tomllib.loads((TESTS / "threats.toml").read_text())["promised"]
    assert all(re.fullmatch(r"[CFG]\d+", name) and text for name, text in listed.items())
    return list(listed)


def files_by_id() -> dict[str, list[Path]]:
    """The files of tests by the id in their name."""
    found: dict[str, list[Path]] = {}
    for path in TESTS.rglob("test_*.py"):
        match = NAME.fullmatch(path.name)
        if match:
            found.setdefault(match[1].upper(), []).append(path)
    return found


@pytest.mark.parametrize("name", promised())
def test_every_promise_has_a_test(name: str) -> None:
    """A file of its own, with tests in it."""
    files = files_by_id().get(name, [])
    assert files, f"{name} is promised in threats.toml, but there is no test_{name.lower()}_….py"
    assert any(re.search(r"^(async )?def test_|^    (async )?def test_", path.read_text(), re.M) for path in files)


def test_every_test_of_a_threat_is_a_promise() -> None:
    """Who writes such a test lists its id."""
    assert set(files_by_id()) <= set(promised())
