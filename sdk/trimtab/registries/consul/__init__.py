"""`consul://host:port`: Consul, and whatever speaks its HTTP API, as the embedded registry does.

consul://host:8500/?dc=&tag=&tag=&near=&filter=&token=&passing&stale&consistent&wait=30s
consul+https://host:8501/?poll        asks without blocking
"""

from __future__ import annotations

from trimtab.registries.consul.adapter import ConsulPolledRegistry, ConsulRegistry
from trimtab.registries.consul.urls import read_url

__all__ = ["ConsulPolledRegistry", "ConsulRegistry", "from_url"]


def from_url(url: str) -> ConsulPolledRegistry:
    """Make the registry that the URL describes; it can be watched unless it says `poll`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    base, settings, poll = read_url(url)
    return (ConsulPolledRegistry if poll else ConsulRegistry)(base, **settings)
