"""Registries: one adapter per scheme, behind one protocol (`protocol`), found by URL.

`connect("consul://127.0.0.1:8500")` makes one (`connecting`) of a reader, a watch and a writer
(`protocol` joins them), which take the settings of the URL (`urls`). `asking` asks servers over
HTTP, `members` chooses one of several, `entries` reads instances. The schemes:

| scheme                         | module       | how it follows changes       | registers |
|--------------------------------|--------------|------------------------------|-----------|
| `static://`                    | `static`     | never                        | no        |
| `file://`                      | `file`       | watches the file, or polls   | no        |
| `http://`, `https://`          | `http`       | polls, conditionally         | no        |
| `consul://`, `consul+https://` | `consul`     | blocking queries, or polls   | yes       |
| `etcd://`, `etcd+https://`     | `etcd`       | watches, or polls            | yes       |
| `zk://`                        | `zookeeper`  | watches, or polls            | yes       |
| `dns+srv://`, `dns+a://`       | `dns`        | asks when TTLs end, or polls | no        |
| `eureka://`, `eureka+https://` | `eureka`     | polls                        | yes       |
| `nacos://`, `nacos+https://`   | `nacos`      | polls                        | yes       |
| `kubernetes://`                | `kubernetes` | watches, or polls            | no        |

`eureka`, `nacos` and `kubernetes` are tested against recorded answers, not real servers.

A third party adds a scheme by an entry point in the group `trimtab.registries`: its name is the
scheme, its value a callable that takes the URL and returns a `Registry`.
"""

from __future__ import annotations

from trimtab.registries.connecting import check_registry, connect, shown_url
from trimtab.registries.protocol import Listing, Registrar, Registry, WatchableRegistry

__all__ = [
    "Listing",
    "Registrar",
    "Registry",
    "WatchableRegistry",
    "check_registry",
    "connect",
    "shown_url",
]
