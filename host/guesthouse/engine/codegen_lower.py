"""Generates the functions that lower: from Python values to a `Plan` of what to write into the guest.

Blocks are planned in the order in which the canonical ABI allocates: a string or list before what it contains, fields
and elements from left to right.  The generated code does not look for wrong values where `struct` and friends refuse
them anyway; whatever is refused, `mismatch` then walks the value slowly and says what is wrong where.

Shape of the generated code: the scalars of everything at a fixed offset go into variables, one `struct` pack writes
them all; strings and lists append to `blocks` (five words each) and `parts` (a block's bytes each), `at` counts bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from struct import Struct, calcsize
from struct import error as StructError
from typing import Any, NamedTuple

from guesthouse.engine.codegen import Body, Source, interned
from guesthouse.engine.layout import (
    SCALARS,
    FlatLayout,
    Layout,
    Slots,
    alike,
    cases_of,
    fields_of,
    flatten,
    struct_format,
)
from guesthouse.engine.mismatch import as_bytes, refuse, scalar_value
from guesthouse.engine.plan import BLOCK, ROOT_FLAT, ROOT_IN_MEMORY, Plan, words
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
    TupleType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Err, Ok, Some

Complain = Callable[[Exception, Sequence[Any]], Exception]

COMPARED_CASES = 3
"""Variants with up to so many cases are told apart by comparing names, larger ones by looking the name up."""

EMPTY = "b''"

LOWER_NAMES: dict[str, Any] = {
    "new": tuple.__new__, "array": array, "encode": str.encode, "join": b"".join, "sequence": (list, tuple),
    "sets": (set, frozenset), "Ok": Ok, "Err": Err, "Some": Some, "Plan": Plan, "block": BLOCK.pack,
    "blocks_2": Struct("<10I").pack, "words": words,
    "as_bytes": as_bytes, "scalar_value": scalar_value, "refuse": refuse,
    "Refused": (TypeError, ValueError, LookupError, OverflowError, AttributeError, StructError),
}  # fmt: skip
"""What generated lowering code can see, besides its own constants."""


class Place(NamedTuple):
    """Where a value's scalars go: variables by offset, packed together, and where that lies in which block."""

    names: dict[int, str]
    offset: int
    parent: str
    base: str
    shift: int

    def at(self, offset: int) -> Place:
        """The place `offset` bytes further on."""
        return self._replace(offset=self.offset + offset)

    @property
    def address(self) -> str:
        """The expression of this place's offset in its block."""
        constant = self.shift + self.offset
        return f"{self.base} + {constant}" if self.base else str(constant)


class Lowerer:
    """Writes the statements that lower values inside one function: `layout` for where they go, `memory` for lists."""

    def __init__(self, body: Body, layout: Layout, memory: Layout) -> None:
        self.body = body
        self.source = body.source
        self.layout = layout
        self.memory = memory

    def lower(self, kind: Type, value: str, place: Place) -> None:
        """Writes the statements that set the variables of `place`."""
        match kind:
            case Primitive("string"):
                return self._bytes(self.body.name_of(f"encode({value})", "b"), place)
            case ListType(Primitive("u8")):
                value = self.body.name_of(value)
                data = f"{value} if type({value}) is bytes else as_bytes({value})"
                return self._bytes(self.body.name_of(data, "b"), place)
            case Primitive() | FlagsType() | EnumType() | OwnType() | BorrowType():
                return self._set(place, self._scalar(kind, value))
        if self.body.deep:
            return self._in_helper(kind, value, place)
        match kind:
            case ListType():
                return self._list(kind.element, self.body.name_of(value), place)
            case RecordType() | TupleType():
                value = self.body.name_of(value)
                self.body.line(f"if not isinstance({value}, tuple): refuse()")
                return self.row(fields_of(kind) or (), value, place)
        return self._variant(kind, self.body.name_of(value), place)

    def row(self, kinds: Sequence[Type], values: str, place: Place) -> None:
        """Lowers a sequence of values that follow each other as fields do."""
        names = [self.source.fresh("x") for _ in kinds]
        self.body.line(f"[{', '.join(names)}] = {values}")
        for kind, name, offset in zip(kinds, names, self.layout.place(kinds)[0], strict=True):
            self.lower(kind, name, place.at(offset))

    def fresh(self, slots: Slots) -> dict[int, str]:
        """New variables for slots, by offset."""
        return {slot.offset: self.source.fresh("s") for slot in slots}

    def packed(self, slots: Slots, size: int, names: dict[int, str]) -> str:
        """The expression of the packed bytes."""
        text = struct_format(slots, size)
        return f"{self.source.constant('p', Struct(text).pack, text)}({', '.join(names.values())})"

    def _set(self, place: Place, expression: str) -> None:
        self.body.line(f"{place.names[place.offset]} = {expression}")

    def _scalar(self, kind: Type, value: str) -> str:
        match kind:
            case Primitive("bool"):
                return f"1 if {value} is True else 0 if {value} is False else refuse()"
            case Primitive("char"):
                return f"scalar_value({value})"
            case Primitive("s8" | "s16" as name) if self.layout.flat:
                bound = 1 << 8 * calcsize(SCALARS[name][0]) - 1
                return f"{value} if {-bound} <= {value} < {bound} else refuse()"
            case Primitive():
                return value
            case EnumType():
                return f"{self._index(kind.cases)}[{value}]"
            case FlagsType():
                bits = self.source.constant("B", {name: 1 << bit for bit, name in enumerate(kind.names)}.__getitem__)
                self.body.line(f"if not isinstance({value}, sets): refuse()")
                return f"sum(map({bits}, {value}))"
        assert isinstance(kind, OwnType | BorrowType)
        self.body.uses.add("resources")
        resource = self.source.constant("T", interned(kind.resource))
        return f"resources.{'lend' if isinstance(kind, BorrowType) else 'insert_own'}({resource}, {value})"

    def _index(self, names: Sequence[str]) -> str:
        return self.source.constant("I", {name: index for index, name in enumerate(names)}, tuple(names))

    def _begin(self) -> None:
        self.body.uses.add("blocks")
        if self.body.begin:
            self.body.line(self.body.begin)

    def _block(self, align: int, size: str, place: Place) -> None:
        """Plans a block whose address and length go to `place`; its bytes are the next part."""
        self.body.line(f"blocks += ({align}, {size}, at, {place.parent}, {place.address})")
        self.body.line(f"at += {size}")
        self._set(place, "0")

    def _bytes(self, data: str, place: Place) -> None:
        length = place.names[place.offset + self.layout.word]
        self._begin()
        self.body.line(f"{length} = len({data})")
        self._block(1, length, place)
        self.body.line(f"parts.append({data})")

    def _list(self, element: Type, value: str, place: Place) -> None:
        size, align = self.memory.size_align(element)
        length = place.names[place.offset + self.layout.word]
        self.body.line(f"if not isinstance({value}, sequence): refuse()")
        self._begin()
        self.body.line(f"{length} = len({value})")
        numbers = self._numbers(element, value, length)
        index = "" if numbers else self.body.name_of("len(parts)", "k")
        total = self.body.name_of(f"{length} * {size}", "n")
        self._block(align, total, place)
        self.body.line(f"parts.append({numbers or EMPTY})")
        if not numbers:
            self._elements(element, value, size, index)

    def _numbers(self, element: Type, value: str, length: str) -> str:
        """The expression of all elements at once where they are numbers, else nothing."""
        if not isinstance(element, Primitive) or element.name == "string":
            return ""
        code = SCALARS[element.name][0]
        if element.name == "f32":
            return f"{self.source.constant('S', Struct, Struct)}(f'<{{{length}}}f').pack(*{value})"
        converted = {
            "bool": f"[{self._scalar(element, 'x')} for x in {value}]",
            "char": f"map(scalar_value, {value})",
        }
        return f"array({code!r}, {converted.get(element.name, value)}).tobytes()"

    def _elements(self, element: Type, value: str, size: int, index: str) -> None:
        rows, item = self.body.name_of("[]", "r"), self.source.fresh("x")
        slots = self.memory.slots(element)
        names = self.fresh(slots)
        base = self.body.name_of("0", "o")
        inside = Lowerer(self.body, self.memory, self.memory)
        begin, self.body.begin = self.body.begin, ""
        with self.body.block(f"for {item} in {value}:"):
            inside.lower(element, item, Place(names, 0, index, base, 0))
            self.body.line(f"{rows}.append({self.packed(slots, size, names)})")
            self.body.line(f"{base} += {size}")
        self.body.begin = begin
        self.body.line(f"parts[{index}] = join({rows})")

    def _in_helper(self, kind: Type, value: str, place: Place) -> None:
        """Goes on in a function of its own, which returns the values of the variables."""
        slots = self.layout.slots(kind)
        names = self.fresh(slots)
        helper = Body(self.source, self.source.fresh("lower"), "cx, value, blocks, parts, parent, base")
        helper.line("at = blocks[-4] + blocks[-3]")
        Lowerer(helper, self.layout, self.memory).lower(kind, "value", Place(names, 0, "parent", "base", 0))
        if "resources" in helper.uses:
            helper.lines.insert(1, "    resources = cx.resources")
        helper.line(f"return [{', '.join(names.values())}]")
        self.source.add(helper)
        self._begin()
        targets = ", ".join(place.names[place.offset + slot.offset] for slot in slots)
        self.body.line(f"[{targets}] = {helper.name}(cx, {value}, blocks, parts, {place.parent}, {place.address})")
        self.body.line("at = blocks[-4] + blocks[-3]")

    def _variant(self, kind: Type, value: str, place: Place) -> None:
        cases = cases_of(kind) or ()
        where = self.layout.payload(cases)
        for nothing, opaque in (("0", False), (EMPTY, True)):
            slots = [slot for slot in where.slots if slot.code.endswith("s") is opaque]
            if slots:
                unset = " = ".join(place.names[place.offset + slot.offset] for slot in slots)
                self.body.line(f"{unset} = {nothing}")
        if isinstance(kind, VariantType) and len(cases) > COMPARED_CASES:
            return self._looked_up(kind, value, place)
        tests, inner = self._tests(kind, value)
        for index, (test, payload) in enumerate(zip(tests, cases, strict=True)):
            with self.body.block(test):
                self._set(place, str(index))
                if payload is not None:
                    self._payload(cases, payload, inner, place)
                elif not isinstance(kind, OptionType):
                    self.body.line(f"if {inner} is not None: refuse()")
        if not tests[-1].startswith("else"):
            self.body.line("else: refuse()")
        return None

    def _tests(self, kind: Type, value: str) -> tuple[list[str], str]:
        """The head of each case's block, and the expression of the payload."""
        match kind:
            case OptionType(OptionType()):
                return [f"if {value} is None:", f"elif type({value}) is Some:"], f"{value}[0]"
            case OptionType():
                return [f"if {value} is None:", "else:"], value
            case ResultType():
                return [f"if type({value}) is Ok:", f"elif type({value}) is Err:"], f"{value}[0]"
        assert isinstance(kind, VariantType)
        case, payload = self._pair(value)
        names = [self.source.constant("K", name, name) for name, _ in kind.cases]
        return [f"{'elif' if index else 'if'} {case} == {name}:" for index, name in enumerate(names)], payload

    def _pair(self, value: str) -> tuple[str, str]:
        case, payload = self.source.fresh("c"), self.source.fresh("x")
        self.body.line(f"[{case}, {payload}] = {value}")
        return case, payload

    def _looked_up(self, kind: VariantType, value: str, place: Place) -> None:
        """A variant with many cases: finds the number of the case by its name first."""
        case, inner = self._pair(value)
        self._set(place, f"{self._index([name for name, _ in kind.cases])}[{case}]")
        chosen, word = place.names[place.offset], "if"
        for numbers, payload in alike(kind):
            test = f"{chosen} == {numbers[0]}" if len(numbers) == 1 else f"{chosen} in {tuple(numbers)}"
            with self.body.block(f"{word} {test}:"):
                self._payload(cases_of(kind) or (), payload, inner, place)
            word = "elif"
        self.body.line(f"{word} {inner} is not None: refuse()")

    def _payload(self, cases: Sequence[Type | None], payload: Type, value: str, place: Place) -> None:
        where = self.layout.payload(cases)
        if not where.opaque:
            return self.lower(payload, value, place.at(where.offset))
        slots = self.layout.slots(payload)
        names = self.fresh(slots)
        inside = place.at(where.offset)
        self.lower(payload, value, Place(names, 0, place.parent, place.base, inside.shift + inside.offset))
        return self._set(inside, self.packed(slots, calcsize(where.slots[0].code), names))


class Root(NamedTuple):
    """What a plan begins with: the flat core values, or the block that a result or spilled parameters lie in."""

    layout: Layout
    slots: Slots
    size: int
    align: int
    result: bool

    @property
    def spilled(self) -> bool:
        """Whether these are parameters in memory: block 1, behind the one flat value."""
        return not self.layout.flat and not self.result

    def place(self, names: dict[int, str]) -> Place:
        """Where the values go."""
        return Place(names, 0, "1" if self.spilled else "0", "", 0)

    def begin(self) -> list[str]:
        """The statements that begin the lists of blocks and parts."""
        own = f"{self.align}, {self.size}"
        if self.spilled:
            blocks = f"8, 8, 0, {ROOT_FLAT}, 0, {own}, 8, 0, 0"
            return [f"blocks = [{blocks}]; parts = [{bytes(8)!r}, b'']; at = {8 + self.size}"]
        parent = f"{ROOT_FLAT}, 0" if self.layout.flat else f"{ROOT_IN_MEMORY}, flat[-1]"
        return [f"blocks = [{own}, 0, {parent}]; parts = [b'']; at = {self.size}"]

    def end(self, packed: str, planned: bool) -> list[str]:
        """The statements that make the plan; `planned` says whether anything may have been appended to the lists."""
        if not planned and not self.spilled:
            root = f"block({self.align}, {self.size}, 0, {ROOT_IN_MEMORY}, flat[-1])"
            return [f"return new(Plan, ({EMPTY if self.layout.flat else root}, {packed}))"]
        alone = "b''" if self.layout.flat else "block(*blocks)"
        return [
            f"parts[{int(self.spilled)}] = {packed}",
            f"if len(parts) == 1: return new(Plan, ({alone}, parts[0]))",
            "if len(parts) == 2: return new(Plan, (blocks_2(*blocks), join(parts)))",
            "return new(Plan, (words(blocks), join(parts)))",
        ]


def root_of(kinds: Sequence[Type], limit: int, memory: Layout, result: bool) -> Root:
    """How values travel: flat up to `limit` core values, else in memory."""
    count = sum(len(flatten(kind)) for kind in kinds)
    if count <= limit:
        flat = FlatLayout()
        return Root(flat, flat.row(kinds), 8 * count, 8, result)
    _, size, align = memory.place(kinds)
    return Root(memory, memory.row(kinds), size, align, result)


def generate_lower(
    kinds: Sequence[Type], limit: int, complain: Complain, *, result: bool, ends_lending: bool = False
) -> Callable[..., Plan]:
    """The function that lowers values which travel flat up to `limit` core values, else in memory.

    For parameters it is `lower(cx, args)`, and what travels in memory is one more block.  For a `result` it is
    `lower(cx, value, flat)`, and memory is where the last of the flat values points.  `complain` makes the error for
    what was refused.  `ends_lending` gives back first what the guest lent to the host function.
    """
    source, memory = Source(LOWER_NAMES | {"complain": complain}), Layout()
    root = root_of(kinds, limit, memory, result)
    inside = Body(source, "", "")
    if len(kinds) == 1 and cases_of(kinds[0]) and not root.spilled:
        inside.begin = f"if parts is None: {root.begin()[0]}"
    lowerer = Lowerer(inside, root.layout, memory)
    names = lowerer.fresh(root.slots)
    if result:
        lowerer.lower(kinds[0], "value", root.place(names))
    else:
        lowerer.row(kinds, "value", root.place(names))
    planned = "blocks" in inside.uses
    body = Body(source, "lower", "cx, value, flat" if result else "cx, value")
    if ends_lending:
        body.line("cx.resources.end_host_call()")
    with body.block("try:"):
        for line in ["resources = cx.resources"] if "resources" in inside.uses else []:
            body.line(line)
        lazy = planned and inside.begin != ""
        for line in ["parts = None"] if lazy else root.begin() if planned or root.spilled else []:
            body.line(line)
        body.lines += ["    " + line for line in inside.lines[1:]]
        if lazy:
            body.line(f"if parts is None: {root.end(lowerer.packed(root.slots, root.size, names), False)[0]}")
        for line in root.end(lowerer.packed(root.slots, root.size, names), planned):
            body.line(line)
    body.line(f"except Refused as error: raise complain(error, {'[value]' if result else 'value'}) from error")
    source.add(body)
    return source.build("lower")
