"""WIT values to and from wasmtime's C API, driven by our types: the wheel's own conversion loses the case of variants."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref
from typing import Any

from wasmtime import _ffi as ffi

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

Value = ffi.wasmtime_component_val_t
UNION_FIELDS = {"bool": "boolean", "char": "character"}


def to_c(kind: Type, value: Any, out: Any) -> None:
    """Writes a value into a `wasmtime_component_val_t`, which then owns what it points to."""
    match kind:
        case Primitive("string"):
            out.kind, out.of.string = ffi.WASMTIME_COMPONENT_STRING, ffi.str_to_capi(value)
        case Primitive():
            out.kind = getattr(ffi, f"WASMTIME_COMPONENT_{kind.name.upper()}")
            setattr(out.of, UNION_FIELDS.get(kind.name, kind.name), ord(value) if kind.name == "char" else value)
        case ListType():
            out.kind, out.of.list = ffi.WASMTIME_COMPONENT_LIST, ffi.wasmtime_component_vallist_t()
            ffi.wasmtime_component_vallist_new_uninit(byref(out.of.list), len(value))
            for index, item in enumerate(value):
                to_c(kind.element, item, out.of.list.data[index])
        case TupleType():
            out.kind, out.of.tuple = ffi.WASMTIME_COMPONENT_TUPLE, ffi.wasmtime_component_valtuple_t()
            ffi.wasmtime_component_valtuple_new_uninit(byref(out.of.tuple), len(value))
            for index, (item, field) in enumerate(zip(value, kind.items, strict=True)):
                to_c(field, item, out.of.tuple.data[index])
        case RecordType():
            out.kind, out.of.record = ffi.WASMTIME_COMPONENT_RECORD, ffi.wasmtime_component_valrecord_t()
            ffi.wasmtime_component_valrecord_new_uninit(byref(out.of.record), len(value))
            for index, (item, (name, field)) in enumerate(zip(value, kind.fields, strict=True)):
                out.of.record.data[index].name = ffi.str_to_capi(name)
                to_c(field, item, out.of.record.data[index].val)
        case EnumType():
            out.kind, out.of.enumeration = ffi.WASMTIME_COMPONENT_ENUM, ffi.str_to_capi(value)
        case FlagsType():
            out.kind, out.of.flags = ffi.WASMTIME_COMPONENT_FLAGS, ffi.wasmtime_component_valflags_t()
            ffi.wasmtime_component_valflags_new_uninit(byref(out.of.flags), len(value))
            for index, name in enumerate(sorted(value)):
                out.of.flags.data[index] = ffi.str_to_capi(name)
        case _:
            _variant_to_c(kind, value, out)


def _boxed(kind: Type | None, value: Any) -> Any:
    if kind is None:
        return None
    inner = Value()
    to_c(kind, value, inner)
    return ffi.wasmtime_component_val_new(byref(inner))


def _variant_to_c(kind: Type, value: Any, out: Any) -> None:
    match kind:
        case OptionType():
            present = value.value if isinstance(kind.some, OptionType) and value is not None else value
            out.kind = ffi.WASMTIME_COMPONENT_OPTION
            out.of.option = None if value is None else _boxed(kind.some, present)
        case ResultType():
            out.kind = ffi.WASMTIME_COMPONENT_RESULT
            out.of.result.is_ok = isinstance(value, Ok)
            out.of.result.val = _boxed(kind.ok if isinstance(value, Ok) else kind.error, value[0])
        case VariantType():
            out.kind = ffi.WASMTIME_COMPONENT_VARIANT
            out.of.variant.discriminant = ffi.str_to_capi(value[0])
            out.of.variant.val = _boxed(dict(kind.cases)[value[0]], value[1])


def from_c(kind: Type, c: Any) -> Any:
    """The value in a `wasmtime_component_val_t`, which stays as it is."""
    match kind:
        case Primitive("string"):
            return ffi.to_str(c.of.string)
        case Primitive("char"):
            return chr(c.of.character)
        case Primitive():
            return getattr(c.of, UNION_FIELDS.get(kind.name, kind.name))
        case ListType(Primitive("u8")):
            return bytes_from_c(c)
        case ListType():
            return [from_c(kind.element, c.of.list.data[index]) for index in range(c.of.list.size)]
        case TupleType():
            return tuple(from_c(item, c.of.tuple.data[index]) for index, item in enumerate(kind.items))
        case RecordType():
            return tuple(from_c(item, c.of.record.data[index].val) for index, (_, item) in enumerate(kind.fields))
        case EnumType():
            return ffi.to_str(c.of.enumeration)
        case FlagsType():
            return frozenset(ffi.to_str(c.of.flags.data[index]) for index in range(c.of.flags.size))
    return _variant_from_c(kind, c)


def bytes_from_c(c: Any) -> bytes:
    """A `list<u8>`: every byte is a value of its own there."""
    width = ctypes.sizeof(Value)
    raw = ctypes.string_at(c.of.list.data, width * c.of.list.size)
    return raw[Value.of.offset :: width] if raw else b""


def _variant_from_c(kind: Type, c: Any) -> Any:
    def inner(payload: Type | None, pointer: Any) -> Any:
        return None if payload is None else from_c(payload, pointer.contents)

    match kind:
        case OptionType():
            wrap: Callable[[Any], Any] = Some if isinstance(kind.some, OptionType) else lambda value: value
            return wrap(inner(kind.some, c.of.option)) if c.of.option else None
        case ResultType():
            if c.of.result.is_ok:
                return Ok(inner(kind.ok, c.of.result.val))
            return Err(inner(kind.error, c.of.result.val))
        case VariantType():
            name = ffi.to_str(c.of.variant.discriminant)
            return (name, inner(dict(kind.cases)[name], c.of.variant.val))
    raise AssertionError(kind)
