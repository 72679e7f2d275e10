"""The way in over HTTP: one server, one table of routes, and the shortest possible way from a request to a function.

Knows HTTP and nothing of WebAssembly; everything that it needs comes in `Services`.
"""

from __future__ import annotations

from guesthouse.gateway.server import Gateway
from guesthouse.gateway.services import Services

__all__ = ["Gateway", "Services"]
