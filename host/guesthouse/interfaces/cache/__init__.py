"""The scalar cache: the interface of both generations, the backend protocol, and the backend in memory."""

from guesthouse.interfaces.cache.conditions import CONDITIONS, Condition, Item, holds
from guesthouse.interfaces.cache.interface import CacheInterface
from guesthouse.interfaces.cache.memory import CacheBackend, MemoryCache

__all__ = ["CONDITIONS", "CacheBackend", "CacheInterface", "Condition", "Item", "MemoryCache", "holds"]
