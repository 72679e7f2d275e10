"""F6: a SQLite that can lose data is refused."""

from __future__ import annotations

import apsw
import pytest

from guesthouse.storage.database import Database
from guesthouse.storage.errors import StorageError


def test_a_sqlite_that_loses_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """3.51.2 can corrupt a file when its write-ahead log is reset, 3.51.3 cannot."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StorageError, match=r"3\.51\.2"):
        Database(None)
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.3")
    Database(None).close()
