"""Where things lie in ZooKeeper's tree, and which names it permits. No I/O."""

from __future__ import annotations

import re
from urllib.parse import quote

from trimtab.errors import RegistryRequestError

__all__ = ["is_permitted", "node_name", "parent_of", "service_path"]

# What ZooKeeper refuses in a path: control characters, private use, surrogates, specials.
_FORBIDDEN = re.compile("[/\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff]")


def is_permitted(name: str) -> bool:
    """Tell whether ZooKeeper takes this as the name of one node."""
    return name not in {"", ".", ".."} and not _FORBIDDEN.search(name)


def service_path(place: str, base: str, service: str) -> str:
    """Give the node below which a service's instances lie.

    Raises:
        RegistryRequestError: no node can have that name.
    """
    if not is_permitted(service):
        raise RegistryRequestError(
            f"{place}: {service!r} can be no service in ZooKeeper: its name would be that of a "
            "node, which has no slash and no control character"
        )
    return f"{base}/{service}"


def node_name(id_: str) -> str:
    """Name the node of an instance: by its id, or by the quoted id if no node can be named so.

    The id itself is read from the node's data.
    """
    return id_ if is_permitted(id_) else quote(id_, safe="").replace(".", "%2E")


def parent_of(path: str) -> str:
    """Give the node above."""
    return path.rpartition("/")[0] or "/"
