"""Generates the functions that lift: from flat core values and linear memory to Python values.

Everything that comes from the guest is checked, each string and list in this order: alignment, bounds, lift budget, and
only then is anything allocated.  Where the rules leave something open this does what wasmtime does: any bool but 0 is
true, bits of flags that have no name are ignored, small integers in flat values are cut to their width.  Text outside
ASCII costs the budget its length twice: here it can take four bytes for one character.

Shape of the generated code: one `struct` unpack for everything at a fixed offset, its scalars in variables; a variant's
payload is read with it where the cases agree on the layout, else its bytes are taken whole and unpacked by case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, calcsize
from typing import Any, NamedTuple

from guesthouse.engine.codegen import Body, Source, interned, record_class
from guesthouse.engine.layout import (
    SCALARS,
    FlatLayout,
    Layout,
    Slots,
    alike,
    cases_of,
    contains,
    element_charge,
    fields_of,
    flatten,
    struct_format,
)
from guesthouse.engine.lift_traps import LIFT_NAMES
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
from guesthouse.engine.values import Err, Ok

COPIED_ROWS = 4096
"""Lists of up to so many bytes are copied before they are walked, which is faster; larger ones are walked in place."""
TABLED_FLAGS = 6
"""Flags with up to so many names have all their sets prepared."""


class Place(NamedTuple):
    """Where a value's scalars are: variables by offset, and for flat core values the core type of each (else empty)."""

    names: dict[int, str]
    letters: str
    offset: int = 0

    def at(self, offset: int) -> Place:
        """The place `offset` bytes further on."""
        return self._replace(offset=self.offset + offset)


class Lifter:
    """Writes the statements that lift values inside one function: `layout` for where they lie, `memory` for lists."""

    def __init__(self, body: Body, layout: Layout, memory: Layout) -> None:
        self.body = body
        self.source = body.source
        self.layout = layout
        self.memory = memory

    def lift(self, kind: Type, place: Place, last: bool) -> str:
        """Writes what lifting needs; returns an expression of the value, to be used once.

        `last` says that nothing that could trap comes after this.
        """
        match kind:
            case Primitive("string"):
                return self._string(*self._range(place))
            case Primitive():
                return self._scalar(kind.name, place)
            case FlagsType():
                return self._flags(kind, place)
            case OwnType() | BorrowType():
                return self._handle(kind, place, last)
        if self.body.deep:
            return self._in_helper(kind, place)
        match kind:
            case ListType():
                return self._list(kind.element, *self._range(place))
            case RecordType() | TupleType():
                value = f"({''.join(f'{item}, ' for item in self.row(fields_of(kind) or (), place, last))})"
                return f"new({self._class(kind)}, {value})" if isinstance(kind, RecordType) else value
        return self._variant(kind, place, last)

    def row(self, kinds: Sequence[Type], place: Place, last: bool) -> list[str]:
        """Lifts values that follow each other as fields do."""
        offsets = self.layout.place(kinds)[0]
        final = max((index for index, kind in enumerate(kinds) if contains(kind, _can_trap)), default=-1)
        return [
            self.lift(kind, place.at(offset), last and index >= final)
            for index, (kind, offset) in enumerate(zip(kinds, offsets, strict=True))
        ]

    def pointed(self, kinds: Sequence[Type], pointer: str) -> Place:
        """Reads values that lie as fields do behind a pointer."""
        _, size, align = self.memory.place(kinds)
        slots = self.memory.row(kinds)
        self._check(pointer, str(size), align)
        target, place = self._unpacked(slots)
        self.body.line(f"{target} = {self._struct('u', slots, size, 'unpack_from')}(memory, {pointer})")
        return place

    def _unpacked(self, slots: Slots) -> tuple[str, Place]:
        """New variables for slots: the target list of an assignment, and the place that they are."""
        names = {slot.offset: self.source.fresh("v") for slot in slots}
        return f"({''.join(f'{name}, ' for name in names.values())})", Place(names, "")

    def _struct(self, letter: str, slots: Slots, size: int, method: str) -> str:
        text = struct_format(slots, size)
        return self.source.constant(letter, getattr(Struct(text), method), text)

    def _word(self, place: Place) -> str:
        """A variable with an unsigned 32-bit number: a pointer, length or discriminant."""
        return self.body.name_of(self._scalar("u32", place))

    def _range(self, place: Place) -> tuple[str, str]:
        return self._word(place), self._word(place.at(self.layout.word))

    def _scalar(self, name: str, place: Place) -> str:
        value = place.names[place.offset]
        if not place.letters:
            return self._checked(name, value)
        letter = place.letters[place.offset // 8]
        if name in ("f32", "f64"):
            return value if letter in "fF" else f"{'float_of' if name == 'f32' else 'double_of'}({value})"
        bits = 8 * calcsize("<" + SCALARS[name][0])
        if name == "bool" or bits == 32:
            value = f"({value} & 4294967295)" if letter == "I" else value
        elif bits < 32:
            value = f"({value} & {(1 << bits) - 1})"
        if name[0] == "s":
            return f"(({value} ^ {1 << bits - 1}) - {1 << bits - 1})"
        return self._checked(name, value)

    def _checked(self, name: str, value: str) -> str:
        if name == "bool":
            return f"({value} != 0)"
        if name != "char":
            return value
        code = self.body.name_of(value)
        self.body.line(f"if {code} > 1114111 or 55296 <= {code} < 57344: bad_char({code})")
        return f"chr({code})"

    def _charge(self, amount: str) -> None:
        self.body.uses.add("budget")
        self.body.line(f"budget -= {amount}")
        self.body.line("if budget < 0: over_budget()")

    def _check(self, pointer: str, size: str, align: int) -> None:
        self.body.uses.add("memory")
        unaligned = f"{pointer} & {align - 1} or " if align > 1 else ""
        self.body.line(f"if {unaligned}{pointer} + {size} > end: bad_pointer({pointer}, {size}, {align}, end)")

    def _string(self, pointer: str, length: str) -> str:
        self.body.uses.add("text")
        self._check(pointer, length, 1)
        self._charge(length)
        data = self.body.name_of(f"memory[{pointer}:{pointer} + {length}]", "b")
        with self.body.block(f"if not {data}.isascii():"):
            self._charge(length)
        return self.body.name_of(f"{data}.decode()", "s")

    def _list(self, element: Type, pointer: str, length: str) -> str:
        size, align = self.memory.size_align(element)
        total = length if size == 1 else f"{length} * {size}"
        self._check(pointer, total, align)
        if element == Primitive("u8"):
            self._charge(length)
            return self.body.name_of(f"memory[{pointer}:{pointer} + {length}]", "b")
        self._charge(f"{length} * {element_charge(element, size)}")
        if not isinstance(element, Primitive) or element.name == "string":
            return self._walked(element, pointer, length, size)
        cells = f"memory[{pointer}:{pointer} + {total}]"
        numbers = f"view({cells}).cast({SCALARS[element.name][0]!r}).tolist()"
        packed = {"bool": f"[x != 0 for x in {cells}]", "char": f"chars({numbers})"}
        return self.body.name_of(packed.get(element.name, numbers), "l")

    def _walked(self, element: Type, pointer: str, length: str, size: int) -> str:
        items = self.body.name_of("[]", "l")
        cells = f"[{pointer}:{pointer} + {length} * {size}]"
        rows = self.body.name_of(f"memory{cells} if {length} <= {COPIED_ROWS // size} else view(memory){cells}", "r")
        slots = self.memory.slots(element)
        target, place = self._unpacked(slots)
        inside = Lifter(self.body, self.memory, self.memory)
        with self.body.block(f"for {target} in {self._struct('w', slots, size, 'iter_unpack')}({rows}):"):
            self.body.line(f"{items}.append({inside.lift(element, place, False)})")
        return items

    def _flags(self, kind: FlagsType, place: Place) -> str:
        bits = self._scalar("u32", place)
        count = len(kind.names)
        if count > TABLED_FLAGS:
            pairs = tuple((name, 1 << bit) for bit, name in enumerate(kind.names))
            table = self.source.constant("F", pairs, kind.names)
            bits = self.body.name_of(bits)
            return f"frozenset([n for n, b in {table} if {bits} & b])"
        sets = [frozenset(n for bit, n in enumerate(kind.names) if chosen >> bit & 1) for chosen in range(1 << count)]
        return f"{self.source.constant('F', tuple(sets), kind.names)}[{bits} & {(1 << count) - 1}]"

    def _handle(self, kind: OwnType | BorrowType, place: Place, last: bool) -> str:
        resource = self.source.constant("T", interned(kind.resource))
        verb = "take_own" if isinstance(kind, OwnType) else "borrow"
        self.body.uses.add("resources")
        taken = self.body.name_of(f"resources.{verb}({resource}, {self._scalar('u32', place)})", "h")
        if isinstance(kind, OwnType) and not last:
            self.body.uses.add("moving")
            self.body.line(f"resources.moving.append({taken})")
        return taken

    def _class(self, kind: RecordType) -> str:
        return self.source.constant("R", record_class(kind))

    def _in_helper(self, kind: Type, place: Place) -> str:
        """Goes on in a function of its own, whose parameters are the variables that the value's scalars are in."""
        letters = place.letters[place.offset // 8 :][: len(flatten(kind))]
        offsets = [8 * index for index in range(len(letters))] or [slot.offset for slot in self.memory.slots(kind)]
        inside = {offset: self.source.fresh("v") for offset in offsets}
        helper = Body(self.source, self.source.fresh("lift"), ", ".join(["cx", *inside.values()]))
        lifter = Lifter(helper, self.layout, self.memory)
        finish(helper, lifter.lift(kind, Place(inside, letters), False), nested=True)
        self.body.uses |= {"budget", *(helper.uses & {"moving"})}
        self.body.line("cx.lift_budget = budget")
        given = ", ".join(["cx", *(place.names[place.offset + offset] for offset in offsets)])
        value = self.body.name_of(f"{helper.name}({given})", "h")
        self.body.line("budget = cx.lift_budget")
        return value

    def _variant(self, kind: Type, place: Place, last: bool) -> str:
        cases = cases_of(kind) or ()
        chosen = self._word(place)
        plain = tuple(_plain(kind, index) if payload is None else None for index, payload in enumerate(cases))
        table = self.source.constant("C", plain)
        if not any(cases):
            self.body.line(f"if {chosen} >= {len(cases)}: bad_case({chosen}, {len(cases)})")
            return f"{table}[{chosen}]"
        out, word = self.source.fresh("o"), "if"
        for numbers, payload in alike(kind):
            test = f"{chosen} == {numbers[0]}" if len(numbers) == 1 else f"{chosen} in {tuple(numbers)}"
            with self.body.block(f"{word} {test}:"):
                value = self.lift(payload, self._case(cases, payload, place), last)
                self.body.line(f"{out} = {self._wrapped(kind, numbers, chosen, value)}")
            word = "elif"
        if None in cases:
            self.body.line(f"elif {chosen} < {len(cases)}: {out} = {table}[{chosen}]")
        self.body.line(f"else: bad_case({chosen}, {len(cases)})")
        return out

    def _case(self, cases: Sequence[Type | None], payload: Type, place: Place) -> Place:
        """The place of a case's payload; in memory, an opaque one is unpacked first."""
        if place.letters:
            return place.at(8)
        where = self.memory.payload(cases)
        if not where.opaque:
            return place.at(where.offset)
        slots = self.memory.slots(payload)
        target, inside = self._unpacked(slots)
        unpack = self._struct("p", slots, calcsize(where.slots[0].code), "unpack")
        self.body.line(f"{target} = {unpack}({place.names[place.offset + where.offset]})")
        return inside

    def _wrapped(self, kind: Type, numbers: list[int], chosen: str, value: str) -> str:
        """The expression of a case with a payload; `chosen` says which of `numbers` it is."""
        match kind:
            case VariantType():
                names = tuple(name for name, _ in kind.cases)
                if len(numbers) > 1:
                    return f"({self.source.constant('N', names, names)}[{chosen}], {value})"
                return f"({self.source.constant('K', names[numbers[0]], names[numbers[0]])}, {value})"
            case OptionType():
                return f"new(Some, ({value},))" if isinstance(kind.some, OptionType) else value
        return f"new({('Ok', 'Err')[numbers[0]]}, ({value},))"


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


def _can_trap(kind: Type) -> bool:
    if isinstance(kind, Primitive):
        return kind.name in ("string", "char")
    return not isinstance(kind, FlagsType | RecordType | TupleType)


def finish(body: Body, value: str, *, nested: bool = False) -> None:
    """Completes a function whose statements are written: what they use goes around them, `value` is returned."""
    head, statements = body.lines[0], [*body.lines[1:], f"    value = {value}"]
    if "text" in body.uses:
        handler = "    except UnicodeDecodeError as error: raise bad_text(error) from None"
        statements = ["    try:", *("    " + line for line in statements), handler]
    begin = {
        "memory": "    memory = cx.memory; end = len(memory)",
        "budget": "    budget = cx.lift_budget",
        "resources": "    resources = cx.resources",
    }
    body.lines = [head, *(line for word, line in begin.items() if word in body.uses), *statements]
    if "budget" in body.uses:
        body.line("cx.lift_budget = budget")
    if "moving" in body.uses and not nested:
        body.line("cx.resources.moving.clear()")
    body.line("return value")
    body.source.add(body)


def generate_lift(kinds: Sequence[Type], limit: int, *, values: int, single: bool) -> Callable[..., Any]:
    """The function `lift(cx, flat)` of values that travel flat up to `limit` core values, else behind one pointer.

    `values` is how many core values `flat` has: an import's return pointer may follow.  The function returns a tuple,
    or the one value itself if `single`.
    """
    source, memory = Source(LIFT_NAMES), Layout()
    letters = "".join(map(flatten, kinds))
    body = Body(source, "lift", "cx, flat")
    if len(letters) > limit:
        body.line("pointer = flat[0]")
        lifter = Lifter(body, memory, memory)
        place = lifter.pointed(kinds, "pointer")
    else:
        names = [source.fresh("f") for _ in range(values)]
        if names:
            body.line(f"({''.join(f'{name}, ' for name in names)}) = flat")
        lifter = Lifter(body, FlatLayout(), memory)
        place = Place({8 * index: name for index, name in enumerate(names)}, letters)
    lifted = lifter.row(kinds, place, True)
    finish(body, lifted[0] if single else f"({''.join(f'{value}, ' for value in lifted)})")
    return source.build("lift")
