"""docs/behaviours.md names tests that exist, and each of its lines has one or says where the docs tell the difference."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from support import ROOT

PAGE = ROOT / "docs" / "behaviours.md"
LINES = {
    "Spawn functions": 28,
    "Work after the answer": 18,
    "Queued calls": 16,
    "Workflows": 20,
    "Awakeables": 19,
    "Durable runtimes": 12,
    "Crash windows": 8,
}
"""How many lines each of its tables has, by how its heading begins."""
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#([^)]+))?\)")


def tables() -> dict[str, list[str]]:
    """The lines of each table by its heading, without the two above them."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]
    return {text.splitlines()[0]: re.findall(r"^\| \d+ \|.*$", text, re.M) for text in sections}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Names of the tests in a file."""
    return (
        frozenset(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)) if path.is_file() else frozenset()
    )


@cache
def anchors(path: Path) -> frozenset[str]:
    """What can stand behind the # of a link to a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return frozenset(re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings)


@pytest.mark.parametrize("heading", LINES)
def test_every_line_is_there_and_numbered(heading: str) -> None:
    """From 1 on, with none left out."""
    (lines,) = [lines for found, lines in tables().items() if found.startswith(heading)]
    assert [int(line.split("|")[1]) for line in lines] == list(range(1, LINES[heading] + 1))


@pytest.mark.parametrize("line", [line for lines in tables().values() for line in lines], ids=lambda line: line[2:40])
def test_every_line_has_a_test_or_a_page_that_says_how_it_differs(line: str) -> None:
    """The tests exist under these names, and so do the pages and their headings."""
    shown, links = TEST.findall(line), LINK.findall(line)
    assert shown or links
    for path, name in shown:
        assert name in names_in(ROOT / path), f"there is no {path}::{name}"
    for page, anchor in links:
        target = PAGE.parent / page
        assert target.is_file(), f"there is no {page}"
        assert not anchor or anchor in anchors(target), f"{page} has no heading for #{anchor}"
