"""`etcd://h1,h2,h3/prefix`: etcd 3.4 and newer, over its JSON gateway; no protobuf, no gRPC.

etcd://[user:password@]h1:2379,h2:2379/prefix?resync=20s&timeout=5s
etcd+https://h1/prefix?ca=&cert=&key=&verify=      TLS, client certificates
etcd://h1/prefix?poll                              asks without watching

Keys and values are those of gRPC-Go's resolver (etcd's `client/v3/naming/endpoints`): each side
finds what the other registers. The key of an instance is `prefix/service/id`; a prefix that
begins with a slash is written with two (`etcd://h1//services`).

`settings` reads the URL; `registry` lists, watches, and registers under leases. `gateway` asks the
members with a token, `wire` has the JSON of questions, answers and refusals, `entries` translates
instances.
"""

from __future__ import annotations

from random import Random

from trimtab.registries.etcd.gateway import Gateway
from trimtab.registries.etcd.registry import EtcdReader, EtcdWatch, EtcdWriter
from trimtab.registries.etcd.settings import EtcdSettings
from trimtab.registries.protocol import ComposedRegistry

__all__ = ["EtcdSettings", "from_url", "make"]


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes; it can be watched unless it says `poll`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(EtcdSettings.from_url(url))


def make(settings: EtcdSettings, *, rng: Random | None = None) -> ComposedRegistry:
    """Make the registry; `rng` chooses the member to begin with, and spreads the watches.

    Raises:
        ConfigurationError: a file of `tls` cannot be read.
    """
    rng = rng or Random()
    gateway = Gateway(settings, rng=rng)
    reader = EtcdReader(settings, gateway)
    watch = None if settings.poll else EtcdWatch(settings, gateway, reader, rng=rng)
    return ComposedRegistry(settings, reader, watch=watch, writer=EtcdWriter(settings, gateway))
