"""The canonical ABI: `compile_function` turns the WIT type of a function into what lifts and lowers its values.

A generic walk over types is too slow for every call.  So for lifting each function gets a program that C carries out
(`lifting`), and for lowering Python source of its own (`codegen_lower`; read it with
`print(signature.lower_result.__doc__)`); both are made once, when first needed, and kept.  How values look in Python is
written in `values`, how lowered ones reach the guest in `plan`.

Promises: whatever bytes a guest shows, lifting gives a value or raises `Trap` (reason `canonical-abi`, `lift-budget` or
`resource`), and charges the budget before it allocates.  Lowering raises `TypeError` or `ValueError` for a value that
does not fit, naming function, path and expected type, and `Trap` (reason `resource-limit`) where the guest would hold
too many handles.  Must not know how guests are run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol

from guesthouse.engine.codegen import record_class
from guesthouse.engine.codegen_lower import generate_lower
from guesthouse.engine.layout import (
    MAX_FLAT_PARAMS,
    MAX_FLAT_RESULTS,
    check_types,
    contains,
    core_signatures,
)
from guesthouse.engine.lifting import make_lift
from guesthouse.engine.mismatch import explain
from guesthouse.engine.plan import EMPTY_PLAN, Plan
from guesthouse.engine.resources import GuestResource, ResourceTable
from guesthouse.engine.types import BorrowType, FuncType

__all__ = [
    "EMPTY_PLAN",
    "GuestResource",
    "LiftContext",
    "Plan",
    "ResourceTable",
    "Signature",
    "compile_function",
    "flatten_core_signature",
    "record_class",
]


class LiftContext(Protocol):
    """What one guest's values are lifted from and lowered against; `Instance` is one."""

    memory: Any
    """The whole linear memory: a buffer whose slices are `bytes`.  To be set anew before each lift, as memory moves."""
    resources: ResourceTable
    lift_budget: int
    """Bytes that may still be lifted; every lift takes what it costs."""


def flatten_core_signature(func: FuncType) -> tuple[tuple[str, str], tuple[str, str]]:
    """The core (params, results) of a function as a guest imports it, and as it exports it: letters i I f F."""
    return core_signatures(func)


class Signature:
    """One function at core level: its core types, and the four ways across the border between guest and host.

    | | called with | gives |
    |---|---|---|
    | `lift_params` | `(cx, flat)`: the core arguments of an import call | the arguments as a tuple |
    | `lower_result` | `(cx, value, flat)`: same `flat`; ends what the call was lent | the plan of the answer |
    | `lower_params` | `(cx, args)` | the plan of an export call's core arguments |
    | `lift_result` | `(cx, flat)`: the core results of an export call | the value, `None` without a result |

    Core values are ints (unsigned) and floats.
    """

    def __init__(self, interface: str, name: str, func: FuncType) -> None:
        self.interface = interface
        self.name = name
        self.func = func
        imported, exported = core_signatures(func)
        self.core_params, self.core_results = imported
        self.export_params, self.export_results = exported
        self._params = [kind for _, kind in func.params]
        self._results = [] if func.result is None else [func.result]
        self._lends = any(contains(kind, lambda part: isinstance(part, BorrowType)) for kind in self._params)

    def __repr__(self) -> str:
        return f"<Signature {self.interface}#{self.name} {self.core_params}:{self.core_results}>"

    @cached_property
    def lift_params(self) -> Callable[[LiftContext, Sequence[int | float]], tuple[Any, ...]]:
        return make_lift(self._params, MAX_FLAT_PARAMS, single=False)

    @cached_property
    def lift_result(self) -> Callable[[LiftContext, Sequence[int | float]], Any]:
        if not self._results:
            return _no_value
        return make_lift(self._results, MAX_FLAT_RESULTS, single=True)

    @cached_property
    def lower_params(self) -> Callable[[LiftContext, Sequence[Any]], Plan]:
        complain = partial(explain, where=self._where, named=self.func.params)
        return generate_lower(self._params, MAX_FLAT_PARAMS, complain, result=False)

    @cached_property
    def lower_result(self) -> Callable[[LiftContext, Any, Sequence[int | float]], Plan]:
        if not self._results:
            return partial(_no_result, self._where, self._lends)
        complain = partial(explain, where=self._where, named=[("result", self._results[0])])
        return generate_lower(self._results, MAX_FLAT_RESULTS, complain, result=True, ends_lending=self._lends)

    @property
    def _where(self) -> str:
        return f"{self.interface}#{self.name}" if self.interface else self.name


def compile_function(interface_id: str, name: str, func: FuncType) -> Signature:
    """The signature of a function; the same object for the same function.

    Raises `LinkError` for types that cannot be compiled (too many, too deep, empty, a borrow in a result).
    """
    check_types(f"{interface_id}#{name}", func)
    return _signature(interface_id, name, func)


_signature = lru_cache(maxsize=4096)(Signature)


def _no_value(cx: LiftContext, flat: Sequence[int | float]) -> None:
    return None


def _no_result(where: str, lends: bool, cx: LiftContext, value: Any, flat: Sequence[int | float]) -> Plan:
    if value is not None:
        raise TypeError(f"{where}: has no result, got {type(value).__name__}")
    if lends:
        cx.resources.end_host_call()
    return EMPTY_PLAN
