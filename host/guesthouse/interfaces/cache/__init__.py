"""The cache: values and lists for guests of both generations, and the places where they can be kept."""

from guesthouse.interfaces.cache.backend import CacheBackend, Counts, OverLimit, Popped, WrongKind, settled
from guesthouse.interfaces.cache.conditions import CONDITIONS, Condition, Item, holds
from guesthouse.interfaces.cache.gauges import observe
from guesthouse.interfaces.cache.interface import CacheInterface
from guesthouse.interfaces.cache.memory import MemoryCache
from guesthouse.interfaces.cache.opening import CacheConfig
from guesthouse.interfaces.cache.persistent import PersistentCache

__all__ = [
    "CONDITIONS",
    "CacheBackend",
    "CacheConfig",
    "CacheInterface",
    "Condition",
    "Counts",
    "Item",
    "MemoryCache",
    "OverLimit",
    "PersistentCache",
    "Popped",
    "WrongKind",
    "holds",
    "observe",
    "settled",
]
