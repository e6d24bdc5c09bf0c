"""The Consul adapter against recorded and newer answers; the real agent is in integration."""

from __future__ import annotations

import json

import httpx
import pytest

from consul_kit import MINE, URL, Agent, consul_registry, entry, health, listings
from trimtab.errors import (
    ConfigurationError,
    NotRegisteredError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance, Status
from trimtab.registries import Registrar, WatchableRegistry, connect
from trimtab.registries.consul import watch as module
from trimtab.registries.consul.entries import Ids, read_health, status_of
from trimtab.registries.consul.writer import registration


def read(*entries):
    return read_health("here", json.dumps(entries).encode())


class TestReading:
    def test_the_node_lends_what_the_service_lacks(self):
        node = {"Address": "10.9.9.9", "Meta": {"zone": "east"}}
        (found,), _ = read(entry(service={"Address": ""}, node=node))
        assert (found.host, found.zone) == ("10.9.9.9", "east")
        (found,), _ = read(entry(service={"Meta": {"zone": "west"}}, node=node))
        assert (found.host, found.zone) == ("10.0.0.1", "west")

    def test_meta_and_tags_become_metadata(self):
        meta = {"scheme": "https", "rack": "r7", "zone": "a"}
        (found,), _ = read(entry(service={"Meta": meta, "Tags": ["v1", "blue"]}))
        assert found.scheme == "https"
        assert dict(found.metadata) == {"rack": "r7", "tags": "v1,blue"}
        (found,), _ = read(entry(service={"Meta": {"scheme": "grpc"}, "Tags": None}))
        assert found.scheme is None

    @pytest.mark.parametrize(
        ("said", "priority"),
        [("0", 0), ("2", 2), ("127", 127), ("128", None), ("high", None), ("-1", None), ("", None)],
    )
    def test_the_priority_is_in_meta_and_what_is_none_stays_there(self, said, priority):
        (found,), _ = read(entry(service={"Meta": {"priority": said}}))
        assert found.priority == (priority or 0)
        assert found.metadata == ({"priority": said} if priority is None else {})

    @pytest.mark.parametrize(
        ("checks", "status"),
        [
            ([], "passing"),
            ([("serfHealth", "passing"), ("service:a", "passing")], "passing"),
            ([("serfHealth", "passing"), ("service:a", "warning")], "warning"),
            ([("serfHealth", "critical"), ("service:a", "passing")], "critical"),
            ([("service:a", "critical"), ("x", "warning")], "critical"),
            ([("service:a", "unheard-of")], "critical"),
            ([("service:a", "critical"), ("_service_maintenance:a", "critical")], "draining"),
            ([("_node_maintenance", "critical")], "draining"),
        ],
    )
    def test_all_checks_count(self, checks, status):
        assert status_of(checks) == status
        (found,), _ = read(entry(checks=checks))
        assert found.status == status

    @pytest.mark.parametrize(
        ("weights", "meta", "status", "weight"),
        [
            ({"Passing": 5, "Warning": 2}, None, "passing", 5),
            ({"Passing": 5, "Warning": 2}, None, "warning", 2),
            ({"Passing": 5, "Warning": 0}, None, "warning", 0),
            (None, None, "passing", 1),
            ({"Passing": 1, "Warning": 1}, {"weight": "0.25"}, "passing", 0.25),
            ({"Passing": 1, "Warning": 1}, {"weight": "0"}, "critical", 0),
            ({"Passing": 4, "Warning": 1}, {"weight": "heavy"}, "passing", 4),
            ({"Passing": 4, "Warning": 1}, {"weight": "-1"}, "passing", 4),
            ({"Passing": 4, "Warning": 1}, {"weight": "inf"}, "passing", 4),
        ],
    )
    def test_weights(self, weights, meta, status, weight):
        (found,), _ = read(
            entry(service={"Weights": weights, "Meta": meta}, checks=[("c", status)])
        )
        assert found.weight == weight

    def test_ids_that_consul_keeps_apart_by_node_only_are_told_apart(self):
        nodes = [{"Node": "n1"}, {"Node": "n2"}]
        found, skipped = read(*(entry("orders", node=node) for node in nodes))
        assert [each.id for each in found] == ["orders@n1", "orders@n2"]
        found, _ = read(entry("orders", node={"Node": "n2"}))
        assert [each.id for each in found] == ["orders@n2"]
        found, _ = read(*(entry("a", node=node) for node in nodes), entry("b"))
        assert [each.id for each in found] == ["a", "a@n2", "b"]
        assert not skipped

    def test_an_id_that_was_given_stays(self):
        ids = Ids()

        def names(*nodes):
            body = json.dumps([entry("a", node={"Node": node}) for node in nodes])
            return [each.id for each in read_health("here", body.encode(), ids)[0]]

        assert names("n2") == ["a"]
        assert names("n1", "n2") == ["a@n1", "a"]
        assert names("n2", "n1", "n3") == ["a", "a@n1", "a@n3"]
        assert names("n1") == ["a@n1"]
        assert names("n1", "n4") == ["a@n1", "a"]
        assert names() == []

    def test_a_fresh_client_gives_the_id_to_the_oldest_registration(self):
        found, _ = read(
            entry("a", node={"Node": "n1"}, service={"CreateIndex": 9}),
            entry("a", node={"Node": "n2"}, service={"CreateIndex": 7}),
        )
        assert [each.id for each in found] == ["a@n1", "a"]

    @pytest.mark.anyio
    async def test_a_second_node_renames_nobody(self):
        alone = [entry("a", node={"Node": "n2"})]
        both = [entry("a", node={"Node": "n1"}), *alone]
        registry = Agent(*(health(*entries) for entries in (alone, both, alone))).registry()
        seen = [(await registry.fetch("orders")).instances for _ in range(3)]
        assert [{each.id for each in found} for found in seen] == [{"a"}, {"a", "a@n1"}, {"a"}]

    def test_a_bad_entry_is_left_out_and_its_fault_named(self):
        bad = [entry("b", service={"Port": "80"}), entry("c", service={"Port": 0}), 7]
        found, skipped = read(entry(), *bad)
        assert found == (MINE,)
        assert "Expected `int`, got `str` - at `$.Service.Port`" in skipped[0]
        assert "port is 0" in skipped[1]
        assert len(skipped) == 3

    @pytest.mark.parametrize("body", [b"{}", b'[{"Node"', b"<html>", b"null"])
    def test_what_is_no_list_is_an_unreadable_answer(self, body):
        with pytest.raises(RegistryAnswerError, match="here: the answer cannot be read"):
            read_health("here", body)


class TestWriting:
    def body(self, instance, **settings):
        given = {"ttl_s": 10, "tags": (), "deregister_after_s": None, **settings}
        return registration("orders", instance, **given)

    @pytest.mark.parametrize(
        ("weight", "passing", "meta"),
        [
            (1.0, 1, {}),
            (3.0, 3, {}),
            (0.0, 1, {"weight": "0.0"}),
            (2.6, 3, {"weight": "2.6"}),
            (1e6, 65535, {"weight": "1000000.0"}),
        ],
    )
    def test_weights_that_consul_cannot_hold_stand_in_meta(self, weight, passing, meta):
        body = self.body(MINE.with_(weight=weight))
        assert body["Weights"] == {"Passing": passing, "Warning": passing}
        assert body["Meta"] == meta

    @pytest.mark.parametrize(
        ("status", "written"),
        [
            ("passing", "passing"),
            ("warning", "warning"),
            ("critical", "critical"),
            ("draining", "critical"),
        ],
    )
    def test_the_check_starts_in_the_status(self, status, written):
        body = self.body(MINE.with_(status=status))
        assert body["Check"]["Status"] == written
        assert ("status" in body["Meta"]) == (status == "draining")

    def test_times_are_written_as_consul_reads_them(self):
        check = self.body(MINE, ttl_s=1.5, deregister_after_s=600)["Check"]
        assert (check["TTL"], check["DeregisterCriticalServiceAfter"]) == ("1.5s", "600s")
        assert "DeregisterCriticalServiceAfter" not in self.body(MINE)["Check"]


@pytest.mark.anyio
class TestAsking:
    async def test_every_option_is_asked_for(self):
        agent = Agent(health())
        registry = agent.registry(
            datacenter="east",
            tags=["v1", "blue"],
            near="_agent",
            filter_="Service.Port == 80",
            only_passing=True,
            consistency="consistent",
            token="s3cr3t",
        )
        await registry.fetch("a b")
        assert agent.asked[0].url.raw_path.startswith(b"/v1/health/service/a%20b?")
        assert agent.params() == [
            ("consistent", ""),
            ("dc", "east"),
            ("tag", "v1"),
            ("tag", "blue"),
            ("near", "_agent"),
            ("filter", "Service.Port == 80"),
            ("passing", "1"),
        ]
        assert agent.asked[0].headers["x-consul-token"] == "s3cr3t"
        assert "s3cr3t" not in registry.key + registry.url

    async def test_a_url_makes_the_same_settings(self):
        url = f"{URL}/?dc=east&tag=v1&tag=blue&near=_agent&passing&consistent&wait=5s&token=s3cr3t"
        registry = connect(url)
        assert isinstance(registry, WatchableRegistry)
        assert isinstance(registry, Registrar)
        same = consul_registry(
            URL,
            datacenter="east",
            tags=("v1", "blue"),
            near="_agent",
            only_passing=True,
            consistency="consistent",
            token="s3cr3t",
            wait_s=5,
        )
        assert (registry.key, registry.url) == (same.key, URL)
        assert registry.key != connect(url.replace("s3cr3t", "other")).key
        polled = connect(f"{URL}?poll=1")
        assert not isinstance(polled, WatchableRegistry)
        assert isinstance(polled, Registrar)

    @pytest.mark.parametrize(
        ("url", "shown", "asked"),
        [
            ("consul://h", "consul://h:8500", "http://h:8500/v1"),
            ("consul+https://h/", "consul+https://h:8501", "https://h:8501/v1"),
            ("consul://[::1]:1/prefix/", "consul://[::1]:1/prefix", "http://[::1]:1/prefix/v1"),
        ],
    )
    async def test_where_the_agent_is(self, url, shown, asked):
        agent = Agent(httpx.Response(200, json={"b": [], "a": []}))
        registry = consul_registry(url, transport=httpx.MockTransport(agent), follow="poll")
        assert await registry.services() == ["a", "b"]
        assert registry.url == shown
        assert str(agent.asked[0].url) == f"{asked}/catalog/services"

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (httpx.Response(403, text="ACL not found"), RegistryDeniedError),
            (httpx.Response(500, text="No cluster leader"), RegistryUnavailableError),
            (httpx.Response(500, text="No path to datacenter"), RegistryRequestError),
            (httpx.Response(400, text="Invalid index"), RegistryRequestError),
            (
                httpx.Response(500, text="Failed to create boolean expression evaluator: x"),
                RegistryRequestError,
            ),
            (health(knownleader="false"), RegistryUnavailableError),
            (health(knownleader="false", lastcontact="30001"), RegistryUnavailableError),
        ],
    )
    async def test_each_refusal_has_its_error(self, answer, error):
        with pytest.raises(error):
            await Agent(answer).registry().fetch("orders")

    async def test_stale_answers_serve_while_they_are_young(self):
        answer = health(entry(), knownleader="false", lastcontact="29000")
        registry = Agent(answer).registry(consistency="stale")
        assert (await registry.fetch("orders")).instances == (MINE,)

    async def test_a_stale_read_asks_again_once_after_500(self):
        trouble = httpx.Response(500, text="rpc error making call: EOF")
        agent = Agent(trouble, health(entry()))
        assert (await agent.registry(consistency="stale").fetch("orders")).instances
        assert len(agent.asked) == 2
        agent = Agent(trouble)
        with pytest.raises(RegistryUnavailableError):
            await agent.registry(consistency="stale").fetch("orders")
        assert len(agent.asked) == 2
        with pytest.raises(RegistryUnavailableError):
            await agent.registry().fetch("orders")
        assert len(agent.asked) == 3

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"wait_s": 61}, "wait_s is 61; it must be more than 0 and at most 60"),
            ({"wait_s": 0}, "wait_s is 0"),
            ({"consistency": "strong"}, "consistency is 'strong'"),
        ],
    )
    async def test_wrong_settings_are_refused(self, settings, message):
        with pytest.raises(ConfigurationError, match=message):
            consul_registry(URL, **settings)


@pytest.mark.anyio
class TestWatching:
    @pytest.fixture(autouse=True)
    def no_pause(self, monkeypatch):
        monkeypatch.setattr(module, "_UNCHANGED_PAUSE_S", 0.0)

    def indexes(self, agent):
        return [request.url.params.get("index") for request in agent.asked]

    async def test_the_index_goes_on_and_the_wait_is_bounded(self):
        agent = Agent(health(index=7), health(index=9), health(index=9))
        found = await listings(agent.registry(wait_s=20), 4)
        assert self.indexes(agent) == [None, "7", "9", "9"]
        assert agent.params()[-1] == ("wait", "20000ms")
        assert agent.asked[0].extensions["timeout"]["read"] == 8
        assert agent.asked[1].extensions["timeout"]["read"] == 20 * 17 / 16 + 8
        assert not any(each.reset for each in found)
        assert len({each.version for each in found}) == 1

    async def test_an_index_that_goes_back_starts_over_and_is_a_reset(self):
        agent = Agent(health(index=90), health(index=4), health(index=4), health(index=5))
        found = await listings(agent.registry(), 4)
        assert self.indexes(agent) == [None, "90", None, "4"]
        assert [each.reset for each in found] == [False, True, False, False]

    async def test_index_0_would_not_block_and_becomes_1(self):
        agent = Agent(health(index=0))
        await listings(agent.registry(), 2)
        assert self.indexes(agent) == [None, "1"]

    async def test_a_reset_is_seen_across_watches_and_polls(self):
        agent = Agent(health(index=90), health(index=4), health(index=2), health(index=2))
        registry = agent.registry()
        await listings(registry, 1)
        assert (await listings(registry, 1))[0].reset
        assert (await registry.fetch("orders")).reset
        assert not (await registry.fetch("orders")).reset

    async def test_the_index_of_an_error_answer_means_nothing(self):
        error = httpx.Response(500, headers={"x-consul-index": "1"})
        agent = Agent(health(index=90), error, health(index=91))
        registry = agent.registry()
        watch = registry.watch("orders")
        await anext(watch)
        with pytest.raises(RegistryUnavailableError):
            await anext(watch)
        assert not (await listings(registry, 1))[0].reset

    @pytest.mark.parametrize("index", [None, "-1", "abc"])
    async def test_without_an_index_it_cannot_be_watched(self, index):
        registry = Agent(health(index=index)).registry()
        with pytest.raises(RegistryAnswerError, match=r"no X-Consul-Index .* add \?poll=1"):
            await listings(registry, 1)
        assert (await registry.fetch("orders")).instances == ()

    async def test_answers_at_once_with_nothing_new_are_slowed_down(self, monkeypatch):
        pauses = []

        async def pause(seconds):
            pauses.append(seconds)

        monkeypatch.setattr(module, "_UNCHANGED_PAUSE_S", 1000.0)
        monkeypatch.setattr(module.asyncio, "sleep", pause)
        agent = Agent(health(), health(), health(entry(), index=8), health(entry(), index=8))
        await listings(agent.registry(), 5)
        # After the second and the fourth; a change is never slowed down.
        assert pauses == [1000.0, 1000.0]

    async def test_a_poll_that_takes_too_long_is_unavailable(self):
        registry = Agent(None).registry(timeout_s=0.02)
        with pytest.raises(RegistryUnavailableError, match=r"no answer within 0\.02 s"):
            await listings(registry, 1)


@pytest.mark.anyio
class TestRegistering:
    async def test_a_registration_is_followed_by_its_first_heartbeat(self):
        agent = Agent(httpx.Response(200))
        registry = agent.registry(tags=["v1"], token="s3cr3t")
        await registry.register("orders", Instance(host="::1", port=80), ttl_s=10)
        register, heartbeat = agent.asked
        assert (register.method, register.url.path) == ("PUT", "/v1/agent/service/register")
        body = json.loads(register.content)
        assert body["Check"]["CheckID"] == "service:[::1]:80"
        assert (body["Address"], body["Tags"]) == ("::1", ["v1"])
        path = b"/v1/agent/check/pass/service%3A%5B%3A%3A1%5D%3A80"
        assert heartbeat.url.raw_path == path
        assert {each.headers["x-consul-token"] for each in agent.asked} == {"s3cr3t"}

    @pytest.mark.parametrize(
        ("status", "verb"),
        [
            (Status.PASSING, "pass"),
            (Status.WARNING, "warn"),
            (Status.CRITICAL, "fail"),
            (Status.DRAINING, "fail"),
        ],
    )
    async def test_the_heartbeat_follows_the_status(self, status, verb):
        agent = Agent(httpx.Response(200))
        await agent.registry().heartbeat("orders", MINE.with_(status=status))
        assert agent.asked[0].url.path == f"/v1/agent/check/{verb}/service:a"

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (
                httpx.Response(500, text='CheckID "service:a" does not have associated TTL'),
                NotRegisteredError,
            ),
            (httpx.Response(500, text="No cluster leader"), RegistryUnavailableError),
            (httpx.Response(403, text="Permission denied"), RegistryDeniedError),
        ],
    )
    async def test_heartbeats_refused(self, answer, error):
        with pytest.raises(error):
            await Agent(answer).registry().heartbeat("orders", MINE)

    async def test_registering_refused(self):
        with pytest.raises(RegistryRequestError, match="register orders 'a': HTTP 400: Invalid"):
            await (
                Agent(httpx.Response(400, text="Invalid"))
                .registry()
                .register("orders", MINE, ttl_s=1)
            )

    async def test_deregistering_what_is_not_there_is_fine(self):
        await Agent(httpx.Response(200)).registry().deregister("orders", MINE)
        with pytest.raises(RegistryDeniedError, match="deregister orders 'a'"):
            await Agent(httpx.Response(403)).registry().deregister("orders", MINE)
