"""Discovery: lists of instances, kept fresh in the background. It knows nothing of requests.

`supervisor` keeps one list, `reading` asks the registry for it, under the name that `spelling`
finds, `admission` and `guard` say what of an answer is used, `last_known_good` keeps it on disk.
`hub` shares supervisors among the users of one event loop, `home` is where a user's lists are kept.
`directory` gives lists to people and programs, `changes` tells what differs between two of them.
"""

from __future__ import annotations

from trimtab.discovery.cache import ServiceCache
from trimtab.discovery.changes import list_events, tell
from trimtab.discovery.directory import Directory, SyncDirectory
from trimtab.discovery.home import Home
from trimtab.discovery.hub import Lease
from trimtab.discovery.settings import DiscoverySettings, DiscoveryState

__all__ = [
    "Directory",
    "DiscoverySettings",
    "DiscoveryState",
    "Home",
    "Lease",
    "ServiceCache",
    "SyncDirectory",
    "list_events",
    "tell",
]
