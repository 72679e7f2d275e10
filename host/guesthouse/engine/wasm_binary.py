"""Reads core WebAssembly modules: what they import, export and declare, without decoding a single instruction.

It promises to raise nothing but `InvalidModule`, in time linear in the file's size, and to refuse what would be a
burden to compile or to instantiate.  What it accepts may still be invalid: instructions are validated by the compiler,
in a process with limits of its own.  It must not know components, hosts or WIT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from guesthouse.engine.wasm_limits import (
    MAX_ARITY,
    MAX_BODY,
    MAX_CONSTANT,
    MAX_ELEMENTS,
    MAX_EXPORTS,
    MAX_FUNCTIONS,
    MAX_GLOBALS,
    MAX_IMPORTS,
    MAX_LOCAL_GROUPS,
    MAX_LOCALS,
    MAX_PAGES,
    MAX_SECTIONS,
    MAX_SEGMENTS,
    MAX_SIZE,
    MAX_TABLE,
    MAX_TABLES,
    MAX_TYPES,
)
from guesthouse.engine.wasm_reader import Reader
from guesthouse.errors import InvalidModule

PREAMBLE = b"\0asm\x01\0\0\0"
_VALUE_TYPES = {0x7F: "i", 0x7E: "I", 0x7D: "f", 0x7C: "F", 0x7B: "v", 0x70: "r", 0x6F: "x"}
_LETTERS = bytes(ord(_VALUE_TYPES.get(code, "?")) for code in range(256))
_KINDS = ("function", "table", "memory", "global")
_ORDER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11)  # of sections; 12 counts the data segments ahead of the code
_SECTIONS = ("custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code")
_SECTION_NAMES = (*_SECTIONS, "data", "data count")
_OPERANDS = {0x41: 32, 0x42: 64}  # i32.const, i64.const: bits of the operand
_ARITHMETIC = frozenset((0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E))  # add, sub and mul of i32 and i64
_END = 0x0B


@dataclass(frozen=True, slots=True)
class Bounds:
    """Size of a table (elements) or memory (pages): from the start, and at most."""

    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Import:
    """One import; `index` counts among what the module has of its kind, whose imports come first."""

    module: str
    name: str
    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Segment:
    """An element segment: table and offset if it is active at a constant, functions if these are no expressions."""

    table: int | None
    offset: int | None
    functions: tuple[int, ...] | None


@dataclass(slots=True)
class CoreModule:
    """What one core module declares, in the module's own order; function types are pairs of letter strings.

    The letters: i32 i, i64 I, f32 f, f64 F, v128 v, funcref r, externref x.
    """

    data: bytes
    start: int
    end: int
    types: list[tuple[str, str]] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    functions: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Bounds] = field(default_factory=list)
    memories: list[Bounds] = field(default_factory=list)
    globals: int = 0
    exports: dict[str, tuple[str, int]] = field(default_factory=dict)
    start_function: int | None = None
    segments: list[Segment] = field(default_factory=list)
    bodies: list[tuple[int, int]] = field(default_factory=list)
    data_segments: int = 0
    announced_data_segments: int | None = None
    customs: list[tuple[str, int, int]] = field(default_factory=list)
    name: str | None = None

    @property
    def imported_functions(self) -> int:
        """How many of the functions are imports."""
        return len(self.functions) - len(self.bodies)


def read_module(data: bytes, start: int = 0, end: int | None = None) -> CoreModule:
    """Reads the core module in `data[start:end]`; raises `InvalidModule` with the byte and the reason."""
    reader = Reader(data, start, end)
    module = CoreModule(data, start, reader.end)
    for section, part in sections(reader):
        if section == 0:
            _custom(part, module)
        else:
            _READERS[section](part, module)
            part.finish(f"{_SECTION_NAMES[section]} section")
    if module.imported_functions != sum(item.kind == "function" for item in module.imports):
        raise reader.invalid("there are not as many function bodies as functions")
    if module.announced_data_segments not in (None, module.data_segments):
        raise reader.invalid("the number of data segments is not the one that was announced")
    return module


def sections(reader: Reader) -> Iterator[tuple[int, Reader]]:
    """The sections of a core module, each with a reader of its content; refuses a wrong order."""
    if reader.left > MAX_SIZE:
        raise reader.invalid(f"{reader.left:,} bytes are more than the {MAX_SIZE:,} that are accepted")
    if reader.data[reader.position : min(reader.position + 8, reader.end)] != PREAMBLE:
        raise reader.invalid("this does not begin as a core module of version 1")
    reader.skip(8)
    last = -1
    number = 0
    while reader.left:
        at = reader.position
        number += 1
        if number > MAX_SECTIONS:
            raise reader.invalid(f"there are more than {MAX_SECTIONS:,} sections", at)
        section = reader.byte()
        if section != 0:
            if section not in _ORDER:
                raise reader.invalid(f"section {section} is of no kind that is supported", at)
            place = _ORDER.index(section)
            if place <= last:
                raise reader.invalid(f"the {_SECTION_NAMES[section]} section is repeated or out of order", at)
            last = place
        yield section, reader.part()


def strip_custom(module: bytes) -> bytes:
    """The same core module without its custom sections (names, producers, debugging, component types)."""
    reader = Reader(module)
    kept = [PREAMBLE]
    begin = len(PREAMBLE)
    for section, part in sections(reader):
        if section != 0:
            kept.append(module[begin : part.end])
        begin = part.end
    return b"".join(kept)


def _custom(reader: Reader, module: CoreModule) -> None:
    name = reader.name()
    module.customs.append((name, reader.position, reader.end))
    if name == "name":
        # Names are for people: a broken name section breaks no module.
        try:
            if reader.left and reader.byte() == 0:
                module.name = reader.part().name()
        except InvalidModule:
            module.name = None


def _value_types(reader: Reader) -> str:
    at = reader.position
    count = reader.count("parameters or results", MAX_ARITY)
    reader.skip(count)
    letters = reader.data[reader.position - count : reader.position].translate(_LETTERS).decode("ascii")
    if "?" in letters:
        raise reader.invalid("a value type is not supported", at)
    return letters


def _type(reader: Reader, module: CoreModule) -> None:
    form = reader.byte()
    if form != 0x60:
        raise reader.invalid(f"type form {form:#x} is no function type, and others are not supported")
    module.types.append((_value_types(reader), _value_types(reader)))


def _import(reader: Reader, module: CoreModule) -> None:
    names = reader.name(), reader.name()
    kind = reader.byte()
    if kind >= len(_KINDS):
        raise reader.invalid(f"import kind {kind:#x} is not supported", reader.position - 1)
    index = (len(module.functions), len(module.tables), len(module.memories), module.globals)[kind]
    (_function, _table, _memory, _global_type)[kind](reader, module)
    module.imports.append(Import(*names, _KINDS[kind], index))


def _function(reader: Reader, module: CoreModule) -> None:
    at = reader.position
    index = reader.u32()
    if index >= len(module.types):
        raise reader.invalid(f"there is no type {index:,}", at)
    module.functions.append(module.types[index])


def _table(reader: Reader, module: CoreModule) -> None:
    at = reader.position
    _reference(reader)
    if len(module.tables) >= MAX_TABLES:
        raise reader.invalid(f"there are more than {MAX_TABLES} tables", at)
    bounds = _bounds(reader)
    if bounds.minimum > MAX_TABLE:
        raise reader.invalid(f"a table of {bounds.minimum:,} elements is larger than {MAX_TABLE:,}", at)
    module.tables.append(bounds)


def _memory(reader: Reader, module: CoreModule) -> None:
    at = reader.position
    if module.memories:
        raise reader.invalid("there is more than one memory", at)
    bounds = _bounds(reader)
    if max(bounds.minimum, bounds.maximum or 0) > 0x10000:
        raise reader.invalid("a memory is larger than 4 GiB", at)
    if bounds.minimum > MAX_PAGES:
        raise reader.invalid(f"a memory of {bounds.minimum:,} pages is larger than the {MAX_PAGES:,} of a slot", at)
    module.memories.append(bounds)


def _bounds(reader: Reader) -> Bounds:
    at = reader.position
    flags = reader.byte()
    if flags > 1:
        raise reader.invalid("shared, 64-bit and custom-page memories and tables are not supported", at)
    minimum = reader.u32()
    maximum = reader.u32() if flags else None
    if maximum is not None and maximum < minimum:
        raise reader.invalid("a size's maximum is below its minimum", at)
    return Bounds(minimum, maximum)


def _reference(reader: Reader) -> None:
    if reader.byte() not in (0x70, 0x6F):
        raise reader.invalid("only funcref and externref are supported references", reader.position - 1)


def _global_type(reader: Reader, module: CoreModule) -> None:
    if reader.byte() not in _VALUE_TYPES or reader.byte() > 1:
        raise reader.invalid("this is no type of a global", reader.position - 1)
    module.globals += 1


def _global(reader: Reader, module: CoreModule) -> None:
    _global_type(reader, module)
    _constant(reader)


def _export(reader: Reader, module: CoreModule) -> None:
    at = reader.position
    name = reader.name()
    if name in module.exports:
        raise reader.invalid(f"the export {name!r} is repeated", at)
    kind, index = reader.byte(), reader.u32()
    counts = (len(module.functions), len(module.tables), len(module.memories), module.globals)
    if kind >= len(counts) or index >= counts[kind]:
        raise reader.invalid(f"the export {name!r} is of nothing that there is", at)
    module.exports[name] = _KINDS[kind], index


def _start(reader: Reader, module: CoreModule) -> None:
    at = reader.position
    module.start_function = reader.u32()
    if module.start_function >= len(module.functions) or module.functions[module.start_function] != ("", ""):
        raise reader.invalid("the start function is no function without parameters and results", at)


def _constant(reader: Reader) -> int | None:
    """Passes over a constant expression; its value where it is nothing but an i32.const."""
    value, steps = None, 0
    while (code := reader.byte()) != _END:
        steps += 1
        if steps > MAX_CONSTANT:
            raise reader.invalid(f"a constant expression has more than {MAX_CONSTANT} instructions")
        if code in _OPERANDS:
            value = reader.signed(_OPERANDS[code])
        elif code == 0xFD:  # v128.const
            if reader.u32() != 12:
                raise reader.invalid("this is no constant expression")
            reader.skip(16)
        elif code in (0x23, 0xD2, 0xD0):  # global.get, ref.func, ref.null
            reader.u32()
        elif code in (0x43, 0x44):  # f32.const, f64.const
            reader.skip(4 if code == 0x43 else 8)
        elif code not in _ARITHMETIC:
            raise reader.invalid(f"instruction {code:#x} is not allowed in a constant expression", reader.position - 1)
    return value if steps == 1 else None


def _elements(reader: Reader, module: CoreModule) -> None:
    left = MAX_ELEMENTS
    for _ in range(reader.count("element segments", MAX_SEGMENTS)):
        at = reader.position
        flags = reader.u32()
        if flags > 7:
            raise reader.invalid("this is no element segment", at)
        active = not flags & 1
        table = (reader.u32() if flags & 2 else 0) if active else None
        offset = _constant(reader) if active else None
        if flags & 3:
            _element_kind(reader, expressions=bool(flags & 4))
        functions: list[int] = []
        count = reader.count("elements", left)
        left -= count
        for _ in range(count):
            if flags & 4:
                _constant(reader)
            else:
                functions.append(reader.u32())
        module.segments.append(Segment(table, offset, None if flags & 4 else tuple(functions)))


def _element_kind(reader: Reader, *, expressions: bool) -> None:
    if expressions:
        _reference(reader)
    elif reader.byte() != 0:
        raise reader.invalid("this is no kind of element", reader.position - 1)


def _data_count(reader: Reader, module: CoreModule) -> None:
    module.announced_data_segments = reader.u32()


def _code(reader: Reader, module: CoreModule) -> None:
    data, groups = reader.data, MAX_LOCAL_GROUPS
    for _ in range(reader.count("function bodies", MAX_FUNCTIONS)):
        at = reader.position
        size = reader.u32()
        if size > MAX_BODY:
            raise reader.invalid(f"a function body of {size:,} bytes is larger than {MAX_BODY:,}", at)
        begin = reader.position
        reader.skip(size)
        if size < 2 or data[reader.position - 1] != _END:
            raise reader.invalid("a function body does not end as one", at)
        if data[begin]:  # most functions of small guests have no locals
            groups -= _locals(Reader(data, begin, reader.position), groups)
        module.bodies.append((begin, reader.position))


def _locals(reader: Reader, groups: int) -> int:
    left = MAX_LOCALS
    count = reader.count("groups of locals", min(groups, MAX_LOCALS))
    for _ in range(count):
        left -= reader.u32()
        if left < 0:
            raise reader.invalid(f"a function has more than {MAX_LOCALS:,} locals")
        if reader.byte() not in _VALUE_TYPES:
            raise reader.invalid("this is no type of a local", reader.position - 1)
    return count


def _data(reader: Reader, module: CoreModule) -> None:
    module.data_segments = reader.count("data segments", MAX_SEGMENTS)
    for _ in range(module.data_segments):
        at = reader.position
        flags = reader.u32()
        if flags > 2:
            raise reader.invalid("this is no data segment", at)
        if flags == 2:
            reader.u32()
        if flags != 1:
            _constant(reader)
        reader.part()


_SectionReader = Callable[[Reader, CoreModule], None]


def _each(what: str, limit: int, item: _SectionReader) -> _SectionReader:
    def read(reader: Reader, module: CoreModule) -> None:
        for _ in range(reader.count(what, limit)):
            item(reader, module)

    return read


_READERS: dict[int, _SectionReader] = {
    1: _each("types", MAX_TYPES, _type),
    2: _each("imports", MAX_IMPORTS, _import),
    3: _each("functions", MAX_FUNCTIONS, _function),
    4: _each("tables", MAX_TABLES, _table),
    5: _each("memories", 1, _memory),
    6: _each("globals", MAX_GLOBALS, _global),
    7: _each("exports", MAX_EXPORTS, _export),
    8: _start,
    9: _elements,
    10: _code,
    11: _data,
    12: _data_count,
}
