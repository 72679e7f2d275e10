"""`guesthouse doctor`: what is missing on this machine, and the command that gets it.

Promises: nothing is changed, every question has an answer within seconds, and a question that cannot be asked is a
line like any other.  Exit status 1 says that something is missing without which a server does not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from guesthouse.cli.findings import MISSING, OK, WARN, Finding
from guesthouse.cli.options import config_options, url_option
from guesthouse.cli.output import Output, shown, with_output

COLOURS = {OK: "green", WARN: "yellow", MISSING: "red"}


@click.command(
    epilog="""\
\b
Examples:
  guesthouse doctor
  guesthouse doctor --config guesthouse.toml --url https://functions.example.org
  guesthouse doctor --json | jq -r '.checks[] | select(.status != "ok") | .fix'
"""
)
@config_options
@url_option
@with_output
def doctor(output: Output, data_dir: Path | None, config: Path | None, url: str) -> None:
    """Says what is missing on this machine and how to get it.

    It looks at what running a server needs, at what writing functions needs, at what the configuration names, and at
    the server. Exit status 1: something is missing without which a server does not run here.
    """
    from guesthouse.cli import checkup

    findings: list[Finding] = []
    for finding in checkup.findings(data_dir, config, url):
        findings.append(finding)
        if not output.as_json and not (output.quiet and finding.status == OK):
            click.echo(told(finding))
    if output.as_json:
        output.result(document(findings), "")
    elif not output.quiet:
        output.say(_summary(findings))
    raise click.exceptions.Exit(any(finding.fatal for finding in findings))


def told(finding: Finding) -> str:
    """A finding for people, with what to do on a line of its own."""
    status = click.style(f"{finding.status:<7}", fg=COLOURS[finding.status], bold=finding.fatal)
    line = f"{status}  {finding.name:<12}  {shown(finding.text)}"
    return f"{line}\n{'':<23}{click.style('do:', bold=True)} {shown(finding.fix)}" if finding.fix else line


def document(findings: list[Finding]) -> dict[str, Any]:
    """The report for programs."""
    return {"ok": not any(found.fatal for found in findings), "checks": [found._asdict() for found in findings]}


def _summary(findings: list[Finding]) -> str:
    fatal = sum(finding.fatal for finding in findings)
    if fatal:
        return f"{fatal} of these must be there before a server runs"
    others = sum(finding.status != OK for finding in findings)
    return "a server runs here" + (f"; {others} of these may matter to you" if others else ", and nothing is missing")
