"""Which hosts are services, and which proxy a request to another host goes through."""

from __future__ import annotations

import httpx
import httpx2
import pytest
from packaging.version import Version

from trimtab import BalancedTransport, ConfigurationError
from trimtab.transports.hosts import EnvironmentProxies, ServiceNames

FAMILIES = (httpx, httpx2)


# -- which hosts are services --------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["orders", "billing_api", "a-b", "orders.", "xn--bcher-kva", "bücher"]
)
def test_a_host_without_a_dot_is_a_service(host):
    assert ServiceNames()[host] == host.removesuffix(".")


@pytest.mark.parametrize(
    "host",
    [
        "example.com", "orders.prod", "orders.prod.", "localhost", "LOCALHOST", "localhost.",
        "app.localhost", "127.0.0.1", "10.0.0.1", "::1", "fe80::1%eth0", "2130706433", "0x7f000001",
        "127.1",
    ],
)  # fmt: skip
def test_an_address_localhost_and_a_name_with_a_dot_are_none(host):
    assert ServiceNames()[host] is None


def test_services_can_be_named():
    names = ServiceNames({"orders.prod", "Billing_API", "bücher", "localhost", "10.0.0.9"})
    for host in ("orders.prod", "ORDERS.prod.", "billing_api", "bücher", "localhost", "10.0.0.9"):
        assert names[host] == host.lower().removesuffix(".")
    assert [names[host] for host in ("orders", "prod", "x.orders.prod", "127.0.0.1")] == [None] * 4


def test_no_host_need_be_a_service():
    assert ServiceNames(())["orders"] is None


def test_services_can_be_said_by_a_function_which_is_asked_once_per_host():
    asked = []

    def is_service(host):
        asked.append(host)
        return host.endswith(".svc")

    names = ServiceNames(is_service)
    for _ in range(2):
        assert names["orders.svc"] == "orders.svc"
        assert names["orders"] is None
    assert asked == ["orders.svc", "orders"]


@pytest.mark.parametrize("host", ["orders", "example.com", "127.0.0.1", "localhost", "::1"])
def test_with_one_service_every_host_is_that_service(host):
    assert ServiceNames(only="Billing")[host] == "Billing"


@pytest.mark.parametrize(
    "services", ["orders", ["http://orders"], [""], ["a b"], ["orders/items"], ["a" + "\n"], [7]]
)
def test_services_that_no_url_could_name_are_an_error(services):
    with pytest.raises(ConfigurationError, match="services"):
        BalancedTransport("static://10.0.0.1:80", services=services)


def test_one_service_and_many_contradict_each_other():
    with pytest.raises(ConfigurationError, match=r"service='orders'.*services="):
        BalancedTransport("static://10.0.0.1:80", service="orders", services={"bills"})


def test_the_table_of_hosts_is_bounded():
    names = ServiceNames()
    for number in range(20_000):
        assert names[f"host-{number}.example"] is None
    assert len(names) <= 4096


# -- proxies for the others ----------------------------------------------------------------------

URLS = [
    "http://example.com", "https://example.com", "http://www.example.com", "http://notexample.com",
    "http://example.com:8080", "https://example.com:8443", "http://a.b.example.com:8080",
    "http://10.0.0.1", "http://10.1.2.3:81", "https://192.168.1.9", "http://[::1]:80",
    "http://[fd00::7]", "http://localhost", "http://localhost:5000", "http://127.0.0.1:9",
    "http://x.localhost", "http://EXAMPLE.com", "http://example.com.", "https://bücher.example",
]  # fmt: skip

ENVIRONMENTS = [
    {},
    {"HTTP_PROXY": "http://p:1"},
    {"http_proxy": "p:1"},
    {"HTTPS_PROXY": "http://p:2"},
    {"ALL_PROXY": "http://p:3"},
    {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:2", "ALL_PROXY": "http://p:3"},
    {"HTTP_PROXY": "http://user:secret@p:1", "http_proxy": "http://lower:4"},
    {"FTP_PROXY": "http://p:1", "NO_PROXY": "example.com"},
]

EXEMPTIONS = [
    "", "*", "a.test,*", "example.com", ".example.com", "EXAMPLE.com", " example.com , localhost ",
    "www.example.com", "example.com:8080", "localhost", "LOCALHOST", "127.0.0.1", "10.0.0.1", "::1",
    "fd00::7", "http://example.com", "https://example.com", "http://", "https://", "all://",
    "all://example.com", "all://*.example.com", "http://example.com:8080", "com", "ample.com", ",,",
    "all://:8080", "10.0.0.1:80", "all://*:8080", "http://*", "all://*:80",
    "https://*.example.com:8443", "*", "b.example.com:8080,10.0.0.1",
]  # fmt: skip

MODERN = [
    "10.0.0.0/8", "192.168.0.0/16,example.com", "[::1]", "fd00::/8",
    "10.0.0.1/8", "10.0.0.0/99", "example.com/x", "[broken", "a b",
]  # fmt: skip


NEWEST = ["*.example.com"]
"""What httpx2 reads so from 2.16.2 on."""


@pytest.fixture
def proxy_of(monkeypatch):
    """Return a function that says which proxy a client's request goes through."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    for family in FAMILIES:
        proxies = {}

        def init(self, *_, proxy=None, family=family, proxies=proxies, **__):
            proxies[self] = (
                str((family.Proxy(proxy) if isinstance(proxy, str) else proxy).url) if proxy else ""
            )

        def handle(self, request, family=family, proxies=proxies):
            return family.Response(200, text=proxies[self])

        monkeypatch.setattr(family.HTTPTransport, "__init__", init)
        monkeypatch.setattr(family.HTTPTransport, "handle_request", handle)
        monkeypatch.setattr(family.HTTPTransport, "close", lambda self: None)
    return lambda client, url: client.get(url).text


def environments(exemptions):
    yield from ENVIRONMENTS
    for text in exemptions:
        yield {"HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://p:3", "NO_PROXY": text}
        yield {"HTTPS_PROXY": "https://p:2", "no_proxy": text}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_other_hosts_go_through_the_proxies_that_a_plain_client_uses(family, proxy_of, monkeypatch):
    exemptions = EXEMPTIONS if family is httpx else EXEMPTIONS + MODERN
    if family is httpx2 and Version(httpx2.__version__) >= Version("2.16.2"):
        exemptions = exemptions + NEWEST
    for environment in environments(exemptions):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            plain = family.Client()
            ours = family.Client(transport=BalancedTransport("static://10.0.0.1:80"))
        for url in URLS:
            assert proxy_of(ours, url) == proxy_of(plain, url), (environment, url)


@pytest.mark.parametrize("entry", ["bücher.example", "xn--bcher-kva.example", ".bücher.example"])
def test_international_names_are_exempt_however_they_are_written(entry):
    proxies = EnvironmentProxies({"http": "http://p:1", "no": entry})
    assert proxies.proxy_for(httpx.URL("http://www.bücher.example")) is None
    assert proxies.proxy_for(httpx.URL("http://www.xn--bcher-kva.example")) is None
    assert proxies.proxy_for(httpx.URL("http://example")) == "http://p:1"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_networks_and_wildcards_are_heeded_for_the_older_family_too(family, proxy_of, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,*.example.com,[::1],fd00::/8")
    with family.Client(transport=BalancedTransport("static://10.0.0.1:80")) as client:
        direct = [url for url in URLS if not proxy_of(client, url)]
    assert [url for url in direct if url.startswith("http:")] == [
        "http://www.example.com", "http://a.b.example.com:8080", "http://10.0.0.1",
        "http://10.1.2.3:81", "http://[::1]:80", "http://[fd00::7]",
    ]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_without_trust_in_the_environment_there_are_no_proxies(family, proxy_of, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    transport = BalancedTransport("static://10.0.0.1:80", trust_env=False)
    with family.Client(transport=transport) as client:
        assert not any(proxy_of(client, url) for url in URLS)


@pytest.mark.parametrize("proxy", ["gopher://user:secret@p:1", "http://p:port", "socks4://p:1"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_a_proxy_that_cannot_be_used_is_told_with_its_first_use(family, proxy, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with (
        family.Client(transport=BalancedTransport("static://10.0.0.1:80")) as client,
        pytest.raises(ConfigurationError, match="proxy") as caught,
    ):
        client.get("http://example.com/")
    assert "secret" not in str(caught.value)
