"""Namespaces that somebody made or described: kept with their words, bounded, durable."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from guesthouse.errors import BadRequest, NotFound
from guesthouse.registry import namespaces as module
from guesthouse.registry.namespaces import Namespace, Namespaces
from guesthouse.storage.database import Database


def test_a_namespace_is_kept_with_its_words_until_it_is_deleted(tmp_path: Path) -> None:
    """Across a restart, and changed when it is described anew."""
    path = tmp_path / "guesthouse.db"

    async def make(database: Database) -> None:
        namespaces = Namespaces(database)
        await namespaces.put(Namespace("dev", {"team": "a"}, {"why": "tests"}))
        await namespaces.put(Namespace("dev", {"team": "b"}))
        await namespaces.put(Namespace("staging"))
        assert namespaces.names() == {"dev", "staging"}
        assert await namespaces.delete("staging") is True
        assert await namespaces.delete("staging") is False

    first = Database(path)
    asyncio.run(make(first))
    first.close()
    second = Database(path)
    assert Namespaces(second).get("dev") == Namespace("dev", {"team": "b"})
    assert Namespaces(second).names() == {"dev"}
    second.close()


def test_what_is_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Impossible names, too many words, too many namespaces."""
    with pytest.raises(NotFound):
        Namespace("No Such")
    with pytest.raises(BadRequest):
        Namespace("dev", {"a": "x" * 70_000})
    with pytest.raises(BadRequest):
        Namespace("dev", {str(number): "" for number in range(300)})
    monkeypatch.setattr(module, "MOST_NAMESPACES", 1)
    database = Database(None)
    namespaces = Namespaces(database)
    asyncio.run(namespaces.put(Namespace("a")))
    with pytest.raises(BadRequest):
        asyncio.run(namespaces.put(Namespace("b")))
    assert namespaces.names() == {"a"}
    database.close()
