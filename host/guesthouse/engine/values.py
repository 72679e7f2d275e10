"""How WIT values look in Python, both ways: what a host function is given and what it returns.

| WIT | Python |
|---|---|
| bool, integers, floats, string | `bool`, `int`, `float`, `str` |
| char | `str` of length one |
| `list<u8>` | `bytes` (lowering takes any bytes-like object) |
| any other list | `list` |
| tuple | `tuple` |
| record | a `NamedTuple` with the fields in snake_case; lowering takes any tuple in field order |
| variant | `(case, payload)`, a tuple of the WIT case name and the payload, `None` where the case has none |
| enum | the WIT name, a `str` |
| flags | `frozenset` of WIT names |
| option | `None` or the value; only `option<option<…>>` wraps a present outer value as `Some(value)` |
| result | `Ok(value)` or `Err(error)` |
| own, borrow of a host resource | the Python object itself |
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Ok(NamedTuple, Generic[T]):
    """The good case of a WIT `result`."""

    value: T = None  # type: ignore[assignment]  # `Ok()` is the ok of `result<_, E>`


class Err(NamedTuple, Generic[T]):
    """The bad case of a WIT `result`."""

    error: T = None  # type: ignore[assignment]  # `Err()` is the error of `result<T>`


class Some(NamedTuple, Generic[T]):
    """A present outer value of an `option<option<…>>`, where `None` alone would be ambiguous."""

    value: T
