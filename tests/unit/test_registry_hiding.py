"""Secrets of questions: not in httpx's log, nor in what servers repeat."""

import base64
import logging

import httpx
import pytest

from trimtab.registries.asking import Answer, Asker
from trimtab.registries.hiding import confided, without

BASIC = base64.b64encode(b"alice:hunter2").decode()


@pytest.mark.parametrize(
    "url",
    ["http://h:1/x?index=5&wait=30s", "http://h:1/", "http://h/x%20y?a=b%26c", "http://[::1]/"],
)
def test_a_url_without_secrets_stays_as_it_is(url):
    assert confided(httpx.URL(url)) == (url, {})


def test_a_url_with_secrets_is_shown_without_and_sent_with_them():
    url = httpx.URL("http://alice:hunter2@h:1/x%20y/z?api_key=hunter3&a=b%26")
    shown, options = confided(url)
    assert shown == "http://h:1/x%20y/z?api_key=...&a=b%26"
    assert options["extensions"] == {"target": b"/x%20y/z?api_key=hunter3&a=b%26"}
    flow = options["auth"].auth_flow(httpx.Request("GET", shown))
    assert next(flow).headers["authorization"] == f"Basic {BASIC}"
    assert "auth" not in confided(httpx.URL("http://h/?token=x"))[1]


def request(url="http://h/x", headers=(), **extensions):
    return httpx.Request("GET", url, headers=dict(headers), extensions=extensions)


@pytest.mark.parametrize(
    ("sent", "said", "shown"),
    [
        (request(headers={"X-Consul-Token": "hunter2"}), "no ACL hunter2!", "no ACL ...!"),
        (request(headers={"Authorization": "Bearer hunter2"}), "bad: hunter2", "bad: ..."),
        (request(headers={"Authorization": f"Basic {BASIC}"}), f"Basic {BASIC}.", "...."),
        (request("http://h/x?api_key=hunter2&a=b"), "GET /x?api_key=hunter2&a=b",
         "GET /x?api_key=...&a=b"),
        (request("http://h/x?api_key=h%2Bunter"), "what is h+unter or h%2Bunter",
         "what is ... or ..."),
        (request(target=b"/x?token=hunter2"), "GET /x?token=hunter2", "GET /x?token=..."),
        (request("http://h/x?q=hunter2", {"Accept": "text"}), "hunter2 text", "hunter2 text"),
        (request("http://h/x?token=abc"), "abcdefg", "abcdefg"),
    ],
)  # fmt: skip
def test_what_was_confided_is_not_repeated(sent, said, shown):
    assert without(said, sent) == shown
    assert Answer(500, httpx.Headers(), said.encode(), sent).detail == shown


@pytest.mark.anyio
async def test_a_transport_of_the_users_own_sees_the_whole_url(caplog):
    seen = []

    def serve(asked):
        seen.append(asked.url)
        return httpx.Response(200)

    asker = Asker("here", transport=httpx.MockTransport(serve))
    with caplog.at_level(logging.WARNING):
        await asker.ask("GET", "http://h/x", timeout_s=1.0, params={"token": "hunter2"})
    await asker.aclose()
    assert seen == ["http://h/x?token=hunter2"]
