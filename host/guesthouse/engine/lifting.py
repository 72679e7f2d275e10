"""Makes the functions that lift: a program of what lies where, from the WIT types, which `_native/lift.c` carries out.

Everything that comes from the guest is checked there, each string and list in this order: alignment, bounds, lift budget,
and only then is anything allocated.  Where the rules leave something open this does what wasmtime does: any bool but 0 is
true, bits of flags that have no name are ignored, small integers in flat values are cut to their width.  Text outside
ASCII costs the budget its length twice: here it can take four bytes for one character.

A program is a tree of nodes, tuples of (op, size, alignment, extra, object, children, their offsets in memory, their
offsets as flat values); `node` in lift.c says what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import calcsize
from typing import Any

from guesthouse._native.api import calls
from guesthouse.engine.codegen import interned, record_class
from guesthouse.engine.layout import (
    FlatLayout,
    Layout,
    cases_of,
    discriminant_code,
    element_charge,
    fields_of,
    flags_code,
    flatten,
)
from guesthouse.engine.lift_traps import TRAPS
from guesthouse.engine.types import (
    BorrowType,
    EnumType,
    FlagsType,
    ListType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResultType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Err, Ok, Some

Node = tuple[int, int, int, int, Any, tuple[Any, ...], tuple[int, ...], tuple[int, ...]]

Op = IntEnum(
    "Op",
    "bool s8 u8 s16 u16 s32 u32 s64 u64 f32 f64 char string list flags own borrow row variant constant",
    start=0,
)
"""The same numbers as `op_kind` of lift.c."""


class Programmer:
    """Makes the nodes of one program."""

    def __init__(self) -> None:
        self._memory = Layout()
        self._flat = FlatLayout()

    def node(self, kind: Type) -> Node:
        """What lifts one value."""
        size, align = self._memory.size_align(kind)
        match kind:
            case Primitive():
                return (Op[kind.name], size, align, 0, None, (), (), ())
            case ListType():
                element = self.node(kind.element)
                cost = 1 if element[0] == Op.u8 else element_charge(kind.element, element[1])
                return (Op.list, size, align, cost, None, (element,), (0,), (0,))
            case FlagsType():
                return (Op.flags, size, align, calcsize(flags_code(len(kind.names))), kind.names, (), (), ())
            case OwnType() | BorrowType():
                op = Op.own if isinstance(kind, OwnType) else Op.borrow
                return (op, size, align, 0, interned(kind.resource), (), (), ())
        fields = fields_of(kind)
        if fields is not None:
            return self.row(fields, record_class(kind) if isinstance(kind, RecordType) else None)
        payloads = cases_of(kind) or ()
        width = calcsize(discriminant_code(len(payloads)))
        cases = tuple(self._case(kind, index, payload) for index, payload in enumerate(payloads))
        behind, flat = self._memory.payload_offset(payloads), self._flat.payload_offset(payloads)
        return (Op.variant, size, align, width, None, cases, (behind,) * len(cases), (flat,) * len(cases))

    def row(self, kinds: Sequence[Type], made: type[tuple[Any, ...]] | None) -> Node:
        """What lifts values that follow each other as fields do: into a tuple, or the class of a record."""
        offsets, size, align = self._memory.place(kinds)
        flat, _, _ = self._flat.place(kinds)
        return (Op.row, size, align, 0, made, tuple(map(self.node, kinds)), tuple(offsets), tuple(flat))

    def _case(self, kind: Type, index: int, payload: Type | None) -> Node:
        if payload is None:
            return _constant(_plain(kind, index))
        match kind:
            case VariantType():
                size, align = self._memory.size_align(payload)
                children = (_constant(kind.cases[index][0]), self.node(payload))
                return (Op.row, size, align, 0, None, children, (0, 0), (0, 0))
            case OptionType():
                return self.row((payload,), Some) if isinstance(payload, OptionType) else self.node(payload)
        return self.row((payload,), (Ok, Err)[index])


def _constant(value: Any) -> Node:
    return (Op.constant, 0, 1, 0, value, (), (), ())


def _plain(kind: Type, index: int) -> Any:
    """The value of a case without a payload."""
    match kind:
        case VariantType():
            return (kind.cases[index][0], None)
        case EnumType():
            return kind.cases[index]
        case ResultType():
            return (Ok(), Err())[index]
    return None


def make_lift(kinds: Sequence[Type], limit: int, *, single: bool) -> Callable[..., Any]:
    """The function `lift(cx, flat)` of values that travel flat up to `limit` core values, else behind one pointer.

    More core values than these may follow in `flat`: an import's return pointer.  The function returns a tuple, or the
    one value itself if `single`.
    """
    programmer, letters = Programmer(), "".join(map(flatten, kinds))
    root = programmer.node(kinds[0]) if single else programmer.row(kinds, None)
    indirect = len(letters) > limit
    return calls.compile(root, "i" if indirect else letters, indirect, TRAPS)
