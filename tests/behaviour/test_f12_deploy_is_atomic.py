"""F12: a process killed at any step of a deploy leaves the old function or the new one, never something between."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse.registry.registry import STEPS, Registry
from guesthouse.storage.database import Database

OLD = b"\0asm\1\0\0\0old" + bytes(50_000)
NEW = b"\0asm\1\0\0\0new" + bytes(90_000)

DEPLOYS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
directory, victim = Path(sys.argv[1]), int(sys.argv[2])
passed = []
def steps(step):
    passed.append(step)
    print(step, flush=True)
    if len(passed) == victim:
        os.kill(os.getpid(), signal.SIGKILL)
registry = Registry(Database(directory / "guesthouse.db"), directory, steps=steps)
registry.deploy_sync("default", "echo", b"\\0asm\\1\\0\\0\\0new" + bytes(90_000), kind="web")
"""

DEPLOYS_FOR_EVER = """
import sys
from pathlib import Path
from guesthouse.registry.registry import Registry
from guesthouse.storage.database import Database
directory = Path(sys.argv[1])
registry = Registry(Database(directory / "guesthouse.db"), directory)
while True:
    number = registry.versions("default", "echo")[-1].version + 1 if registry.get("default", "echo") else 1
    deployed = registry.deploy_sync("default", "echo", b"\\0asm\\1\\0\\0\\0" + str(number).encode(), kind="web")
    print(deployed.version, deployed.digest, flush=True)
"""


def _child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("before", [None, OLD], ids=["first deploy", "second deploy"])
@pytest.mark.parametrize("step", range(1, len(STEPS) + 1), ids=STEPS)
def test_a_process_killed_at_any_step_leaves_the_old_function_or_the_new_one(
    tmp_path: Path, step: int, before: bytes | None
) -> None:
    """Kill -9 after each step: before the commit the old bytes run, after it the new ones, and deploying goes on."""
    if before is not None:
        database = Database(tmp_path / "guesthouse.db")
        Registry(database, tmp_path).deploy_sync("default", "echo", before, kind="web")
        database.close()
    child = _child(DEPLOYS_AND_DIES, tmp_path, step)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert output.splitlines() == list(STEPS[:step])

    expected = NEW if STEPS[step - 1] == "committed" else before
    database = Database(tmp_path / "guesthouse.db")
    registry = Registry(database, tmp_path)
    current = registry.get("default", "echo")
    assert (current and current.digest) == (expected and _digest(expected))
    assert current is None or registry.wasm(current.digest) == expected
    versions = registry.versions("default", "echo")
    assert [d.version for d in versions] == list(range(1, len(versions) + 1))
    assert {path.name for path in (tmp_path / "blobs").iterdir()} == registry.digests()
    assert registry.deploy_sync("default", "echo", NEW, kind="web").version == len(versions) + 1
    database.close()


def test_every_deploy_that_was_acknowledged_before_a_kill_is_there_with_its_bytes(tmp_path: Path) -> None:
    """Kill -9 at moments that no step names, again and again on the same directory."""
    acknowledged: dict[int, str] = {}
    for count in (1, 3, 8, 20):
        child = _child(DEPLOYS_FOR_EVER, tmp_path)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(count)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        child.wait()
        child.stdout.close()
        for line in lines:
            if line.endswith("\n"):
                version, digest = line.split()
                acknowledged[int(version)] = digest
    database = Database(tmp_path / "guesthouse.db")
    registry = Registry(database, tmp_path)
    found = {d.version: d.digest for d in registry.versions("default", "echo")}
    assert acknowledged.items() <= found.items()
    for number, digest in found.items():
        assert registry.wasm(digest) == b"\0asm\1\0\0\0" + str(number).encode()
    database.close()
