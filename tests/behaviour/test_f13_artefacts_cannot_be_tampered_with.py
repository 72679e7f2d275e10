"""F13: a compiled module is given back only if this host wrote exactly these bytes for this module and this engine."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from guesthouse.errors import NotFound
from guesthouse.registry.artefacts import MAC_BYTES, ArtefactStore, load_host_key
from guesthouse.storage.errors import StorageError

DIGEST = "ab" * 32
OTHER = "cd" * 32
ENGINE = b"wasmtime 50.0.1, fuel, epochs"
NATIVE = bytes(range(256)) * 256  # 64 KiB
KEY = b"k" * 32


class Alarm:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def __call__(self, name: str, reason: str) -> None:
        self.told.append((name, reason))


@pytest.fixture
def alarm() -> Alarm:
    return Alarm()


@pytest.fixture
def store(tmp_path: Path, alarm: Alarm) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts", KEY, rejected=alarm)


@pytest.fixture
def file(tmp_path: Path, store: ArtefactStore) -> Path:
    """The file of a saved artefact."""
    assert store.save(DIGEST, ENGINE, NATIVE)
    (path,) = (tmp_path / "artefacts").iterdir()
    return path


def _overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


@pytest.mark.parametrize("memory", [True, False])
def test_what_was_saved_is_given_back(tmp_path: Path, memory: bool) -> None:
    """For the same module and engine only; also by another process with the same directory and key."""
    store = ArtefactStore(None if memory else tmp_path / "artefacts", KEY)
    assert store.load(DIGEST, ENGINE) is None
    assert store.save(DIGEST, ENGINE, NATIVE)
    assert store.load(DIGEST, ENGINE) == NATIVE
    assert store.load(OTHER, ENGINE) is None
    assert store.load(DIGEST, ENGINE + b", more") is None
    assert store.save(DIGEST, ENGINE, b"newer")
    assert store.load(DIGEST, ENGINE) == b"newer"
    assert store.rejections == 0
    if not memory:
        assert ArtefactStore(tmp_path / "artefacts", KEY).load(DIGEST, ENGINE) == b"newer"


def test_a_flipped_bit_anywhere_is_never_given_back(store: ArtefactStore, file: Path, alarm: Alarm) -> None:
    """Every byte of the code in front, then every 4,096th byte, and the last one: refused, removed, told."""
    original = file.read_bytes()
    positions = [*range(MAC_BYTES + 8), *range(0, len(original), 4096), len(original) - 1]
    for count, position in enumerate(positions, 1):
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position % 8)
        _overwrite(file, bytes(damaged))
        assert store.load(DIGEST, ENGINE) is None
        assert not file.exists()
        assert store.rejections == len(alarm.told) == count


@pytest.mark.parametrize("length", [0, 1, MAC_BYTES - 1, MAC_BYTES, MAC_BYTES + 1, MAC_BYTES + len(NATIVE) - 1])
def test_a_cut_file_is_never_given_back(store: ArtefactStore, file: Path, length: int) -> None:
    """At any length, also without a whole code in front; nor is one with bytes added."""
    original = file.read_bytes()
    _overwrite(file, original[:length])
    assert store.load(DIGEST, ENGINE) is None
    _overwrite(file, original + bytes(length + 1))
    assert store.load(DIGEST, ENGINE) is None
    assert store.rejections == 2


def test_the_files_of_two_functions_cannot_be_swapped(tmp_path: Path, store: ArtefactStore, file: Path) -> None:
    """Each is right for its own digest only."""
    store.save(OTHER, ENGINE, NATIVE[::-1])
    (other,) = set((tmp_path / "artefacts").iterdir()) - {file}
    content = file.read_bytes()
    _overwrite(file, other.read_bytes())
    _overwrite(other, content)
    assert store.load(DIGEST, ENGINE) is None
    assert store.load(OTHER, ENGINE) is None
    assert store.rejections == 2


def test_a_file_of_another_engine_under_this_ones_name_is_refused(
    tmp_path: Path, store: ArtefactStore, file: Path
) -> None:
    """The name keeps engines apart; the code in front keeps them apart where the name lies."""
    store.save(DIGEST, b"older engine", NATIVE)
    (older,) = set((tmp_path / "artefacts").iterdir()) - {file}
    older.rename(file)
    assert store.load(DIGEST, ENGINE) is None
    assert store.rejections == 1


def test_no_two_uses_have_the_same_bytes_under_the_code(store: ArtefactStore, tmp_path: Path) -> None:
    """Moving a byte from the fingerprint to the artefact, or back, makes another code: each part has its length."""
    store.save(DIGEST, b"engine", b"!code")
    store.save(DIGEST, b"engine!", b"code")
    codes = {path.read_bytes()[:MAC_BYTES] for path in (tmp_path / "artefacts").iterdir()}
    assert len(codes) == 2


def test_an_artefact_under_another_key_is_refused(tmp_path: Path, file: Path) -> None:
    """A file from another host, or from before the key was replaced."""
    stranger = ArtefactStore(tmp_path / "artefacts", b"K" * 32)
    assert stranger.load(DIGEST, ENGINE) is None
    assert stranger.rejections == 1
    with pytest.raises(ValueError, match="needs 32"):
        ArtefactStore(tmp_path / "artefacts", b"short")


def _link(path: Path) -> None:
    kept = path.parent.parent / "kept"
    path.rename(kept)
    path.symlink_to(kept)


def _open_to_others(path: Path) -> None:
    path.chmod(0o644)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("plant", [_link, _open_to_others, _pipe, _folder])
def test_what_is_not_a_plain_private_file_is_never_read(
    store: ArtefactStore, file: Path, alarm: Alarm, plant: Callable[[Path], None]
) -> None:
    """A link (even to the right bytes), a file that others can open, a pipe, a folder; the link's target stays."""
    plant(file)
    assert store.load(DIGEST, ENGINE) is None
    assert len(alarm.told) == 1
    assert file.is_dir() or not file.exists()
    if plant is _link:
        assert (file.parent.parent / "kept").exists()
    assert store.save(DIGEST, ENGINE, NATIVE) is (plant is not _folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")
def test_another_users_file_directory_or_key_is_not_believed(tmp_path: Path, store: ArtefactStore, file: Path) -> None:
    """Whoever could write it could have planted it."""
    os.chown(file, 12345, 12345)
    assert store.load(DIGEST, ENGINE) is None
    assert store.rejections == 1
    load_host_key(tmp_path)
    os.chown(tmp_path / "host.key", 12345, 12345)
    planted = (tmp_path / "host.key").read_bytes()
    assert load_host_key(tmp_path) != planted
    os.chown(tmp_path / "artefacts", 12345, 12345)
    with pytest.raises(StorageError, match="another user"):
        ArtefactStore(tmp_path / "artefacts", KEY)


def test_the_directory_is_private_and_no_link(tmp_path: Path, store: ArtefactStore, file: Path) -> None:
    """Mode 0700 with files of 0600; one that was opened is closed again; a link is refused."""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.parent.chmod(0o777)
    ArtefactStore(file.parent, KEY)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(file.parent)
    with pytest.raises(StorageError, match="not a directory"):
        ArtefactStore(tmp_path / "link", KEY)


@pytest.mark.parametrize("digest", ["", "..", "../host.key", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "a\0"])
def test_only_a_digest_names_a_file(store: ArtefactStore, digest: str) -> None:
    """Nothing else reaches the file system, for reading or writing."""
    with pytest.raises(NotFound):
        store.load(digest, ENGINE)
    with pytest.raises(NotFound):
        store.save(digest, ENGINE, NATIVE)


def test_sweeping_leaves_what_may_still_run_here(tmp_path: Path, store: ArtefactStore, file: Path) -> None:
    """Another engine's, another module's and unfinished files go; strangers' files stay."""
    store.save(OTHER, ENGINE, NATIVE)
    store.save(DIGEST, b"older engine", NATIVE)
    (file.parent / f".{DIGEST}.0123456789abcdef.tmp").write_bytes(b"half")
    (file.parent / "notes.txt").write_text("mine")
    assert store.sweep({DIGEST}, ENGINE) == 3
    assert {path.name for path in file.parent.iterdir()} == {file.name, "notes.txt"}
    assert store.load(DIGEST, ENGINE) == NATIVE


def test_the_key_of_a_host_is_made_once_and_replaced_when_it_may_be_known(tmp_path: Path, alarm: Alarm) -> None:
    """Kept across restarts with mode 0600; a short one, a link, one that others could read: a new one, and an alarm."""
    path = tmp_path / "host.key"
    key = load_host_key(tmp_path, rejected=alarm)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_host_key(tmp_path, rejected=alarm) == key
    assert alarm.told == []

    def shorten() -> None:
        path.write_bytes(key[:31])

    def link() -> None:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")

    def share() -> None:
        path.chmod(0o640)

    seen = {key}
    for spoil in (shorten, link, share):
        spoil()
        replaced = load_host_key(tmp_path, rejected=alarm)
        assert len(replaced) == 32
        assert replaced not in seen
        assert load_host_key(tmp_path) == replaced
        seen.add(replaced)
    assert len(alarm.told) == 3
