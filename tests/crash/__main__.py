"""`python -m crash --kills 500 --charges 200 [--seed N]`: kills servers that often and says what it found.

`--kills` is for queued calls, `--charges` for durable functions that charge customers.  Exit status 1 for a fault.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

import click

from crash.charging import ChargeReport, charge
from crash.harness import Report, crash

PROMISED_S = 2.0
"""Within which a killed server is back."""


@click.command(help=__doc__)
@click.option("--kills", default=25, show_default=True)
@click.option("--charges", default=0, show_default=True)
@click.option("--lanes", default=2, show_default=True, help="Servers beside each other.")
@click.option("--seed", type=int, help="Of an earlier run, which is then repeated as far as time lets it.")
@click.option("--keep", is_flag=True, help="Leaves the data directories.")
def main(kills: int, charges: int, lanes: int, seed: int | None, keep: bool) -> None:
    """Runs it in a directory of its own."""
    chosen = SystemRandom().randrange(1_000_000) * 10 if seed is None else seed
    click.echo(f"seed {chosen}")
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    faults: list[str] = []
    try:
        if kills:
            began = time.monotonic()
            report = asyncio.run(crash(folder, seed=chosen, kills=kills, lanes=lanes))
            say(report, time.monotonic() - began)
            faults += report.faults
        if charges:
            began = time.monotonic()
            charged = asyncio.run(charge(folder, seed=chosen, kills=charges, lanes=lanes))
            say_charges(charged, time.monotonic() - began)
            faults += charged.faults
    finally:
        if keep:
            click.echo(f"the data directories are in {folder}")
        else:
            shutil.rmtree(folder)
    for fault in faults[:20]:
        click.echo(f"FAULT {fault}")
    if faults:
        click.echo(f"{len(faults)} faults; repeat with --seed {chosen}")
        sys.exit(1)


def say(report: Report, seconds: float) -> None:
    """The figures of queued calls."""
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


def say_charges(report: ChargeReport, seconds: float) -> None:
    """The figures of durable functions."""
    click.echo(f"{report.kills.total()} kills of durable functions in {seconds:.0f} s: {dict(report.kills)}")
    click.echo(
        f"{report.customers} charges: {report.charged} made, {report.refused} refused for good, by {report.requests} requests,"
        f" of which {report.unanswered} were cut off and {report.throttled} were too many for the API's rate"
    )


if __name__ == "__main__":
    main()
