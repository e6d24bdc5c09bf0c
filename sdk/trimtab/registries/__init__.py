"""Registries: one adapter per file, all behind the protocol in `protocol`, found by URL.

`connect("consul://127.0.0.1:8500")` makes one. The schemes:

| scheme                | module      | how it learns of changes                     |
|-----------------------|-------------|----------------------------------------------|
| `static://`           | `static`    | never                                        |
| `file://`             | `file`      | watches the file                             |
| `http://`, `https://` | `http`      | polls, conditionally                         |
| `consul://`           | `consul`    | blocking queries, or polls                   |
| `etcd://`             | -           | to come                                      |
| `zk://`               | -           | to come                                      |
| `dns+srv://`, `dns+a://` | -        | to come                                      |

A third party adds a scheme by an entry point in the group `trimtab.registries`: its name is the
scheme, its value a callable that takes the URL and returns a `Registry`.
"""

from __future__ import annotations

from trimtab.registries.connecting import connect
from trimtab.registries.protocol import Listing, Registrar, Registry, WatchableRegistry

__all__ = ["Listing", "Registrar", "Registry", "WatchableRegistry", "connect"]
