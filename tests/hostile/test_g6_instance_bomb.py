"""G6: a component that would instantiate without end is refused when it is deployed, before anything is instantiated."""

from __future__ import annotations

import time

import pytest

from guesthouse import Host
from guesthouse.errors import InvalidModule
from harness import LATE
from support import wat

NESTED = 40
BOMBS = {
    "a thousand core instances": f"(component (core module $m) {'(core instance (instantiate $m))' * 1000})",
    "a thousand bundles": f"(component {'(core instance)' * 1000})",
    "a thousand instances": f"(component (component $c) {'(instance (instantiate $c))' * 1000})",
    "a thousand core modules": f"(component {'(core module)' * 1000})",
    "a thousand components": f"(component {'(component)' * 1000})",
    "components in components": "(component " * NESTED + ")" * NESTED,
    "each twice the one before": "(component (component $c0 (core module $m) (core instance (instantiate $m)))"
    + "".join(
        f"(component $c{n + 1} (component $inner) (instance (instantiate $inner)) (instance (instantiate $inner)))"
        for n in range(50)
    )
    + ")",
    "a thousand memories": f"(component (core module $m {'(memory 1)' * 1000}))",
    "ten thousand types": f"(component {'(type (func))' * 10_000})",
    "types of types": "(component (type $t0 (list u8))"
    + "".join(f"(type $t{n + 1} (tuple $t{n} $t{n}))" for n in range(200))
    + '(import "x" (func (param "a" $t200))))',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_once(host: Host, bomb: str) -> None:
    """The target is less than a second; nothing is stored and the other functions are called as before."""
    wasm = wat(bomb)
    began = time.process_time()
    with pytest.raises(InvalidModule):
        host.deploy("bomb", wasm)
    assert time.process_time() - began < 4 + LATE
    assert host.inner.registry.get("default", "bomb") is None
