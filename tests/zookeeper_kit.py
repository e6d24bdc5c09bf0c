"""For the tests of the ZooKeeper adapter: what lies behind it."""

from __future__ import annotations

import asyncio
import threading

from registry_kit import reader_of
from trimtab.registries.zookeeper.session import THREAD_NAME


def session_of(registry, session_s=10.0):
    """The adapter's session with a timeout."""
    return reader_of(registry)._ensemble._sessions.here().of(session_s)


async def expire(server, registry, session_s=10.0):
    """End such a session as its time-out would."""
    client = session_of(registry, session_s).client
    await asyncio.to_thread(server.expire, client.client_id)


def our_threads():
    """The threads of all adapters."""
    return [each for each in threading.enumerate() if each.name == THREAD_NAME]
