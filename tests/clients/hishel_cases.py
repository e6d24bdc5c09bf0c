"""The package hishel: https://hishel.com/integrations/httpx/."""

from __future__ import annotations

import hishel
import hishel.httpx
import hishel.httpx2
import httpx
import httpx2
import pytest

pytestmark = pytest.mark.anyio
FAMILIES = pytest.mark.parametrize(
    ("family", "caching"), [(httpx, hishel.httpx), (httpx2, hishel.httpx2)], ids=["httpx", "httpx2"]
)


@FAMILIES
def test_a_fresh_page_is_asked_for_once_whichever_instance_has_it(fleet, family, caching, tmp_path):
    storage = hishel.SqliteStorage(database_path=tmp_path / "cache.db")
    with fleet.balanced() as transport:
        cached = caching.CacheTransport(transport, storage=storage, rfc=True)
        with family.Client(transport=cached) as client:
            assert {client.get("http://pages/fresh").json()["hits"] for _ in range(20)} == {1}
            fleet.kill()
            assert {client.get("http://pages/fresh").json()["hits"] for _ in range(20)} == {1}
            assert transport.statistics()["pages"].picks == 1
            assert len(client.get("http://pages/checked").content) == 10_000
    storage.close()


@FAMILIES
def test_a_page_is_checked_with_another_instance_when_its_own_has_died(
    fleet, family, caching, tmp_path
):
    def ask(_):
        response = client.get("http://pages/checked")
        assert response.extensions.get("trimtab") is None or response.extensions["trimtab"]
        return response.status_code, len(response.content)

    storage = hishel.SqliteStorage(database_path=tmp_path / "cache.db")
    with fleet.balanced() as transport:
        cached = caching.CacheTransport(transport, storage=storage, rfc=True)
        with family.Client(transport=cached) as client:
            assert {ask(number) for number in range(60)} == {(200, 10_000)}
            fleet.kill()
            assert {ask(number) for number in range(60)} == {(200, 10_000)}
            assert transport.statistics()["pages"].picks >= 120, "each was checked"
    storage.close()


@FAMILIES
async def test_asynchronously_with_many_at_once(fleet, family, caching, tmp_path):
    async def ask(number):
        response = await client.get(f"http://pages/{'checked' if number % 2 else 'who'}?{number}")
        return response.status_code

    storage = hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
    with fleet.balanced() as transport:
        cached = caching.AsyncCacheTransport(transport, storage=storage, rfc=True)
        async with family.AsyncClient(transport=cached) as client:
            assert set(await fleet.async_calls(ask)) == {200}
            first = await client.get("http://pages/fresh")
            again = await client.get("http://pages/fresh")
            assert again.json() == first.json()
    await storage.close()
