"""`Limits`: every bound that one invocation lives under, each with its default and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from guesthouse.errors import BadRequest

MiB = 1 << 20
KiB = 1 << 10
PAGE = 64 * KiB

MAX_MEMORY = 128 * MiB
"""The pool's slot size: no deployment can have more linear memory than this."""

MAX_DISPOSABLE_SECONDS = 25 * 3_600
"""The longest life of a disposable token: what the newest of the service's own clients documents (others say an hour)."""

LONGEST_MS = 366 * 24 * 3_600_000
"""The longest time that a limit can be: in nanoseconds it still fits everywhere."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one invocation; a deployment may lower or raise each of them at deploy."""

    deadline_ms: int = 30_000
    """Wall time of one live run, in milliseconds: guest loops, sleeps, host calls and body streaming together."""
    fuel: int = 100_000_000_000
    """Fuel (about one per WebAssembly instruction): the deterministic second bound, some minutes of computing."""
    memory_bytes: int = MAX_MEMORY
    """Linear memory of one instance: what `memory.grow` can reach before it answers -1."""
    table_elements: int = 20_000
    """Elements of one table: wasmtime's own default, far above what compilers emit."""
    request_bytes: int = 16 * MiB
    """Largest request body or spawn payload."""
    response_bytes: int = 64 * MiB
    """Largest response body, streamed or not."""
    response_headers: int = 256
    """Most header fields in one answer: twice what servers in use accept."""
    lift_bytes: int = 32 * MiB
    """Bytes that one host call may copy out of the guest: charged before anything is allocated."""
    invocation_lift_bytes: int = 128 * MiB
    """Bytes that all host calls of an invocation may copy out of the guest."""
    host_calls: int = 100_000
    """Host calls answered by the host's language: a flood of them costs the host, not the guest's fuel."""
    resources: int = 1_024
    """Resource handles that are alive at once, promises apart."""
    log_bytes: int = 256 * KiB
    """Log and standard output of one invocation; what is over is dropped and counted."""
    log_lines: int = 1_000
    """Log records of one invocation; what is over is dropped and counted."""
    realloc_ms: int = 50
    """Running time of one `cabi_realloc` inside a host call, in milliseconds: it needs microseconds."""
    http_requests: int = 64
    """Outgoing HTTP requests of one invocation."""
    http_concurrency: int = 6
    """Outgoing HTTP requests of one invocation at the same time: what browsers allow to one host."""
    http_response_bytes: int = 8 * MiB
    """Largest body of an outgoing HTTP request's response."""
    http_timeout_ms: int = 30_000
    """Longest wait for an outgoing HTTP request and all of its answer, in milliseconds, within the deadline."""
    http_idle_ms: int = 30_000
    """Longest silence in the middle of an answer's body, in milliseconds: twice what event streams use to keep alive."""
    valkey_timeout_ms: int = 10_000
    """Longest wait for the replies to a Valkey command or pipe, in milliseconds, within the deadline."""
    valkey_reply_bytes: int = 64 * MiB
    """Bytes of all replies from Valkey servers to one invocation, and 64 for each of their elements: they stay in memory."""
    valkey_connections: int = 64
    """Connections to Valkey servers that one invocation may have made: most are used again, so it rarely needs two."""
    detached_tasks: int = 1_000
    """Tasks of one invocation for after its answer: each of them is a name in the host's memory until it has ended."""
    spawn_depth: int = 16
    """Longest chain of functions that spawn functions: past it a spawn answers `limit`."""
    spawn_fanout: int = 1_000
    """Most spawns that descend from one root invocation."""

    promises: int = 32_768
    """Promises that one run of an invocation makes (calls, timers, awakeables): 10,000 calls and their time-outs fit well.
    Handles of them come on top of `resources`."""
    promise_bytes: int = 4 * MiB
    """Largest value of a step: as large as the answer of a called function, and kept in the journal."""
    wait_bytes: int = 32 * MiB
    """Of all values that one wait returns: as much as a host call may copy the other way."""
    durable_name_bytes: int = 256
    """Longest name of a step, or of a value of a key's state: what a key has, too."""
    state_bytes: int = MiB
    """Largest value of a key's state: it is read and written as a whole."""

    def with_changes(self, changes: dict[str, Any]) -> Limits:
        """These limits with `changes`; raises `BadRequest` for an unknown name or a value that is not a positive integer."""
        known = {field.name for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise BadRequest(f"unknown limit {name!r}; the limits are: {', '.join(sorted(known))}")
            if isinstance(value, bool) or not isinstance(value, int) or value <= 0 or value >= 1 << 62:
                raise BadRequest(f"limit {name!r} must be a positive integer, not {value!r}")
            if name.endswith("_ms") and value > LONGEST_MS:
                raise BadRequest(f"limit {name!r} must be at most {LONGEST_MS} (a year), not {value}")
        changed = replace(self, **changes)
        if changed.memory_bytes > MAX_MEMORY or changed.memory_bytes < PAGE:
            raise BadRequest(
                f"limit 'memory_bytes' must lie between {PAGE} and {MAX_MEMORY}, not {changed.memory_bytes}"
            )
        return changed

    def changes(self) -> dict[str, int]:
        """What differs from the defaults, for storing beside a deployment."""
        values = ((field.name, getattr(self, field.name), field.default) for field in fields(self))
        return {name: value for name, value, default in values if value != default}


@dataclass(frozen=True)
class CacheLimits:
    """The bounds of the cache, for guests and for clients alike; what is over one answers `limit-exceeded` or 413."""

    key_bytes: int = 64 * KiB
    """Longest key: each call looks it up on the loop, and keys are names, not contents."""
    item_bytes: int = 5_000_000
    """Largest item, key and value together: the service's own hard limit."""
    ttl_ms: int = 24 * 3_600_000
    """Longest time to live: the service's own; a longer one is shortened to it, for the crates send huge ones."""
    element_bytes: int = 128 * KiB
    """Largest element of a list: the service's own."""
    list_elements: int = 20_000
    """Longest list: changes in its middle, and reading all of it, take a few milliseconds for that many."""
    list_bytes: int = 16 * MiB
    """Largest list, its elements together: an eighth of what a guest can hold, which may fetch all of it."""
    erase_ranges: int = 1_000
    """Ranges of one erase call: they are put in order first."""
