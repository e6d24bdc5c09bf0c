"""`nacos://host:8848`: Nacos 1, 2 and 3, over its open API.

nacos://[user:password@]h1:8848,h2:8848/nacos?namespace=shop&group=DEFAULT_GROUP&cluster=a&cluster=b
nacos+https://h1/nacos?ca=&cert=&key=&verify=

| option          | meaning                                                                 |
|-----------------|-------------------------------------------------------------------------|
| `api=v1`        | the version of the API: `v1` (the default) for Nacos 1.3 to 2, `v2` for  |
|                 | 2.2 and newer, `v3` for 3                                               |
| `namespace`     | the namespace's *id*; none means the public one                         |
| `group`         | `DEFAULT_GROUP` if left out                                             |
| `cluster`       | list instances of these clusters alone; register in the first           |
| `timeout=10s`   | bound on each question                                                  |

User and password are those of Nacos's login; its token is renewed before it expires. Polled:
over HTTP Nacos cannot push.

Tested against recorded answers, not a real server.

`registry` has the settings, the reader and the writer; `api` the versions' paths, the login, and
the translation of instances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.registries.nacos.registry import NacosSettings, make

if TYPE_CHECKING:
    from trimtab.registries.protocol import ComposedRegistry

__all__ = ["NacosSettings", "from_url", "make"]


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(NacosSettings.from_url(url))
