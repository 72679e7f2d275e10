"""`Reader`: a cursor over hostile bytes that reads what the binary format allows, or raises `InvalidModule`.

It never reads past its end, and nothing is allocated for a count before the count was compared with a limit and with
the bytes that are left.  It knows integers, names and vectors; it must not know what they mean.
"""

from __future__ import annotations

from guesthouse.errors import InvalidModule

MAX_NAME = 10_000
"""Bytes of one name: mangled symbols reach some hundred."""


class Reader:
    """Reads `data[start:end]`; positions in errors count from the start of `data`."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = start
        self.end = len(data) if end is None else end

    def invalid(self, reason: str, at: int | None = None) -> InvalidModule:
        """The error to raise for `reason`, found at byte `at`, or here."""
        return InvalidModule(f"not valid WebAssembly: {reason} (at byte {self.position if at is None else at})")

    @property
    def left(self) -> int:
        """Bytes that are still to be read."""
        return self.end - self.position

    def byte(self) -> int:
        """The next byte."""
        position = self.position
        if position >= self.end:
            raise self.invalid("unexpected end")
        self.position = position + 1
        return self.data[position]

    def u32(self) -> int:
        """An unsigned LEB128 of at most 32 bits."""
        position = self.position
        if position < self.end and self.data[position] < 0x80:  # nearly all are this short
            self.position = position + 1
            return self.data[position]
        value, _ = self._leb128(32)
        if value >> 32:
            raise self.invalid("an integer is larger than it may be", position)
        return value

    def signed(self, bits: int) -> int:
        """A signed LEB128 of at most `bits` bits."""
        start = self.position
        value, length = self._leb128(bits)
        if value >> (length - 1):
            value -= 1 << length
        if not -1 << (bits - 1) <= value < 1 << (bits - 1):
            raise self.invalid("an integer is larger than it may be", start)
        return value

    def _leb128(self, bits: int) -> tuple[int, int]:
        """The value and how many bits encode it; padding is allowed up to the bytes that the largest value needs."""
        start, value, length = self.position, 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << length
            length += 7
            if byte < 0x80:
                return value, length
            if length >= bits:
                raise self.invalid("an integer is longer than it may be", start)

    def count(self, what: str, limit: int) -> int:
        """The length of a vector of `what`: at most `limit`, and at most one for each byte that is left."""
        start = self.position
        count = self.u32()
        if count > limit:
            raise self.invalid(f"{count:,} {what} are more than the {limit:,} that are accepted", start)
        if count > self.left:
            raise self.invalid(f"{count:,} {what} do not fit into the bytes that are left", start)
        return count

    def name(self) -> str:
        """A string: strict UTF-8."""
        start = self.position
        size = self.count("bytes of a name", MAX_NAME)
        raw = self.data[self.position : self.position + size]
        self.position += size
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.invalid("a name is not UTF-8", start) from None

    def skip(self, size: int) -> None:
        """Passes over `size` bytes."""
        if size > self.left:
            raise self.invalid(f"{size:,} bytes do not fit into the {self.left:,} that are left")
        self.position += size

    def part(self) -> Reader:
        """A reader of the next bytes, which their size precedes; this one goes on behind them."""
        size = self.u32()
        start = self.position
        self.skip(size)
        return Reader(self.data, start, self.position)

    def finish(self, what: str) -> None:
        """Raises unless everything has been read."""
        if self.position != self.end:
            raise self.invalid(f"{self.left:,} bytes too many in the {what}")
