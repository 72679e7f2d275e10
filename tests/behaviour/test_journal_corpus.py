"""Journals of every version that was released, and of this one, are replayed to the end that they had.

`tools/make_corpus.py` writes those of a version; they are never written again.
"""

from __future__ import annotations

import asyncio
import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from guesthouse import AsyncHost, __version__
from guesthouse.dispatch.exports import read_export
from guesthouse.durable import records
from guesthouse.durable.records import all_records
from support import ROOT

CORPUS = ROOT / "tests" / "corpus"
MOST = 1 << 20
"""Bytes of one version's part."""
SOME_CRASH = {records.Decided, records.Raised}
"""Kinds of records that need a crash, or a guest that ends in the middle of a host call; other tests have them."""


def versions() -> list[str]:
    return sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())


@cache
def manifest(version: str) -> dict[str, Any]:
    """What is there of a version."""
    found: dict[str, Any] = json.loads((CORPUS / version / "manifest.json").read_text())
    assert found["version"] == version
    return found


@cache
def module(version: str, digest: str) -> bytes:
    """What ran."""
    return lzma.decompress((CORPUS / version / f"{digest}.wasm.xz").read_bytes())


JOURNALS = [(version, journal) for version in versions() for journal in manifest(version)["journals"]]


@pytest.fixture(scope="module")
def replaying():
    """A host that keeps nothing, on a loop of its own."""
    with asyncio.Runner() as runner:
        host = runner.run(AsyncHost().__aenter__())
        yield lambda data, wasm: runner.run(host.replay(data, wasm=wasm))
        runner.run(host.close())


@pytest.mark.parametrize(("version", "journal"), JOURNALS, ids=[f"{v}-{j['name']}" for v, j in JOURNALS])
def test_a_journal_is_replayed_call_by_call_to_the_end_that_it_had(
    replaying, version: str, journal: dict[str, Any]
) -> None:
    """The same module asks for the same things, and ends, traps or waits as it did."""
    data = (CORPUS / version / journal["file"]).read_bytes()
    replayed = replaying(data, module(version, journal["module"]))
    assert replayed.verdict == "identical", replayed.text
    assert (replayed.entries, replayed.reached) == (journal["entries"], journal["entries"])
    assert (replayed.recorded.result == "") == (journal["state"] == "suspended")


def test_this_version_has_its_part_and_every_part_is_small() -> None:
    """Who raises the version runs the tool."""
    assert __version__ in versions()
    for version in versions():
        assert sum(file.stat().st_size for file in (CORPUS / version).iterdir()) < MOST


@pytest.mark.parametrize("version", versions())
def test_a_part_says_what_each_journal_is_of(version: str) -> None:
    """Every file is in the manifest; states of all kinds are there, and sources and toolchain are named."""
    journals = manifest(version)["journals"]
    files = {file.name for file in (CORPUS / version).iterdir()}
    listed = {journal["file"] for journal in journals} | {f"{journal['module']}.wasm.xz" for journal in journals}
    assert files == listed | {"manifest.json"}
    assert {journal["state"] for journal in journals} == {"succeeded", "suspended", "dead", "failed"}
    assert all(len(journal["source_digest"]) == 64 for journal in journals)
    assert manifest(version)["toolchain"].startswith("rustc ")


def test_the_part_of_this_version_has_every_kind_of_record() -> None:
    """So that none of them can change its meaning unnoticed."""
    folder = Path(CORPUS / __version__)
    found = set()
    for journal in manifest(__version__)["journals"]:
        export = read_export((folder / journal["file"]).read_bytes())
        found |= {type(record) for record in all_records(export.segments)}
    assert set(get_args(records.AnyRecord)) - SOME_CRASH <= found
