"""The WIT types of the published Momento interfaces whose core layouts are known, for hand-made vectors."""

from __future__ import annotations

from guesthouse.engine.types import (
    BorrowType,
    FuncType,
    ListType,
    OptionType,
    OwnType,
    Primitive,
    RecordType,
    ResourceType,
    ResultType,
    TupleType,
    Type,
    VariantType,
)

STRING, U8, U16, U32, U64, BOOL = map(Primitive, ["string", "u8", "u16", "u32", "u64", "bool"])
BYTES = ListType(U8)
BUFFER = ResourceType("momento:bytes/bytes@1.0.0", "buffer")
DATA = VariantType((("buffer", OwnType(BUFFER)), ("value", BYTES)), "data")
HEADER = RecordType((("name", STRING), ("value", STRING)), "header")
PAIRS = ListType(TupleType((STRING, STRING)))


def response(body: Type) -> RecordType:
    return RecordType((("status", U16), ("headers", ListType(HEADER)), ("body", body)), "response")


ERROR = VariantType(
    (
        ("internal-error", None), ("request-cancelled", None), ("invalid-argument", STRING), ("timeout", None),
        ("permission-denied", STRING), ("limit-exceeded", STRING), ("failed-precondition", STRING), ("not-found", STRING),
    ),
    "error",
)  # fmt: skip
CONDITION = VariantType(
    (
        ("present", None), ("present-and-not-equal", DATA), ("absent", None), ("equal", DATA), ("absent-or-equal", DATA),
        ("not-equal", DATA),
    ),
    "set-if-condition",
)  # fmt: skip
SPAWN_RESULT = ResultType(
    VariantType((("ok", None), ("ok-note", STRING))),
    VariantType((("failed", None), ("failed-note", STRING), ("host-error", STRING))),
)
SECRET = RecordType((("access-key-id", STRING), ("secret-access-key", STRING), ("region", STRING), ("service", STRING)))
ROLE = RecordType((("role-arn", STRING), ("service", STRING)))
AUTHORIZATION = VariantType((("none", None), ("aws-sigv4-secret", SECRET), ("federated", ROLE)), "authorization")
HTTP_REQUEST = RecordType(
    (("url", STRING), ("verb", STRING), ("headers", PAIRS), ("body", DATA), ("authorization", AUTHORIZATION)), "request"
)
HTTP_RESPONSE = RecordType((("status", U16), ("headers", PAIRS), ("body", DATA)), "response")
INVALID = RecordType((("value", STRING), ("error", STRING)))
HTTP_ERROR = VariantType(
    (
        ("internal-error", None), ("request-error", STRING), ("invalid-url", INVALID), ("invalid-header-name", INVALID),
        ("invalid-header-value", INVALID),
    ),
    "error",
)  # fmt: skip
HTTP_RESULT = ResultType(HTTP_RESPONSE, HTTP_ERROR)


def func(*params: Type, result: Type | None = None) -> FuncType:
    return FuncType(tuple((f"p{n}", kind) for n, kind in enumerate(params)), result)


INVOKE = func(DATA, result=response(DATA))
POST = func(BYTES, result=response(BYTES))
GET = func(DATA, result=ResultType(OptionType(DATA), ERROR))
GET_V1 = func(BYTES, result=ResultType(OptionType(BYTES), ERROR))
READ = func(BorrowType(BUFFER), U32, result=OptionType(BYTES))

CORE_SIGNATURES = {
    "buffer.remaining": (func(BorrowType(BUFFER), result=U32), ("i", "i"), ("i", "i")),
    "buffer.advance": (func(BorrowType(BUFFER), U32), ("ii", ""), ("ii", "")),
    "buffer.read": (READ, ("iii", ""), ("ii", "i")),
    "invoke": (INVOKE, ("iiii", ""), ("iii", "i")),
    "post": (POST, ("iii", ""), ("ii", "i")),
    "spawned": (func(DATA, result=SPAWN_RESULT), ("iiii", ""), ("iii", "i")),
    "spawned v1": (func(BYTES), ("ii", ""), ("ii", "")),
    "get": (GET, ("iiii", ""), ("iii", "i")),
    "set": (func(DATA, DATA, U64, result=ResultType(None, ERROR)), ("iiiiiiIi", ""), ("iiiiiiI", "i")),
    "set-if": (
        func(DATA, DATA, U64, CONDITION, result=ResultType(None, ERROR)),
        ("iiiiiiIiiiii", ""),
        ("iiiiiiIiiii", "i"),
    ),
    "http invoke": (func(HTTP_REQUEST, result=HTTP_RESULT), ("ii", ""), ("i", "i")),
    "send-sse": (
        func(OptionType(STRING), OptionType(STRING), OptionType(DATA), result=ResultType(None, STRING)),
        ("iiiiiiiiiii", ""),
        ("iiiiiiiiii", "i"),
    ),
    "token": (
        func(U32, STRING, OptionType(STRING), result=ResultType(STRING, ERROR)),
        ("iiiiiii", ""),
        ("iiiiii", "i"),
    ),
    "log": (func(STRING, Primitive("u8")), ("iii", ""), ("iii", "")),
}
"""Function -> (type, as imported, as exported), each as (params, results)."""
