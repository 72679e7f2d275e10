"""WIT text to words with their places, and the one error that says where a text is wrong.

Promises: any text is either read to its end or refused with a `BadRequest` that starts with file:line:column.
Knows nothing of what the words mean.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from guesthouse.errors import BadRequest

MAX_TEXT = 1 << 20
"""Longest WIT text, in characters: many times all of WASI."""

_KEYWORDS = """
    as bool borrow char constructor enum export f32 f64 flags from func future import include interface list option
    own package record resource result s16 s32 s64 s8 static stream string tuple type u16 u32 u64 u8 use variant with
    world _
"""
KEYWORDS = frozenset(_KEYWORDS.split())  # `async`, `map` and `error-context` came later: 0.2 texts use them as names

_WORD = re.compile(
    r"(?:[ \t\r\n]+|//[^\n]*)*"  # a doc comment is a comment
    r"("
    r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
    r"|[0-9]+"
    r"|%?[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*"
    r"|->|/\*|[=,:.;(){}<>@/_]"
    r"|\Z|[\s\S])"
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_NAME = re.compile(r"%?(?:[a-z][a-z0-9]*|[A-Z][A-Z0-9]*)(?:-(?:[a-z0-9]+|[A-Z0-9]+))*")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]")
_PUNCTUATION = frozenset(["->", *"=,:.;(){}<>@/_"])


class Source:
    """One WIT text and the name that errors give it."""

    __slots__ = ("name", "text")

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name

    def error(self, at: int, message: str) -> BadRequest:
        """The error for what is wrong at offset `at`."""
        before = self.text[:at]
        line = before.count("\n") + 1
        return BadRequest(f"{self.name}:{line}:{at - before.rfind(chr(10))}: {message}")


class Name(NamedTuple):
    """A WIT name without its `%`, and where it stands."""

    text: str
    at: int


class Words:
    """The words of a source, read from first to last; `word` is the next one ("" at the end) and `at` its offset."""

    __slots__ = ("_next", "_words", "at", "source", "word")

    def __init__(self, source: Source) -> None:
        self.source = source
        self._words = _split(source)
        self._next = 0
        self.word, self.at = self._words[0]

    def advance(self) -> str:
        """Goes one word on and answers the one it passed."""
        passed = self.word
        if passed:
            self._next += 1
            self.word, self.at = self._words[self._next]
        return passed

    def follows(self, distance: int) -> str:
        """The word `distance` after the next one, "" past the end."""
        index = self._next + distance
        return self._words[index][0] if index < len(self._words) else ""

    def take(self, word: str) -> bool:
        """Passes `word` if it is the next one."""
        if self.word != word:
            return False
        self.advance()
        return True

    def expect(self, word: str) -> None:
        """Passes `word`, which must be the next one."""
        if self.word != word:
            self.fail(f"`{word}`")
        self.advance()

    def name(self, what: str) -> Name:
        """Passes a name, escaped or not, of the thing that `what` describes."""
        word, at = self.word, self.at
        if word in KEYWORDS:
            raise self.error(f"expected the name of {what}, found the keyword `{word}` (a name is written `%{word}`)")
        if not (word[:1].isalpha() or word[:1] == "%"):
            self.fail(f"the name of {what}")
        if not _NAME.fullmatch(word):
            raise self.error(f"`{word}` is not a name: its parts, joined by `-`, are all lower or all upper case each")
        self.advance()
        return Name(word.removeprefix("%"), at)

    def version(self) -> str:
        """Passes a version such as `1.0.0`."""
        if not _VERSION.match(self.word):
            self.fail("a version such as `1.0.0`")
        return self.advance()

    def error(self, message: str) -> BadRequest:
        """The error for what is wrong at the next word."""
        return self.source.error(self.at, message)

    def fail(self, expected: str) -> NoReturn:
        """Refuses the next word, because `expected` should stand there."""
        found = f"`{self.word}`" if self.word else "the end of the text"
        raise self.error(f"expected {expected}, found {found}")


def _split(source: Source) -> list[tuple[str, int]]:
    text = source.text
    if len(text) > MAX_TEXT:
        raise source.error(0, f"the text is longer than {MAX_TEXT} characters")
    words: list[tuple[str, int]] = []
    position = 0
    while True:
        match = _WORD.match(text, position)
        if match is None:  # cannot happen: the last alternative takes anything
            raise source.error(position, "unreadable text")
        word, at, position = match[1], match.start(1), match.end()
        if word == "/*":
            position = _end_of_comment(source, at)
            continue
        if word and not word[0].isalnum() and word[0] != "%" and word not in _PUNCTUATION:
            raise source.error(at, f"unexpected character {word!r}")
        if not word[:1].isascii():
            raise source.error(at, f"unexpected character {word!r}")
        words.append((word, at))
        if not word:
            return words


def _end_of_comment(source: Source, start: int) -> int:
    depth, position = 0, start
    while True:
        edge = _COMMENT_EDGE.search(source.text, position)
        if edge is None:
            raise source.error(start, "this comment has no end")
        position = edge.end()
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return position
