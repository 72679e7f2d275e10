"""Secrets: named bytes of a namespace, bounded, durable, read from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.errors import BadRequest, BodyTooLarge, NotFound
from guesthouse.registry import secrets as module
from guesthouse.registry.secrets import MAX_SECRET_BYTES, Secrets
from guesthouse.storage.database import Database


@pytest.fixture(params=["memory", "file"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened = Database(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


@pytest.fixture
def secrets(database: Database) -> Secrets:
    return Secrets(database)


def test_a_secret_is_there_from_its_making_to_its_deletion(secrets: Secrets) -> None:
    """Set, listed by its name, read, set anew, deleted: each at once, and each namespace for itself."""

    async def story() -> None:
        await secrets.put("default", "api-key", b"one\0\xff")
        await secrets.put("shop", "api-key", b"another")
        assert secrets.get("default", "api-key") == b"one\0\xff"
        assert (secrets.names("default"), secrets.names("nowhere")) == (("api-key",), ())
        assert secrets.namespaces() == {"default", "shop"}
        await secrets.put("default", "api-key", b"")
        assert secrets.get("default", "api-key") == b""
        assert await secrets.delete("default", "api-key") is True
        assert await secrets.delete("default", "api-key") is False
        assert secrets.get("default", "api-key") is None
        assert secrets.get("shop", "api-key") == b"another"

    asyncio.run(story())


def test_creating_and_replacing_say_what_was_there(secrets: Secrets) -> None:
    """Neither changes anything where it has no place."""

    async def story() -> None:
        assert await secrets.replace("default", "a", b"1") is False
        assert secrets.get("default", "a") is None
        assert await secrets.create("default", "a", b"2") is True
        assert await secrets.create("default", "a", b"3") is False
        assert secrets.get("default", "a") == b"2"
        assert await secrets.replace("default", "a", b"4") is True
        assert secrets.get("default", "a") == b"4"

    asyncio.run(story())


def test_secrets_survive_the_process(tmp_path: Path) -> None:
    """What was acknowledged is there when the database is opened again."""
    path = tmp_path / "guesthouse.db"
    first = Database(path)
    asyncio.run(Secrets(first).put("default", "a.b_c-d", b"kept"))
    first.close()
    second = Database(path)
    assert Secrets(second).get("default", "a.b_c-d") == b"kept"
    second.close()


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "-a", "a-", "a\n", "ä", "a" * 254, "a\0b"])
def test_a_name_that_could_leave_its_folder_is_refused(secrets: Secrets, name: str) -> None:
    """Secrets become files of that name."""
    with pytest.raises(BadRequest):
        asyncio.run(secrets.put("default", name, b"x"))


def test_what_is_too_much_is_refused(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value, the secrets of a namespace, and all values together are bounded; an impossible namespace is none."""

    async def story() -> None:
        with pytest.raises(BodyTooLarge):
            await secrets.put("default", "a", bytes(MAX_SECRET_BYTES + 1))
        with pytest.raises(NotFound):
            await secrets.put("No Such", "a", b"")
        monkeypatch.setattr(module, "MOST_SECRETS", 2)
        monkeypatch.setattr(module, "MOST_SECRET_BYTES", 10)
        await secrets.put("default", "a", b"12345")
        await secrets.put("default", "b", b"12345")
        with pytest.raises(BadRequest):
            await secrets.put("default", "c", b"")
        with pytest.raises(BodyTooLarge):
            await secrets.put("shop", "c", b"1")
        await secrets.put("default", "a", b"54321")
        assert secrets.names("default") == ("a", "b")

    asyncio.run(story())
