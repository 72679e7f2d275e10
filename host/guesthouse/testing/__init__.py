"""For authors of guests: a host in simulated time, with a fake HTTP world and crashes at will.

See `SimulatedHost`, and docs/testing.md for how to begin.
"""

from guesthouse.testing.awakeables import Pending
from guesthouse.testing.blocking import SimulatedHost
from guesthouse.testing.fakes import FakeHttp, Route
from guesthouse.testing.host import AsyncSimulatedHost, Result
from guesthouse.testing.life import Crashed, Stuck
from guesthouse.testing.messages import Answer, Request, answer
from guesthouse.testing.simulation import UnexpectedRequests
from guesthouse.testing.sweep import Sweep, Sweeper, crash_sweep

__all__ = [
    "SimulatedHost",
    "AsyncSimulatedHost",
    "Result",
    "Pending",
    "FakeHttp",
    "Route",
    "Request",
    "Answer",
    "answer",
    "crash_sweep",
    "Sweep",
    "Sweeper",
    "Crashed",
    "Stuck",
    "UnexpectedRequests",
]
