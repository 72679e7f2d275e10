"""Where the parts of a WIT value lie: in linear memory, and as flat core values.  Pure arithmetic on types.

Both places are described in the same way, as *slots*: scalars at byte offsets.  Flat core values count as a row of
8-byte cells, one for each value, because a joined variant payload (an f32 in an i64, say) keeps its bits in the low
bytes of its cell.  So one generator writes memory and flat values alike.

Must not know about memories, values or generated source.  The rules are those of the Component Model's canonical ABI.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from struct import calcsize
from typing import NamedTuple

from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    FuncType,
    ListType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)
from guesthouse.errors import LinkError

MAX_FLAT_PARAMS = 16
"""More flat parameters than this travel in memory, behind one pointer."""
MAX_FLAT_RESULTS = 1
"""More flat results than this travel in memory, behind one pointer."""
MAX_TYPE_DEPTH = 64
"""Deepest nesting of types in a function; people write five."""
MAX_TYPE_NODES = 1_024
"""Most types and cases in one function, as a tree (sharing makes that exponential); people write a hundred."""
LEAST_CHARGE = 16
"""Least that an element of a list of numbers costs the lift budget, in bytes: about 15 ns."""
LEAST_WALKED_CHARGE = 64
"""Least that any other element costs: about 100 ns."""
STRING_WEIGHT = 128
"""Bytes that a string or list inside an element counts for besides its contents: half for the object, half for about
200 ns.  So a byte of budget buys a guest some 5 ns of the host's time at most."""
MAX_FLAGS = 32
"""Most names in a `flags`: the component model's own bound."""

SCALARS = {
    "bool": ("B", "i"), "s8": ("b", "i"), "u8": ("B", "i"), "s16": ("h", "i"), "u16": ("H", "i"), "s32": ("i", "i"),
    "u32": ("I", "i"), "s64": ("q", "I"), "u64": ("Q", "I"), "f32": ("f", "f"), "f64": ("d", "F"), "char": ("I", "i"),
}  # fmt: skip
"""Primitive name -> (`struct` code in memory, core type letter); a string is a pair of pointer and length instead."""


class Slot(NamedTuple):
    """One scalar: its byte offset and `struct` code.  `12s` is a variant payload whose cases do not agree on codes."""

    offset: int
    code: str


Slots = tuple[Slot, ...]


class Payload(NamedTuple):
    """Where the payload of a variant lies; `opaque` says that its one slot holds the packed bytes of the case."""

    offset: int
    slots: Slots
    opaque: bool


def cases_of(kind: Type) -> tuple[Type | None, ...] | None:
    """The payload types of anything that is a variant underneath, `None` for other types."""
    match kind:
        case VariantType():
            return tuple(payload for _, payload in kind.cases)
        case EnumType():
            return (None,) * len(kind.cases)
        case OptionType():
            return (None, kind.some)
        case ResultType():
            return (kind.ok, kind.error)
    return None


def fields_of(kind: Type) -> tuple[Type, ...] | None:
    """The field types of a record or tuple, `None` for other types."""
    if isinstance(kind, RecordType):
        return tuple(field for _, field in kind.fields)
    return kind.items if isinstance(kind, TupleType) else None


def alike(kind: Type) -> list[tuple[list[int], Type]]:
    """The cases with payloads: their numbers and type; those of a variant that carry the same type are put together."""
    groups: dict[object, tuple[list[int], Type]] = {}
    for index, payload in enumerate(cases_of(kind) or ()):
        if payload is not None:
            key = payload if isinstance(kind, VariantType) else index
            groups.setdefault(key, ([], payload))[0].append(index)
    return list(groups.values())


def discriminant_code(cases: int) -> str:
    """The `struct` code of the smallest unsigned integer that can number so many cases."""
    return "B" if cases <= 1 << 8 else "H" if cases <= 1 << 16 else "I"


def flags_code(names: int) -> str:
    """The `struct` code of the smallest unsigned integer with so many bits."""
    return "B" if names <= 8 else "H" if names <= 16 else "I"


def align_to(offset: int, align: int) -> int:
    """The first multiple of `align` (a power of two) that is not below `offset`."""
    return (offset + align - 1) & -align


def join(first: str, second: str) -> str:
    """The core type letter that can carry either of two."""
    if first == second:
        return first
    return "i" if {first, second} == {"i", "f"} else "I"


def flatten(kind: Type) -> str:
    """The core types of a value, as letters: i = i32, I = i64, f = f32, F = f64."""
    cases = cases_of(kind)
    if cases is not None:
        joined = ""
        for letters in (flatten(payload) for payload in cases if payload is not None):
            both = "".join(map(join, joined, letters))
            joined = both + joined[len(both) :] + letters[len(both) :]
        return "i" + joined
    fields = fields_of(kind)
    if fields is not None:
        return "".join(map(flatten, fields))
    if isinstance(kind, Primitive) and kind.name != "string":
        return SCALARS[kind.name][1]
    return "ii" if isinstance(kind, Primitive | ListType) else "i"


class Layout:
    """How values lie in linear memory.  One object serves one compilation: it remembers types by identity."""

    flat = False

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[int, int]] = {}
        self._slots: dict[int, Slots] = {}

    def size_align(self, kind: Type) -> tuple[int, int]:
        """Size and alignment in bytes."""
        known = self._sizes.get(id(kind))
        if known is None:
            known = self._sizes[id(kind)] = self._measure(kind)
        return known

    def _measure(self, kind: Type) -> tuple[int, int]:
        cases = cases_of(kind)
        if cases is not None:
            width = calcsize(discriminant_code(len(cases)))
            inner = [self.size_align(payload) for payload in cases if payload is not None]
            largest = max((size for size, _ in inner), default=0)
            align = max([width, *(align for _, align in inner)])
            start = align_to(width, max((align for _, align in inner), default=1))
            return align_to(start + largest, align), align
        fields = fields_of(kind)
        if fields is not None:
            _, size, align = self.place(fields)
            return size, align
        if isinstance(kind, FlagsType):
            width = calcsize(flags_code(len(kind.names)))
        elif isinstance(kind, Primitive) and kind.name != "string":
            width = calcsize("<" + SCALARS[kind.name][0])
        else:
            return (8, 4) if isinstance(kind, Primitive | ListType) else (4, 4)
        return width, width

    def place(self, kinds: Iterable[Type]) -> tuple[list[int], int, int]:
        """The offsets of values that follow each other as fields do, and the size and alignment of them all."""
        offsets, end, widest = [], 0, 1
        for kind in kinds:
            size, align = self.size_align(kind)
            start = align_to(end, align)
            offsets.append(start)
            end, widest = start + size, max(widest, align)
        return offsets, align_to(end, widest), widest

    def discriminant(self, cases: int) -> str:
        """The `struct` code of a discriminant."""
        return discriminant_code(cases)

    def flag_bits(self, names: int) -> str:
        """The `struct` code of a `flags`."""
        return flags_code(names)

    def scalar(self, name: str) -> str:
        """The `struct` code of a primitive."""
        return SCALARS[name][0]

    def payload_offset(self, cases: Sequence[Type | None]) -> int:
        """Where the payload of a variant begins."""
        align = max((self.size_align(payload)[1] for payload in cases if payload is not None), default=1)
        return align_to(calcsize(discriminant_code(len(cases))), align)

    @property
    def word(self) -> int:
        """How far the length of a string or list lies behind its pointer."""
        return 4

    def slots(self, kind: Type) -> Slots:
        """The scalars of a value, by offset from its beginning."""
        known = self._slots.get(id(kind))
        if known is None:
            known = self._slots[id(kind)] = self._scalars(kind)
        return known

    def _scalars(self, kind: Type) -> Slots:
        cases = cases_of(kind)
        if cases is not None:
            return (Slot(0, self.discriminant(len(cases))), *self.payload(cases).slots)
        fields = fields_of(kind)
        if fields is not None:
            return self.row(fields)
        if isinstance(kind, FlagsType):
            return (Slot(0, self.flag_bits(len(kind.names))),)
        if isinstance(kind, Primitive) and kind.name != "string":
            return (Slot(0, self.scalar(kind.name)),)
        if isinstance(kind, OwnType | BorrowType):
            return (Slot(0, "I"),)
        return (Slot(0, "I"), Slot(self.word, "I"))

    def row(self, kinds: Sequence[Type]) -> Slots:
        """The scalars of values that follow each other as fields do."""
        placed = zip(kinds, self.place(kinds)[0], strict=True)
        return tuple(shift(slot, offset) for kind, offset in placed for slot in self.slots(kind))

    def payload(self, cases: Sequence[Type | None]) -> Payload:
        """The payload of a variant: the slots of all cases over each other, or one opaque slot where they collide."""
        offset = self.payload_offset(cases)
        present = [payload for payload in cases if payload is not None]
        over = {shift(slot, offset) for payload in present for slot in self.slots(payload)}
        merged = sorted(over)
        collide = any(a.offset + calcsize("<" + a.code) > b.offset for a, b in pairwise(merged))
        if not collide:
            return Payload(offset, tuple(merged), False)
        size = max(self.size_align(payload)[0] for payload in present)
        return Payload(offset, (Slot(offset, f"{size}s"),), True)


class FlatLayout(Layout):
    """How values lie as flat core values, 8 bytes for each: the second description of the same types."""

    flat = True

    def _measure(self, kind: Type) -> tuple[int, int]:
        return 8 * len(flatten(kind)), 8

    def discriminant(self, cases: int) -> str:
        return "I"

    def flag_bits(self, names: int) -> str:
        return "I"

    def scalar(self, name: str) -> str:
        return {"bool": "I", "s8": "i", "s16": "i"}.get(name, SCALARS[name][0])

    def payload_offset(self, cases: Sequence[Type | None]) -> int:
        return 8

    @property
    def word(self) -> int:
        return 8


def shift(slot: Slot, offset: int) -> Slot:
    """The same scalar further on."""
    return Slot(slot.offset + offset, slot.code)


def struct_format(slots: Iterable[Slot], size: int) -> str:
    """The `struct` format of exactly these slots in `size` bytes, zeros between them."""
    text, end = "<", 0
    for slot in slots:
        text += (f"{slot.offset - end}x" if slot.offset > end else "") + slot.code
        end = slot.offset + calcsize("<" + slot.code)
    return text + (f"{size - end}x" if size > end else "")


def weight(kind: Type) -> int:
    """About how many bytes of Python objects one lifted value takes, without the contents of strings and lists."""
    cases = cases_of(kind)
    if cases is not None:
        heaviest = max((weight(payload) for payload in cases if payload is not None), default=0)
        plain = not any(cases) or (isinstance(kind, OptionType) and not isinstance(kind.some, OptionType))
        return heaviest if plain else 56 + heaviest
    fields = fields_of(kind)
    if fields is not None:
        return 40 + sum(8 + weight(field) for field in fields)
    if isinstance(kind, FlagsType):
        return sys.getsizeof(frozenset(kind.names))
    if isinstance(kind, Primitive):
        return {"string": STRING_WEIGHT, "char": 80, "bool": 0, "u8": 0}.get(kind.name, 32)
    return STRING_WEIGHT if isinstance(kind, ListType) else 0


def element_charge(kind: Type, size: int) -> int:
    """What one element of a list costs the lift budget, in bytes: half of what it takes here and there, so that a list
    never allocates more than twice what it was charged, and no less than what its time is worth."""
    number = isinstance(kind, Primitive) and kind.name not in ("string", "char", "bool")
    return max(LEAST_CHARGE if number else LEAST_WALKED_CHARGE, (size + 8 + weight(kind) + 1) // 2)


def check_types(where: str, func: FuncType) -> None:
    """Raises `LinkError` for types that cannot be compiled: too deep, too many, empty, a borrow in a result."""
    nodes = 0

    def refuse(problem: str) -> LinkError:
        return LinkError(f"{where}: {problem}")

    def visit(kind: Type, depth: int, borrows: bool) -> None:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_TYPE_NODES or depth > MAX_TYPE_DEPTH:
            raise refuse(f"its types are too many (over {MAX_TYPE_NODES}) or nested too deep (over {MAX_TYPE_DEPTH})")
        if isinstance(kind, BorrowType) and not borrows:
            raise refuse("a result cannot hold a borrow")
        if isinstance(kind, FlagsType) and not 0 < len(kind.names) <= MAX_FLAGS:
            raise refuse(f"flags have 1 to {MAX_FLAGS} names, not {len(kind.names)}")
        if isinstance(kind, Primitive) and kind.name not in SCALARS and kind.name != "string":
            raise refuse(f"unknown type {kind.name!r}")
        children = (kind.element,) if isinstance(kind, ListType) else cases_of(kind)
        children = fields_of(kind) if children is None else children
        if children == ():
            raise refuse("a record, tuple, variant or enum cannot be empty")
        for child in () if isinstance(kind, EnumType) else children or ():
            if child is None:
                nodes += 1
            else:
                visit(child, depth + 1, borrows)

    for _, kind in func.params:
        visit(kind, 1, True)
    if func.result is not None:
        visit(func.result, 1, False)


def core_signatures(func: FuncType) -> tuple[tuple[str, str], tuple[str, str]]:
    """The (params, results) letters of a function as guests import it, and as they export it."""
    params = "".join(flatten(kind) for _, kind in func.params)
    results = "" if func.result is None else flatten(func.result)
    if len(params) > MAX_FLAT_PARAMS:
        params = "i"
    if len(results) > MAX_FLAT_RESULTS:
        return (params + "i", ""), (params, "i")
    return (params, results), (params, results)


def contains(kind: Type | None, test: Callable[[Type], bool]) -> bool:
    """Whether any type in the tree of `kind` passes the test."""
    if kind is None:
        return False
    if test(kind):
        return True
    children = (kind.element,) if isinstance(kind, ListType) else cases_of(kind) or fields_of(kind) or ()
    return any(contains(child, test) for child in children)
