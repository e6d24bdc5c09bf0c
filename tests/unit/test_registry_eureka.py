"""The Eureka adapter against recorded answers, and against what goes wrong."""

from __future__ import annotations

import asyncio
import json
from random import Random

import httpx
import pytest

import registry_kit
from registry_kit import Answering
from trimtab.errors import (
    ConfigurationError,
    NotRegisteredError,
    RegistryAnswerError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance, Status
from trimtab.registries import Registrar, WatchableRegistry, connect, eureka

URL = "eureka://eureka.test:8761"
MINE = Instance(id="a:orders/1", host="10.0.0.1", port=80)


def recorded(name, status=200):
    return httpx.Response(status, json=registry_kit.recorded(f"eureka/{name}"))


def info(id_="a", **fields):
    return {
        "instanceId": id_,
        "hostName": "h1",
        "ipAddr": "10.0.0.1",
        "status": "UP",
        "port": {"$": 80, "@enabled": "true"},
        **fields,
    }


def application(*infos):
    return httpx.Response(200, json={"application": {"name": "ORDERS", "instance": list(infos)}})


class Server(Answering):
    def registry(self, url=URL, **settings):
        return registry_kit.made(eureka, url, transport=self.transport, **settings)

    def fetch(self, **settings):
        return asyncio.run(self.registry(**settings).fetch("orders"))


class TestReading:
    def test_the_recorded_application(self):
        server = Server(recorded("application"))
        listing = server.fetch()
        assert listing.skipped == ()
        assert server.asked[0].url.path == "/eureka/apps/ORDERS"
        assert server.asked[0].headers["accept"] == "application/json"
        assert listing.instances[:2] == (
            Instance(
                id="shop-1:orders:8080",
                host="shop-1",
                port=8080,
                metadata={"management.port": "8080"},
            ),
            Instance(
                id="shop-2:orders:8443",
                host="shop-2",
                port=8443,
                scheme="https",
                zone="east",
                metadata={"rack": "r7"},
            ),
        )
        assert [each.status.value for each in listing.instances[2:]] == [
            "critical",
            "critical",
            "draining",
            "critical",
        ]
        assert listing.instances[5].metadata == {}

    def test_the_recorded_list_of_one(self):
        (found,) = Server(recorded("single")).fetch().instances
        assert found == Instance(host="shop-1", port=8080)

    def test_by_address(self):
        (found, *_) = Server(recorded("application")).fetch(prefer_ip=True).instances
        assert found.host == "10.0.0.1"
        (found,) = Server(application(info(ipAddr=""))).fetch(prefer_ip=True).instances
        assert found.host == "h1"
        (found,) = Server(application(info(hostName=""))).fetch().instances
        assert found.host == "10.0.0.1"

    @pytest.mark.parametrize("instance", [None, []])
    def test_an_application_without_instances(self, instance):
        answer = httpx.Response(200, json={"application": {"name": "X", "instance": instance}})
        assert Server(answer).fetch().instances == ()
        assert Server(httpx.Response(200, json={"application": {}})).fetch().instances == ()

    @pytest.mark.parametrize(
        ("metadata", "weight"),
        [
            (None, 1),
            ({"weight": "2.5"}, 2.5),
            ({"weight": 3}, 3),
            ({"weight": "heavy"}, 1),
            ({"weight": "-1"}, 1),
            ({"weight": "inf"}, 1),
            ({"weight": "0"}, 0),
        ],
    )
    def test_weights_stand_in_the_metadata(self, metadata, weight):
        (found,) = Server(application(info(metadata=metadata))).fetch().instances
        assert (found.weight, dict(found.metadata)) == (weight, {})

    def test_both_ports_enabled_means_the_plain_one(self):
        both = info(securePort={"$": 443, "@enabled": True})
        (found,) = Server(application(both)).fetch().instances
        assert (found.port, found.scheme) == (80, None)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (info("b", port={"$": 80, "@enabled": "false"}), "'b': neither port nor securePort"),
            (info("b", port={"$": "http"}), "'b': port 'http' is no number"),
            (info("b", port=80), "at `$.port`"),
            (info("b", port={"$": 70000}), "port is 70000"),
            (info("b", hostName="", ipAddr=""), "host is ''"),
            ("b", "Expected `object`"),
            (info(), "a second instance 'a'"),
        ],
    )
    def test_a_bad_entry_is_left_out_and_named(self, bad, said):
        listing = Server(application(info(), bad)).fetch()
        assert [each.id for each in listing.instances] == ["a"]
        (message,) = listing.skipped
        assert message.startswith("eureka://eureka.test:8761/eureka: 'orders': entry 1 skipped")
        assert said in message

    @pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b"<application/>", b'{"application": 7}'])
    def test_no_application_at_all(self, body):
        with pytest.raises(RegistryAnswerError):
            Server(httpx.Response(200, content=body)).fetch()

    def test_services_in_lower_case(self):
        assert asyncio.run(Server(recorded("applications")).registry().services()) == [
            "billing",
            "orders",
        ]
        one = httpx.Response(200, json={"applications": {"application": {"name": "ORDERS"}}})
        assert asyncio.run(Server(one).registry().services()) == ["orders"]
        none = httpx.Response(200, json={"applications": {}})
        assert asyncio.run(Server(none).registry().services()) == []


class TestTrouble:
    def test_an_application_that_is_not_there_is_empty(self):
        server = Server(recorded("not_found", 404), httpx.Response(200), recorded("not_found", 404))
        registry = server.registry()
        for _ in range(2):
            assert asyncio.run(registry.fetch("orders")).instances == ()
        # The path is proven once.
        assert [each.method for each in server.asked] == ["GET", "HEAD", "GET"]

    def test_after_a_list_the_path_needs_no_proof(self):
        server = Server(application(info()), httpx.Response(404))
        registry = server.registry()
        assert len(asyncio.run(registry.fetch("orders")).instances) == 1
        assert asyncio.run(registry.fetch("orders")).instances == ()
        assert [each.method for each in server.asked] == ["GET", "GET"]

    def test_a_wrong_path_is_not_empty(self):
        with pytest.raises(RegistryRequestError, match="no Eureka at this path; Spring Cloud's"):
            Server(httpx.Response(404)).fetch()

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (httpx.Response(401), RegistryDeniedError),
            (httpx.Response(403, text="forbidden"), RegistryDeniedError),
            # So says a member that has just started.
            (httpx.Response(403), RegistryUnavailableError),
            (httpx.Response(400), RegistryRequestError),
            (httpx.Response(500), RegistryUnavailableError),
            (httpx.ConnectError("refused"), RegistryUnavailableError),
        ],
    )
    def test_statuses(self, answer, error):
        registry = Server(answer).registry()
        for asked in (
            registry.fetch("orders"),
            registry.services(),
            registry.register("orders", MINE, ttl_s=9),
            registry.heartbeat("orders", MINE),
            registry.deregister("orders", MINE),
        ):
            with pytest.raises(error, match=r"eureka://eureka\.test:8761/eureka"):
                asyncio.run(asked)

    @pytest.mark.parametrize(
        "trouble", [httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(403)]
    )
    def test_another_member_is_asked_next(self, trouble):
        server = Server(trouble, application(info()))
        registry = server.registry("eureka://h1:1,h2:2/eureka/v2", rng=Random(1))
        with pytest.raises(RegistryUnavailableError):
            asyncio.run(registry.fetch("orders"))
        for _ in range(2):
            assert len(asyncio.run(registry.fetch("orders")).instances) == 1
        first, second, third = (each.url.host for each in server.asked)
        assert {first, second} == {"h1", "h2"}
        assert second == third
        assert server.asked[0].url.path == "/eureka/v2/apps/ORDERS"


class TestWriting:
    def body(self, instance, ttl_s=9.5):
        server = Server(httpx.Response(204))
        asyncio.run(server.registry().register("orders", instance, ttl_s=ttl_s))
        (asked,) = server.asked
        assert (asked.method, asked.url.path) == ("POST", "/eureka/apps/ORDERS")
        return json.loads(asked.content)["instance"]

    def test_what_eureka_requires(self):
        body = self.body(MINE)
        assert body["instanceId"] == "a:orders/1"
        assert (body["app"], body["vipAddress"]) == ("ORDERS", "orders")
        assert body["hostName"] == body["ipAddr"] == "10.0.0.1"
        assert body["port"] == {"$": 80, "@enabled": "true"}
        assert body["securePort"] == {"$": 443, "@enabled": "false"}
        assert body["leaseInfo"] == {"durationInSecs": 10, "renewalIntervalInSecs": 3}
        assert body["dataCenterInfo"]["name"] == "MyOwn"
        assert (body["status"], body["metadata"]) == ("UP", {})
        assert self.body(MINE, ttl_s=0.2)["leaseInfo"] == {
            "durationInSecs": 1,
            "renewalIntervalInSecs": 1,
        }

    @pytest.mark.parametrize(
        "changes",
        [
            {"scheme": "https", "zone": "a", "weight": 0.25, "metadata": {"rack": "r7"}},
            {"scheme": "http", "status": Status.WARNING},
            {"priority": 3},
            {"status": Status.DRAINING, "weight": 0.0},
            {"status": Status.CRITICAL, "host": "::1"},
        ],
    )
    def test_what_is_written_is_read(self, changes):
        instance = MINE.with_(**changes)
        assert Server(application(self.body(instance))).fetch().instances == (instance,)

    def test_ids_are_quoted(self):
        server = Server(httpx.Response(200))
        registry = server.registry()
        asyncio.run(registry.heartbeat("orders", MINE))
        asyncio.run(registry.deregister("orders", MINE))
        assert [(each.method, each.url.raw_path) for each in server.asked] == [
            ("PUT", b"/eureka/apps/ORDERS/a%3Aorders%2F1?status=UP"),
            ("DELETE", b"/eureka/apps/ORDERS/a%3Aorders%2F1"),
        ]

    def test_forgotten_registrations(self):
        registry = Server(httpx.Response(404)).registry()
        with pytest.raises(NotRegisteredError, match="orders 'a:orders/1': no such registration"):
            asyncio.run(registry.heartbeat("orders", MINE))
        asyncio.run(registry.deregister("orders", MINE))


class TestUrls:
    def test_the_login_is_sent_and_shows_nowhere(self):
        server = Server(application(info()))
        registry = server.registry("eureka://user:hunter2@h")
        asyncio.run(registry.fetch("orders"))
        assert server.asked[0].headers["authorization"].startswith("Basic ")
        assert registry.url == "eureka://h:8761/eureka"
        assert "hunter2" not in registry.key

    def test_options(self):
        url = "eureka+https://[::1],h2:80/eureka/v2/?verify=0&address=ip&timeout=3s"
        registry, settings = connect(url), eureka.EurekaSettings.from_url(url)
        assert registry.url == "eureka+https://[::1]:8761,h2:80/eureka/v2"
        assert settings.prefer_ip
        assert settings.timeout_s == 3
        assert isinstance(registry, Registrar)
        assert not isinstance(registry, WatchableRegistry)
        assert registry.key == connect(url).key

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("eureka://", "no host:port"),
            ("eureka://h/eureka#x", "write eureka://host:8761/eureka"),
            ("eureka://h/?address=v6", "must be ip or name"),
            ("eureka://h/?verify=0", "verify= is for TLS; write eureka"),
            ("eureka://h/?timeout=0", "timeout_s is 0"),
            ("eureka://user:hunter2@h/?zone=a", "unknown option 'zone'"),
        ],
    )
    def test_what_is_wrong_is_named(self, url, said):
        with pytest.raises(ConfigurationError, match=said) as caught:
            connect(url)
        assert "hunter2" not in str(caught.value)
