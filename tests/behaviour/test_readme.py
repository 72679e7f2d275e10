"""README.md: its Python runs and prints what it says, and what it names is there; so are the links of all front pages."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from command_line import built, server
from guesthouse.cli import cli
from harness import until
from pages import page_shell
from support import ROOT

TEXT = (ROOT / "README.md").read_text()
ANSWER = '{"message":"Hello, Ada!"}'


def blocks(language: str) -> list[str]:
    """The code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "code", blocks("python"), ids=lambda code: f"line {TEXT[: TEXT.index(code)].count(chr(10)) + 1}"
)
def test_a_python_example_prints_what_it_says(tmp_path, code):
    """Each `print` with a comment prints that comment."""
    (tmp_path / "hello.wasm").write_bytes(built("greet").read_bytes())
    for name in ("calculator", "order"):
        (tmp_path / f"{name}.wasm").write_bytes(built(name).read_bytes())
    wit = ROOT / "guests/examples/calculator/wit/calculator.wit"
    (tmp_path / "calculator.wit").write_text(wit.read_text())
    command = [sys.executable, "-W", "error", "-c", code]
    said = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "host")}, capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stderr
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert promised
    assert said.stdout.splitlines() == promised


def test_every_path_that_it_names_is_there():
    """In the texts and tables, and in commands."""
    named = set(re.findall(r"(?:abi|benchmarks|docs|guests|host|tests|tools)/[\w./-]*\w", TEXT))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


PAGES = [ROOT / page for page in ("README.md", "host/ARCHITECTURE.md", "guests/README.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """Files of the project are there, and so is the heading that a link names."""
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text())
    for path, anchor in links:
        if "://" not in path:
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name} links to {path}"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {path}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_of_the_docs_names_every_page():
    """In docs/README.md."""
    docs = ROOT / "docs"
    linked = {(docs / path).resolve() for path in re.findall(r"\]\(([^)#]+)", (docs / "README.md").read_text())}
    assert {page for page in docs.rglob("*.md") if page != docs / "README.md"} <= linked


def test_its_functions_are_the_one_that_new_makes_and_a_built_one():
    """What it shows of `src/lib.rs` is in the template, and in the guest that the text names."""
    made, order = blocks("rust")
    assert made in (ROOT / "host/guesthouse/templates/web/src/lib.rs").read_text()
    assert order in (ROOT / "guests/tests/order/src/lib.rs").read_text()


def test_what_it_says_about_a_server_works(tmp_path, monkeypatch):
    """Inspect, run, deploy twice, call, read the log and roll back, with a file that was built before."""
    shown = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in shown if line.startswith("guesthouse ")]
    by_name = {words[0]: words for words in reversed(commands) if words}
    file = tmp_path / by_name["deploy"][1]
    file.parent.mkdir(parents=True)
    file.write_bytes(built("greet").read_bytes())
    monkeypatch.chdir(tmp_path)
    with server(tmp_path / "data") as running:
        for words in (by_name["inspect"], by_name["run"], by_name["deploy"], by_name["deploy"]):
            said = running(*words)
            assert said.status == 0, said.err
        assert running(*by_name["run"]).out == running("invoke", "hello", "-d", by_name["run"][-1]).out == ANSWER
        assert running(*by_name["logs"][:2]).status == 0
        assert running(*by_name["rollback"]).status == 0
        assert running("versions", "ls", "hello", "--json").json[0]["current"]


def test_what_it_says_about_a_durable_function_works(tmp_path):
    """Deployed, called, killed while it waits, answered by curl, and done."""
    before, after = (block for block in blocks("sh") if "order" in block or "awakeables" in block)
    (tmp_path / "order.wasm").write_bytes(built("order").read_bytes())
    with server(tmp_path / "data") as running:
        said = page_shell(before, tmp_path, running.url)
        (call,) = re.findall(r"location: /invocations/(\w+)", said)
        until(lambda: "sign_1" in running("logs", "order").out, "it says where to answer")
        (awakeable,) = re.findall(r"/restate/awakeables/(\S+)", running("logs", "order").out)
        running.process.kill()
        running.process.wait()
    with server(tmp_path / "data") as running:
        script = after.replace("sign_1…", awakeable).replace("ID", call)
        assert page_shell(script, tmp_path, running.url).endswith('"a new engine, approved by Ada"')


def test_every_promise_names_tests_that_are_there():
    """Files, and words of `-k` that some test is called by."""
    names = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")]
    shown = re.findall(r'make test PYTEST=("[^"]*"|[\w/.]+)', TEXT)
    assert len(shown) > 10
    for argument in shown:
        words = re.findall(r"[\w/.]+", argument.strip('"').removeprefix("-k")) if "-k" in argument else []
        for word in words:
            assert word == "or" or any(word in name for name in names), argument
        assert words or (ROOT / argument).exists(), argument


def test_every_make_target_that_it_names_is_there():
    """As the Makefile lists them."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b(?=[ `])", TEXT)) - {"and"} <= targets


def test_every_command_that_it_shows_can_be_read():
    """Subcommands and options exist."""
    assert commands_that_can_be_read(ROOT / "README.md") >= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_can_be_read(page):
    """As those of the README."""
    commands_that_can_be_read(page)


def commands_that_can_be_read(page: Path) -> int:
    """How many commands a page shows, if this command line knows each of them."""
    text = page.read_text()
    shown = [line for block in re.findall(r"^```(?:sh)?\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]
    shown += re.findall(r"`(guesthouse [^`]*)`", text)
    parsed = 0
    for line in shown:
        line = re.sub(r"[\[\]]", "", line.replace("\\|", "/"))  # what may be left out, and one or the other
        words = re.match(r"(?:[A-Z_]+=\S+ )*guesthouse (.*)", line.strip())
        words = shlex.split(words[1].partition("|")[0], comments=True) if words else []
        if not words or words[0].startswith("-"):
            continue
        command: click.Command = cli
        while isinstance(command, click.Group) and words:
            command = command.commands[words.pop(0)]
        command.make_parser(click.Context(command)).parse_args(words)
        parsed += 1
    return parsed
