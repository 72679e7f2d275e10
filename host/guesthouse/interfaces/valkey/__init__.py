"""Valkey and Redis for guests: `ValkeyInterface` answers `momento:valkey` and `momento:host/redis`."""

from guesthouse.interfaces.valkey.interface import REDIS, VALKEY, ValkeyInterface

__all__ = ["REDIS", "VALKEY", "ValkeyInterface"]
