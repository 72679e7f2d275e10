"""Both verdicts on the same raw bytes, ours and wasmtime's: the value in a comparable form, or the word `trap`."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from wasmtime import WasmtimeError

from conformance.oracle import PAGE, oracle
from guesthouse.engine.canonical import Signature, compile_function
from guesthouse.engine.types import FuncType, Type
from guesthouse.errors import Trap
from unit.fake_guest import Context, FakeGuest, core_values

BUDGET = 1 << 20
TRAP = "trap"
TOO_MUCH = "too much"
"""Valid or not, wasmtime would build more values than a test has time for."""


def signature_of(kind: Type) -> Signature:
    return compile_function("test:oracle/one", "echo", FuncType((("x", kind),), kind))


def plain(value: Any) -> Any:
    """A value in a form in which equal means the same: types told apart, NaN equal to itself."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple) and type(value).__name__ in ("Ok", "Err", "Some"):
        return [type(value).__name__, plain(value[0])]
    if isinstance(value, tuple | list):
        return [type(value).__name__ == "list", *map(plain, value)]
    return repr(value)


def arguments_in(raw: bytes, signature: Signature) -> list[int | float]:
    """The core arguments in the cells from address 0 on, as a guest passes them."""
    count = len(signature.core_params)
    return core_values(struct.unpack_from(f"<{count}Q", raw), signature.core_params)


def memory_of(raw: bytes) -> Context:
    """What the oracle's guest makes of raw bytes: a page that begins with them."""
    guest = FakeGuest(PAGE, budget=BUDGET)
    guest.bytes[: len(raw)] = raw
    return guest.context


def ours(lift: Callable[[Context, list[int | float]], Any], raw: bytes, flat: list[int | float]) -> Any:
    """What our lifting makes of it."""
    try:
        return plain(lift(memory_of(raw), flat))
    except Trap as trap:
        return TOO_MUCH if trap.reason == "lift-budget" else TRAP


def theirs(lift: Callable[[], Any]) -> Any:
    """What wasmtime makes of it."""
    try:
        return plain(lift())
    except WasmtimeError:
        return TRAP


def on_result(kind: Type, raw: bytes) -> tuple[Any, Any]:
    """Both verdicts on an export's result, whose core value lies in the first 8 bytes."""
    signature = signature_of(kind)
    mine = ours(signature.lift_result, raw, core_values(struct.unpack_from("<Q", raw), signature.export_results))
    return mine, TOO_MUCH if mine == TOO_MUCH else theirs(lambda: oracle(kind).lift(raw))


def on_argument(kind: Type, raw: bytes, answer: Any) -> tuple[Any, Any]:
    """Both verdicts on the argument of a host call, whose core values lie in 8-byte cells from 0 on."""
    signature = signature_of(kind)
    mine = ours(lambda cx, flat: signature.lift_params(cx, flat)[0], raw, arguments_in(raw, signature))
    return mine, TOO_MUCH if mine == TOO_MUCH else theirs(lambda: oracle(kind).call(raw, answer)[0])
