"""guesthouse: a Python host for WebAssembly guest functions.

`Host` (plain programs) and `AsyncHost` (asyncio) run functions in-process; `guesthouse serve` runs them over HTTP.
Write your own host interface as a subclass of `Interface` with methods marked by `host_call`; `Ok` and `Err` are WIT's
result.  Errors are those of `guesthouse.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guesthouse.async_host import AsyncHost
    from guesthouse.dispatch.outcome import Outcome
    from guesthouse.engine.hostcall import Effect
    from guesthouse.engine.values import Err, Ok, Some
    from guesthouse.host import Host
    from guesthouse.interfaces.base import Interface, host_call
    from guesthouse.interfaces.cache import CacheConfig
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.limits import CacheLimits, Limits
    from guesthouse.net.aws import AwsConfig
    from guesthouse.net.client import OutboundConfig
    from guesthouse.net.policy import OutboundPolicy

__version__ = "0.1.0"

_HOMES = {
    "AsyncHost": "guesthouse.async_host",
    "AwsConfig": "guesthouse.net.aws",
    "CacheConfig": "guesthouse.interfaces.cache",
    "CacheLimits": "guesthouse.limits",
    "Effect": "guesthouse.engine.hostcall",
    "Err": "guesthouse.engine.values",
    "Host": "guesthouse.host",
    "Interface": "guesthouse.interfaces.base",
    "Invocation": "guesthouse.interfaces.invocation",
    "Limits": "guesthouse.limits",
    "Ok": "guesthouse.engine.values",
    "OutboundConfig": "guesthouse.net.client",
    "OutboundPolicy": "guesthouse.net.policy",
    "Outcome": "guesthouse.dispatch.outcome",
    "Some": "guesthouse.engine.values",
    "host_call": "guesthouse.interfaces.base",
}

__all__ = [
    "AsyncHost",
    "AwsConfig",
    "CacheConfig",
    "CacheLimits",
    "Effect",
    "Err",
    "Host",
    "Interface",
    "Invocation",
    "Limits",
    "Ok",
    "OutboundConfig",
    "OutboundPolicy",
    "Outcome",
    "Some",
    "host_call",
]


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for: `import guesthouse` alone takes no time."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'guesthouse' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
