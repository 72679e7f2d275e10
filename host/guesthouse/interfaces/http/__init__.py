"""The guest's HTTP client: `HttpInterface` answers `momento:http` 1.0.0 and 1.1.0, and `momento:host/http`."""

from guesthouse.interfaces.http.interface import HTTP_1_0, HTTP_1_1, HTTP_OLD, HttpInterface

__all__ = ["HTTP_1_0", "HTTP_1_1", "HTTP_OLD", "HttpInterface"]
