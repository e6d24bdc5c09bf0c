"""`eureka://host:8761/eureka`: Netflix Eureka, also that of Spring Cloud, over its REST API.

eureka://[user:password@]h1:8761,h2:8761/eureka     Spring Cloud's path, and the one taken for none
eureka://h1:8080/eureka/v2                          Netflix's own
eureka+https://h1/eureka?ca=&cert=&key=&verify=

| option        | what it says                                                              |
|---------------|---------------------------------------------------------------------------|
| `address=ip`  | call instances by `ipAddr`; `address=name`, the default, by `hostName`     |
| `timeout=10s` | bound on each question                                                    |

Polled: Eureka cannot push, and serves lists from a cache of its own that is up to 30 s old. What
is registered at one member the others learn from it.

Tested against recorded answers, not a real server.
"""

from __future__ import annotations

from trimtab.errors import ConfigurationError
from trimtab.registries.endpoints import TLS_OPTIONS
from trimtab.registries.eureka.adapter import EurekaRegistry
from trimtab.registries.members import split_url
from trimtab.registries.options import duration_s, shown

__all__ = ["EurekaRegistry", "from_url"]


def from_url(url: str) -> EurekaRegistry:
    """Make the registry that the URL describes.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    base, options = split_url(url, known=("address", "timeout"), kept=TLS_OPTIONS)
    address = options.get("address", ["name"])[0]
    if address not in {"ip", "name"}:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: address={address!r} must be ip or name"
        )
    return EurekaRegistry(
        base, prefer_ip=address == "ip", timeout_s=duration_s(url, options, "timeout", 10.0)
    )
