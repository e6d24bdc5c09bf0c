from __future__ import annotations

import asyncio

import httpx
import pytest

from trimtab.errors import (
    ClosedError,
    ConfigurationError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance, Status
from trimtab.registries import Registry, WatchableRegistry, connect
from trimtab.registries.http import HttpSettings, make

pytestmark = pytest.mark.anyio
URL = "http://inventory.test/v1/{service}"
ONE = Instance(host="10.0.0.1", port=80)


class Endpoint:
    """Answers with what the test says, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def registry(self, url=URL, **settings):
        return make(HttpSettings(template=url, transport=httpx.MockTransport(self), **settings))


def listing(*entries, **headers):
    return httpx.Response(200, json=list(entries), headers=headers)


async def fetched(data, **settings):
    return await Endpoint(httpx.Response(200, json=data)).registry(**settings).fetch("orders")


async def test_it_is_polled_and_the_service_is_quoted():
    endpoint = Endpoint(listing("10.0.0.1:80"))
    registry = endpoint.registry()
    assert isinstance(registry, Registry)
    assert not isinstance(registry, WatchableRegistry)
    assert (await registry.fetch("a b/c")).instances == (ONE,)
    assert endpoint.asked[0].url.raw_path == b"/v1/a%20b%2Fc"
    assert endpoint.asked[0].headers["accept"] == "application/json"


async def test_our_own_names_are_read_and_others_ignored():
    data = [{"host": "10.0.0.1", "port": 80, "owner": "team"}]
    assert (await fetched(data)).instances == (ONE,)


async def test_a_mapping_follows_dotted_paths():
    data = {
        "data": {
            "orders": [
                {"ip": "h1", "ports": [8080], "up": True, "where": {"az": "a"}, "labels": {"n": 1}},
                {"ip": "h2", "ports": [8081], "up": False},
                {"ip": "h3", "ports": []},
            ]
        }
    }
    mapping = {
        "host": "ip",
        "port": "ports.0",
        "status": "up",
        "zone": "where.az",
        "metadata": "labels",
    }
    answer = await fetched(data, mapping=mapping, items="data.{service}")
    assert answer.instances == (
        Instance(host="h1", port=8080, zone="a", metadata={"n": "1"}),
        Instance(host="h2", port=8081, status=Status.CRITICAL),
    )
    assert "entry 2 skipped" in answer.skipped[0]


async def test_a_priority_of_another_meaning_is_ignored_unless_the_mapping_names_it():
    data = [
        {"ip": f"h{n}", "port": 80, "priority": said}
        for n, said in enumerate([2, "1", 1000, "high", -1])
    ]
    answer = await fetched(data)
    assert [each.priority for each in answer.instances] == [2, 1, 0, 0, 0]
    answer = await fetched(data, mapping={"priority": "priority"})
    assert [each.priority for each in answer.instances] == [2, 1]
    assert "priority is 1000; it must be a whole number from 0" in answer.skipped[0]


async def test_a_callable_makes_entries_of_the_whole_answer():
    def targets(data):
        for group in data:
            yield from group["targets"]

    data = [{"targets": ["10.0.0.1:80"], "labels": {}}]
    assert (await fetched(data, mapping=targets)).instances == (ONE,)
    with pytest.raises(RegistryAnswerError, match="the mapping failed on this answer: KeyError"):
        await fetched([{}], mapping=targets)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "nothing at 'data.instances'; a list of instances must be there"),
        ({"data": {"instances": {"a": 1}}}, "dict at 'data.instances'"),
        ({"data": {"instances": [1]}}, "entry 0 skipped: 1 is neither"),
        ({"data": []}, "nothing at"),
    ],
)
async def test_another_shape_is_an_unreadable_answer(data, message):
    with pytest.raises(RegistryAnswerError, match=message):
        await fetched(data, items="data.instances")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>Please log in", "it looks like HTML"),
        (b'[{"host": "10.0', "truncated"),
        (b"", "truncated"),
        (b'["\xff"]', "cannot be read"),
    ],
)
async def test_what_is_no_json_is_an_unreadable_answer(body, message):
    with pytest.raises(RegistryAnswerError, match=message):
        await Endpoint(httpx.Response(200, content=body)).registry().fetch("orders")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (204, RegistryAnswerError),
        (301, RegistryAnswerError),
        (304, RegistryAnswerError),
        (400, RegistryRequestError),
        (401, RegistryDeniedError),
        (403, RegistryDeniedError),
        (404, RegistryRequestError),
        (408, RegistryUnavailableError),
        (429, RegistryUnavailableError),
        (500, RegistryUnavailableError),
        (503, RegistryUnavailableError),
    ],
)
async def test_each_status_has_its_error(status, error):
    answer = httpx.Response(status, text="the\n  reason")
    with pytest.raises(error, match=f"HTTP {status}: the reason"):
        await Endpoint(answer).registry().fetch("orders")


async def test_a_redirect_says_where_to_and_hides_secrets():
    answer = httpx.Response(302, headers={"location": "http://other.test/?token=s3cr3t"})
    with pytest.raises(
        RegistryRequestError, match=r"redirects to http://other.test/\?token=\.\.\."
    ):
        await Endpoint(answer).registry().fetch("orders")


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (httpx.ConnectError("refused"), RegistryUnavailableError, "ConnectError: refused"),
        (httpx.RemoteProtocolError(""), RegistryUnavailableError, "the connection broke"),
        (httpx.ReadTimeout(""), RegistryUnavailableError, "no answer within 10 s"),
        (httpx.DecodingError("gzip"), RegistryAnswerError, "broken compression: gzip"),
    ],
)
async def test_each_trouble_of_the_network_has_its_error(raised, error, message):
    with pytest.raises(error, match=message):
        await Endpoint(raised).registry().fetch("orders")


async def test_a_server_that_hangs_is_given_up_after_the_time_for_the_whole():
    async def hang(request):
        await asyncio.Event().wait()

    registry = make(HttpSettings(template=URL, timeout_s=0.05, transport=httpx.MockTransport(hang)))
    with pytest.raises(RegistryUnavailableError, match=r"no answer within 0\.05 s"):
        await registry.fetch("orders")


async def test_an_answer_too_large_is_refused_while_it_comes():
    sent = []

    async def endless():
        while True:
            sent.append(1)
            yield b"[" * 1000

    endpoint = Endpoint(httpx.Response(200, content=endless()))
    with pytest.raises(RegistryAnswerError, match="larger than 5000 bytes; raise max_bytes"):
        await endpoint.registry(max_bytes=5000).fetch("orders")
    assert len(sent) == 6


async def test_validators_go_back_as_they_came_and_304_gives_the_same_list():
    validators = {"etag": 'W/"5f-1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    endpoint = Endpoint(listing("10.0.0.1:80", **validators), httpx.Response(304))
    registry = endpoint.registry()
    first = await registry.fetch("orders")
    assert await registry.fetch("orders") is first
    assert "if-none-match" not in endpoint.asked[0].headers
    assert endpoint.asked[1].headers["if-none-match"] == 'W/"5f-1"'
    assert endpoint.asked[1].headers["if-modified-since"] == validators["last-modified"]


async def test_now_and_then_it_asks_unconditionally():
    answers = [httpx.Response(304)] * 2
    one, two = listing("10.0.0.1:80", etag='"x"'), listing("10.0.0.1:80", "h:2", etag='"x"')
    endpoint = Endpoint(one, *answers, two)
    registry = endpoint.registry(revalidate_every=2)
    lists = [await registry.fetch("orders") for _ in range(5)]
    assert [len(each.instances) for each in lists] == [1, 1, 1, 2, 2]
    assert ["if-none-match" in each.headers for each in endpoint.asked] == [0, 1, 1, 0, 1]
    assert lists[0].version != lists[3].version


async def test_a_failure_keeps_the_validators():
    endpoint = Endpoint(listing("h:1", etag='"x"'), httpx.Response(500), httpx.Response(304))
    registry = endpoint.registry()
    first = await registry.fetch("orders")
    with pytest.raises(RegistryUnavailableError):
        await registry.fetch("orders")
    assert await registry.fetch("orders") is first


@pytest.mark.parametrize("names", [["orders", "billing"], {"orders": {}, "billing": {}}])
async def test_services_are_named_where_there_is_an_endpoint(names):
    endpoint = Endpoint(httpx.Response(200, json=names), httpx.Response(503))
    registry = endpoint.registry(services_url="http://inventory.test/v1")
    assert await registry.services() == ["billing", "orders"]
    with pytest.raises(RegistryUnavailableError, match=r"inventory\.test/v1: HTTP 503"):
        await registry.services()
    with pytest.raises(RegistryRequestError, match="give services_url="):
        await endpoint.registry().services()


async def test_credentials_are_sent_and_shown_nowhere():
    endpoint = Endpoint(listing())
    await endpoint.registry(token="s3cr3t", headers={"x-team": "a"}).fetch("orders")
    assert endpoint.asked[0].headers["authorization"] == "Bearer s3cr3t"
    assert endpoint.asked[0].headers["x-team"] == "a"
    await endpoint.registry(auth=("me", "s3cr3t")).fetch("orders")
    assert endpoint.asked[1].headers["authorization"].startswith("Basic ")
    plain, other = endpoint.registry(), endpoint.registry(token="s3cr3t")
    assert plain.key != other.key
    assert "s3cr3t" not in other.key + other.url


async def test_a_url_carries_its_options_after_the_hash():
    registry = connect(
        f"{URL}?env=prod#items=data&host=ip&port=p&token=s3cr3t&timeout=2s"
        "&services_url=http://inventory.test/v1"
    )
    endpoint = Endpoint(httpx.Response(200, json={"data": [{"ip": "10.0.0.1", "p": 80}]}))
    same = endpoint.registry(
        f"{URL}?env=prod", mapping={"host": "ip", "port": "p"}, items="data", token="s3cr3t"
    )
    assert registry.url == same.url == f"{URL}?env=prod"
    assert (await same.fetch("orders")).instances == (ONE,)
    assert endpoint.asked[0].url.query == b"env=prod"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout_s": 0}, "timeout_s is 0; it must be above 0"),
        ({"revalidate_every": -1}, "revalidate_every is -1"),
        ({"mapping": {"hots": "ip"}}, "mapping: unknown field 'hots'; known are host"),
    ],
)
async def test_wrong_settings_are_refused_when_it_is_made(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        make(HttpSettings(template=URL, **settings))


async def test_after_closing_it_refuses():
    registry = Endpoint(listing()).registry()
    await registry.fetch("orders")
    await registry.aclose()
    await registry.aclose()
    with pytest.raises(ClosedError, match="this registry is closed"):
        await registry.fetch("orders")


def test_one_object_serves_one_loop_after_another():
    registry = Endpoint(listing("10.0.0.1:80")).registry()
    for _ in range(2):
        assert asyncio.run(registry.fetch("orders")).instances == (ONE,)


# Lists as they are found in the world

MIXED = [
    {"ip": "10.0.0.1", "port": 80, "status": "success"},
    {"ip": "10.0.0.2", "port": 80, "status": "error"},
]


@pytest.mark.parametrize(
    "mapping", ["", "#host=ip&port=port", "#host=ip", "#port=port", "#status=status", "#address=ip"]
)
async def test_a_list_of_ip_port_and_status_is_read_with_and_without_a_mapping(mapping):
    settings = HttpSettings.from_url(f"{URL}{mapping}")
    endpoint = Endpoint(httpx.Response(200, json=MIXED))
    listed = await endpoint.registry(mapping=settings.mapping).fetch("orders")
    assert [(each.host, each.port, each.status) for each in listed.instances] == [
        ("10.0.0.1", 80, Status.PASSING),
        ("10.0.0.2", 80, Status.CRITICAL),
    ]
    assert listed.skipped == ()


async def test_mapping_one_field_keeps_the_others():
    entry = {
        "ip": "10.0.0.1",
        "ports": [81],
        "weight": 3,
        "zone": "a",
        "meta": {"x": "y"},
        "id": "i",
    }
    listed = await fetched([entry], mapping={"port": "ports.0"})
    assert listed.instances == (
        Instance(host="10.0.0.1", port=81, weight=3, zone="a", metadata={"x": "y"}, id="i"),
    )


async def test_a_mapped_host_beats_every_usual_name():
    entry = {"host": "a", "address": "b:1", "ip": "c", "inner": "d", "port": 80}
    listed = await fetched([entry], mapping={"host": "inner"})
    assert listed.instances[0].address == "d:80"


async def test_an_unknown_status_is_named_and_critical(caplog):
    entries = [*MIXED, {"ip": "10.0.0.3", "port": 80, "status": "asleep"}]
    listed = await fetched(entries)
    assert listed.instances[2].status is Status.CRITICAL
    assert "'asleep'" in listed.skipped[0]
    assert "'asleep'" in caplog.text


async def test_words_for_the_status_may_be_given_in_the_url():
    url = f"{URL}#status_words=asleep:passing,b:x:critical"
    settings = HttpSettings.from_url(url)
    entries = [
        {"ip": "10.0.0.1", "port": 80, "status": "Asleep"},
        {"ip": "10.0.0.2", "port": 80, "status": "b:x"},
    ]
    listed = await fetched(entries, status_words=settings.status_words)
    assert [each.status for each in listed.instances] == [Status.PASSING, Status.CRITICAL]
    for wrong in ("asleep", "asleep:", ":passing", "asleep:fine"):
        with pytest.raises(ConfigurationError, match="status_words"):
            HttpSettings.from_url(f"{URL}#status_words={wrong}")


@pytest.mark.parametrize(
    "port",
    ["9" * 4300, "9" * 100_000, "-" + "9" * 5000, "1e999", "9" * 30, '"' + "9" * 4300 + '"'],
    ids=range(6),
)
async def test_a_number_of_any_length_costs_its_entry_alone(port):
    body = f'[{{"host": "h", "port": {port}}}, "10.0.0.1:80"]'.encode()
    listed = await Endpoint(httpx.Response(200, content=body)).registry().fetch("orders")
    assert listed.instances == (ONE,)
    assert len(listed.skipped) == 1


@pytest.mark.parametrize(
    ("field", "listed"),
    [
        ('"weight": NaN', 1),
        ('"weight": Infinity', 1),
        ('"weight": -Infinity', 1),
        ('"id": "\\ud800"', 2),
        ('"metadata": {"a": "\\udfff"}', 2),
    ],
)
async def test_what_is_beyond_the_standard_costs_at_most_its_entry(field, listed):
    body = f'[{{"host": "10.0.0.1", "port": 80, {field}}}, {{"host": "10.0.0.2", "port": 80}}]'
    found = await Endpoint(httpx.Response(200, content=body.encode())).registry().fetch("orders")
    assert len(found.instances) == listed
    assert len(found.skipped) == 2 - listed


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_an_answer_with_a_byte_order_mark_is_read(encoding):
    body = '[{"host": "10.0.0.1", "port": 80}]'.encode(encoding)
    found = await Endpoint(httpx.Response(200, content=body)).registry().fetch("orders")
    assert [each.address for each in found.instances] == ["10.0.0.1:80"]
