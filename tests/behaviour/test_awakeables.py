"""Awakeables: in Python, over HTTP and on the command line; completed early, late and twice (F18)."""

from __future__ import annotations

import asyncio
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from gateway_server import Answer
from guesthouse import Host
from guesthouse.errors import InputError
from guesthouse.interfaces.durable import NoSuchAwakeable
from guesthouse.queue import completing
from harness import until
from hosted import Hosted
from support import guest
from waiting import KINDS, OK, PROBE, Waiting, perform, performed

both = pytest.mark.parametrize("kind", KINDS)
REJECTED = {"failed": {"kind": "failed", "message": "too expensive", "code": 0, "metadata": []}}
HELD = {"select": {"of": [1], "first": "to-end"}}
"""Waits until the second awakeable is completed, and leaves the first alone."""


@both
@pytest.mark.parametrize("order", list(permutations(["resolve", "reject", "wait"])), ids="-".join)
def test_whatever_comes_first_counts_in_each_order(kind: str, order: tuple[str, ...]) -> None:
    """Completed before anybody waits, while somebody does, and after that; by two who disagree."""

    async def work(at: Waiting) -> None:
        script = ["awakeable", {"publish": ["ids", "$id:1"]}, HELD, {"wait": {"of": 0}}]
        invocation, awakeable = await at.asked(
            [*script, "awakeable", {"publish": ["ids", "$id:2"]}, {"wait": {"of": 2}}]
        )
        hold = await at.published()
        await at.waits(invocation)
        for place, step in enumerate(order):
            if step == "resolve":
                await at.host.resolve(awakeable, b'{"by": "Ada"}')
            elif step == "reject":
                await at.host.reject(awakeable, "too expensive")
            elif place == 0:
                await at.waits_again(invocation, at.host.resolve(hold))
            else:
                await at.host.resolve(hold)
        await at.host.resolve(await at.published())
        first = next(step for step in order if step != "wait")
        assert (await at.trace(invocation))[5] == ({"ok": {"by": "Ada"}} if first == "resolve" else REJECTED)

    perform(kind, work)


@both
def test_what_has_ended_cannot_be_completed(kind: str) -> None:
    """Answered as what never was."""

    async def work(at: Waiting) -> None:
        invocation, awakeable = await at.asked([])
        await at.trace(invocation)
        for late in (awakeable, awakeable[:-1], "sign_1", "nobody"):
            with pytest.raises(NoSuchAwakeable):
                await at.host.resolve(late)
            with pytest.raises(NoSuchAwakeable):
                await at.host.reject(late, "no")

    perform(kind, work)


@both
def test_any_function_completes_any_awakeable(kind: str) -> None:
    """By its id alone; an error says that there is none."""

    async def work(at: Waiting) -> None:
        for verb, told in (
            ({"resolve": {"id": "ID", "payload": [1]}}, {"ok": [1]}),
            ({"reject": {"id": "ID", "reason": "too expensive"}}, REJECTED),
        ):
            invocation, awakeable = await at.asked([{"wait": {"of": 0}}])
            await at.waits(invocation)
            done = json.loads(json.dumps(verb).replace("ID", awakeable))
            assert await at.run([done, done]) == [OK, OK]
            assert (await at.trace(invocation))[2] == told
            (late,) = await at.run([done])
            assert late["failed"]["code"] == 404

    perform(kind, work)


def test_an_awakeable_survives_the_host(tmp_path: Path) -> None:
    """It is completed after a restart, and once more after another one."""
    ids: list[str] = []

    async def first(at: Waiting) -> None:
        ids.extend(await at.asked(["awakeable", HELD, {"wait": {"of": 0}}, {"value": "$id:1"}]))
        await at.waits(ids[0])

    async def second(at: Waiting) -> None:
        await at.waits(ids[0])
        await at.host.resolve(ids[1], b"7")
        await at.host.reject(ids[1], "too late")

    async def third(at: Waiting) -> None:
        from guesthouse.dispatch.workflows_base import NUMBER_BITS

        await at.host.resolve(at.host.workflows.ids.make(ids[0], (1 << NUMBER_BITS) + 2))  # the second of its first run
        assert (await at.trace(ids[0]))[4] == {"ok": 7}

    performed("durable", [first, second, third], data=tmp_path / "data")


def test_an_awakeable_in_memory_is_gone_with_its_run() -> None:
    """The next attempt has one of its own, and the older id is nobody's."""

    async def work(at: Waiting) -> None:
        fails = {"if_attempt": [1, [{"fail": {"temporary": "once"}}]]}
        invocation, older = await at.asked([fails, {"wait": {"of": 0}}])
        newer = await at.published()
        assert older != newer
        with pytest.raises(NoSuchAwakeable):
            await at.host.resolve(older)
        await at.host.resolve(newer, b"1")
        assert (await at.trace(invocation))[3] == {"ok": 1}

    perform("volatile", work)


@both
def test_what_awaits_an_invocation_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many awakeables it makes, and whoever completes them; what fits arrives."""
    monkeypatch.setattr(completing, "MOST_TOLD", 2_000)

    async def work(at: Waiting) -> None:
        await at.deploy("bounded", limits={"wait_bytes": 2_000})
        publish = {"publish": ["ids", "$id:1"]}
        script = ["awakeable", publish, {"gather": {}}]
        invocation, first = await at.asked(script, "bounded")
        second = await at.published()
        await at.waits(invocation)
        with pytest.raises(InputError, match="over 2000 bytes already"):
            await at.host.resolve(first, json.dumps("x" * 2_000).encode())
        await at.host.resolve(first, b"1")
        await at.host.resolve(second, b"2")
        assert (await at.trace(invocation))[4] == [{"ok": 1}, {"ok": 2}]

    perform(kind, work)


def test_the_synchronous_host_completes_and_kills() -> None:
    """As the asynchronous one."""
    with Host() as host:
        host.deploy("probe", guest(PROBE), durable={"grace_ms": 0})
        with pytest.raises(NoSuchAwakeable):
            host.resolve("sign_1x", b"1")
        with pytest.raises(NoSuchAwakeable):
            host.reject("sign_1x", "no")
        invocation = host.enqueue("probe", b'["awakeable", {"wait": {"of": 0}}]')
        host.kill(invocation)
        assert host.attach(invocation).state == "cancelled"


# -- over HTTP


@pytest.fixture(scope="module")
def server() -> Any:
    with Hosted() as hosted:
        for kind in KINDS:
            durable = {"grace_ms": 0} if kind == "durable" else None
            hosted.run(lambda host, kind=kind, durable=durable: host.deploy(kind, guest(PROBE), durable=durable))
        yield hosted


class Asked:
    """An invocation that waits for an awakeable."""

    def __init__(self, server: Hosted, kind: str) -> None:
        self._server = server
        self.id, self.awakeable = server.run(lambda host: self._start(host, kind))

    async def _start(self, host: Any, kind: str) -> tuple[str, str]:
        messages = host.topics.subscribe("default", "ids")
        script = ["awakeable", {"publish": ["ids", "$id:0"]}, {"wait": {"of": 0}}]
        invocation = await host.enqueue(kind, json.dumps(script).encode())
        async with asyncio.timeout(30):
            message = await anext(aiter(messages))
        messages.close()
        return invocation, message.value

    def post(self, verb: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._server.request("POST", f"/restate/awakeables/{self.awakeable}/{verb}", body, named)

    def told(self) -> Any:
        answer = self._server.request("GET", f"/invocations/{self.id}/attach?timeout=30")
        assert answer.status == 200, answer.body
        return answer.json[2]


@both
@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        (b'{"by": "Ada"}', "application/json", {"ok": {"by": "Ada"}}),
        (b"", "", OK),
        (b"plain words", "text/plain", {"ok": "plain words"}),
        (b"{not json", "application/json", {"ok": "{not json"}),
        (b"<a/>", "application/xml", {"ok": "<a/>"}),
    ],
    ids=["json", "nothing", "text", "what says that it is json", "xml"],
)
def test_any_body_completes_an_awakeable(server: Hosted, kind: str, body: bytes, content_type: str, told: Any) -> None:
    """It is passed on as it is: 202, and what it means is the function's to say."""
    asked = Asked(server, kind)
    headers = {"content_type": content_type} if content_type else {}
    answer = asked.post("resolve", body, **headers)
    assert (answer.status, answer.body) == (202, b"")
    assert asked.told() == told


@both
def test_a_rejection_is_a_failure_with_its_text(server: Hosted, kind: str) -> None:
    """Which no retry tries again."""
    asked = Asked(server, kind)
    assert asked.post("reject", b"too expensive", content_type="text/plain").status == 202
    assert asked.told() == REJECTED


@both
def test_bodies_are_bounded_and_reasons_are_text(server: Hosted, kind: str) -> None:
    """413 and 400; the awakeable is as it was."""
    asked = Asked(server, kind)
    assert asked.post("resolve", bytes((1 << 20) + 1)).status == 413
    assert asked.post("reject", b"x" * 20_000).status == 413
    assert asked.post("reject", b"\xff").status == 400
    assert asked.post("resolve", b"1").status == 202
    assert asked.told() == {"ok": 1}


@both
def test_the_first_of_many_clients_completes_it(server: Hosted, kind: str) -> None:
    """Each is told 202 while it lives, and 404 after that."""
    asked = Asked(server, kind)
    answers = [asked.post("resolve", str(number).encode()) for number in range(3)]
    assert answers[0].status == 202
    assert {answer.status for answer in answers} <= {202, 404}
    assert asked.told() == {"ok": 0}
    late = asked.post("resolve")
    assert (late.status, late.json["type"]) == (404, "urn:guesthouse:problem:not-found")


def test_other_methods_and_paths_are_not_there(server: Hosted) -> None:
    """405 says what is, and 404 the rest."""
    asked = Asked(server, "durable")
    path = f"/restate/awakeables/{asked.awakeable}"
    for method in ("GET", "PUT", "DELETE"):
        answer = server.request(method, f"{path}/resolve")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert server.request("POST", path).status == server.request("POST", f"{path}/forget").status == 404
    asked.post("resolve")


@pytest.mark.parametrize("verb", ["resolve", "reject"])
def test_nobody_sends_anything_to_an_id_that_was_not_made_here(server: Hosted, verb: str) -> None:
    """It is looked at before the body is: who has no id of ours cannot fill the memory of the host, either."""
    answer = server.request("POST", f"/restate/awakeables/sign_1{'A' * 60}/{verb}", b"x" * (2 << 20))
    assert answer.status == 404


@both
def test_the_route_needs_no_token_where_all_others_do(kind: str) -> None:
    """The id is all that it takes; a wrong token beside it changes nothing."""
    with Hosted() as hosted:
        durable = {"grace_ms": 0} if kind == "durable" else None
        hosted.run(lambda host: host.deploy(kind, guest(PROBE), durable=durable))
        asked = Asked(hosted, kind)
        hosted.run(make_token)
        until(lambda: hosted.request("GET", f"/invocations/{asked.id}").status == 401, "the token closes nothing")
        assert asked.post("resolve", b"1", authorization="Bearer nobody").status == 202


async def make_token(host: Any) -> None:
    await host.tokens.create("a token", scopes=["read"])


# -- on the command line


def test_the_command_line_completes_awakeables_and_kills(server: Hosted) -> None:
    """`awakeable resolve`, `awakeable reject` and `invocations kill`."""
    from click.testing import CliRunner

    from guesthouse.cli import cli as commands

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(commands, [*arguments, "--url", f"http://127.0.0.1:{server.port}"])
        assert result.exit_code == 0, result.output
        return result.output

    asked = Asked(server, "durable")
    assert f"resolved {asked.awakeable}" in run("awakeable", "resolve", asked.awakeable, "-d", '{"by": "Ada"}')
    assert asked.told() == {"ok": {"by": "Ada"}}
    asked = Asked(server, "durable")
    assert f"rejected {asked.awakeable}" in run("awakeable", "reject", asked.awakeable, "too expensive")
    assert asked.told() == REJECTED
    asked = Asked(server, "durable")
    assert f"killed {asked.id}" in run("invocations", "kill", asked.id)
    assert server.request("GET", f"/invocations/{asked.id}").json["state"] == "cancelled"
    result = CliRunner().invoke(
        commands, ["awakeable", "resolve", "sign_1x", "--url", f"http://127.0.0.1:{server.port}"]
    )
    assert result.exit_code == 1
    assert "there is no such awakeable" in result.output
