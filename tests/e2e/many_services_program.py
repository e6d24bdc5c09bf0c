"""A client of many services, by push: `many_services_program.py REGISTRY_URL SERVICES`.

The services are `many-0`, `many-1` and so on. Two directories ask for each of them, which must
share. It prints a line of JSON once it knows all lists, and another for every line it reads.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from pathlib import Path

from trimtab import Directory, DiscoverySettings
from trimtab.registries import connect

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Client:
    def __init__(self, url, count):
        self.names = [f"many-{number}" for number in range(count)]
        self.registry = connect(url)
        settings = DiscoverySettings(
            mode="push", startup_timeout_s=120.0, max_services=2 * count, resync_interval_s=600.0
        )
        self.directories = [Directory(self.registry, settings=settings) for _ in range(2)]
        self.changes = 0
        self.cpu_s, self.at = time.process_time(), time.monotonic()

    async def open(self):
        for directory in self.directories:
            await asyncio.gather(*(directory.snapshot(name) for name in self.names))
        for name in self.names:
            self.directories[0].on_change(name, self._count)

    async def figures(self):
        """What is known and what it costs; the share of a processor since the last time."""
        states = [await self.directories[0].state(name) for name in self.names]
        cpu_s, now = time.process_time(), time.monotonic()
        share = (cpu_s - self.cpu_s) / (now - self.at)
        self.cpu_s, self.at = cpu_s, now
        return {
            "rss": resident(),
            "instances": sum(state.instances or 0 for state in states),
            "failing": sum(bool(state.failures) for state in states),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "changes": self.changes,
            "cpu": share,
        }

    def _count(self, _):
        self.changes += 1


async def main(url, count):
    client = Client(url, int(count))
    # One answer first: what all modules and the first connection cost is no matter of services.
    await client.registry.fetch(client.names[0])
    say({"rss": resident()})
    begun = time.monotonic()
    await client.open()
    say({**await client.figures(), "took_s": time.monotonic() - begun})
    while await asyncio.to_thread(sys.stdin.readline):
        say(await client.figures())
    for directory in client.directories:
        await directory.aclose()
    await client.registry.aclose()
    say({"tasks": len(asyncio.all_tasks())})


def resident():
    """The bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def say(figures):
    print(json.dumps(figures), flush=True)


asyncio.run(main(*sys.argv[1:]))
