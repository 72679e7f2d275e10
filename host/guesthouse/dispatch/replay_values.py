"""WIT values as JSON, whole and both ways, and as text that is short enough to be read: for whoever looks at a replay.

| WIT | JSON |
|---|---|
| bool, integers, finite floats, string, char, enum | themselves |
| other floats | `"nan"`, `"inf"`, `"-inf"` |
| `list<u8>` | text where it is UTF-8, else `{"base64": "…"}` |
| list, tuple, flags | a list |
| record | an object with its WIT field names |
| variant | the case's name, or `{"case": payload}` |
| option | `null` or the value; of an option of an option `{"some": value}` |
| result | `{"ok": value}` or `{"err": value}` |
| a buffer | what a `list<u8>` is |
| any other resource | `{"resource": "name"}`, with what a journal holds of it; it cannot be read back |

Promises: what was written is read back as the same value; what does not fit its type is refused with the place where.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

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
from guesthouse.engine.values import Err, Ok, Some
from guesthouse.errors import BadRequest
from guesthouse.interfaces.bytes import Buffer

FLOATS: Final = frozenset({"f32", "f64"})
RANGES: Final = {
    f"{sign}{bits}": (0, (1 << bits) - 1) if sign == "u" else (-1 << (bits - 1), (1 << (bits - 1)) - 1)
    for sign in "us"
    for bits in (8, 16, 32, 64)
}
_ODD: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


# -- out


def written(value: Any, kind: Type | None) -> Any:
    """A value as JSON; of a type that is not known as well as can be."""
    if kind is None or value is None:
        return _untyped(value)
    writer = _WRITERS.get(type(kind))
    return _untyped(value) if writer is None else writer(value, kind)


def written_args(args: Sequence[Any], func: FuncType | None) -> list[Any]:
    """The arguments of a call."""
    kinds = [None] * len(args) if func is None else [kind for _, kind in func.params]
    return [written(value, kind) for value, kind in zip(args, kinds, strict=False)]


def _untyped(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else next(word for word, odd in _ODD.items() if str(odd) == str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return written_bytes(bytes(value))
    if isinstance(value, list | tuple):
        return [_untyped(each) for each in value]
    return _resource(value, type(value).__name__.lower())


def written_bytes(value: bytes) -> Any:
    """Bytes as JSON."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _resource(value: Any, name: str) -> Any:
    if isinstance(value, Buffer):
        found = value.peek()
        return {"resource": "buffer"} if found is None else written_bytes(found)
    packed = getattr(value, "packed", None)
    return {"resource": name} if packed is None else {"resource": name, "is": _untyped(packed())}


def _list(value: Any, kind: ListType) -> Any:
    if kind.element == Primitive("u8"):
        return written_bytes(bytes(value))
    return [written(each, kind.element) for each in value]


def _option(value: Any, kind: OptionType) -> Any:
    if isinstance(kind.some, OptionType):
        return {"some": written(value.value, kind.some)}
    return written(value, kind.some)


def _result(value: Any, kind: ResultType) -> Any:
    failed = isinstance(value, Err)
    return {"err" if failed else "ok": written(value[0], kind.error if failed else kind.ok)}


def _record(value: Any, kind: RecordType) -> Any:
    return {name: written(each, field) for (name, field), each in zip(kind.fields, value, strict=True)}


def _variant(value: Any, kind: VariantType) -> Any:
    case, payload = value
    held = dict(kind.cases).get(case)
    return case if held is None else {case: written(payload, held)}


def _flags(value: Any, kind: FlagsType) -> Any:
    return [name for name in kind.names if name in value]


_WRITERS: Final[dict[type, Any]] = {
    ListType: _list,
    TupleType: lambda value, kind: [written(each, item) for each, item in zip(value, kind.items, strict=True)],
    OptionType: _option,
    ResultType: _result,
    RecordType: _record,
    VariantType: _variant,
    FlagsType: _flags,
    OwnType: lambda value, kind: _resource(value, kind.resource.name),
    BorrowType: lambda value, kind: _resource(value, kind.resource.name),
}


# -- in


def read(json: Any, kind: Type | None, at: str = "the value") -> Any:
    """A value of a type, from JSON.  Raises `BadRequest` with the place that does not fit."""
    if kind is None:
        if json is not None:
            raise BadRequest(f"{at}: nothing is held there, so it has to be null")
        return None
    return _READERS[type(kind)](json, kind, at)


def _wrong(at: str, kind: Type, json: Any) -> BadRequest:
    return BadRequest(f"{at} has to be {kind}, not {json!r:.60}")


def _read_primitive(json: Any, kind: Primitive, at: str) -> Any:
    name = kind.name
    if name == "bool":
        fits = isinstance(json, bool)
    elif name in FLOATS:
        if isinstance(json, str) and json in _ODD:
            return _ODD[json]
        fits = isinstance(json, int | float) and not isinstance(json, bool)
        json = float(json) if fits else json
    elif name in RANGES:
        fits = isinstance(json, int) and not isinstance(json, bool) and RANGES[name][0] <= json <= RANGES[name][1]
    else:
        fits = isinstance(json, str) and (name == "string" or len(json) == 1) and _is_unicode(json)
    if not fits:
        raise _wrong(at, kind, json)
    return json


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_bytes(json: Any, kind: Type, at: str) -> bytes:
    if isinstance(json, str) and _is_unicode(json):
        return json.encode()
    if isinstance(json, Mapping) and set(json) == {"base64"} and isinstance(json["base64"], str):
        try:
            return base64.b64decode(json["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest(f"{at}: this is no base64") from None
    if isinstance(json, list) and all(type(each) is int and 0 <= each < 256 for each in json):
        return bytes(json)
    raise BadRequest(f'{at} has to be bytes: text, {{"base64": "…"}}, or a list of numbers, not {json!r:.60}')


def _read_list(json: Any, kind: ListType, at: str) -> Any:
    if kind.element == Primitive("u8"):
        return _read_bytes(json, kind, at)
    if not isinstance(json, list):
        raise _wrong(at, kind, json)
    return [read(each, kind.element, f"{at}[{number}]") for number, each in enumerate(json)]


def _read_tuple(json: Any, kind: TupleType, at: str) -> Any:
    if not isinstance(json, list) or len(json) != len(kind.items):
        raise _wrong(at, kind, json)
    return tuple(
        read(each, item, f"{at}[{at_}]") for at_, (each, item) in enumerate(zip(json, kind.items, strict=True))
    )


def _read_option(json: Any, kind: OptionType, at: str) -> Any:
    if json is None:
        return None
    if not isinstance(kind.some, OptionType):
        return read(json, kind.some, at)
    if not isinstance(json, Mapping) or set(json) != {"some"}:
        raise _wrong(at, kind, json)
    return Some(read(json["some"], kind.some, f"{at}.some"))


def _read_result(json: Any, kind: ResultType, at: str) -> Any:
    if json in ("ok", "err"):
        json = {json: None}
    if not isinstance(json, Mapping) or len(json) != 1 or not set(json) <= {"ok", "err"}:
        raise BadRequest(f'{at} has to be {{"ok": …}} or {{"err": …}} of {kind}, not {json!r:.60}')
    if "ok" in json:
        return Ok(read(json["ok"], kind.ok, f"{at}.ok"))
    return Err(read(json["err"], kind.error, f"{at}.err"))


def _read_record(json: Any, kind: RecordType, at: str) -> Any:
    names = [name for name, _ in kind.fields]
    if not isinstance(json, Mapping) or set(json) != set(names):
        raise BadRequest(f"{at} has to be an object with {', '.join(names)}, not {json!r:.60}")
    return tuple(read(json[name], field, f"{at}.{name}") for name, field in kind.fields)


def _read_variant(json: Any, kind: VariantType, at: str) -> Any:
    cases = dict(kind.cases)
    case, payload = json, None
    if isinstance(json, Mapping) and len(json) == 1:
        ((case, payload),) = json.items()
    if not isinstance(case, str) or case not in cases:
        raise BadRequest(f"{at} has to be one of {', '.join(cases)}, not {json!r:.60}")
    held = cases[case]
    return case, read(payload, held, f"{at}.{case}")


def _read_enum(json: Any, kind: EnumType, at: str) -> Any:
    if not isinstance(json, str) or json not in kind.cases:
        raise BadRequest(f"{at} has to be one of {', '.join(kind.cases)}, not {json!r:.60}")
    return json


def _read_flags(json: Any, kind: FlagsType, at: str) -> Any:
    if not isinstance(json, list) or not all(isinstance(name, str) and name in kind.names for name in json):
        raise BadRequest(f"{at} has to be a list of some of {', '.join(kind.names)}, not {json!r:.60}")
    return frozenset(json)


def _read_resource(json: Any, kind: OwnType | BorrowType, at: str) -> Any:
    if kind.resource.name == "buffer":
        return Buffer(_read_bytes(json, kind, at))
    raise BadRequest(f"{at} is a {kind.resource.name}, which cannot be made from JSON")


_READERS: Final[dict[type, Any]] = {
    Primitive: _read_primitive,
    ListType: _read_list,
    TupleType: _read_tuple,
    OptionType: _read_option,
    ResultType: _read_result,
    RecordType: _read_record,
    VariantType: _read_variant,
    EnumType: _read_enum,
    FlagsType: _read_flags,
    OwnType: _read_resource,
    BorrowType: _read_resource,
}
