"""`Callee`: what the instances of one export of a deployment are made of and for."""

from __future__ import annotations

from typing import NamedTuple

from guesthouse._native.handle import Target
from guesthouse.engine.linker import Export, InstancePre
from guesthouse.engine.observer import Observer
from guesthouse.engine.pool import FunctionPool, InstancePool
from guesthouse.limits import Limits


class Callee(NamedTuple):
    """An export of a deployment with all that an instance needs: made once, shared by all its calls."""

    pool: InstancePool | FunctionPool
    pre: InstancePre
    export: Export
    target: Target
    limits: Limits
    observer: Observer
