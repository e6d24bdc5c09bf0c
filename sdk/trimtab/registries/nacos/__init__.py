"""`nacos://host:8848`: Nacos 1, 2 and 3, over its open API.

nacos://[user:password@]h1:8848,h2:8848/nacos?namespace=shop&group=DEFAULT_GROUP&cluster=a&cluster=b
nacos+https://h1/nacos?ca=&cert=&key=&verify=

| option          | what it says                                                            |
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
"""

from __future__ import annotations

from trimtab.registries.endpoints import TLS_OPTIONS
from trimtab.registries.members import split_url
from trimtab.registries.nacos.adapter import NacosRegistry
from trimtab.registries.options import duration_s

__all__ = ["NacosRegistry", "from_url"]


def from_url(url: str) -> NacosRegistry:
    """Make the registry that the URL describes.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    known = ("api", "namespace", "group", "cluster", "timeout")
    base, options = split_url(url, known=known, kept=TLS_OPTIONS, repeatable=("cluster",))
    return NacosRegistry(
        base,
        api=options.get("api", ["v1"])[0],
        namespace=options.get("namespace", [""])[0],
        group=options.get("group", ["DEFAULT_GROUP"])[0],
        clusters=options.get("cluster", ()),
        timeout_s=duration_s(url, options, "timeout", 10.0),
    )
