"""The Kubernetes adapter under discovery, over TLS, with a fake of the API server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
import trustme

from fakes.kubernetes import EXPIRED, FakeApiServer, endpoint_slice
from trimtab import Directory, DiscoverySettings
from trimtab.errors import RegistryCursorLostError, RegistryUnavailableError
from trimtab.registries import connect

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A fake API server behind TLS, and the URL that names it with a token's file and a CA's."""
    folder = tmp_path_factory.mktemp("kubernetes")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.crt")
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    (folder / "token").write_text("of-the-pod")
    server = FakeApiServer(ssl_certfile=folder / "server.pem")
    server.start()
    rights = f"ca={folder}/ca.crt&token_file={folder}/token"
    yield server, f"kubernetes://127.0.0.1:{server.port}/shop?{rights}"
    server.stop()


def put(server, service, *addresses):
    endpoints = [{"addresses": [address]} for address in addresses]
    server.put(endpoint_slice(service, f"{service}-1", *endpoints))


async def test_changes_are_followed_over_tls_with_the_token(served):
    server, url = served
    put(server, "orders", "10.0.0.1")
    settings = DiscoverySettings(grace_s=0)
    async with (
        asyncio.timeout(20),
        Directory(url, settings=settings) as directory,
        aclosing(directory.watch("orders")) as snapshots,
    ):
        assert [each.host for each in (await anext(snapshots)).instances] == ["10.0.0.1"]
        put(server, "orders", "10.0.0.1", "10.0.0.2")
        assert len((await anext(snapshots)).instances) == 2
        server.tell(EXPIRED)
        put(server, "orders", "10.0.0.3")
        assert [each.host for each in (await anext(snapshots)).instances] == ["10.0.0.3"]
    assert server.asked[-1][1]["authorization"] == "Bearer of-the-pod"


async def test_a_bookmark_says_that_the_list_is_fresh(served):
    server, url = served
    put(server, "billing", "10.0.0.1")
    server.bookmark_first = True
    registry = connect(url)
    async with asyncio.timeout(20), aclosing(registry.watch("billing")) as watch:
        assert await anext(watch) == await anext(watch)
    server.bookmark_first = False
    await registry.aclose()


async def test_a_lost_cursor_is_an_error(served, monkeypatch):
    server, url = served
    put(server, "carts", "10.0.0.1")
    monkeypatch.setattr(server, "forgotten", 10**9)
    registry = connect(url)
    async with asyncio.timeout(20), aclosing(registry.watch("carts")) as watch:
        assert len((await anext(watch)).instances) == 1
        with pytest.raises(RegistryCursorLostError, match="too old"):
            await anext(watch)
    await registry.aclose()


async def test_an_unknown_certificate_is_refused(served):
    server, _ = served
    registry = connect(f"kubernetes://127.0.0.1:{server.port}/shop")
    with pytest.raises(RegistryUnavailableError, match="certificate"):
        await registry.fetch("orders")
    await registry.aclose()


async def test_a_watch_that_ends_in_good_order_is_begun_anew(served):
    server, url = served
    put(server, "mails", "10.0.0.1")
    registry = connect(f"{url}&wait=1s")
    async with asyncio.timeout(20), aclosing(registry.watch("mails")) as watch:
        first, second = await anext(watch), await anext(watch)
    assert first == second
    asked = [params for params, _ in server.asked if params["labelSelector"].endswith("mails")]
    assert ["watch" in params for params in asked] == [False, True, False]
    await registry.aclose()
