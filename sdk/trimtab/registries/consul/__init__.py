"""`consul://host:port`: Consul, and whatever speaks its HTTP API, as the embedded registry does.

consul://host:8500/?dc=&tag=&tag=&near=&filter=&token=&passing&stale&consistent&wait=30s&watches=128
consul://host:8500,other:8500         reads from either, registers at the first alone
consul://host:8500/?scripts           its agent also runs script checks of what is registered here
consul+https://host:8501/?ca=&cert=&key=&verify=0
consul://host:8500/?poll              asks without blocking
consul://host:8500/?prepared          a service's name is that of a prepared query
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.registries.consul.polled import ConsulPolledRegistry
from trimtab.registries.consul.prepared import ConsulPreparedRegistry
from trimtab.registries.consul.urls import read_url
from trimtab.registries.consul.watched import ConsulRegistry

if TYPE_CHECKING:
    from trimtab.registries.consul.reader import ConsulReader

__all__ = ["ConsulPolledRegistry", "ConsulPreparedRegistry", "ConsulRegistry", "from_url"]

_KINDS: dict[str, type[ConsulReader]] = {
    "watch": ConsulRegistry,
    "poll": ConsulPolledRegistry,
    "prepared": ConsulPreparedRegistry,
}


def from_url(url: str) -> ConsulReader:
    """Make the registry that the URL describes.

    It can be watched unless it says `poll` or `prepared`, and written to unless the latter.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    mode, base, settings = read_url(url)
    return _KINDS[mode](base, **settings)
