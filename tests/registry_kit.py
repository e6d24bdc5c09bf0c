"""For the tests of registries: answers that a test says, and fields that a registry cannot hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import httpx

from trimtab.registries import etcd

_RECORDED = Path(__file__).parent / "recorded"


def recorded(name):
    """Give what is recorded under a name such as "nacos/login"."""
    return json.loads((_RECORDED / f"{name}.json").read_text())["answer"]


class Answering:
    """A transport that answers with what the test says, the last for ever, and keeps the questions.

    An answer is a response, or an error to raise.
    """

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []
        self.transport = httpx.MockTransport(self._answer)

    def params(self, number=-1):
        """Give the parameters of a question."""
        return dict(self.asked[number].url.params)

    async def _answer(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def made(scheme, url, *, rng=None, **changes):
    """Make a scheme's registry from a URL, with settings that its URL cannot hold.

    Args:
        scheme: the module of the scheme, `trimtab.registries.consul` for example.
        url: the URL.
        rng: chooses the member to begin with.
        changes: settings that differ from those of the URL.
    """
    (kind,) = (each for name, each in vars(scheme).items() if name.endswith("Settings"))
    settings = replace(kind.from_url(url), **changes)
    return scheme.make(settings, **({} if rng is None else {"rng": rng}))


def etcd_registry(url, **settings):
    """Make the registry of an etcd URL, with settings that the URL cannot hold."""
    return made(etcd, url, **settings)


def reader_of(registry):
    """Give the reader of a registry, for tests that look inside."""
    return registry.fetch.__self__


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
