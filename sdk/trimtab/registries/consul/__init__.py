"""`consul://host:port`: Consul, and servers with its HTTP API such as the embedded registry.

consul://host:8500/?dc=&tag=&tag=&near=&filter=&token=&passing&stale&consistent&wait=30s&watches=128
consul://host:8500,other:8500         reads from either, registers at the first alone
consul://host:8500/?scripts           its agent also runs script checks of what is registered here
consul+https://host:8501/?ca=&cert=&key=&verify=0
consul://host:8500/?poll              asks without blocking
consul://host:8500/?prepared          a service's name is that of a prepared query

`settings` reads the URL; `reader` asks for lists, `watch` follows them by the index, `writer`
registers. `agent` is one agent with its headers and refusals, and knows whether an empty list is
true; `entries` translates instances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.registries.consul.reader import Agents, ConsulReader, PreparedReader
from trimtab.registries.consul.settings import ConsulSettings
from trimtab.registries.consul.watch import ConsulWatch
from trimtab.registries.consul.writer import ConsulWriter
from trimtab.registries.protocol import ComposedRegistry

if TYPE_CHECKING:
    from random import Random

__all__ = ["ConsulSettings", "from_url", "make"]


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes.

    It can be watched unless it says `poll` or `prepared`, and written to unless the latter.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(ConsulSettings.from_url(url))


def make(settings: ConsulSettings, *, rng: Random | None = None) -> ComposedRegistry:
    """Make the registry; `rng` chooses the agent to begin with.

    Raises:
        ConfigurationError: a file of `tls` cannot be read.
    """
    agents = Agents(settings, rng=rng)
    if settings.follow == "prepared":
        return ComposedRegistry(settings, PreparedReader(settings, agents))
    reader = ConsulReader(settings, agents)
    watch = ConsulWatch(settings, agents, reader) if settings.follow == "watch" else None
    return ComposedRegistry(
        settings, reader, watch=watch, writer=ConsulWriter(settings, agents.home)
    )
