"""How soon clients see what happens in Consul, etcd and ZooKeeper, by push; measured.

The figures are printed; `make soak` holds them to what is promised.
"""

from __future__ import annotations

import asyncio
import statistics
from uuid import uuid4

import pytest
from troubled_registries import KINDS, cluster_of, single_of

from trimtab import Directory, DiscoverySettings, Instance, Status
from trimtab.registries import connect

pytestmark = pytest.mark.real
TTL_S = 2.0
CLIENTS = 5
COUNTS = [pytest.param(5, id="short"), pytest.param(50, id="soak", marks=pytest.mark.soak)]
DEADLINE_S = 30.0


class Client:
    """A client of its own, with connections of its own; it notes when its list changes."""

    def __init__(self, url, service):
        self.registry = connect(url)
        # A key of its own, or all clients of one loop would share one watch.
        self.registry.key += uuid4().hex
        self.directory = Directory(self.registry, settings=DiscoverySettings(mode="push"))
        self.service, self.usable = service, None
        self._changed = asyncio.Event()

    async def __aenter__(self):
        self.directory.on_change(self.service, self._take)
        await self.sees(lambda usable: usable is not None)
        return self

    async def __aexit__(self, *_):
        await self.directory.aclose()
        await self.registry.aclose()

    async def sees(self, condition):
        """Wait for a list that meets the condition; give the loop's time at which it came."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self.usable):
                self._changed.clear()
                await self._changed.wait()
        return self._at

    def _take(self, snapshot):
        self._at = asyncio.get_running_loop().time()
        self.usable = {each.id for each in snapshot.instances if each.status is Status.PASSING}
        self._changed.set()


async def register_to_seen(url, count):
    """Give the seconds from the call that registers to the client's new list, and back."""
    service, time = f"seen-{uuid4().hex[:8]}", asyncio.get_running_loop().time
    registrar, there_s, gone_s = connect(url), [], []
    standing = [Instance(host="10.0.0.1", port=port) for port in (1, 2)]
    for instance in standing:
        await registrar.register(service, instance, ttl_s=600)
    async with Client(url, service) as client:
        for port in range(1000, 1000 + count):
            instance = Instance(host="10.0.0.1", port=port)
            for act, is_there, took_s in (
                (lambda each=instance: registrar.register(service, each, ttl_s=600), True, there_s),
                (lambda each=instance: registrar.deregister(service, each), False, gone_s),
            ):
                begun, acting = time(), asyncio.create_task(act())
                at = await client.sees(
                    lambda ids, id_=instance.id, is_=is_there: (id_ in ids) is is_
                )
                took_s.append(at - begun)
                await acting
    for instance in standing:
        await registrar.deregister(service, instance)
    await registrar.aclose()
    return there_s, gone_s


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_registered_is_seen_at_once(request, tmp_path, count):
    rows = []
    for kind in KINDS:
        for nodes, find in ((1, single_of), (3, cluster_of)):
            if nodes == 3 and count < 10:
                continue
            there_s, gone_s = asyncio.run(register_to_seen(find(request, kind).url, count))
            rows.append((kind, nodes, there_s, gone_s))
    print("\n             nodes   register to seen, ms      deregister to seen, ms")
    print("                     median    p95    max      median    p95    max")
    for kind, nodes, *both_s in rows:
        print(f"{kind:>12} {nodes:5d}  " + "   ".join(map(in_ms, both_s)))
    if count > 10:
        for kind, nodes, there_s, _ in rows:
            # The machine may be busy with other things: the quietest fifth of the time counts.
            fifths = [there_s[at : at + count // 5] for at in range(0, count, count // 5)]
            assert min(map(statistics.median, fifths)) < 0.010, (kind, nodes)


def in_ms(took_s):
    ordered = sorted(took_s)
    shown = (statistics.median(ordered), ordered[int(0.95 * len(ordered))], ordered[-1])
    return "".join(f"{1000 * each_s:9.1f}"[2:] for each_s in shown)


async def killed_to_gone(fleet, url, names):
    """Kill backends one by one; give per backend how long it was in use at the last client."""
    time, took_s = asyncio.get_running_loop().time, []
    async with asyncio.TaskGroup() as group:
        clients = [Client(url, fleet.service) for _ in range(CLIENTS)]
        for client in clients:
            group.create_task(client.__aenter__())
    for client in clients:
        await client.sees(lambda ids: ids >= set(names))
    # Not more than half: that would be doubted.
    for name in names[: len(names) // 2]:
        begun = time()
        fleet.backends[name].kill()
        seen = [await client.sees(lambda ids, id_=name: id_ not in ids) for client in clients]
        took_s.append(max(seen) - begun)
    for client in clients:
        await client.__aexit__()
    return took_s


@pytest.mark.parametrize(
    ("backends", "within_s"),
    [
        pytest.param(2, DEADLINE_S, id="short"),
        pytest.param(8, TTL_S + 1.0, id="soak", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_who_is_killed_is_gone_from_every_client(request, fleet, kind, backends, within_s):
    fleet.url = single_of(request, kind).url
    fleet.service = f"killed-{uuid4().hex[:8]}"
    names = [f"b{number}" for number in range(backends)]
    fleet.start_backends(*names, ttl_s=TTL_S)
    took_s = asyncio.run(killed_to_gone(fleet, fleet.url, names))
    print(f"\n{kind}: killed, TTL {TTL_S:g} s: gone from {CLIENTS} clients after at most", end=" ")
    print(", ".join(f"{each_s:.2f} s" for each_s in took_s))
    assert max(took_s) < within_s
