"""Several agents for reading, one for writing; and how much is asked of one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from random import Random

import httpx
import pytest

from consul_kit import MINE, URL, Agent, Cluster, First, consul_registry, entry, health, listings
from registry_kit import reader_of
from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryUnavailableError,
)
from trimtab.registries.consul import watch as module

pytestmark = pytest.mark.anyio
DEAD = httpx.ConnectError("refused")
OK = httpx.Response(200)
CUT = httpx.RemoteProtocolError("Server disconnected without sending a response.")


async def begun(agent, how_many):
    while len(agent.asked) < how_many:  # noqa: ASYNC110 - the agent is a test's own
        await asyncio.sleep(0)


class TestReading:
    @pytest.mark.parametrize(
        ("trouble", "error"),
        [
            (DEAD, RegistryUnavailableError),
            (httpx.Response(500, text="No cluster leader"), RegistryUnavailableError),
            (health(knownleader="false"), RegistryUnavailableError),
            (health(entry(), lastcontact="30001"), RegistryUnavailableError),
            (httpx.Response(200, text="<html>"), RegistryAnswerError),
        ],
    )
    async def test_the_next_agent_is_asked_after_trouble(self, trouble, error):
        cluster = Cluster(one=Agent(trouble), two=Agent(health(entry())))
        registry = cluster.registry()
        with pytest.raises(error, match="consul://one:8500"):
            await registry.fetch("orders")
        for _ in range(2):
            assert (await registry.fetch("orders")).instances == (MINE,)
        assert len(cluster.agents["one"].asked) == 1
        assert registry.url == "consul://one:8500,two:8500"

    async def test_the_next_agent_is_not_asked_after_a_refusal(self):
        denied = httpx.Response(403, text="ACL not found")
        cluster = Cluster(one=Agent(denied), two=Agent(health(entry())))
        registry = cluster.registry()
        for asked in (registry.fetch("orders"), registry.services()):
            with pytest.raises(RegistryDeniedError, match="consul://one:8500"):
                await asked
        assert not cluster.agents["two"].asked

    async def test_a_watch_stays_with_its_agent_until_that_fails(self):
        broken = Agent(health(entry()), DEAD)
        cluster = Cluster(one=Agent(health(entry(), index=90)), two=broken)
        registry = cluster.registry()
        watch = registry.watch("orders")
        await anext(watch)
        reader_of(registry)._agents.endpoints.failed("http://one:8500")
        await anext(watch)
        assert len(cluster.agents["one"].asked) == 2
        assert not broken.asked
        await watch.aclose()
        await listings(registry, 1)
        assert len(broken.asked) == 1

    async def test_the_index_of_one_agent_means_nothing_to_another(self):
        one = Agent(health(entry(), index=90), DEAD, health(entry(), index=3))
        two = Agent(health(entry(), index=4), DEAD)
        registry = Cluster(one=one, two=two).registry()
        for agent in (one, two):
            watch = registry.watch("orders")
            assert not (await anext(watch)).reset
            with pytest.raises(RegistryUnavailableError):
                await anext(watch)
            # Each watch begins with a question without an index.
            first, second = (each.url.params.get("index") for each in agent.asked)
            assert first is None
            assert second is not None
        # Agent one is asked again, and remembers less than it did itself.
        assert (await registry.fetch("orders")).reset

    async def test_clients_begin_at_agents_of_their_own_choosing(self):
        url = "consul://one,two,three"
        registries = (consul_registry(url, rng=Random(n)) for n in range(60))
        begun = Counter(reader_of(each)._agents.endpoints.current for each in registries)
        assert set(begun) == {f"http://{name}:8500" for name in ("one", "two", "three")}


class TestWriting:
    async def test_only_the_first_agent_is_written_to(self):
        cluster = Cluster(one=Agent(OK), two=Agent(health(entry())))
        registry = cluster.registry(follow="poll")
        reader_of(registry)._agents.endpoints.failed("http://one:8500")
        await registry.register("orders", MINE, ttl_s=10)
        await registry.heartbeat("orders", MINE)
        await registry.deregister("orders", MINE)
        assert len(cluster.agents["one"].asked) == 4
        assert not cluster.agents["two"].asked

    async def test_no_other_agent_is_written_to_while_the_first_is_away(self):
        cluster = Cluster(one=Agent(DEAD), two=Agent(OK))
        registry = cluster.registry()
        for _ in range(3):
            for asked in (
                registry.register("orders", MINE, ttl_s=10),
                registry.heartbeat("orders", MINE),
                registry.deregister("orders", MINE),
            ):
                with pytest.raises(RegistryUnavailableError, match="consul://one:8500"):
                    await asked
        assert not cluster.agents["two"].asked

    async def test_the_first_agent_is_part_of_the_key(self):
        one, two = (consul_registry(f"consul://{hosts}", rng=First()) for hosts in ("a,b", "b,a"))
        assert one.key != two.key


class TestBounds:
    async def test_services_beyond_the_bound_are_polled(self, monkeypatch, caplog):
        monkeypatch.setattr(module, "_POLL_S", 0.0)
        agent = Agent(health(entry()), health(entry()), None)
        registry = agent.registry(max_watches=1)
        held = registry.watch("orders")
        await anext(held)
        agent.answers = [None]
        task = asyncio.create_task(anext(held))
        await begun(agent, 2)
        agent.answers = [health(entry())]
        with caplog.at_level(logging.WARNING, "trimtab.registries"):
            await listings(registry, 4)
        assert [each.url.params.get("index") for each in agent.asked[2:]] == [None] * 4
        (message,) = caplog.messages
        assert "more than 1 services are watched; the rest is asked about every 0 s" in message
        task.cancel()
        await asyncio.wait([task])
        await held.aclose()
        await listings(registry, 2)
        assert agent.params()[-2] == ("index", "7")

    async def test_questions_that_are_not_held_take_turns(self):
        most = []

        class Slow(Agent):
            async def __call__(self, request):
                most.append(reader_of(registry)._agents.home._open)
                await asyncio.sleep(0)
                return await super().__call__(request)

        registry = Slow(health()).registry()
        await asyncio.gather(*(registry.fetch(f"s{number}") for number in range(200)))
        assert len(most) == 400
        assert max(most) <= 16

    async def test_a_connection_that_is_cut_beside_others_hints_at_the_limit(self):
        agent = Agent(None)
        registry = agent.registry()
        held = asyncio.create_task(registry.fetch("orders"))
        await begun(agent, 1)
        agent.answers = [CUT]
        with pytest.raises(
            RegistryUnavailableError, match=r"http_max_conns_per_client, 200 .* 2 q"
        ):
            await registry.fetch("orders")
        agent.answers = [httpx.ConnectError("refused")]
        with pytest.raises(RegistryUnavailableError, match=r"refused$"):
            await registry.fetch("orders")
        held.cancel()
        await asyncio.wait([held])
        agent.answers = [CUT]
        with pytest.raises(RegistryUnavailableError, match=r"sending a response\.$"):
            await registry.fetch("orders")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_watches": 0}, r"max_watches is 0; it must be 1 or more \(or use poll\)"),
            ({"deregister_after_s": 59}, "deregister_after_s is 59; Consul waits at least 60"),
            ({"deregister_after_s": float("nan")}, "deregister_after_s is nan"),
        ],
    )
    async def test_wrong_settings_are_refused(self, settings, message):
        with pytest.raises(ConfigurationError, match=message):
            consul_registry(URL, **settings)
