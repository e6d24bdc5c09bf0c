"""From a request to a service to one to an instance, and the answer's way back."""

from __future__ import annotations

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import Instance
from trimtab.transports.preparing import Addressing, readdressed, rehosted, restore_location

FAMILIES = pytest.mark.parametrize("family", [httpx, httpx2], ids=["httpx", "httpx2"])
PATHS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="?#"),
    max_size=20,
)
HOSTS = st.sampled_from(["10.0.0.7", "::1", "orders-3.example", "UPPER.example", "bücher.example"])


@FAMILIES
@given(
    scheme=st.sampled_from(["http", "https"]),
    host=HOSTS,
    port=st.sampled_from([80, 443, 8080]),
    path=PATHS,
    user=st.sampled_from(["", "me@", "me:secret@"]),
)
def test_readdressing_equals_copy_with(family, scheme, host, port, path, user):
    url = family.URL(f"http://{user}orders:81/").copy_with(path=f"/{path}", query=b"q=%20")
    wanted = url.copy_with(scheme=scheme, host=host, port=port)
    got, netloc = readdressed(url, scheme, host, port)
    assert type(got) is family.URL
    assert str(got) == str(wanted)
    assert got.raw_path == wanted.raw_path
    assert (got.raw_host, got.port, got.userinfo) == (wanted.raw_host, wanted.port, wanted.userinfo)
    assert netloc == wanted.netloc.decode()


@FAMILIES
def test_readdressing_leaves_the_url_as_it_was(family):
    url = family.URL("http://orders/items/7?x=1#top")
    got, _ = readdressed(url, "https", "10.0.0.7", 8443)
    assert str(url) == "http://orders/items/7?x=1#top"
    assert str(got) == "https://10.0.0.7:8443/items/7?x=1#top"


def test_a_family_that_keeps_its_urls_otherwise_is_served_too():
    class OtherURL:
        """A URL with nothing but the public interface."""

        def __init__(self, url="", **parts):
            self._url = httpx.URL(url, **parts)
            self.netloc = self._url.netloc

        def copy_with(self, **parts):
            return self._url.copy_with(**parts)

    got, netloc = readdressed(OtherURL("http://orders/x"), "http", "10.0.0.7", 8080)
    assert (str(got), netloc) == ("http://10.0.0.7:8080/x", "10.0.0.7:8080")


@FAMILIES
def test_a_host_that_makes_no_url_is_the_familys_error(family):
    url = family.URL("http://orders/")
    with pytest.raises(family.InvalidURL):
        readdressed(url, "http", "b\u00fccher..example", 80)


@FAMILIES
def test_the_copy_shares_the_body_and_not_the_headers(family):
    request = family.Request("POST", "http://orders/x", content=b"body")
    instance = Instance(host="10.0.0.7", port=8080)
    copy = Addressing(host_header="instance", server_name="instance").prepared(request, instance)
    assert type(copy) is family.Request
    assert (copy.method, copy.content, copy.stream) == ("POST", b"body", request.stream)
    assert (copy.headers["host"], request.headers["host"]) == ("10.0.0.7:8080", "orders")
    assert [name for name, _ in copy.headers.raw] == [name for name, _ in request.headers.raw]
    assert (str(copy.url), str(request.url)) == ("http://10.0.0.7:8080/x", "http://orders/x")


@FAMILIES
@pytest.mark.parametrize(
    ("asked", "listed", "used"),
    [
        *(("http", None, "http"), ("http", "http", "http"), ("http", "https", "https")),
        *(("https", None, "https"), ("https", "https", "https")),
        *(("ws", None, "ws"), ("ws", "http", "ws"), ("ws", "https", "wss")),
        *(("wss", None, "wss"), ("wss", "https", "wss")),
        # A registry cannot take TLS away.
        *(("https", "http", "https"), ("wss", "http", "wss")),
        # The client tells that it does not know this one.
        *(("ftp", "https", "ftp"), ("ftp", "http", "ftp")),
    ],
)
def test_the_scheme_is_the_requests_or_a_safer_one(family, asked, listed, used):
    request = family.Request("GET", f"{asked}://orders/")
    instance = Instance(host="10.0.0.7", port=8443, scheme=listed)
    copy = Addressing(host_header="instance", server_name="instance").prepared(request, instance)
    assert copy.url.scheme == used


@FAMILIES
@pytest.mark.parametrize(
    ("policy", "scheme", "wanted"),
    [
        *(("service", "https", "orders"), ("service", "wss", "orders")),
        *(("service", "http", None), ("service", "ws", None)),
        *(("instance", "https", None), ("instance", "wss", None)),
    ],
)
def test_the_server_name_is_set_for_tls_only(family, policy, scheme, wanted):
    request = family.Request("GET", f"{scheme}://orders/", extensions={"timeout": {"read": 1}})
    instance = Instance(host="10.0.0.7", port=8443)
    copy = Addressing(host_header="service", server_name=policy).prepared(request, instance)
    assert copy.extensions.get("sni_hostname") == wanted
    assert copy.extensions["timeout"] == {"read": 1}
    assert copy.headers["host"] == "orders"
    assert "sni_hostname" not in request.extensions


@FAMILIES
@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("http://10.0.0.7/a?b=1#c", "http://orders:81/a?b=1#c"),
        ("http://10.0.0.7:80/a", "http://orders:81/a"),
        ("HTTP://10.0.0.7/a", "http://orders:81/a"),
        ("http://10.0.0.7:8080/a", "http://10.0.0.7:8080/a"),
        ("https://10.0.0.7/a", "https://10.0.0.7/a"),
        ("http://10.0.0.8/a", "http://10.0.0.8/a"),
        ("/a", "/a"),
        ("//10.0.0.7/a", "//10.0.0.7/a"),
        ("http://10.0.0.7:port/a", "http://10.0.0.7:port/a"),
        ("", ""),
    ],
)
def test_only_redirects_to_the_instance_itself_are_turned_back(family, location, wanted):
    request = family.Request("GET", "http://orders:81/x")
    instance = Instance(host="10.0.0.7", port=80)
    sent = Addressing(host_header="instance", server_name="instance").prepared(request, instance)
    response = family.Response(302, headers={"location": location})
    restore_location(response, request, sent)
    assert response.headers["location"] == wanted


@FAMILIES
@pytest.mark.parametrize(
    ("asked", "location", "wanted"),
    [
        ("wss", "https://10.0.0.7:8443/a", "wss://orders/a"),
        ("wss", "wss://10.0.0.7:8443/a", "wss://orders/a"),
        ("wss", "http://10.0.0.7:8443/a", "http://10.0.0.7:8443/a"),
        ("https", "wss://10.0.0.7:8443/a", "https://orders/a"),
    ],
)
def test_redirects_of_web_sockets_are_turned_back_too(family, asked, location, wanted):
    request = family.Request("GET", f"{asked}://orders/x")
    sent = Addressing().prepared(request, Instance(host="10.0.0.7", port=8443))
    response = family.Response(302, headers={"location": location})
    restore_location(response, request, sent)
    assert response.headers["location"] == wanted


@FAMILIES
def test_the_host_header_of_a_copy_is_the_only_one_that_differs(family):
    request = family.Request("GET", "http://orders/", headers=[("x-a", "1"), ("X-A", "2")])
    copy = Addressing(host_header="instance", server_name="instance").prepared(
        request, Instance(id="i", host="10.0.0.7", port=8080)
    )
    assert request.headers["host"] == "orders"
    assert copy.headers["host"] == "10.0.0.7:8080"
    assert copy.headers.raw[1:] == request.headers.raw[1:]
    copy.headers["x-b"] = "3"
    assert "x-b" not in request.headers


def test_a_family_that_keeps_its_headers_otherwise_is_served_too():
    class OtherHeaders(dict):
        """Headers with nothing but the public interface."""

        def copy(self):
            return OtherHeaders(self)

    headers = OtherHeaders(host="orders")
    assert rehosted(headers, b"orders", "10.0.0.7:8080") == OtherHeaders(
        host="orders", Host="10.0.0.7:8080"
    )
    assert headers == {"host": "orders"}
    assert rehosted(headers, b"other", "10.0.0.7:8080") is headers
