"""`python -m crash --kills 500 [--seed N]`: kills a server that often and says what it found; exit status 1 for a fault."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

import click

from crash.harness import Report, crash

PROMISED_S = 2.0
"""Within which a killed server is back."""


@click.command(help=__doc__)
@click.option("--kills", default=25, show_default=True)
@click.option("--lanes", default=2, show_default=True, help="Servers beside each other.")
@click.option("--seed", type=int, help="Of an earlier run, which is then repeated as far as time lets it.")
@click.option("--keep", is_flag=True, help="Leaves the data directories.")
def main(kills: int, lanes: int, seed: int | None, keep: bool) -> None:
    """Runs it in a directory of its own."""
    chosen = SystemRandom().randrange(1_000_000) * 10 if seed is None else seed
    click.echo(f"seed {chosen}")
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    try:
        report = asyncio.run(crash(folder, seed=chosen, kills=kills, lanes=lanes))
    finally:
        if keep:
            click.echo(f"the data directories are in {folder}")
        else:
            shutil.rmtree(folder)
    say(report, time.monotonic() - began)
    if report.faults:
        click.echo(f"{len(report.faults)} faults; repeat with --seed {chosen}")
        sys.exit(1)


def say(report: Report, seconds: float) -> None:
    """The figures, and the first faults."""
    click.echo(f"{report.kills.total()} kills in {seconds:.0f} s: {dict(report.kills)}")
    click.echo(
        f"{report.sent} requests, {report.acknowledged} calls acknowledged; ended as {dict(sorted(report.states.items()))}"
    )
    for what, times in (("ready", report.ready_s), ("first call acknowledged", report.first_s)):
        ordered = sorted(times) or [0.0]
        middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        late_word = "ok" if ordered[-1] < PROMISED_S else f"over {PROMISED_S:g} s"
        click.echo(
            f"{what} after {middle:.2f} s (median), {late:.2f} s (p99), {ordered[-1]:.2f} s (longest): {late_word}"
        )
    click.echo(f"memory of the idle server: {[size >> 20 for size in report.rss]} MiB")
    for fault in report.faults[:20]:
        click.echo(f"FAULT {fault}")


if __name__ == "__main__":
    main()
