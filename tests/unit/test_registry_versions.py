"""Old versions: how many stay, which are pinned or in use, and what goes with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guesthouse.errors import BadRequest, NotFound
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
from unit.registries import WASM, is_kept


@pytest.fixture(params=["memory", "file"])
def bounded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """A registry that keeps two versions of each function."""
    directory = None if request.param == "memory" else tmp_path
    database = Database(None if directory is None else directory / "guesthouse.db")
    yield Registry(database, directory, keep=2)
    database.close()


def numbered(registry: Registry, number: int, name: str = "echo") -> str:
    """Deploys bytes that no other number has; their digest."""
    return registry.deploy_sync("default", name, WASM + bytes([number]), kind="web").digest


def numbers(registry: Registry, name: str = "echo") -> list[int]:
    return [deployment.version for deployment in registry.versions("default", name)]


def test_old_versions_go_with_their_bytes_and_the_newest_stay(bounded: Registry) -> None:
    """Of each function for itself; numbers go on counting, and what has gone cannot be pinned."""
    digests = [numbered(bounded, number) for number in range(5)]
    numbered(bounded, 9, "other")
    assert (numbers(bounded), numbers(bounded, "other")) == ([4, 5], [1])
    assert [is_kept(bounded, digest) for digest in digests] == [False, False, False, True, True]
    with pytest.raises(NotFound):
        bounded.pin_sync("default", "echo", 3)


def test_a_pinned_version_stays_however_old_it_is(bounded: Registry) -> None:
    """Until it is let go, and then it goes with the next deploy."""
    first = numbered(bounded, 0)
    bounded.pin_sync("default", "echo", 1)
    for number in range(1, 5):
        numbered(bounded, number)
    assert numbers(bounded) == [1, 4, 5]
    assert is_kept(bounded, first)
    bounded.pin_sync("default", "echo", None)
    assert numbers(bounded) == [1, 4, 5]
    numbered(bounded, 5)
    assert numbers(bounded) == [5, 6]
    assert not is_kept(bounded, first)


def test_a_version_in_use_stays_until_whoever_uses_it_has_gone(bounded: Registry) -> None:
    """Whoever holds the deployment may still read its bytes; afterwards the next deploy takes it."""
    first = numbered(bounded, 0)
    running = bounded.get("default", "echo")
    assert running is not None
    for number in range(1, 5):
        numbered(bounded, number)
    assert numbers(bounded) == [1, 4, 5]
    assert bounded.wasm(running.digest) == WASM + b"\0"
    del running
    numbered(bounded, 5)
    assert numbers(bounded) == [5, 6]
    assert not is_kept(bounded, first)


def test_bytes_that_another_version_names_stay(bounded: Registry) -> None:
    """One function's old version is another's current one; deployed once more, they are there once more."""
    digest = numbered(bounded, 0)
    assert numbered(bounded, 0, "other") == digest
    for number in range(1, 4):
        numbered(bounded, number)
    assert is_kept(bounded, digest)
    assert numbered(bounded, 0) == digest
    bounded.delete_sync("default", "other")
    numbered(bounded, 7, "third")
    assert is_kept(bounded, digest)


def test_the_bytes_of_a_deleted_function_go_when_nobody_uses_them_any_more(bounded: Registry) -> None:
    """At once, or with the next change; if they are deployed anew meanwhile they stay."""
    gone, held, again = numbered(bounded, 0, "gone"), numbered(bounded, 1, "held"), numbered(bounded, 2, "again")
    running = [bounded.get("default", name) for name in ("held", "again")]
    for name in ("gone", "held", "again"):
        bounded.delete_sync("default", name)
    assert [is_kept(bounded, digest) for digest in (gone, held, again)] == [False, True, True]
    numbered(bounded, 2, "again")
    running.clear()
    numbered(bounded, 3, "other")
    assert [is_kept(bounded, digest) for digest in (gone, held, again)] == [False, False, True]


def test_what_was_kept_beside_the_bytes_is_removed_with_them(tmp_path: Path) -> None:
    """Compiled code, for instance: whoever keeps it is told the digest."""
    removed: list[str] = []
    database = Database(tmp_path / "guesthouse.db")
    registry = Registry(database, tmp_path, keep=2, removed=removed.append)
    digests = [numbered(registry, number) for number in range(4)]
    assert removed == digests[:2]
    assert {path.name for path in (tmp_path / "blobs").iterdir()} == set(digests[2:])
    database.close()


@pytest.mark.parametrize("keep", [1, 0, -1])
def test_two_versions_at_least_have_to_be_kept(keep: int) -> None:
    """The one that runs, and one to go back to."""
    database = Database(None)
    with pytest.raises(BadRequest, match="at least 2 versions"):
        Registry(database, keep=keep)
    database.close()


def test_the_same_bytes_deployed_while_their_last_version_goes_are_there(tmp_path: Path) -> None:
    """Eight threads deploy the same two modules to functions that keep two versions: what is current can be read."""
    database = Database(tmp_path / "guesthouse.db")
    registry = Registry(database, tmp_path, keep=2)

    def some(thread: int) -> None:
        for number in range(12):
            deployed = registry.deploy_sync("default", f"f{thread % 3}", WASM + bytes([number % 4]), kind="web")
            assert registry.wasm(deployed.digest)

    threads = [threading.Thread(target=some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for deployment in registry.list():
        assert registry.wasm(deployment.digest)
        assert numbers(registry, deployment.name)[-1] == deployment.version
    database.close()


def test_pins_of_many_threads_at_once_leave_one_of_them(registry: Registry) -> None:
    """While others deploy: the version that runs is the one that is pinned, in memory and on disk."""
    for number in range(4):
        numbered(registry, number)

    def pins(version: int | None) -> None:
        for _ in range(10):
            registry.pin_sync("default", "echo", version)

    def deploys() -> None:
        for _ in range(10):
            numbered(registry, 9)

    threads = [threading.Thread(target=pins, args=(version,)) for version in (1, 2, 3, None)]
    threads += [threading.Thread(target=deploys) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = registry.show("default", "echo")
    assert state is not None
    assert state.latest == 24
    assert state.current.version == (state.pinned or state.latest)
    assert registry.get("default", "echo") is state.current


def test_a_pin_survives_a_restart(reopen: Callable[[], Registry]) -> None:
    """With the latest number beside it, and the function goes on being held."""
    registry = reopen()
    for number in range(3):
        numbered(registry, number)
    registry.pin_sync("default", "echo", 2)
    registry = reopen()
    state = registry.show("default", "echo")
    assert state is not None
    assert (state.current.version, state.latest, state.pinned) == (2, 3, 2)
    numbered(registry, 4)
    current = registry.get("default", "echo")
    assert current is state.current
    assert reopen().pin_sync("default", "echo", None).current.version == 4


def test_there_is_something_to_go_back_to_only_behind_the_current_version(bounded: Registry) -> None:
    """The one before, of those that are still there; before the first there is none."""
    with pytest.raises(NotFound):
        bounded.previous("default", "echo")
    numbered(bounded, 0)
    with pytest.raises(NotFound, match="before the current one"):
        bounded.previous("default", "echo")
    for number in range(1, 4):
        numbered(bounded, number)
    assert bounded.previous("default", "echo").version == 3
    bounded.pin_sync("default", "echo", 3)
    with pytest.raises(NotFound):
        bounded.previous("default", "echo")
