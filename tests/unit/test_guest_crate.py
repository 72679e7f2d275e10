"""The crate for guests, guesthouse-guest, beside the host."""

from __future__ import annotations

from support import ROOT


def test_the_crate_has_the_texts_that_the_host_has() -> None:
    """It is published with copies of its own."""
    own = {path.name: path.read_text() for path in (ROOT / "guests" / "sdk" / "wit").iterdir()}
    assert own == {path.name: path.read_text() for path in (ROOT / "abi" / "guesthouse").iterdir()}
