"""The Kubernetes adapter against recorded answers, and against what goes wrong."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from random import Random

import httpx
import msgspec
import pytest

from registry_kit import made, recorded
from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryDeniedError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.instance import Instance, Status
from trimtab.registries import WatchableRegistry, connect, kubernetes
from trimtab.registries.kubernetes import KubernetesSettings
from trimtab.registries.kubernetes import reader as module
from trimtab.registries.kubernetes import settings as settings_module
from trimtab.registries.kubernetes.slices import View
from trimtab_sim.loop import run

URL = "kubernetes://api.test:6443/shop"
PLAIN = f"{URL}?tls=0"  # Making a TLS context takes longer than a test.


def slices(*items, version="7"):
    return {"metadata": {"resourceVersion": version}, "items": list(items)}


def slice_(name="s1", endpoints=(), *, kind="IPv4", ports=({"name": "http", "port": 80},)):
    metadata = {"name": name, "labels": {"kubernetes.io/service-name": "orders"}}
    return {
        "metadata": metadata,
        "addressType": kind,
        "endpoints": list(endpoints),
        "ports": list(ports),
    }


def endpoint(address="10.0.0.1", pod=None, **fields):
    target = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {"addresses": [address], **target, **fields}


class ApiServer:
    """Answers with what the test says: whole answers, or lists of events for a watch."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, list):
            return httpx.Response(200, content=self.events(answer))
        if isinstance(answer, dict):
            return httpx.Response(200, json=answer)
        return answer

    async def events(self, answer):
        for event in answer:
            if event is None:
                await asyncio.Event().wait()
            yield json.dumps(event).encode() + b"\n"

    def registry(self, url=PLAIN, **settings):
        return made(kubernetes, url, transport=httpx.MockTransport(self), **settings)

    def fetch(self, service="orders", **settings):
        return asyncio.run(self.registry(poll=True, **settings).fetch(service))


def as_raw(value):
    return msgspec.Raw(json.dumps(value).encode())


def listed(*items, **settings):
    return ApiServer(slices(*items)).fetch(**settings)


class TestReading:
    def test_the_recorded_list(self):
        listing = ApiServer(recorded("kubernetes/list")).fetch(port="http")
        assert listing.skipped == ()
        assert listing.instances[0] == Instance(
            id="orders-5d8c-abcde",
            host="10.1.2.3",
            port=8080,
            zone="us-west2-a",
            metadata={"pod": "orders-5d8c-abcde", "node": "node-1"},
        )
        assert [(each.host, each.status.value) for each in listing.instances] == [
            ("10.1.2.3", "passing"),
            ("10.1.2.4", "critical"),
            ("10.1.2.5", "draining"),
        ]

    def test_a_service_without_pods_is_empty(self):
        listing = ApiServer(recorded("kubernetes/empty")).fetch()
        assert (listing.instances, listing.skipped) == ((), ())

    @pytest.mark.parametrize(
        ("conditions", "status"),
        [
            (None, "passing"),
            ({}, "passing"),
            ({"ready": None, "serving": None, "terminating": None}, "passing"),
            ({"ready": True}, "passing"),
            ({"ready": False}, "critical"),
            ({"ready": False, "serving": True, "terminating": True}, "draining"),
            ({"ready": False, "serving": False, "terminating": True}, "draining"),
            # As for services that publish pods which are not ready.
            ({"ready": True, "serving": False, "terminating": False}, "passing"),
        ],
    )
    def test_conditions(self, conditions, status):
        others = [endpoint("10.0.0.9", "another")]
        one = endpoint(conditions=conditions)
        assert listed(slice_(endpoints=[one, *others])).instances[0].status == status

    @pytest.mark.parametrize(
        ("conditions", "status"),
        [
            ({"ready": False, "serving": True, "terminating": True}, "warning"),
            ({"ready": False, "serving": False, "terminating": True}, "draining"),
            ({"ready": False, "terminating": True}, "draining"),
            ({"ready": True, "terminating": True}, "warning"),
            ({"serving": True, "terminating": True}, "warning"),
            ({"ready": False, "serving": True}, "critical"),
        ],
    )
    def test_pods_that_terminate_and_serve_are_used_where_none_is_ready(self, conditions, status):
        for others in ([], [endpoint("10.0.0.9", "p9", conditions={"ready": False})]):
            found = listed(slice_(endpoints=[endpoint(conditions=conditions), *others])).instances
            assert found[0].status == status

    def test_a_pod_that_is_ready_takes_over_from_those_that_terminate(self):
        leaving = {"ready": False, "serving": True, "terminating": True}
        view = View("here", None)
        view.put(as_raw(slice_("a", [endpoint("10.0.0.1", "p1", conditions=leaving)])), "a")
        assert [each.status.value for each in view.listing().instances] == ["warning"]
        view.put(as_raw(slice_("b", [endpoint("10.0.0.2", "p2")])), "b")
        assert [each.status.value for each in view.listing().instances] == ["draining", "passing"]

    def test_several_slices_are_one_list_in_a_steady_order(self):
        two = slice_("s2", [endpoint("10.0.0.2")], ports=[{"name": "http", "port": 81}])
        names = slice_("s0", [endpoint("orders.example")], kind="FQDN")
        six = slice_("s1", [endpoint("::1")], kind="IPv6")
        four = slice_("s3", [endpoint("10.0.0.1")])
        wanted = ["10.0.0.2:81", "10.0.0.1:80", "[::1]:80", "orders.example:80"]
        for order in ([two, names, six, four], [four, six, names, two]):
            assert [each.id for each in listed(*order).instances] == wanted

    def test_a_pod_is_one_instance_wherever_it_stands(self):
        six = slice_("a", [endpoint("::1", "p1")], kind="IPv6")
        four = slice_("b", [endpoint("10.0.0.1", "p1"), endpoint("10.0.0.2", "p2")])
        listing = listed(six, four)
        assert [(each.id, each.host) for each in listing.instances] == [
            ("p1", "10.0.0.1"),
            ("p2", "10.0.0.2"),
        ]
        assert listing.skipped == ()

    def test_of_two_entries_the_one_that_can_be_called_counts(self):
        gone = endpoint("10.0.0.1", "p1", conditions={"terminating": True})
        here = endpoint("10.0.0.9", "p1")
        for entries in ([gone, here], [here, gone]):
            (found,) = listed(slice_("a", [entries[0]]), slice_("b", [entries[1]])).instances
            assert (found.host, found.status) == ("10.0.0.9", Status.PASSING)

    def test_what_is_no_pod_goes_by_its_address(self):
        target = {"kind": "VirtualMachine", "name": "vm1"}
        (found,) = listed(slice_(endpoints=[endpoint(targetRef=target, hostname="h1")])).instances
        assert found.id == "10.0.0.1:80"
        assert dict(found.metadata) == {"hostname": "h1"}

    @pytest.mark.parametrize("said", ["http", "https", "kubernetes.io/h2c", None])
    def test_the_application_protocol_may_be_the_scheme(self, said):
        ports = [{"name": "web", "port": 80, "appProtocol": said}]
        (found,) = listed(slice_(endpoints=[endpoint()], ports=ports)).instances
        assert found.scheme == (said if said in {"http", "https"} else None)


class TestPorts:
    PORTS = (
        {"name": "http", "port": 80, "protocol": "TCP"},
        {"name": "metrics", "port": 90},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    )

    @pytest.mark.parametrize(("wanted", "port"), [("http", 80), ("90", 90), ("metrics", 90)])
    def test_by_name_or_number(self, wanted, port):
        (found,) = listed(slice_(endpoints=[endpoint()], ports=self.PORTS), port=wanted).instances
        assert found.port == port

    def test_the_only_one_needs_no_name(self):
        (found,) = listed(slice_(endpoints=[endpoint()], ports=self.PORTS[1:])).instances
        assert found.port == 90

    @pytest.mark.parametrize(
        ("ports", "wanted", "said"),
        [
            (PORTS, None, r"several ports, http, metrics; say which: \?port=http"),
            (PORTS, "grpc", "no port 'grpc'; there are http, metrics"),
            (PORTS, "dns", "no port 'dns'"),
            ((), None, "no TCP port"),
            (({"name": "any", "port": None},), "any", "no TCP port"),
        ],
    )
    def test_no_port_fits(self, ports, wanted, said):
        with pytest.raises(RegistryAnswerError, match=f"slice 's1': {said}"):
            listed(slice_(endpoints=[endpoint(), endpoint("10.0.0.2")], ports=ports), port=wanted)

    def test_one_slice_without_it_is_named_once_and_the_others_stay(self):
        bad = slice_("bad", [endpoint("10.0.0.2"), endpoint("10.0.0.3")], ports=())
        listing = listed(bad, slice_("good", [endpoint()]))
        assert [each.host for each in listing.instances] == ["10.0.0.1"]
        assert len(listing.skipped) == 1
        assert "'orders': entry 0 skipped: slice 'bad': no TCP port" in listing.skipped[0]


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (endpoint("not an address"), "host is 'not an address'"),
            ({"addresses": []}, "an endpoint without an address"),
            ({"addresses": "10.0.0.1"}, "Expected `array`, got `str`"),
            ({}, "missing required field `addresses`"),
            (endpoint(conditions={"ready": "yes"}), "at `$.conditions.ready`"),
            ("10.0.0.1", "Expected `object`, got `str`"),
        ],
    )
    def test_a_bad_endpoint_is_left_out_and_named(self, bad, said):
        listing = listed(slice_(endpoints=[endpoint(), bad]))
        assert [each.host for each in listing.instances] == ["10.0.0.1"]
        (message,) = listing.skipped
        assert "slice 's1'" in message
        assert said in message

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"metadata": {"name": "bad"}, "ports": 7}, "slice 'bad'"),
            ({"metadata": {"name": 7}}, "slice '#1'"),
            ({"metadata": {}, "endpoints": {}}, "slice '#1'"),
            ("slice", "slice '#1'"),
        ],
    )
    def test_a_bad_slice_is_left_out_and_named(self, bad, said):
        listing = listed(slice_(endpoints=[endpoint()]), bad)
        assert [each.host for each in listing.instances] == ["10.0.0.1"]
        assert said in listing.skipped[0]

    @pytest.mark.parametrize(
        "answer", [b"{", b"[]", b'{"items": 7, "metadata": {}}', b"<html>", b'{"items": []}']
    )
    def test_no_list_at_all(self, answer):
        with pytest.raises(RegistryAnswerError):
            ApiServer(httpx.Response(200, content=answer)).fetch()


class TestTrouble:
    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, RegistryDeniedError),
            (404, RegistryRequestError),
            (429, RegistryUnavailableError),
            (503, RegistryUnavailableError),
        ],
    )
    def test_statuses(self, status, error):
        with pytest.raises(
            error, match=rf"kubernetes://api.test:6443/shop: 'orders': HTTP {status}"
        ):
            ApiServer(httpx.Response(status)).fetch()
        registry = ApiServer(httpx.Response(status)).registry()
        with pytest.raises(error):
            asyncio.run(registry.services())

    def test_missing_rights_are_said_in_the_servers_words(self):
        answer = httpx.Response(403, json=recorded("kubernetes/forbidden"))
        with pytest.raises(RegistryDeniedError, match="is forbidden: User"):
            ApiServer(answer).fetch()

    @pytest.mark.parametrize(
        "service", ["Orders", "a,b=c", "", "a_b", "-a", "x" * 64, "orders.Shop", "orders/x", "a."]
    )
    def test_an_impossible_name_is_never_asked_for(self, service):
        server = ApiServer(slices())
        if service == "a.":
            assert server.fetch(service).instances == ()
            return
        with pytest.raises(RegistryRequestError, match="is no service's name"):
            server.fetch(service)
        assert server.asked == []

    @pytest.mark.parametrize("service", ["orders.mall", "orders.mall.svc.cluster.local"])
    def test_a_name_with_its_namespace(self, service):
        server = ApiServer(slices())
        server.fetch(service)
        assert server.asked[0].url.path.endswith("/namespaces/mall/endpointslices")
        assert server.asked[0].url.params["labelSelector"] == "kubernetes.io/service-name=orders"

    def test_services_are_the_labels(self):
        items = [slice_("b"), slice_("a"), {"metadata": {"name": "x"}}]
        server = ApiServer(slices(*items))
        assert asyncio.run(server.registry().services()) == ["orders"]
        assert "PartialObjectMetadataList" in server.asked[0].headers["accept"]


def watched(server, how_often, *, until=None, **settings):
    async def main():
        registry = server.registry(rng=Random(1), **settings)
        async with aclosing(registry.watch("orders")) as watch:
            listings = [await anext(watch) for _ in range(how_often)]
        await registry.aclose()
        return listings

    return run(main(), until=until)


class TestWatching:
    def test_the_recorded_watch(self):
        server = ApiServer(recorded("kubernetes/list"), recorded("kubernetes/watch"))
        listings = watched(server, 4, port="http")
        statuses = [[each.status.value for each in listing.instances] for listing in listings]
        assert statuses[0] == ["passing", "critical", "draining"]
        assert statuses[1] == ["passing", "passing", "draining"]
        assert listings[1].version == listings[2].version != listings[0].version
        assert statuses[3] == statuses[2]
        params = server.asked[1].url.params
        assert params["watch"] == "1"
        assert params["resourceVersion"] == "10245"
        assert params["allowWatchBookmarks"] == "true"
        assert 240 <= int(params["timeoutSeconds"]) <= 300

    def test_what_it_ends_with_is_a_lost_cursor(self):
        with pytest.raises(RegistryCursorLostError, match="too old resource version"):
            watched(
                ApiServer(recorded("kubernetes/list"), recorded("kubernetes/watch")), 5, port="http"
            )

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (httpx.Response(410, text="gone"), RegistryCursorLostError),
            (httpx.Response(403), RegistryDeniedError),
            ([{"type": "ERROR", "object": {"code": 403}}], RegistryDeniedError),
            ([{"type": "ERROR", "object": {"code": 500}}], RegistryUnavailableError),
            ([{"type": "ERROR", "object": {}}], RegistryAnswerError),
            ([{"type": "ERROR", "object": 7}], RegistryAnswerError),
            ([{"type": "MODIFIED", "object": {"metadata": {}}}], RegistryAnswerError),
            ([{"type": "DELETED", "object": 7}], RegistryAnswerError),
            ([{"kind": "Status"}], RegistryAnswerError),
            ([[]], RegistryAnswerError),
        ],
    )
    def test_trouble_ends_it(self, answer, error):
        with pytest.raises(error):
            watched(ApiServer(slices(), answer), 2)

    def test_unknown_kinds_of_events_change_nothing(self):
        server = ApiServer(slices(slice_(endpoints=[endpoint()])), [{"type": "NEW", "object": {}}])
        first, second = watched(server, 2)
        assert first == second

    def test_after_its_end_in_good_order_the_whole_list_is_read_again(self):
        added = {"type": "ADDED", "object": slice_("s2", [endpoint("10.0.0.2")])}
        server = ApiServer(slices(version="1"), [added], slices(version="9"), [None])
        sizes = [len(listing.instances) for listing in watched(server, 3)]
        assert sizes == [0, 1, 0]
        assert [request.url.params.get("resourceVersion") for request in server.asked] == [
            None,
            "1",
            None,
        ]

    def test_watches_that_end_at_once_are_not_begun_in_haste(self, monkeypatch):
        monkeypatch.setattr(module, "_LEAST_WATCH_S", 4.0)
        answers = [answer for _ in range(3) for answer in (slices(), [])]
        server = ApiServer(*answers)

        async def main():
            loop = asyncio.get_running_loop()
            async with aclosing(server.registry().watch("orders")) as watch:
                return [(await anext(watch), loop.time())[1] for _ in range(3)]

        assert run(main()) == [0, 4, 8]

    def test_a_watch_that_does_not_end_is_dead(self):
        server = ApiServer(slices(), [None])
        with pytest.raises(RegistryUnavailableError, match="the connection must be dead"):
            watched(server, 2, wait_s=20)

    def test_clients_do_not_end_their_watches_together(self):
        ends = set()
        for seed in range(10):
            server = ApiServer(slices(), [{"type": "BOOKMARK", "object": {}}])

            async def main(server=server, seed=seed):
                registry = server.registry(rng=Random(seed))
                async with aclosing(registry.watch("orders")) as watch:
                    await anext(watch)
                    await anext(watch)

            run(main())
            ends.add(server.asked[1].url.params["timeoutSeconds"])
        assert len(ends) > 5


class TestRights:
    def test_the_token_is_read_again_for_each_question(self, tmp_path):
        file = tmp_path / "token"
        server = ApiServer(slices())
        registry = server.registry(url=f"{URL}?token_file={file}&verify=0")
        for token in ("first", "second"):
            file.write_text(f"{token}\n")
            asyncio.run(registry.fetch("orders"))
            assert server.asked[-1].headers["authorization"] == f"Bearer {token}"
        file.unlink()
        with pytest.raises(RegistryDeniedError, match="the token cannot be read"):
            asyncio.run(registry.fetch("orders"))

    def test_a_token_in_the_url_shows_nowhere(self):
        server = ApiServer(slices())
        registry = server.registry(url=f"{URL}?token=s3cr3t")
        asyncio.run(registry.fetch("orders"))
        assert server.asked[0].headers["authorization"] == "Bearer s3cr3t"
        assert "s3cr3t" not in f"{registry.url} {registry.key}"

    def test_without_one_none_is_sent(self):
        server = ApiServer(slices())
        server.fetch()
        assert "authorization" not in server.asked[0].headers


@pytest.fixture
def pod(tmp_path, monkeypatch):
    import trustme  # noqa: PLC0415 - a slow import that few tests need

    (tmp_path / "token").write_text("of-the-pod\n")
    (tmp_path / "namespace").write_text("mall\n")
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    monkeypatch.setattr(settings_module, "_POD", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    return tmp_path


class TestUrls:
    def test_a_pod_knows_all_by_itself(self, pod):
        place = KubernetesSettings.from_url("kubernetes:///")
        assert (place.bases[0], place.namespace) == ("https://10.96.0.1:6443", "mall")
        assert place.url == "kubernetes://10.96.0.1:6443/mall"
        assert place.headers() == {"Authorization": "Bearer of-the-pod"}
        assert place.context().get_ca_certs()

    def test_a_pod_may_say_otherwise(self, pod, monkeypatch):
        place = KubernetesSettings.from_url("kubernetes:///shop?token=mine")
        assert (place.namespace, place.token, place.token_file) == ("shop", "mine", None)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
        assert KubernetesSettings.from_url("kubernetes:///").bases[0] == "https://[fd00::1]:6443"
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
        monkeypatch.delenv("KUBERNETES_SERVICE_PORT")
        assert (
            KubernetesSettings.from_url("kubernetes:///").bases[0]
            == "https://kubernetes.default.svc:443"
        )

    def test_outside_a_pod_the_host_must_be_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(settings_module, "_POD", tmp_path)
        with pytest.raises(ConfigurationError, match="this is no pod"):
            connect("kubernetes:///shop")

    def test_options(self):
        registry = connect("kubernetes://[::1]/shop?port=http&wait=2m&timeout=3s&tls=0")
        assert isinstance(registry, WatchableRegistry)
        assert registry.url == "kubernetes://[::1]:443/shop?port=http"
        settings = KubernetesSettings.from_url("kubernetes://h/shop?wait=2m&timeout=3s&tls=0")
        assert (settings.wait_s, settings.timeout_s) == (120, 3)
        polled = connect("kubernetes://h?poll&verify=0")
        assert not isinstance(polled, WatchableRegistry)
        assert polled.url == "kubernetes://h:443/default"

    def test_equal_urls_have_equal_keys(self):
        assert connect(f"{URL}?ca=&verify=0").key == connect(f"{URL}?ca=&verify=0").key
        others = ["", "?verify=0", "?port=http", "?wait=1m", "?timeout=1s", "?token=x", "?poll"]
        assert len({connect(URL + other).key for other in others}) == len(others)

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("kubernetes://me:hunter2@h/shop", "no user and password"),
            ("kubernetes://h/shop/orders", "write kubernetes://host:port/namespace"),
            ("kubernetes://h:0/shop", "no host:port"),
            ("kubernetes://h1,h2/shop", "name one API server"),
            ("kubernetes://h/shop?tls=0&token=hunter2", "leave out tokens"),
            ("kubernetes://h/shop?token=hunter2&token_file=x", "not both"),
            ("kubernetes://h/shop?poll&wait=1m", "wait is for watches"),
            ("kubernetes://h/shop?wait=500ms", "wait_s is 0.5"),
            ("kubernetes://h/shop?timeout=0", "timeout_s is 0"),
            ("kubernetes://h/shop?tocken=x", "unknown option 'tocken'"),
            ("kubernetes://h/shop?ca=/nowhere", "ca: no CA certificates can be read from /nowhere"),
        ],
    )
    def test_what_is_wrong_is_named(self, url, said):
        with pytest.raises(ConfigurationError, match=said) as caught:
            connect(url)
        assert "hunter2" not in str(caught.value)
