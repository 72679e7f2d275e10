"""Journals: what an invocation was told, so that another run of it can be told the same.  Knows neither queues nor storage."""
