"""Says what is wrong with a Python value that cannot be lowered: where in it, the WIT type expected, what was found.

Runs only after generated code has refused a value, so it may be slow.  `refuse` and friends are what that code calls.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct
from typing import Any, NoReturn

from guesthouse.engine.layout import SCALARS, cases_of, fields_of
from guesthouse.engine.types import (
    EnumType,
    FlagsType,
    ListType,
    OptionType,
    Primitive,
    RecordType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)
from guesthouse.engine.values import Err, Ok, Some

SHOWN = 60
"""Characters of a wrong value that are shown."""


class Mismatch(Exception):
    """A value that does not fit, and whether its type or only its range is wrong."""

    def __init__(self, path: str, expected: str, value: object, *, kind: type[Exception] = TypeError) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
        super().__init__(f"{path or 'the value'}: expected {expected}, got {type(value).__name__} {shown}")
        self.kind = kind


def refuse() -> NoReturn:
    """Refuses a value inside generated code; `explain` finds the words."""
    raise TypeError


def scalar_value(char: str) -> int:
    """The Unicode scalar value of a string of length one."""
    code = ord(char) if type(char) is str else -1
    if code < 0 or 0xD800 <= code < 0xE000:
        raise ValueError
    return code


def as_bytes(data: Any) -> bytes:
    """The bytes of any bytes-like object."""
    return memoryview(data).tobytes()


def explain(error: Exception, values: Sequence[Any], *, where: str, named: Sequence[tuple[str, Type]]) -> Exception:
    """The exception to raise for values (by name and type) that were refused with `error`."""
    try:
        if len(values) != len(named):
            return TypeError(f"{where}: takes {len(named)} values, got {len(values)}")
        for (name, kind), value in zip(named, values, strict=True):
            check(kind, value, name)
    except Mismatch as found:
        return found.kind(f"{where}: {found}")
    return error


def check(kind: Type, value: Any, path: str) -> None:
    """Raises `Mismatch` for the first thing in a value that does not fit its type."""
    match kind:
        case Primitive():
            _check_primitive(kind.name, value, path)
        case ListType():
            _check_list(kind, value, path)
        case EnumType():
            if value not in kind.cases:
                raise Mismatch(path, f"one of {', '.join(kind.cases)}", value, kind=_kind(isinstance(value, str)))
        case FlagsType():
            right = isinstance(value, set | frozenset)
            if not right or not value <= set(kind.names):
                raise Mismatch(path, f"a set of {', '.join(kind.names)}", value, kind=_kind(right))
        case RecordType() | TupleType():
            _check_fields(kind, value, path)
        case OptionType() | ResultType() | VariantType():
            _check_variant(kind, value, path)


def _kind(right_type: bool) -> type[Exception]:
    return ValueError if right_type else TypeError


def _check_primitive(name: str, value: Any, path: str) -> None:
    if name == "string":
        if not isinstance(value, str):
            raise Mismatch(path, "string", value)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Mismatch(path, "string without lone surrogates", value, kind=ValueError) from None
    elif name == "char":
        right = isinstance(value, str)
        if not right or len(value) != 1 or 0xD800 <= ord(value) < 0xE000:
            raise Mismatch(path, "char (a string of one Unicode scalar value)", value, kind=_kind(right))
    elif name == "bool":
        if not isinstance(value, bool):
            raise Mismatch(path, "bool", value)
    else:
        try:
            Struct("<" + SCALARS[name][0]).pack(value)
        except Exception:
            right = isinstance(value, int if name[0] in "su" else float | int)
            raise Mismatch(path, name, value, kind=_kind(right)) from None


def _check_list(kind: ListType, value: Any, path: str) -> None:
    if kind.element == Primitive("u8"):
        if not isinstance(value, bytes | bytearray | memoryview | array):
            raise Mismatch(path, "list<u8> (a bytes-like object)", value)
        return
    if not isinstance(value, list | tuple):
        raise Mismatch(path, str(kind), value)
    for index, item in enumerate(value):
        check(kind.element, item, f"{path}[{index}]")


def _check_fields(kind: RecordType | TupleType, value: Any, path: str) -> None:
    fields = fields_of(kind) or ()
    if not isinstance(value, tuple) or len(value) != len(fields):
        raise Mismatch(path, f"{kind} (a tuple of {len(fields)})", value)
    for index, (field, item) in enumerate(zip(fields, value, strict=True)):
        name = kind.fields[index][0] if isinstance(kind, RecordType) else str(index)
        check(field, item, f"{path}.{name}")


def _check_variant(kind: Type, value: Any, path: str) -> None:
    match kind:
        case OptionType():
            name, payload = "some", value
            if value is None:
                return
            if isinstance(kind.some, OptionType):
                if type(value) is not Some:
                    raise Mismatch(path, f"{kind} (None or Some(…))", value)
                payload = value[0]
        case ResultType():
            if type(value) not in (Ok, Err):
                raise Mismatch(path, f"{kind} (Ok(…) or Err(…))", value)
            name, payload = type(value).__name__.lower(), value[0]
        case VariantType():
            if not isinstance(value, tuple) or len(value) != 2:
                raise Mismatch(path, f"{kind} (a pair of case and payload)", value)
            name, payload = value
    inner = _payload_type(kind, name, path)
    if inner is not None:
        check(inner, payload, f"{path}.{name}")
    elif payload is not None:
        raise Mismatch(f"{path}.{name}", "None, as this case has no payload", payload)


def _payload_type(kind: Type, name: str, path: str) -> Type | None:
    match kind:
        case VariantType():
            cases = dict(kind.cases)
            if not isinstance(name, str) or name not in cases:
                raise Mismatch(path, f"a case of {', '.join(cases)}", name, kind=ValueError)
            return cases[name]
        case OptionType():
            return kind.some
    return (cases_of(kind) or ())[name == "err"]
