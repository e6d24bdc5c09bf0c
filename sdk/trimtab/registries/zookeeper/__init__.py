"""`zk://h1:2181,h2:2181/services`: ZooKeeper, in the format of Apache Curator or of Dubbo.

zk://user:password@h1,h2,h3/services?session=10s&timeout=5s&recheck=60s&acl=creator&sasl
zk://h1,h2/services?tls&ca=&cert=&key=&verify=    TLS, verified by default
zk://h1,h2/services?poll                          only reads when asked, and leaves no watches
zk://h1,h2/dubbo?dubbo                            Dubbo's interface-level registrations, read only

`settings` reads the URL; `reader` reads and follows lists, `writer` registers. `ensemble` bounds
the questions and shares sessions, `session` is the bridge to kazoo, `layouts` translates nodes
(Curator's and Dubbo's).
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from trimtab.errors import ConfigurationError

if find_spec("kazoo") is None:
    raise ConfigurationError("zk:// needs kazoo: pip install 'trimtab[zookeeper]'")

from trimtab.registries.protocol import ComposedRegistry
from trimtab.registries.zookeeper.ensemble import Ensemble
from trimtab.registries.zookeeper.reader import ZooKeeperReader, ZooKeeperWatch
from trimtab.registries.zookeeper.settings import ZooKeeperSettings
from trimtab.registries.zookeeper.writer import ZooKeeperWriter

__all__ = ["ZooKeeperSettings", "from_url", "make"]


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes.

    It can be watched unless it says `poll`, and written to unless it says `dubbo`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(ZooKeeperSettings.from_url(url))


def make(settings: ZooKeeperSettings) -> ComposedRegistry:
    """Make the registry; nothing is connected before the first question.

    Raises:
        ConfigurationError: a file of `tls` cannot be read.
    """
    # One TLS context for all sessions; it is made now, so that a missing file is named at once.
    ensemble = Ensemble(replace(settings, tls=settings.context()))
    reader = ZooKeeperReader(settings, ensemble)
    watch = None if settings.poll else ZooKeeperWatch(settings, ensemble, reader)
    writer = None if settings.dubbo else ZooKeeperWriter(settings, ensemble)
    return ComposedRegistry(settings, reader, watch=watch, writer=writer)
