"""What pages of the documentation tell people to type, typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support import ROOT

LONGEST_S = 90


def page_blocks(page: Path, language: str) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def page_shell(script: str, folder: Path, url: str, **variables: str) -> str:
    """What a block says that is typed in a folder beside a server; each of its commands has to succeed."""
    command = folder / "bin" / "guesthouse"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m guesthouse "$@"\n')
    command.chmod(0o755)
    others = {name: value for name, value in os.environ.items() if not name.startswith("GUESTHOUSE_")}
    ours = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "host"), "GUESTHOUSE_URL": url}
    said = subprocess.run(
        ["sh", "-eu", "-c", script.replace("http://127.0.0.1:8080", url)],
        cwd=folder,
        env={**others, **ours, **variables},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout
