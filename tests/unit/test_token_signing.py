"""Signing keys: one private file that is whole at any time, rotated by whoever owns the directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse.errors import BadRequest
from guesthouse.registry import signing
from guesthouse.registry.signing import FILE, MOST_KEYS, NOTICE_NS, SigningKey, SigningKeys
from guesthouse.storage.errors import StorageError
from guesthouse.storage.files import FILE_STEPS
from set_clock import SetClock

KEEP_MS = 10_000


def keys_of(directory: Path | None, clock: SetClock, **options: object) -> SigningKeys:
    return SigningKeys(directory, clock, keep_ms=KEEP_MS, **options)  # type: ignore[arg-type]


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    """Mode 0600, and whoever opens the directory later has the same."""
    first = keys_of(tmp_path, SetClock()).current()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert keys_of(tmp_path, SetClock()).current() == first
    assert (len(first.id), len(first.secret), first.until_ms) == (8, 32, None)


def test_without_a_directory_the_keys_are_the_objects_own() -> None:
    """They rotate all the same, and no two objects have the same."""
    keys = SigningKeys(None, keep_ms=KEEP_MS)
    before = keys.current()
    assert keys.rotate() == keys.current() != before
    assert SigningKeys(None, keep_ms=KEEP_MS).find(before.id) is None


@pytest.mark.parametrize("stored", [False, True])
def test_a_rotated_key_verifies_for_a_while_and_then_no_more(tmp_path: Path, stored: bool) -> None:
    """As long as anything that it signed can be worth something; it never signs again."""
    clock = SetClock()
    keys = keys_of(tmp_path if stored else None, clock)
    old = keys.current()
    new = keys.rotate()
    assert keys.current() == new
    found = keys.find(old.id)
    assert found == old._replace(until_ms=clock.wall_ms + KEEP_MS)
    clock.wall_ms += KEEP_MS - 1
    assert keys.find(old.id) is not None
    clock.wall_ms += 1
    assert keys.find(old.id) is None
    assert keys.find(new.id) == new
    keys.rotate()
    if stored:
        assert old.id.hex() not in (tmp_path / FILE).read_text()


def test_revoking_forgets_all_keys_at_once(tmp_path: Path) -> None:
    """Also those that were rotated before."""
    keys = keys_of(tmp_path, SetClock())
    old = [keys.current(), keys.rotate()]
    new = keys.rotate(revoke=True)
    assert [keys.find(key.id) for key in (*old, new)] == [None, None, new]
    assert len(json.loads((tmp_path / FILE).read_text())["keys"]) == 1


def test_what_another_process_does_is_noticed_within_a_second(tmp_path: Path) -> None:
    """Rotating, revoking; and the file is not even looked at more often."""
    clock = SetClock()
    keys, other = keys_of(tmp_path, clock), keys_of(tmp_path, SetClock())
    old = keys.current()
    new = other.rotate()
    clock.monotonic += NOTICE_NS
    assert keys.current() == new
    revision = keys.revision
    newest = other.rotate(revoke=True)
    assert keys.find(old.id) is not None
    assert keys.find(newest.id) is None
    clock.monotonic += NOTICE_NS
    assert (keys.find(old.id), keys.find(newest.id)) == (None, newest)
    assert keys.revision > revision


def test_two_who_rotate_lose_none_of_each_others_keys(tmp_path: Path) -> None:
    """Each reads what the other wrote before it writes."""
    one, two = keys_of(tmp_path, SetClock()), SigningKeys(tmp_path, keep_ms=1 << 50)
    made = [one.current(), one.rotate(), two.rotate(), one.rotate()]
    found = keys_of(tmp_path, SetClock())
    assert all(found.find(key.id) for key in made)


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    """At the bound a rotation is refused; revoking is not."""
    keys = keys_of(tmp_path, SetClock())
    for _ in range(MOST_KEYS - 1):
        keys.rotate()
    with pytest.raises(BadRequest, match="revoke"):
        keys.rotate()
    keys.rotate(revoke=True)


def spoil(path: Path, how: str) -> None:
    document = json.loads(path.read_text())
    (key,) = document["keys"]
    spoilt = {
        "empty": "",
        "no-json": "{",
        "no-object": "[]",
        "no-keys": '{"keys":[]}',
        "short": json.dumps({"keys": [{**key, "secret": "00"}]}),
        "no-hex": json.dumps({"keys": [{**key, "secret": "x" * 64}]}),
        "number": json.dumps({"keys": [{**key, "id": 1}]}),
        "two": json.dumps({"keys": [key, key]}),
        "retired": json.dumps({"keys": [{**key, "until_ms": 1}]}),
        "large": " " * (1 << 17),
    }
    if how == "readable":
        path.chmod(0o644)
    elif how == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    else:
        path.write_text(spoilt[how])


@pytest.mark.parametrize(
    "how",
    [
        *("empty", "no-json", "no-object", "no-keys", "short", "no-hex", "number", "two", "retired", "large"),
        *("readable", "link"),
    ],
)
def test_a_file_that_cannot_be_believed_is_replaced_by_its_owner_alone(tmp_path: Path, how: str) -> None:
    """With an alarm: what it held is worthless from then on; anybody else is told instead."""
    old = keys_of(tmp_path, SetClock()).current()
    spoil(tmp_path / FILE, how)
    with pytest.raises(StorageError, match=FILE):
        keys_of(tmp_path, SetClock(), owner=False)
    alarms: list[tuple[str, str]] = []
    keys = SigningKeys(tmp_path, keep_ms=KEEP_MS, rejected=lambda *alarm: alarms.append(alarm))
    assert {name for name, _ in alarms} == {FILE}
    assert keys.find(old.id) is None
    assert keys_of(tmp_path, SetClock(), owner=False).current() == keys.current()


def test_a_file_that_was_removed_takes_its_keys_along(tmp_path: Path) -> None:
    """Also in a process that has read it before."""
    clock = SetClock()
    keys = keys_of(tmp_path, clock)
    old = keys.current()
    (tmp_path / FILE).unlink()
    clock.monotonic += NOTICE_NS
    assert keys.current().secret != old.secret
    assert keys.find(old.id) is None


DYING = """
import os, signal, sys
from pathlib import Path
from guesthouse.registry.signing import SigningKeys
def die(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
keys = SigningKeys(Path(sys.argv[1]), keep_ms=10 ** 9, steps=die)
keys.rotate()
"""


@pytest.mark.parametrize("step", FILE_STEPS)
def test_a_process_killed_while_it_rotates_leaves_a_working_file(tmp_path: Path, step: str) -> None:
    """At each step of writing: the old key still verifies, one signs, and no half file stays."""
    old: SigningKey = SigningKeys(tmp_path, keep_ms=KEEP_MS).current()
    killed = subprocess.run([sys.executable, "-c", DYING, str(tmp_path), step], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    keys = SigningKeys(tmp_path, keep_ms=KEEP_MS)
    assert (keys.current().secret != old.secret) is (step in FILE_STEPS[FILE_STEPS.index("renamed") :])
    found = keys.find(old.id)
    assert found is not None
    assert found.secret == old.secret
    assert keys.find(keys.rotate().id) is not None
    assert os.listdir(tmp_path) == [FILE]


def test_a_rotation_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say, for want of file descriptors: otherwise keys that were revoked would be believed for ever."""
    clock = SetClock()
    theirs = SetClock()
    theirs.count = 100  # other randomness
    keys, other = keys_of(tmp_path, clock), keys_of(tmp_path, theirs)
    old = keys.current()
    new = other.rotate(revoke=True)

    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    clock.monotonic += NOTICE_NS
    with monkeypatch.context() as patched:
        patched.setattr(signing, "read_private", fail)
        with pytest.raises(OSError, match="Too many"):
            keys.refresh()
    clock.monotonic += NOTICE_NS
    assert (keys.find(old.id), keys.current()) == (None, new)
