"""`eureka://host:8761/eureka`: Netflix Eureka, also that of Spring Cloud, over its REST API.

eureka://[user:password@]h1:8761,h2:8761/eureka     Spring Cloud's path, the default
eureka://h1:8080/eureka/v2                          Netflix's own
eureka+https://h1/eureka?ca=&cert=&key=&verify=

| option        | meaning                                                                   |
|---------------|---------------------------------------------------------------------------|
| `address=ip`  | call instances by `ipAddr`; `address=name`, the default, by `hostName`     |
| `timeout=10s` | bound on each question                                                    |

Polled: Eureka cannot push, and serves lists from a cache of its own that is up to 30 s old. A
registration at one member reaches the others through that member.

Tested against recorded answers, not a real server.

`registry` has the settings, the reader and the writer; `entries` translates instances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.registries.eureka.registry import EurekaSettings, make

if TYPE_CHECKING:
    from trimtab.registries.protocol import ComposedRegistry

__all__ = ["EurekaSettings", "from_url", "make"]


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    return make(EurekaSettings.from_url(url))
