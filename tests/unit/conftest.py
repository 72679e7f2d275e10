"""Fixtures of several files: a registry in memory or in a file, and one that is opened again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database


@pytest.fixture(params=["memory", "file"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    directory = None if request.param == "memory" else tmp_path
    database = Database(None if directory is None else directory / "guesthouse.db")
    yield Registry(database, directory)
    database.close()


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Registry]]:
    """Opens the registry of one directory, closing the one before."""
    opened: list[Database] = []

    def again() -> Registry:
        while opened:
            opened.pop().close()
        opened.append(Database(tmp_path / "guesthouse.db"))
        return Registry(opened[0], tmp_path)

    yield again
    opened.pop().close()
