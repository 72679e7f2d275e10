"""The data directory: one owner at a time, and nobody else's business."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse.storage.directory import DataDirectory
from guesthouse.storage.errors import DirectoryInUse, StorageError

HOLDS_THE_DIRECTORY = """
import sys
from pathlib import Path
from guesthouse.storage.directory import DataDirectory
directory = DataDirectory(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_process_owns_the_data_directory_until_it_ends(tmp_path: Path) -> None:
    """The second is told who has it; commands that only share it go on; after kill -9 it is free."""
    command = [sys.executable, "-c", HOLDS_THE_DIRECTORY, str(tmp_path / "data")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(DirectoryInUse, match=str(child.pid)):
        DataDirectory(tmp_path / "data")
    DataDirectory(tmp_path / "data", owner=False).close()
    child.kill()
    child.communicate()
    directory = DataDirectory(tmp_path / "data")
    with pytest.raises(DirectoryInUse, match=str(os.getpid())):
        DataDirectory(tmp_path / "data")
    directory.close()
    DataDirectory(tmp_path / "data").close()


def test_a_data_directory_is_private_and_one_that_everybody_can_write_to_is_refused(tmp_path: Path) -> None:
    """A new one has mode 0700; in a shared one others could plant a database."""
    directory = DataDirectory(tmp_path / "new" / "data")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    directory.close()
    directory.path.chmod(0o777)
    with pytest.raises(StorageError, match="writable by every user"):
        DataDirectory(directory.path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used"):
        DataDirectory(tmp_path / "file")
