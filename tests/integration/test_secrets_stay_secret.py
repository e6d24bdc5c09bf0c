"""Secrets in registry URLs, of every scheme: in no message, no log line, no repr, no key.

Every registry asks servers that answer badly in every way, while all logging of all libraries is
on; nothing that is said anywhere may hold the secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import traceback
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import trustme

from trimtab import Directory, DiscoverySettings, Instance, TrimtabError, register
from trimtab.registries import WatchableRegistry, connect
from trimtab.registries.connecting import _BUILT_IN

USER, SECRET = "alice", "hunter2-r9"
ONE = Instance(host="10.0.0.1", port=80, id="one")

URLS = {
    "static": "static://10.0.0.1:80",
    "file": "file:///nowhere/services.json",
    "http": f"http://{USER}:{SECRET}@{{at}}/x/{{service}}?api_key={SECRET}#token={SECRET}",
    "https": f"https://{USER}:{SECRET}@{{at}}/x/{{service}}?api_key={SECRET}#token={SECRET}",
    "consul": f"consul://{{at}}/?token={SECRET}",
    "consul+https": f"consul+https://{{at}}/?token={SECRET}",
    "etcd": f"etcd://{USER}:{SECRET}@{{at}}/services?timeout=300ms",
    "etcd+https": f"etcd+https://{USER}:{SECRET}@{{at}}/services?timeout=300ms",
    "zk": f"zk://{USER}:{SECRET}@{{at}}/services?timeout=300ms",
    "dns+srv": "dns+srv://{at}/example?timeout=1s",
    "dns+a": "dns+a://{at}/example?port=80&timeout=1s",
    "eureka": f"eureka://{USER}:{SECRET}@{{at}}/eureka",
    "eureka+https": f"eureka+https://{USER}:{SECRET}@{{at}}/eureka",
    "nacos": f"nacos://{USER}:{SECRET}@{{at}}/nacos",
    "nacos+https": f"nacos+https://{USER}:{SECRET}@{{at}}/nacos",
    "kubernetes": f"kubernetes://{{at}}/shop?token={SECRET}&timeout=1s&ca={{ca}}",
}
WITHOUT_SECRETS = ("static", "file", "dns+srv", "dns+a")
TOKEN = json.dumps({"accessToken": SECRET, "tokenTtl": 900, "token": SECRET})


def http(status, body="", *headers):
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines)


ANSWERS = {
    "refused": lambda _asked: http(401, "who are you?"),
    "denied": lambda _asked: http(403, '{"error": "no rights", "code": 7}'),
    "broken": lambda _asked: http(500, "<html>oops</html>"),
    "garbage": lambda _asked: http(200, '{"kvs": [[[', "X-Consul-Index: 1"),
    "moved": lambda asked: http(302, "", f"Location: http://127.0.0.1:1{asked.split()[1]}"),
    "a page that repeats the question": lambda asked: http(404, f"Cannot {asked[:1000]}"),
    "a login, and then garbage": lambda asked: http(
        200, TOKEN if "login" in asked or "authenticate" in asked else "]"
    ),
    "cut": lambda _asked: "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[",
    "no HTTP": lambda _asked: "\x00\x00\x00\x10 what?",
}


def test_every_scheme_is_tried():
    assert sorted(URLS) == sorted(_BUILT_IN)
    assert all(find_spec(module) for module in _BUILT_IN.values())


# Where the secret goes over a connection that is not even made, the answers make no difference.
CASES = [
    (scheme, answer)
    for scheme in URLS
    if scheme not in WITHOUT_SECRETS
    for answer in (*ANSWERS, "nobody there")
    if answer in {"no HTTP", "nobody there"} or not (scheme == "zk" or scheme.endswith("https"))
]


@pytest.mark.parametrize(("scheme", "answer"), CASES)
def test_secrets_are_in_no_message_whatever_goes_wrong(scheme, answer, caplog, authority):
    caplog.set_level(logging.DEBUG)
    # Its trace shows what servers send, byte for byte, and this one sends the question back.
    caplog.set_level(logging.INFO, "httpcore")
    url = URLS[scheme].replace("{ca}", str(authority.file))
    tls = authority.context if scheme == "kubernetes" else None
    said = asyncio.run(ask_badly(url, ANSWERS.get(answer), tls))
    assert len(said) >= 4
    for text in (*said, *lines_of(caplog.records)):
        assert SECRET not in text, text


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate for this machine: the server's context, and its CA in a file."""
    made, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path_factory.mktemp("authority") / "ca"
    made.cert_pem.write_to_path(file)
    return SimpleNamespace(context=context, file=file)


def lines_of(records):
    formatter = logging.Formatter()
    for record in records:
        yield f"{record.name} {record.levelname}: {formatter.format(record)}"
        yield repr(record.args)


async def ask_badly(url, answer, tls):
    """Ask in every way that a registry knows; give all that was said."""
    async with badly(answer, tls) as port:
        registry = connect(url.replace("{at}", f"127.0.0.1:{port}"))
        said = [registry.url, registry.key, repr(registry), str(registry)]
        said.append(repr(getattr(registry, "settings", None)))
        for question in questions(registry):
            try:
                async with asyncio.timeout(0.3):
                    await question()
            except (TrimtabError, TimeoutError) as error:
                said += [str(error), repr(error), *traceback.format_exception(error)]
        said += await in_the_background(registry)
        await registry.aclose()
    return said


def questions(registry):
    yield lambda: registry.fetch("orders")
    yield registry.services
    if isinstance(registry, WatchableRegistry):
        yield lambda: first_of(registry.watch("orders"))
    if hasattr(registry, "register"):
        yield lambda: registry.register("orders", ONE, ttl_s=5.0)
        yield lambda: registry.heartbeat("orders", ONE)
        yield lambda: registry.deregister("orders", ONE)


async def first_of(listings):
    async with contextlib.aclosing(listings):
        return await anext(listings)


async def in_the_background(registry):
    """Discover and register as programs do."""
    settings = DiscoverySettings(startup_timeout_s=0.3)
    async with Directory(registry, settings=settings) as directory:
        try:
            await directory.instances("orders")
        except TrimtabError as error:
            state = await directory.state("orders")
            found = [str(error), repr(state), *traceback.format_exception(error)]
        else:
            found = []
    if hasattr(registry, "register"):
        try:
            async with asyncio.timeout(0.3), register(registry, "orders", ONE, ttl_s=0.3):
                pass
        except (TrimtabError, TimeoutError) as error:
            found += traceback.format_exception(error)
    return found


class badly:  # noqa: N801 - reads as a verb
    """A server that gives the same bad answer to everybody, or a port where nobody listens."""

    def __init__(self, answer, tls):
        self._answer, self._tls = answer, tls

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        if self._answer is None:
            self._server.close()
        return port

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            asked = (await reader.readuntil(b"\r\n\r\n")).decode()
            writer.write(self._answer(asked).encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, UnicodeDecodeError, ConnectionError):
            pass
        finally:
            writer.close()
