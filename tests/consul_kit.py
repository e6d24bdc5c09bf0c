"""A Consul that answers what a test says: for what no real agent can be made to say."""

from __future__ import annotations

import asyncio
from random import Random

import httpx

from registry_kit import made
from trimtab.instance import Instance
from trimtab.registries import consul

URL = "consul://consul.test:8500"
MINE = Instance(id="a", host="10.0.0.1", port=80)
NO_ACL = httpx.Response(401, text="ACL support disabled")


def consul_registry(url=URL, **settings):
    """Make the registry of a URL, with settings that its URL cannot hold."""
    return made(consul, url, **settings)


class Agent:
    """Answers with what the test says, the last of it for ever; keeps what it was asked.

    Questions about a token's rights are answered with `rights`, and are not kept.
    """

    def __init__(self, *answers, rights=NO_ACL):
        self.answers, self.asked, self.rights = list(answers), [], rights

    async def __call__(self, request):
        if request.url.path.endswith("/v1/internal/acl/authorize"):
            return self.rights
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def registry(self, url=URL, **settings):
        return consul_registry(url, transport=httpx.MockTransport(self), **settings)

    def params(self, number=-1):
        return self.asked[number].url.params.multi_items()


class Cluster:
    """Agents by host name; a registry of all of them asks them in the order given."""

    def __init__(self, **agents):
        self.agents = agents

    async def __call__(self, request):
        return await self.agents[request.url.host](request)

    def registry(self, **settings):
        url = "consul://" + ",".join(f"{host}:8500" for host in self.agents)
        return consul_registry(url, transport=httpx.MockTransport(self), rng=First(), **settings)


class First(Random):
    """Chance that begins with the first agent."""

    def randrange(self, *_):
        return 0


def entry(id_="a", *, service=None, node=None, checks=()):
    return {
        "Node": {"Node": "n1", "Address": "10.9.9.9", "Meta": None, **(node or {})},
        "Service": {
            "ID": id_,
            "Service": "orders",
            "Address": "10.0.0.1",
            "Port": 80,
            "Weights": {"Passing": 1, "Warning": 1},
            **(service or {}),
        },
        "Checks": [{"CheckID": name, "Status": status} for name, status in checks],
    }


def health(*entries, index=7, **headers):
    named = {f"x-consul-{name}": value for name, value in headers.items()}
    if index is not None:
        named["x-consul-index"] = str(index)
    return httpx.Response(200, json=list(entries), headers=named)


async def listings(registry, how_many):
    watch = registry.watch("orders")
    found = [await anext(watch) for _ in range(how_many)]
    await watch.aclose()
    return found
