"""Discovery: lists of instances, kept fresh in the background. It does not know requests.

`supervisor` keeps one list. `reading` asks the registry for it, under the name that `spelling`
finds; `guard` decides which instances of an answer are used, and `last_known_good` keeps the list
on disk. `hub` shares supervisors among the users of one event loop; `home` calls
that loop from anywhere. `directory` is the public way to the lists (`lists` keeps them per loop),
and `changes` finds the differences between two lists and makes events of them.
"""

from __future__ import annotations

from trimtab.discovery.changes import emit_events, list_events
from trimtab.discovery.directory import Directory, SyncDirectory
from trimtab.discovery.home import Home
from trimtab.discovery.hub import Lease
from trimtab.discovery.lists import ServiceCache
from trimtab.discovery.settings import DiscoverySettings, DiscoveryState

__all__ = [
    "Directory",
    "DiscoverySettings",
    "DiscoveryState",
    "Home",
    "Lease",
    "ServiceCache",
    "SyncDirectory",
    "emit_events",
    "list_events",
]
