"""Guests whose records go to CloudWatch: what is there once the host has closed."""

from __future__ import annotations

import json

import pytest

from aws_server import ROLE, AwsServer
from support import guest, host_with

FORMS = ("wasip2", "wasip1", "unknown-unknown")
GENERATIONS = ("log-calls", "old-log-calls")


def stored(server: AwsServer, group: str) -> dict[str, list[str]]:
    """The lines of a group by the function that wrote them."""
    streams = server.do("logs", "describe_log_streams", logGroupName=group)["logStreams"]
    names = [stream["logStreamName"] for stream in streams]
    found = {}
    for name in names:
        answer = server.do("logs", "get_log_events", logGroupName=group, logStreamName=name, startFromHead=True)
        found[name.split("/")[1]] = [event["message"] for event in answer["events"]]
    return found


@pytest.mark.parametrize("form", FORMS)
def test_what_a_guest_logs_is_in_its_log_group(aws_server: AwsServer, form: str) -> None:
    """Of both generations, also what it said before it was ended, and why it was; none of it twice."""
    group = {"role": ROLE, "group": "functions", "level": "info", "system": "error"}
    steps = [{"configure": [group]}, {"log": ["info", "one", 1]}, {"log": ["debug", "unseen", 1]}]
    with host_with(form=form, aws=aws_server.config) as host:
        for name in GENERATIONS:
            host.deploy(name, guest(name, form))
            assert host.invoke(name, json.dumps(steps).encode()).text == "[null]"
            ended = host.invoke(name, json.dumps([*steps, {"panic": "two"}]).encode())
            assert ended.result == "trapped"
    for lines in stored(aws_server, "functions").values():
        assert lines[:2] == ["one", "one"]
        assert any("the guest gave up (unreachable" in line for line in lines[2:])
        assert all(line.startswith("ERROR ") for line in lines[2:])
    assert set(stored(aws_server, "functions")) == set(GENERATIONS)
