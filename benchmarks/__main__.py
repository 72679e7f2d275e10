"""`python -m benchmarks [NAME…] [--quick]`: runs the benchmarks and ends with one line for each promised figure."""

from __future__ import annotations

import importlib
import time

import click
from rich.console import Console

from benchmarks.figures import Figure
from benchmarks.report import save, show

BENCHMARKS = ("invocation", "cache", "http", "enqueue", "durable", "overload", "proxy", "isolation")


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(BENCHMARKS))
@click.option("--quick", is_flag=True, help="Fewer rounds: under a minute, and noisier.")
def main(names: tuple[str, ...], quick: bool) -> None:
    """Runs them one after another; a figure that is short is no failure."""
    console = Console(width=150)
    figures: list[Figure] = []
    for name in names or BENCHMARKS:
        began = time.monotonic()
        console.rule(name)
        result = importlib.import_module(f"benchmarks.{name}").run(quick)
        show(result, console)
        save(result, time.monotonic() - began)
        console.print(f"{name}: {time.monotonic() - began:.0f} s, benchmarks/results/{name}.json and .png")
        figures += result.figures
    for figure in figures:
        click.echo(figure.line())


if __name__ == "__main__":
    main()
