"""Our checks as Consul's definitions."""

from __future__ import annotations

import json

import httpx
import pytest

from consul_kit import MINE, Agent
from trimtab.check import Check
from trimtab.errors import ConfigurationError, RegistryRequestError
from trimtab.instance import Instance, Status
from trimtab.registries import connect
from trimtab.registries.consul.writer import check_definition
from trimtab.registries.protocol import CheckingRegistrar

V6 = Instance(id="six", host="::1", port=80, scheme="https")


def written(instance, text, **changes):
    return check_definition(instance, Check.parse(text, **changes), check_id="c")


@pytest.mark.parametrize(
    ("instance", "text", "what"),
    [
        (
            MINE,
            "http:/up?full=1",
            {"HTTP": "http://10.0.0.1:80/up?full=1", "Method": "GET", "TLSSkipVerify": False},
        ),
        (
            V6,
            "http:81/up",
            {"HTTP": "https://[::1]:81/up", "Method": "GET", "TLSSkipVerify": False},
        ),
        (MINE, "tcp", {"TCP": "10.0.0.1:80"}),
        (V6, "tcp:81", {"TCP": "[::1]:81"}),
        (
            MINE,
            "script:/bin/ask --now 'a b'",
            {
                "Args": [
                    "env",
                    "TRIMTAB_INSTANCE_ID=a",
                    "TRIMTAB_HOST=10.0.0.1",
                    "TRIMTAB_PORT=80",
                    "/bin/ask",
                    "--now",
                    "a b",
                ]
            },
        ),
    ],
)
def test_each_kind(instance, text, what):
    found = written(instance, text, interval_s=7.5, timeout_s=0.25, rise=1, fall=4)
    assert found == {
        "CheckID": "c",
        "Name": f"{text.partition(':')[0]} check",
        "Notes": str(Check.parse(text)),
        "Interval": "7.5s",
        "Timeout": "0.25s",
        "SuccessBeforePassing": 1,
        "FailuresBeforeCritical": 4,
        **what,
    }


def test_certificates_need_not_be_checked():
    assert check_definition(V6, Check(kind="http", verify=False), check_id="c")["TLSSkipVerify"]


@pytest.mark.parametrize(
    ("text", "changes", "why"),
    [
        ("http:/ 200-399", {}, "statuses is '200-399', and Consul knows 200-299 alone"),
        ("tcp", {"interval_s": 0.5}, "interval_s is 0.5, and Consul asks once a second"),
    ],
)
def test_what_consul_cannot_run_is_refused(text, changes, why):
    with pytest.raises(ConfigurationError, match=f"cannot be run by Consul: {why}"):
        written(MINE, text, **changes)


def test_what_consul_cannot_run_is_left_to_the_instance():
    registry = connect("consul://h")
    assert isinstance(registry, CheckingRegistrar)
    texts = ("tcp", "http:/up", "http:/up 204", "script:true")
    assert [registry.can_check(Check.parse(each)) for each in texts] == [True, True, False, False]
    assert connect("consul://h?scripts").can_check(Check.parse("script:true"))
    assert connect("consul://h?scripts").key != registry.key


@pytest.mark.anyio
async def test_checks_stand_beside_the_heartbeat_and_begin_in_the_instances_status():
    agent = Agent(httpx.Response(200))
    instance = MINE.with_(status=Status.WARNING)
    checks = [Check.parse("tcp"), Check.parse("http:/up")]
    await agent.registry().register("orders", instance, ttl_s=10, checks=checks)
    body = json.loads(agent.asked[0].content)
    every = [body["Check"], *body["Checks"]]
    assert [each["CheckID"] for each in every] == ["service:a", "service:a:1", "service:a:2"]
    assert {each["Status"] for each in every} == {"warning"}


@pytest.mark.anyio
async def test_scripts_that_are_off_are_a_mistake_with_its_remedy():
    said = "Scripts are disabled on this agent from remote calls; to enable, configure ..."
    registry = Agent(httpx.Response(500, text=said)).registry()
    with pytest.raises(RegistryRequestError, match="enable_local_script_checks does not do"):
        await registry.register("orders", MINE, ttl_s=10, checks=[Check.parse("script:true")])
