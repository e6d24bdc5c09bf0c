"""`Balancer` with redis-py, sync and asyncio: real servers, one of them killed in traffic."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from balancer_kit import STRATEGY, Traffic, kill_and_revive, on_steady_port, registry_of
from real.redis import REDIS, Redis
from real.server import running
from trimtab import Balancer, DeadlineError

pytestmark = pytest.mark.real


def failure_of(error):
    """Return what errors of redis-py mean, as docs/balancer.md has it."""
    if isinstance(error, redis.TimeoutError):
        return "timeout"
    if isinstance(error, redis.ConnectionError):
        is_refused = isinstance(error.__context__, ConnectionRefusedError)
        return "refused" if is_refused else "no_response"
    return None


def balancer_of(servers, **options):
    options = {"strategy": STRATEGY} | options
    return Balancer(registry_of(servers), failures=failure_of, **options)


class Clients:
    """One client per instance; it does not retry by itself."""

    def __init__(self, kind):
        self.kind = kind
        self.clients = {}

    def of(self, instance):
        client = self.clients.get(instance.address)
        if client is None:
            retry = AsyncRetry if self.kind is redis.asyncio.Redis else Retry
            client = self.kind(host=instance.host, port=instance.port, retry=retry(NoBackoff(), 0))
            client = self.clients.setdefault(instance.address, client)
        return client


@pytest.fixture
def servers(tmp_path):
    """Three servers that answer with their own port when asked for a key."""
    with contextlib.ExitStack() as stack:
        servers = [on_steady_port(Redis(REDIS, tmp_path / name)) for name in "abc"]
        for server in servers:
            stack.enter_context(running(server))
            name_it(server)
        yield servers


def name_it(server):
    with redis.Redis(port=server.port) as client:
        client.set("who", server.port)


def reviving(servers):
    """As `kill_and_revive`, with what a server forgets."""

    class Named:
        def __init__(self, server):
            self.port, self.kill = server.port, server.kill
            self._server = server

        def start(self):
            self._server.start()
            name_it(self._server)

    return kill_and_revive([Named(server) for server in servers])


def test_no_call_fails_when_a_server_is_killed_and_it_is_used_again(servers):
    clients = Clients(redis.Redis)

    def send(instance):
        return (clients.of(instance).get("who") or b"").decode()

    with balancer_of(servers) as balancer:
        traffic = Traffic()
        traffic.by_threads(lambda: balancer.call("cache", send, idempotent=True), reviving(servers))
        assert traffic.errors == []
        assert balancer.statistics()["cache"].in_flight == 0
    for client in clients.clients.values():
        client.close()


def test_the_same_on_asyncio(servers):
    traffic = Traffic()

    async def main():
        clients = Clients(redis.asyncio.Redis)

        async def send(instance):
            return (await clients.of(instance).get("who") or b"").decode()

        async with balancer_of(servers) as balancer:
            await traffic.by_tasks(lambda: balancer.call("cache", send, idempotent=True))
            assert balancer.statistics()["cache"].in_flight == 0
        for client in clients.clients.values():
            await client.aclose()

    traffic.beside(reviving(servers), main)
    assert traffic.errors == []


def test_a_refused_write_goes_to_another_server(servers):
    clients = Clients(redis.Redis)
    servers[0].kill()
    with balancer_of(servers) as balancer:
        for _ in range(30):
            balancer.call("cache", lambda instance: clients.of(instance).incr("count"))
        written = 0
        for server in servers[1:]:
            with redis.Redis(port=server.port) as client:
                written += int(client.get("count"))
        assert written == 30  # Each exactly once.
    for client in clients.clients.values():
        client.close()


def test_one_key_of_ours_stays_on_one_server(servers):
    clients = Clients(redis.Redis)

    def send(instance):
        return clients.of(instance).get("who")

    with balancer_of(servers, strategy="ring_hash") as balancer:
        homes = {
            key: {balancer.call("cache", send, idempotent=True, key=key) for _ in range(5)}
            for key in ("ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ida", "jon")
        }
        assert all(len(home) == 1 for home in homes.values())
        assert len(set.union(*homes.values())) > 1
    for client in clients.clients.values():
        client.close()


def test_a_wrong_command_is_the_callers(servers):
    clients = Clients(redis.Redis)
    with balancer_of(servers) as balancer:
        with pytest.raises(redis.ResponseError):
            balancer.call("cache", lambda instance: clients.of(instance).lpush("who", 1))
        members = balancer.statistics()["cache"].members.values()
        assert [sum(getattr(e, n) for e in members) for n in ("failures", "cancelled")] == [0, 1]
    for client in clients.clients.values():
        client.close()


def test_a_server_that_hangs_ends_with_the_deadline(servers):
    async def main():
        client = redis.asyncio.Redis(port=servers[0].port)

        async def send(instance):
            return await client.get("who")

        servers[0].freeze()
        try:
            async with balancer_of(servers[:1]) as balancer:
                with pytest.raises(DeadlineError):
                    await balancer.call("cache", send, idempotent=True, deadline_s=0.3)
        finally:
            servers[0].thaw()
            await client.aclose()

    asyncio.run(main())
