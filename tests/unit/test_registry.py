"""The registry: functions, their versions, which one is current, and the bytes that they run."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from guesthouse.errors import BadRequest, NotFound
from guesthouse.limits import Limits
from guesthouse.registry.deployment import Deployment, Manifest, check_name
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
from guesthouse.storage.errors import StorageError, StorageFull
from unit.registries import WASM, is_kept


def test_a_deploy_makes_the_next_version_and_makes_it_current(registry: Registry) -> None:
    """Versions count up for each function by itself, also for the same bytes again."""

    async def story() -> None:
        first = await registry.deploy("default", "echo", WASM, kind="web", imports=["log"])
        assert first == Deployment(
            namespace="default",
            name="echo",
            version=1,
            digest=hashlib.sha256(WASM).hexdigest(),
            kind="web",
            size=8,
            created_ms=first.created_ms,
            imports=frozenset({"log"}),
        )
        assert registry.get("default", "echo") is first
        assert (await registry.deploy("default", "echo", WASM, kind="web")).version == 2
        assert (await registry.deploy("other", "echo", WASM + b"x", kind="spawn")).version == 1
        assert registry.wasm(first.digest) == WASM

    asyncio.run(story())
    assert [d.path for d in registry.list()] == ["default/echo", "other/echo"]
    assert [d.path for d in registry.list("other")] == ["other/echo"]
    assert [d.version for d in registry.versions("default", "echo")] == [1, 2]
    assert len(registry.digests()) == 2


def test_everything_about_a_version_survives_a_restart(reopen: Callable[[], Registry]) -> None:
    """Manifest, limits, grants, imports, bytes: each as it was deployed."""
    manifest = Manifest(
        description="schöne Grüße",
        environment={"KEY": "value = 1\n", "EMPTY": ""},
        limits=Limits().with_changes({"deadline_ms": 200, "fuel": 10**12}),
        grants=frozenset({"cache", "http"}),
    )
    registry = reopen()
    one = registry.deploy_sync("default", "one", WASM, kind="web", imports=["cache"], manifest=manifest)
    two = registry.deploy_sync("default", "two", WASM, kind="spawn", manifest=Manifest(grants=frozenset()))
    registry = reopen()
    assert registry.get("default", "one") == one
    assert registry.get("default", "two") == two
    assert registry.versions("default", "one") == (one,)
    assert registry.wasm(one.digest) == WASM


def test_a_pinned_function_stays_while_deploys_go_on(registry: Registry) -> None:
    """Pinning picks any version; letting go picks the latest; what is not there cannot be pinned."""
    for number in range(3):
        registry.deploy_sync("default", "echo", WASM + bytes([number]), kind="web")
    assert registry.pin_sync("default", "echo", 2).current.version == 2
    assert registry.deploy_sync("default", "echo", WASM, kind="web").version == 4
    current = registry.get("default", "echo")
    assert current is not None
    assert current.version == 2
    state = registry.show("default", "echo")
    assert state is not None
    assert (state.current, state.latest, state.pinned) == (current, 4, 2)
    assert registry.wasm(current.digest) == WASM + b"\1"
    for version in (5, 0, -1, 1 << 70):
        with pytest.raises(NotFound):
            registry.pin_sync("default", "echo", version)
    with pytest.raises(NotFound):
        registry.pin_sync("default", "nobody", None)
    assert registry.previous("default", "echo").version == 1
    assert asyncio.run(registry.pin("default", "echo", None)).current.version == 4


def test_deleting_answers_whether_there_was_one_and_numbers_are_never_given_twice(registry: Registry) -> None:
    """A second delete says no; a function of the same name later goes on counting."""
    first = registry.deploy_sync("default", "echo", WASM, kind="web")
    registry.pin_sync("default", "echo", 1)
    assert asyncio.run(registry.delete("default", "echo")) is True
    assert registry.delete_sync("default", "echo") is False
    assert registry.get("default", "echo") is None
    assert registry.list() == ()
    assert registry.versions("default", "echo") == ()
    assert registry.show("default", "echo") is None
    assert registry.version("default", "echo", 1) is None
    assert registry.wasm(first.digest) == WASM, "who still runs it may read it until the next start"
    again = registry.deploy_sync("default", "echo", WASM, kind="web")
    assert again.version == 2
    assert registry.get("default", "echo") is again


@pytest.mark.parametrize(
    "name",
    ["", "A", "a_b", "-a", "a-", "a--b", "../b", "a\0", "a\n", "ａ", "é", "a" * 64, "a-" * 40 + "a", "\ud800", "%2"],
)
def test_names_that_cannot_be_do_not_exist(registry: Registry, name: str) -> None:
    """C5: traversal, look-alikes, NUL, over 63 characters: not found, wherever they are used, and never on disk."""
    for kind in ("function", "namespace"):
        with pytest.raises(NotFound):
            check_name(kind, name)
    with pytest.raises(NotFound):
        registry.deploy_sync("default", name, WASM, kind="web")
    with pytest.raises(NotFound):
        registry.deploy_sync(name, "echo", WASM, kind="web")
    with pytest.raises(NotFound):
        registry.pin_sync("default", name, 1)
    assert registry.get("default", name) is None
    assert registry.delete_sync("default", name) is False
    assert registry.versions("default", name) == ()
    assert registry.version("default", name, 1) is None
    assert registry.list(name) == ()


def test_a_name_may_have_63_characters_and_hyphens_between(registry: Registry) -> None:
    """The longest ones that can be, and the word that URLs need for themselves."""
    for name in ("a" * 63, "a-" * 31 + "a", "0", "a-b-c"):
        assert check_name("function", name) == name
    assert check_name("function", "manage") == "manage"
    with pytest.raises(NotFound):
        check_name("namespace", "manage")


@pytest.mark.parametrize(
    "digest", ["", "../guesthouse.db", "0" * 64, "0" * 63, "A" * 64, "/etc/passwd", "a\0", "0" * 64 + "\n"]
)
def test_bytes_are_found_by_a_digest_that_was_deployed_and_by_nothing_else(registry: Registry, digest: str) -> None:
    """Anything else is not found: no name from outside reaches the file system."""
    with pytest.raises(NotFound):
        registry.wasm(digest)


def test_damaged_bytes_are_never_handed_out_and_a_new_deploy_mends_them(
    reopen: Callable[[], Registry], tmp_path: Path
) -> None:
    """A flipped bit, a cut, a link to other bytes: an error that says so; deploying the same again repairs the file."""
    registry = reopen()
    digest = registry.deploy_sync("default", "echo", WASM * 100, kind="web").digest
    file = tmp_path / "blobs" / digest
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (tmp_path / "elsewhere").write_bytes(WASM * 100)

    def flip() -> None:
        file.write_bytes(b"\1" + (WASM * 100)[1:])

    def cut() -> None:
        file.write_bytes((WASM * 100)[:-1])

    def link() -> None:
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")

    for damage in (flip, cut, link):
        damage()
        with pytest.raises(StorageError):
            registry.wasm(digest)
        registry.deploy_sync("default", "echo", WASM * 100, kind="web")
        assert registry.wasm(digest) == WASM * 100
        assert not file.is_symlink()


def test_opening_sweeps_what_is_ours_and_orphaned_and_nothing_else(
    reopen: Callable[[], Registry], tmp_path: Path
) -> None:
    """Unfinished files, blobs of deleted functions: gone; blobs of old versions, a stranger's notes: kept."""
    registry = reopen()
    old = registry.deploy_sync("default", "echo", WASM + b"1", kind="web")
    new = registry.deploy_sync("default", "echo", WASM + b"2", kind="web")
    gone = registry.deploy_sync("default", "gone", WASM + b"3", kind="web")
    registry.delete_sync("default", "gone")
    blobs = tmp_path / "blobs"
    (blobs / ("f" * 64)).write_bytes(b"no version names this")
    (blobs / f".{'e' * 64}.0123456789abcdef.tmp").write_bytes(b"half")
    (blobs / "notes.txt").write_text("mine")
    (blobs / ("d" * 64)).mkdir()
    registry = reopen()
    assert registry.swept == 3
    assert {path.name for path in blobs.iterdir()} == {old.digest, new.digest, "notes.txt", "d" * 64}
    assert registry.wasm(old.digest) == WASM + b"1"
    with pytest.raises(NotFound):
        registry.wasm(gone.digest)


def test_a_failed_deploy_changes_nothing(tmp_path: Path) -> None:
    """Whatever step raises: the old version stays current, in memory and on disk, and the next deploy works."""
    database = Database(tmp_path / "guesthouse.db")
    failing = {"step": ""}

    def steps(step: str) -> None:
        if step == failing["step"]:
            raise LookupError(step)

    registry = Registry(database, tmp_path, steps=steps)
    first = registry.deploy_sync("default", "echo", WASM, kind="web")
    for step in ("created", "written", "synced", "verified", "renamed", "version inserted", "current flipped"):
        failing["step"] = step
        with pytest.raises(LookupError, match=step):
            registry.deploy_sync("default", "echo", WASM + step.encode(), kind="web")
        assert registry.get("default", "echo") is first
        assert registry.versions("default", "echo") == (first,)
        assert not list((tmp_path / "blobs").glob(".*"))
    failing["step"] = ""
    assert registry.deploy_sync("default", "echo", WASM, kind="web").version == 2
    database.close()


def test_a_full_disk_refuses_the_deploy_as_such(tmp_path: Path) -> None:
    """The caller learns that there is no room; a read-only disk is another error of ours; nothing is left behind."""
    code = errno.ENOSPC

    def steps(step: str) -> None:
        if step == "written":
            raise OSError(code, "no")

    database = Database(None)
    registry = Registry(database, tmp_path, steps=steps)
    with pytest.raises(StorageFull):
        registry.deploy_sync("default", "echo", WASM, kind="web")
    code = errno.EROFS
    with pytest.raises(StorageError, match="cannot be written"):
        registry.deploy_sync("default", "echo", WASM, kind="web")
    assert registry.get("default", "echo") is None
    assert list((tmp_path / "blobs").iterdir()) == []
    database.close()


def test_a_deploy_whose_caller_went_away_is_still_seen_by_all(registry: Registry) -> None:
    """Cancelled while it waits for the commit: memory and disk agree afterwards."""

    async def story() -> None:
        task = asyncio.create_task(registry.deploy("default", "echo", WASM, kind="web"))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await registry.deploy("default", "other", WASM, kind="web")

    asyncio.run(story())
    assert registry.versions("default", "echo") == tuple(d for d in registry.list() if d.name == "echo")


def test_deploys_of_many_threads_at_once_get_numbers_in_a_row(registry: Registry) -> None:
    """Eight threads, same bytes and different ones: no number twice, none left out, the highest is current."""

    def some(thread: int) -> None:
        for number in range(10):
            registry.deploy_sync("default", "echo", WASM + bytes([thread * (number % 2)]), kind="web")

    threads = [threading.Thread(target=some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = registry.versions("default", "echo")
    assert [d.version for d in versions] == list(range(1, 81))
    assert registry.get("default", "echo") == versions[-1]


def test_a_row_that_cannot_be_read_stops_the_opening_with_its_name(
    reopen: Callable[[], Registry], tmp_path: Path
) -> None:
    """Better not to start than to run a function under other limits than it was deployed with."""
    registry = reopen()
    registry.deploy_sync("default", "echo", WASM, kind="web")
    database = Database(tmp_path / "guesthouse.db")
    database.write_sync(lambda c: c.execute("""UPDATE versions SET manifest = '{"limits": {"speed": 1}}'""") and None)
    database.close()
    with pytest.raises(StorageError, match="version 1 of default/echo"):
        reopen()


@pytest.mark.parametrize(
    "grants",
    [
        ["cache\n"],
        ["http:" + "x" * 2000],
        [f"cache:{number}" for number in range(257)],
        ["\ud800"],
        ["a\0"],
        ["\x1b[2J"],
    ],
)
def test_grants_without_bounds_are_refused(grants: list[str]) -> None:
    """In number, in length, and in what a terminal or a log would make of them."""
    with pytest.raises(BadRequest):
        Manifest(grants=frozenset(grants))


def test_a_grant_is_a_whole_interface_or_patterns_of_it() -> None:
    """The whole one wins; a name that only begins alike says nothing."""
    manifest = Manifest(grants=frozenset({"cache", "cache:a*", "topic:news", "topic:a:b", "log-x"}))
    assert manifest.granted("cache") is None
    assert manifest.granted("topic") == ("a:b", "news")
    assert manifest.granted("log") == ()
    assert Manifest().granted("log") is None


class RegistryMachine(RuleBasedStateMachine):
    """Any order of deploys, pins, deletes and restarts against a dict."""

    names = st.sampled_from(["a", "b"])
    contents = st.sampled_from([WASM, WASM + b"1", WASM + b"2"])

    @initialize(on_disk=st.booleans(), keep=st.sampled_from([None, 2, 3]))
    def open(self, on_disk: bool, keep: int | None) -> None:
        self.keep = keep
        self.folder = tempfile.TemporaryDirectory() if on_disk else None
        self.latest: dict[str, int] = {}
        self.versions: dict[str, dict[int, bytes]] = {}
        self.pins: dict[str, int] = {}
        self.database: Database | None = None
        self._open()

    def _open(self) -> None:
        directory = None if self.folder is None else Path(self.folder.name)
        self.database = Database(None if directory is None else directory / "guesthouse.db")
        self.registry = Registry(self.database, directory, keep=self.keep)

    @precondition(lambda self: self.folder is not None)
    @rule()
    def restart(self) -> None:
        assert self.database is not None
        self.database.close()
        self._open()

    @rule(name=names, content=contents)
    def deploy(self, name: str, content: bytes) -> None:
        deployed = self.registry.deploy_sync("default", name, content, kind="web")
        self.latest[name] = self.latest.get(name, 0) + 1
        assert deployed.version == self.latest[name]
        versions = self.versions.setdefault(name, {})
        versions[deployed.version] = content
        kept = {*sorted(versions, reverse=True)[: self.keep], self.pins.get(name)}
        self.versions[name] = {version: content for version, content in versions.items() if version in kept}

    @rule(name=names)
    def delete(self, name: str) -> None:
        assert self.registry.delete_sync("default", name) is (name in self.versions)
        self.versions.pop(name, None)
        self.pins.pop(name, None)

    @rule(name=names, version=st.none() | st.integers(1, 6))
    def pin(self, name: str, version: int | None) -> None:
        versions = self.versions.get(name, {})
        if not versions or (version is not None and version not in versions):
            with pytest.raises(NotFound):
                self.registry.pin_sync("default", name, version)
            return
        self.registry.pin_sync("default", name, version)
        self.pins.pop(name, None)
        if version is not None:
            self.pins[name] = version

    @invariant()
    def is_what_the_dict_says(self) -> None:
        if not hasattr(self, "registry"):
            return
        for name, versions in self.versions.items():
            current = self.registry.get("default", name)
            assert current is not None
            assert current.version == self.pins.get(name, self.latest[name])
            found = self.registry.versions("default", name)
            assert {d.version: self.registry.wasm(d.digest) for d in found} == versions
        assert {d.name for d in self.registry.list()} == set(self.versions)
        named = {content for versions in self.versions.values() for content in versions.values()}
        assert all(is_kept(self.registry, hashlib.sha256(content).hexdigest()) for content in named)

    def teardown(self) -> None:
        if hasattr(self, "registry") and self.database is not None:
            self.database.close()
            if self.folder is not None:
                self.folder.cleanup()


RegistryMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
test_any_order_of_changes_and_restarts_agrees_with_a_dict = RegistryMachine.TestCase
