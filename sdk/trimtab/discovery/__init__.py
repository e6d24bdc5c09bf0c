"""Discovery: lists of instances, kept fresh behind the requests' backs.

`Supervisor` keeps one list; `Hub` shares supervisors among users of one event loop; `Directory`
gives the lists to people and programs; `Balancer` feeds them into pools for the transports.
"""

from __future__ import annotations

from trimtab.discovery.balancer import Balancer
from trimtab.discovery.call import Call
from trimtab.discovery.directory import Directory, SyncDirectory
from trimtab.discovery.home import Home
from trimtab.discovery.policies import Policies
from trimtab.discovery.service import Service
from trimtab.discovery.settings import DiscoverySettings
from trimtab.discovery.state import DiscoveryState
from trimtab.discovery.telling import tell
from trimtab.discovery.waiting import Turn

__all__ = [
    "Balancer",
    "Call",
    "Directory",
    "DiscoverySettings",
    "DiscoveryState",
    "Home",
    "Policies",
    "Service",
    "SyncDirectory",
    "Turn",
    "tell",
]
