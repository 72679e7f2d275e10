"""docs/durable.md, docs/workflows.md: what they tell people to do works, what they name is there, what they quote is said."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from command_line import Server, built, server
from guesthouse import Host
from guesthouse.gateway.routes import ROUTES
from guesthouse.limits import Limits, MiB
from guesthouse.queue.config import QueueConfig
from guesthouse.registry.policy import AMBIGUOUS, DurablePolicy, read_durable
from harness import until
from pages import page_blocks, page_shell
from support import ROOT

PAGES = {name: ROOT / "docs" / f"{name}.md" for name in ("durable", "workflows")}
DURABLE, WORKFLOWS = (page.read_text() for page in PAGES.values())
EXAMPLES = ROOT / "guests" / "examples"
CRATE = "".join(file.read_text() for file in sorted((ROOT / "guests/sdk/src/durable").glob("*.rs")))
SIZES = {"MiB": MiB, "": 1}

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def suspended(running: Server, call: str) -> bool:
    """Whether a call waits, and holds no guest."""
    return running("invocations", "show", call, "--json").json["state"] == "suspended"


@needs_curl
def test_every_command_of_the_page_about_durable_functions_works(tmp_path: Path) -> None:
    """In their order; where the page says so the server is killed, and started again."""
    for name in ("greet", "approval"):
        shutil.copyfile(built(name), tmp_path / f"{name}.wasm")
    blocks = page_blocks(PAGES["durable"], "sh")
    at = next(number for number, block in enumerate(blocks) if "/resolve" in block)
    with server(tmp_path / "data") as running:
        said = page_shell("".join([*blocks[:at], "echo ID is $ID"]), tmp_path, running.url)
        (call,) = re.findall(r"^ID is (\w+)$", said, re.MULTILINE)
        assert '{"message":"Hello, Ada!"}' in said
        assert "default/greet  durable  succeeded" in said
        until(lambda: suspended(running, call), "it is suspended")
        assert running("invocations", "show", call, "--json").json["waits_for"] == "1 awakeable"
        running.process.kill()
        running.process.wait()
    with server(tmp_path / "data") as running:
        said = page_shell("".join(blocks[at:]), tmp_path, running.url, ID=call)
        assert '{"approved":{"by":"Ada"}}' in said
        assert '{"message":"Hello, Ada!"}' in said


@needs_curl
def test_every_command_of_the_page_about_workflows_works(tmp_path: Path) -> None:
    """One question is approved with them, another one refused."""
    approve, refuse = page_blocks(PAGES["workflows"], "sh")
    with server(tmp_path / "data") as running:
        assert running("deploy", built("approval"), "--name", "approval", "--durable").status == 0
        for block, answer in (
            (approve, '{"approved":{"by":"Ada"}}'),
            (refuse, '{"rejected":{"reason":"too expensive"}}'),
        ):
            call = running("invoke", "approval", "--async", "-d", '{"what": "tea"}').out.strip()
            until(lambda call=call: suspended(running, call), "it waits")
            (awakeable,) = re.findall(r"sign_1[\w-]+", running("logs", "approval", "--invocation", call).out)
            page_shell(block, tmp_path, running.url, ID=awakeable)
            assert running("invocations", "attach", call).out == answer


def test_the_terms_on_the_page_are_those_of_the_policy_and_their_defaults() -> None:
    """Every word of it."""
    (written,) = (tomllib.loads(block)["durable"] for block in page_blocks(PAGES["durable"], "toml"))
    assert written.keys() == {field.name for field in fields(DurablePolicy)}
    policy = read_durable(written)
    assert policy is not None
    assert policy.ambiguous == {"api.example.com": "ask"}
    assert DurablePolicy(ambiguous=policy.ambiguous) == policy
    table = DURABLE.partition("| `durable.ambiguous` | then |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == AMBIGUOUS


def test_the_settings_and_limits_on_the_pages_are_those_of_the_host() -> None:
    """With their defaults, where these are said."""
    table = WORKFLOWS.partition("## Limits")[2].partition("\n\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) ?(MiB|) \|", table, re.MULTILINE)
    assert len(rows) >= 5
    for name, number, unit in rows:
        assert getattr(Limits(), name) == int(number.replace(",", "")) * SIZES[unit], name
    named = set(re.findall(r"`queue\.(\w+)`", DURABLE + WORKFLOWS))
    assert named <= {field.name for field in fields(QueueConfig)}
    assert (QueueConfig().body_bytes, QueueConfig().output_bytes) == (MiB, 4 * MiB)


def test_the_metrics_on_the_page_are_those_of_a_server(tmp_path: Path) -> None:
    """Each that the page names."""
    with Host(tmp_path) as host:
        families = {family.name: family for family in host.inner.metrics.registry.collect()}
    for name in re.findall(r"guesthouse_(?:durable|queue)_\w+", DURABLE):
        assert name.removesuffix("_total") in families, name


@pytest.mark.parametrize("refused", ["ticker", "cache-recent"])
def test_the_refusals_on_the_page_are_what_a_deploy_says(tmp_path: Path, refused: str) -> None:
    """Word by word."""
    quoted = re.findall(r"`+(the function cannot be durable: .*?)`+ \|", DURABLE)
    with server(tmp_path) as running:
        said = running("deploy", built(refused), "--name", refused, "--durable")
    assert said.status == 1
    assert " ".join(said.err.split()).partition(": ")[2].partition(": ")[2] in quoted


def rust_names() -> Iterator[str]:
    """What the Rust on the page calls: functions and methods, none of its own."""
    for block in page_blocks(PAGES["workflows"], "rust"):
        code = re.sub(r"//.*", "", block)
        own = set(re.findall(r"fn (\w+)", code))
        yield from set(re.findall(r"\b([a-z]\w+)(?:::<[^()]*>)?\(", code)) - own


def test_the_rust_of_the_page_uses_what_the_crate_has() -> None:
    """Every function and method that it calls is one of the crate, of the examples, or of Rust itself."""
    examples = "".join(file.read_text() for file in EXAMPLES.glob("*/src/lib.rs"))
    of_rust = {"iter", "map", "into", "unwrap_or_default"}
    names = set(rust_names())
    assert len(names) >= 15
    for name in names - of_rust:
        assert f"fn {name}" in CRATE + examples or name in {"pay"}, name


def test_the_examples_on_the_page_are_there_and_their_code_is_what_it_shows() -> None:
    """Lines that are said to be of an example stand in it."""
    table = WORKFLOWS.partition("| example | shows |")[2].partition("\n\n")[0]
    named = {
        name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"([a-z-]+)`", row)
    }
    assert named == {"approval", "find-customers", "charge", "first-answer", "reminder", "basket"}
    assert all((EXAMPLES / name / "src/lib.rs").is_file() for name in named)
    shown = page_blocks(PAGES["workflows"], "rust")
    found = "".join(re.sub(r"\s+", "", (EXAMPLES / name / "src/lib.rs").read_text()) for name in sorted(named))
    for line in (
        "invoke!(find_customers);",
        "let charges = find(month)?;",
        'run("ask", || ask(question, &approval.id))?;',
        'let mut items: Basket = state::get("items")?.unwrap_or_default();',
        'state::set("items", &items)?;',
    ):
        assert any(line in block for block in shown), line
        assert re.sub(r"\s+", "", line) in found, line


def test_the_routes_and_methods_on_the_pages_are_the_hosts() -> None:
    """Each of them."""
    paths = {route.path.replace("{id}", "ID").replace("{awakeable}", "ID") for route in ROUTES}
    assert {path for _, path in re.findall(r"`([A-Z]+) (/[\w/]+)`", WORKFLOWS + DURABLE)} <= paths
    assert {"/restate/awakeables/ID/resolve", "/restate/awakeables/ID/reject"} <= paths
    methods = set(re.findall(r"`host\.(\w+)\(", WORKFLOWS + DURABLE))
    assert len(methods) >= 4
    assert all(callable(getattr(Host, name)) for name in methods)
