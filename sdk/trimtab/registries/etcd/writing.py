"""What we put into etcd: an instance as gRPC-Go's resolver wants to find it. No I/O.

Our own fields go into `Metadata` as *text*, the JSON of an object, and not as an object:
gRPC-Go compares the metadata of two addresses with `==`, and a Go program in which these are
maps dies of it ("comparing uncomparable type", etcd issue 19700). Text it compares, and ignores.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from trimtab.instance import Status

if TYPE_CHECKING:
    from trimtab.instance import Instance

__all__ = ["key_of", "lease_ttl_s", "value_of"]

_ADD = 0


def key_of(prefix: str, service: str, id_: str) -> str:
    """Give the key of an instance; a slash in its id would make it that of another service."""
    return f"{prefix}{service}/{id_.replace('%', '%25').replace('/', '%2F')}"


def value_of(instance: Instance) -> bytes:
    """Give the value of an instance; what is as it would be anyhow is left out."""
    own: dict[str, Any] = {"id": instance.id}
    if instance.weight != 1:
        own["weight"] = instance.weight
    if instance.zone:
        own["zone"] = instance.zone
    if instance.scheme:
        own["scheme"] = instance.scheme
    if instance.status is not Status.PASSING:
        own["status"] = instance.status.value
    if instance.metadata:
        own["metadata"] = dict(instance.metadata)
    return _json({"Op": _ADD, "Addr": instance.address, "Metadata": _json(own).decode()})


def lease_ttl_s(ttl_s: float) -> int:
    """Give the whole seconds of a lease.

    etcd itself makes it at least one and a half of its election time-outs: 2 s by default.
    """
    return math.ceil(ttl_s)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
