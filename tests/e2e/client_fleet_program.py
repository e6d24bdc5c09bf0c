"""Many clients of one registry, each a process: `client_fleet_program.py URL CLIENTS MODE POLL_S`.

They are forked from one process that has imported all, at the same moment, and follow the service
`orders`. It prints `ready` when all know the list, and lets them go at the end of its input.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

import trimtab.registries.consul  # noqa: F401 - imported once, here, and not in each client
from trimtab import Directory, DiscoverySettings

_PRCTL = ctypes.CDLL(None).prctl
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


async def follow(url, settings, ready):
    async with Directory(url, settings=settings) as directory:
        # A user of its own, which is never idle.
        directory.on_change("orders", lambda _: None)
        await directory.instances("orders")
        os.write(ready, b".")
        await asyncio.Event().wait()


def client(url, settings, ready):
    """Be one client, until killed."""
    _PRCTL(_DIE_WITH_PARENT, signal.SIGKILL)
    try:
        asyncio.run(follow(url, settings, ready))
    finally:
        os._exit(1)


def main(url, clients, mode, poll_s):
    settings = DiscoverySettings(mode=mode, poll_interval_s=float(poll_s), startup_timeout_s=60.0)
    heard, ready = os.pipe()
    pids = []
    for _ in range(int(clients)):
        pid = os.fork()
        if pid == 0:
            client(url, settings, ready)
        pids.append(pid)
    known = 0
    while known < len(pids):
        known += len(os.read(heard, 4096))
    print("ready", flush=True)
    sys.stdin.read()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


main(*sys.argv[1:])
