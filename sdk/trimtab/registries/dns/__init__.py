"""`dns+srv://` and `dns+a://`: instances from DNS, asked again when their TTL is over.

dns+srv://10.0.0.53,10.0.0.54:5353/svc.example     SRV records of _orders._tcp.svc.example
dns+srv://127.0.0.1:8600/service.consul?name={service}.{domain}&tcp     Consul's own DNS
dns+a:///svc.example?port=8080                     A and AAAA records of orders.svc.example,
                                                   from the system's nameservers

| option                       | meaning                                                         |
|------------------------------|-----------------------------------------------------------------|
| `name`                       | the name to ask for: `_{service}._tcp.{domain}` (srv) and       |
|                              | `{service}.{domain}` (a); `{domain}` is the path                |
| `port`                       | dns+a only, and needed there: the port of every instance        |
| `priority=all`               | dns+srv only: list every priority, not the lowest alone         |
| `family=4`, `family=6`       | A records alone, or AAAA alone; without it both: a host that    |
|                              | has both is listed twice                                        |
| `tcp`                        | ask over TCP: for servers that cut an answer without marking    |
|                              | it, as Consul does. A marked one is asked again over TCP anyway |
| `timeout=5s`                 | how long a reading may take as a whole                          |
| `min_interval`, `max_interval` | the TTL is obeyed between these two: 1s and 5m                |
| `poll`                       | do not obey TTLs; let discovery poll at its own interval        |

Needs dnspython: the extra `dns`.

`reader` has the settings, the reader and the watch; `records` makes instances of records,
`nameservers` asks one question.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from trimtab.errors import ConfigurationError
from trimtab.hiding import shown

if TYPE_CHECKING:
    from trimtab.registries.protocol import ComposedRegistry

__all__ = ["from_url"]


def from_url(url: str) -> ComposedRegistry:
    """Make the registry that the URL describes; it obeys TTLs unless it says `poll`.

    Raises:
        ConfigurationError: the URL or one of its options is wrong, or dnspython is missing.
    """
    try:
        import_module("dns.asyncresolver")
    except ImportError as error:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: DNS needs dnspython: pip install 'trimtab[dns]'"
        ) from error
    reader = import_module("trimtab.registries.dns.reader")
    return cast("ComposedRegistry", reader.make(reader.DnsSettings.from_url(url)))
