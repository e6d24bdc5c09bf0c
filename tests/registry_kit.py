"""For the contracts of registries that cannot hold every field of an instance."""

from __future__ import annotations

from dataclasses import replace


def completed(adapter, complete):
    """Give the adapter as it is, with what its registry cannot hold filled in.

    `complete` is called with each instance listed and gives it back with the missing fields of
    the one published; what the registry can hold it must leave alone.
    """
    kind = _CompletedWatch if hasattr(adapter, "watch") else _Completed
    return kind(adapter, complete)


class _Completed:
    def __init__(self, adapter, complete):
        self._adapter, self._complete = adapter, complete

    @property
    def key(self):
        return self._adapter.key

    @property
    def url(self):
        return self._adapter.url

    async def fetch(self, service):
        return self._completed(await self._adapter.fetch(service))

    async def services(self):
        return await self._adapter.services()

    async def aclose(self):
        await self._adapter.aclose()

    def _completed(self, listing):
        return replace(listing, instances=tuple(map(self._complete, listing.instances)))


class _CompletedWatch(_Completed):
    async def watch(self, service):
        async for listing in self._adapter.watch(service):
            yield self._completed(listing)
