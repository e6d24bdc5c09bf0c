"""The Nacos adapter against recorded answers, and against what goes wrong."""

from __future__ import annotations

import asyncio
import json

import httpx
import msgspec
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
from trimtab.registries import Registrar, WatchableRegistry, connect, nacos
from trimtab.registries.nacos import registry as module
from trimtab.registries.nacos.api import read_hosts
from trimtab_sim.loop import run

URL = "nacos://nacos.test:8848"
MINE = Instance(id="a", host="10.0.0.1", port=80)
ALL = pytest.mark.parametrize("api", ["v1", "v2", "v3"])


def recorded(name, status=200):
    return httpx.Response(status, json=registry_kit.recorded(f"nacos/{name}"))


def host(ip="10.0.0.1", port=80, **fields):
    return {"ip": ip, "port": port, **fields}


def hosts(*entries):
    return httpx.Response(200, json={"hosts": list(entries)})


class Server(Answering):
    def registry(self, url=URL, **settings):
        return registry_kit.made(nacos, url, transport=self.transport, **settings)

    def fetch(self, **settings):
        return asyncio.run(self.registry(**settings).fetch("orders"))


class TestReading:
    @ALL
    def test_the_recorded_lists(self, api):
        server = Server(recorded(f"list_{api}"))
        listing = server.fetch(api=api)
        assert listing.skipped == ()
        assert listing.instances == (
            Instance(
                id="10.0.0.1#8080#DEFAULT#DEFAULT_GROUP@@orders",
                host="10.0.0.1",
                port=8080,
                weight=2,
                metadata={"version": "1.2.0"},
            ),
            Instance(
                id="10.0.0.2#8443#DEFAULT#DEFAULT_GROUP@@orders",
                host="10.0.0.2",
                port=8443,
                scheme="https",
                zone="east",
            ),
            Instance(
                id="10.0.0.3#8080#DEFAULT#DEFAULT_GROUP@@orders",
                host="10.0.0.3",
                port=8080,
                status=Status.CRITICAL,
            ),
            Instance(
                id="10.0.0.4#8080#b#DEFAULT_GROUP@@orders",
                host="10.0.0.4",
                port=8080,
                weight=0,
                metadata={"cluster": "b"},
            ),
        )
        assert server.params() == {
            "groupName": "DEFAULT_GROUP",
            "serviceName": "orders",
            "healthyOnly": "false",
        }

    @pytest.mark.parametrize(
        ("api", "path", "clusters"),
        [
            ("v1", "/nacos/v1/ns/instance/list", "clusters"),
            ("v2", "/nacos/v2/ns/instance/list", "clusterName"),
            ("v3", "/nacos/v3/client/ns/instance/list", "clusterName"),
        ],
    )
    def test_where_to_look(self, api, path, clusters):
        server = Server(hosts())
        server.fetch(api=api, namespace="shop", group="g", clusters=["a", "b"])
        assert server.asked[0].url.path == path
        params = server.params()
        assert params[clusters] == "a,b"
        assert (params["namespaceId"], params["groupName"]) == ("shop", "g")

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({}, "passing"),
            ({"enabled": False}, "draining"),
            ({"healthy": False}, "critical"),
            ({"metadata": {"status": "warning"}}, "warning"),
            ({"metadata": {"status": "draining"}}, "draining"),
            ({"metadata": {"status": "fine"}}, "passing"),
            ({"healthy": False, "metadata": {"status": "warning"}}, "critical"),
        ],
    )
    def test_statuses(self, fields, status):
        (found,) = Server(hosts(host(**fields))).fetch().instances
        assert found.status == status
        assert found.metadata == {}

    @pytest.mark.parametrize(
        ("said", "weight"), [("0.5", 0.5), ("0", 0), ("heavy", 3), ("-1", 3), ("nan", 3), (7, 7)]
    )
    def test_the_exact_weight_may_stand_in_the_metadata(self, said, weight):
        (found,) = Server(hosts(host(weight=3, metadata={"weight": said}))).fetch().instances
        assert found.weight == weight

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (host(port=0), "port is 0"),
            (host(port="80"), "at `$.port`"),
            (host(weight=-1), "weight is -1"),
            ({"port": 80}, "missing required field `ip`"),
            ("10.0.0.1:80", "Expected `object`"),
            (host(), "a second instance '10.0.0.1:80'"),
        ],
    )
    def test_a_bad_entry_is_left_out_and_named(self, bad, said):
        listing = Server(hosts(host(), bad)).fetch()
        assert [each.id for each in listing.instances] == ["10.0.0.1:80"]
        (message,) = listing.skipped
        assert message.startswith("nacos://nacos.test:8848/nacos: 'orders': entry 1 skipped")
        assert said in message

    @pytest.mark.parametrize("body", [b"{", b"{}", b"ok", b"<html>", b'{"hosts": {}}', b"7"])
    def test_no_list_at_all(self, body):
        with pytest.raises(RegistryAnswerError):
            Server(httpx.Response(200, content=body)).fetch()


class TestServices:
    @pytest.mark.parametrize("api", ["v1", "v2"])
    def test_they_are_named(self, api):
        server = Server(recorded(f"services_{api}"))
        assert asyncio.run(server.registry(api=api).services()) == ["billing", "orders"]

    def test_page_by_page(self, monkeypatch):
        monkeypatch.setattr(module, "_PAGE_SIZE", 2)
        pages = [["a", "b"], ["c", "d"], []]
        answers = [httpx.Response(200, json={"count": 5, "doms": page}) for page in pages]
        server = Server(*answers)
        assert asyncio.run(server.registry().services()) == ["a", "b", "c", "d"]
        assert [server.params(number)["pageNo"] for number in range(3)] == ["1", "2", "3"]

    def test_not_by_version_3(self):
        with pytest.raises(RegistryRequestError, match="names no services"):
            asyncio.run(Server(hosts()).registry(api="v3").services())


def test_dubbos_providers_are_listed_only_if_they_speak_http():
    def host(port, **metadata):
        return {"ip": "h", "port": port, "metadata": metadata}

    hosts = [
        host(1, dubbo="2.0.2", protocol="dubbo"),
        host(2, dubbo="2.0.2", protocol="tri"),
        host(3, protocol="anything"),
    ]
    instances, skipped = read_hosts("here", msgspec.Raw(json.dumps(hosts).encode()))
    assert [each.port for each in instances] == [2, 3]
    assert "speaks 'dubbo' and not HTTP" in skipped[0]


class TestTrouble:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (httpx.Response(403), RegistryDeniedError),
            (httpx.Response(400, text="Param 'serviceName' is required."), RegistryRequestError),
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
            with pytest.raises(error, match=r"nacos://nacos\.test:8848/nacos"):
                asyncio.run(asked)

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            (10001, RegistryDeniedError),
            (20004, RegistryRequestError),
            (30000, RegistryUnavailableError),
        ],
    )
    def test_codes_of_versions_2_and_3(self, code, error):
        answer = {"code": code, "message": "why not", "data": None}
        with pytest.raises(error, match=f"'orders': code {code}: why not"):
            Server(httpx.Response(200, json=answer)).fetch(api="v2")


class TestLogin:
    def test_it_comes_first_and_lasts(self):
        server = Server(recorded("login"), hosts(host()), hosts(host()))
        registry = server.registry("nacos://nacos:hunter2@h")

        async def main():
            await registry.fetch("orders")
            await registry.fetch("orders")

        asyncio.run(main())
        login, *questions = server.asked
        assert (login.method, login.url.path) == ("POST", "/nacos/v1/auth/login")
        assert login.content == b"username=nacos&password=hunter2"
        for question in questions:
            assert question.url.params["accessToken"] == "eyJhbGciOiJIUzI1NiJ9.made.up"
        assert "hunter2" not in f"{registry.url} {registry.key}"

    def test_version_3_has_it_elsewhere(self):
        server = Server(recorded("login"), hosts())
        server.fetch(url="nacos://nacos:hunter2@h", api="v3")
        assert server.asked[0].url.path == "/nacos/v3/auth/user/login"

    def test_it_is_renewed_before_the_token_expires(self):
        token = httpx.Response(200, json={"accessToken": "t", "tokenTtl": 100})
        server = Server(token, hosts(), hosts(), token, hosts())
        registry = server.registry("nacos://nacos:hunter2@h")

        async def main():
            for wait_s in (0, 89, 2):
                await asyncio.sleep(wait_s)
                await registry.fetch("orders")

        run(main())
        assert [each.method for each in server.asked] == ["POST", "GET", "GET", "POST", "GET"]

    def test_it_is_renewed_when_the_token_is_refused(self):
        server = Server(recorded("login"), recorded("expired", 403), recorded("login"), hosts())
        assert server.fetch(url="nacos://nacos:hunter2@h").instances == ()

    def test_but_once_only(self):
        server = Server(recorded("login"), recorded("expired", 403), recorded("login"))
        server.answers.append(recorded("expired", 403))
        with pytest.raises(RegistryDeniedError, match="token expired"):
            server.fetch(url="nacos://nacos:hunter2@h")
        assert len(server.asked) == 4

    def test_of_two_questions_refused_the_later_uses_the_new_token_of_the_earlier(self):
        asked, both_asked, renewed = [], asyncio.Event(), asyncio.Event()

        async def answer(request):
            service, token = (
                request.url.params.get(name) for name in ("serviceName", "accessToken")
            )
            asked.append((service, token))
            if service is None:
                logins = sum(each is None for each, _ in asked)
                return httpx.Response(200, json={"accessToken": f"t{logins}", "tokenTtl": 9})
            if token != "t1":
                renewed.set()
                return hosts()
            if service == "late":
                both_asked.set()
                await renewed.wait()
            else:
                await both_asked.wait()
            return recorded("expired", 403)

        registry = registry_kit.made(nacos, "nacos://a:b@h", transport=httpx.MockTransport(answer))

        async def main():
            await registry_kit.reader_of(registry)._asker._token(("a", "b"))
            await asyncio.gather(registry.fetch("early"), registry.fetch("late"))

        asyncio.run(main())
        assert asked == [
            (None, None),
            ("early", "t1"),
            ("late", "t1"),
            (None, None),
            ("early", "t2"),
            ("late", "t2"),
        ]

    def test_a_wrong_password(self):
        with pytest.raises(RegistryDeniedError, match="nacos: login: HTTP 403: unknown user!") as e:
            Server(httpx.Response(403, text="unknown user!")).fetch(url="nacos://nacos:hunter2@h")
        assert "hunter2" not in str(e.value)

    def test_an_answer_that_is_no_token(self):
        with pytest.raises(RegistryAnswerError, match="login"):
            Server(httpx.Response(200, json={})).fetch(url="nacos://nacos:hunter2@h")


class TestWriting:
    def registered(self, instance, **settings):
        server = Server(httpx.Response(200, text="ok"))
        asyncio.run(server.registry(**settings).register("orders", instance, ttl_s=6))
        assert server.asked[0].method == "POST"
        return server.params()

    def test_what_nacos_wants(self):
        params = self.registered(MINE, namespace="shop", clusters=["east", "west"])
        metadata = json.loads(params.pop("metadata"))
        assert params == {
            "serviceName": "orders",
            "groupName": "DEFAULT_GROUP",
            "namespaceId": "shop",
            "ip": "10.0.0.1",
            "port": "80",
            "weight": "1.0",
            "enabled": "true",
            "healthy": "true",
            "ephemeral": "true",
            "clusterName": "east",
        }
        assert metadata == {
            "trimtab.id": "a",
            "preserved.heart.beat.interval": "2000",
            "preserved.heart.beat.timeout": "6000",
            "preserved.ip.delete.timeout": "30000",
        }
        longer = json.loads(self.registered(MINE, delete_after_s=1.0)["metadata"])
        assert longer["preserved.ip.delete.timeout"] == "12000"

    @pytest.mark.parametrize(
        ("changes", "weight"),
        [
            ({"id": ""}, 1),
            ({"scheme": "https", "zone": "a", "weight": 0.25, "metadata": {"rack": "r7"}}, 0.25),
            ({"priority": 3}, 1),
            ({"status": Status.WARNING}, 1),
            ({"status": Status.DRAINING, "weight": 3.0}, 0),
            ({"status": Status.CRITICAL, "host": "::1"}, 0),
            ({"weight": 20_000.0}, 10_000),
        ],
    )
    def test_what_is_written_is_read_and_others_see_the_weight(self, changes, weight):
        instance = MINE.with_(**changes)
        params = self.registered(instance)
        assert float(params["weight"]) == weight
        metadata = json.loads(params["metadata"])
        said = host(params["ip"], int(params["port"]), weight=weight, metadata=metadata)
        assert Server(hosts(said)).fetch().instances == (instance,)

    @pytest.mark.parametrize(
        ("api", "method", "path", "name"),
        [
            ("v1", "PUT", "/nacos/v1/ns/instance/beat", "g@@orders"),
            ("v2", "PUT", "/nacos/v2/ns/instance/beat", "g@@orders"),
            ("v3", "POST", "/nacos/v3/client/ns/instance", "orders"),
        ],
    )
    def test_heartbeats(self, api, method, path, name):
        server = Server(recorded("beat"))
        asyncio.run(server.registry(api=api, group="g").heartbeat("orders", MINE))
        assert (server.asked[0].method, server.asked[0].url.path) == (method, path)
        params = server.params()
        assert params["serviceName"] == name
        assert (params["ip"], params["port"]) == ("10.0.0.1", "80")
        assert params.get("heartBeat") == ("true" if api == "v3" else None)

    def test_an_old_server_answers_with_fewer_fields(self):
        server = Server(httpx.Response(200, json={"clientBeatInterval": 5000}))
        asyncio.run(server.registry().heartbeat("orders", MINE))
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            recorded("beat_forgotten"),
            recorded("beat_forgotten_v3"),
            httpx.Response(404, text="not found"),
            httpx.Response(400, json={"code": 21003}),
        ],
    )
    def test_forgotten_registrations(self, answer):
        registry = Server(answer).registry()
        with pytest.raises(NotRegisteredError, match="orders 'a': no such registration"):
            asyncio.run(registry.heartbeat("orders", MINE))

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (httpx.Response(200, text="ok?"), RegistryAnswerError),
            (httpx.Response(200, json={"code": 21000, "message": "x"}), RegistryRequestError),
        ],
    )
    def test_other_answers_to_heartbeats(self, answer, error):
        with pytest.raises(error):
            asyncio.run(Server(answer).registry().heartbeat("orders", MINE))

    def test_deregistering_what_is_not_there(self):
        registry = Server(httpx.Response(404)).registry()
        asyncio.run(registry.deregister("orders", MINE))

    def test_an_instance_that_moves_leaves_its_old_address(self):
        server = Server(httpx.Response(200, text="ok"))
        registry = server.registry()

        async def main():
            await registry.register("orders", MINE, ttl_s=9)
            await registry.register("orders", MINE, ttl_s=9)
            await registry.register("orders", MINE.with_(port=81), ttl_s=9)

        asyncio.run(main())
        assert [(each.method, each.url.params["port"]) for each in server.asked] == [
            ("POST", "80"),
            ("POST", "80"),
            ("DELETE", "80"),
            ("POST", "81"),
        ]


class TestUrls:
    def test_options(self):
        url = "nacos+https://u:p@[::1],h2:80/n/?verify=0&api=v3&group=g&cluster=a&cluster=b"
        registry = connect(f"{url}&timeout=3s&namespace=shop")
        assert registry.url == "nacos+https://[::1]:8848,h2:80/n"
        settings = nacos.NacosSettings.from_url(f"{url}&timeout=3s&namespace=shop")
        assert (settings.group, settings.clusters) == ("g", ("a", "b"))
        assert settings.timeout_s == 3
        assert isinstance(registry, Registrar)
        assert not isinstance(registry, WatchableRegistry)
        assert registry.key == connect(f"{url}&timeout=3s&namespace=shop").key
        assert registry.key != connect(url).key

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("nacos://h:x", "no host:port"),
            ("nacos://h/nacos#x", "write nacos://host:8848/nacos"),
            ("nacos://h/?ca=x", "ca= is for TLS; write nacos"),
            ("nacos://h/?api=v4", "api is 'v4'; it must be one of v1, v2, v3"),
            ("nacos://h/?group=", "'' is no group's name"),
            ("nacos://h/?group=a@@b", "'a@@b' is no group's name"),
            ("nacos://h/?timeout=0", "timeout_s is 0"),
            ("nacos://h/?group=a&group=b", "'group' is given twice"),
            ("nacos://user:hunter2@h/?zone=a", "unknown option 'zone'"),
        ],
    )
    def test_what_is_wrong_is_named(self, url, said):
        with pytest.raises(ConfigurationError, match=said) as caught:
            connect(url)
        assert "hunter2" not in str(caught.value)
