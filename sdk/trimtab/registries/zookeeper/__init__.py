"""`zk://h1:2181,h2:2181/services`: ZooKeeper, in the format of Apache Curator or of Dubbo.

zk://user:password@h1,h2,h3/services?session=10s&timeout=5s&recheck=60s&acl=creator&sasl
zk://h1,h2/services?tls&ca=&cert=&key=&verify=    TLS, verified by default
zk://h1,h2/services?poll                          asks when told to, and leaves no watches
zk://h1,h2/dubbo?dubbo                            Dubbo's interface-level registrations, to read
"""

from __future__ import annotations

from importlib.util import find_spec

from trimtab.errors import ConfigurationError

if find_spec("kazoo") is None:
    raise ConfigurationError("zk:// needs kazoo: pip install 'trimtab[zookeeper]'")

from trimtab.registries.options import digest
from trimtab.registries.zookeeper.adapter import (
    DubboPolledRegistry,
    DubboRegistry,
    ZooKeeperPolledRegistry,
    ZooKeeperRegistry,
)
from trimtab.registries.zookeeper.urls import read_url

__all__ = [
    "DubboPolledRegistry",
    "DubboRegistry",
    "ZooKeeperPolledRegistry",
    "ZooKeeperRegistry",
    "from_url",
]

_KINDS: dict[tuple[bool, bool], type[ZooKeeperPolledRegistry | DubboPolledRegistry]] = {
    # By whether it is polled, and whether it is Dubbo's.
    (False, False): ZooKeeperRegistry,
    (True, False): ZooKeeperPolledRegistry,
    (False, True): DubboRegistry,
    (True, True): DubboPolledRegistry,
}


def from_url(url: str) -> ZooKeeperPolledRegistry | DubboPolledRegistry:
    """Make the registry that the URL describes; it can be watched unless it says `poll`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    base, settings, kind, tls_options = read_url(url)
    made = _KINDS[kind](base, **settings)
    made.key += f" {digest(tls_options)}"
    return made
