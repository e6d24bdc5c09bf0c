"""`etcd://h1,h2,h3/prefix`: etcd 3.4 and newer, over its JSON gateway; no protobuf, no gRPC.

etcd://[user:password@]h1:2379,h2:2379/prefix?resync=20s&timeout=5s
etcd+https://h1/prefix?ca=&cert=&key=&verify=      TLS, client certificates
etcd://h1/prefix?poll                              asks without watching

Keys and values are those of gRPC-Go's resolver (etcd's `client/v3/naming/endpoints`): what either
side registers, the other finds. The key of an instance is `prefix/service/id`; a prefix that
begins with a slash is written with two (`etcd://h1//services`).
"""

from __future__ import annotations

from trimtab.registries.etcd.adapter import EtcdPolledRegistry, EtcdRegistry
from trimtab.registries.etcd.urls import read_url

__all__ = ["EtcdPolledRegistry", "EtcdRegistry", "from_url"]


def from_url(url: str) -> EtcdPolledRegistry:
    """Make the registry that the URL describes; it can be watched unless it says `poll`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    base, settings, poll = read_url(url)
    return (EtcdPolledRegistry if poll else EtcdRegistry)(base, **settings)
