"""`trimtab deregister` and `trimtab maintenance`: change what is registered, by hand.

A process that was killed leaves its entry behind. `deregister` removes it. `maintenance` takes an
instance out of traffic while its process runs on.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trimtab.cli.ending import DONE
from trimtab.cli.inputs import LOCAL, Source
from trimtab.errors import ConfigurationError, TrimtabError
from trimtab.registries import Registrar, connect
from trimtab.registries.protocol import MaintainingRegistrar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trimtab.instance import Instance
    from trimtab.registries import Registry

__all__ = ["deregister", "maintenance"]


async def deregister(service: str, instance: str, /, *, source: Source = LOCAL) -> int:
    """Remove an instance from the registry, such as one whose process was killed.

    An instance that still runs registers itself again with its next heartbeat.

    ```
    trimtab ls orders
    trimtab deregister orders 10.0.0.7:8080
    ```

    Args:
        service: The service's name.
        instance: The instance's id, or its HOST:PORT.
        source: The registry.
    """
    async with _connected(source.registry) as registry:
        if not isinstance(registry, Registrar):
            raise ConfigurationError(f"{registry.url} cannot be written to: it only lists")
        found = await _find(registry, service, instance)
        await registry.deregister(service, found)
        if any(each.id == found.id for each in (await registry.fetch(service)).instances):
            raise TrimtabError(
                f"{registry.url} still lists {found.id!r}; it has registered again, or belongs to "
                "another agent: name that agent first in --registry"
            )
    print(f"Deregistered {found.id} ({found.address}) from {service}")
    return DONE


async def maintenance(
    service: str,
    instance: str,
    /,
    *,
    off: bool = False,
    reason: Annotated[str, Parameter(show_default=False)] = "",
    source: Source = LOCAL,
) -> int:
    """Take an instance out of traffic, or with --off put it back.

    It stays registered, with a critical check that tells the reason. Heartbeats do not end this.
    Only registries with Consul's API have it.

    ```
    trimtab maintenance orders 10.0.0.7:8080 --reason "disk is replaced"
    trimtab maintenance orders 10.0.0.7:8080 --off
    ```

    Args:
        service: The service's name.
        instance: The instance's id, or its HOST:PORT.
        off: End the maintenance.
        reason: A text for people.
        source: The registry.
    """
    async with _connected(source.registry) as registry:
        if not isinstance(registry, MaintainingRegistrar):
            raise ConfigurationError(f"{registry.url} has no maintenance; consul:// has")
        found = await _find(registry, service, instance)
        await registry.maintain(service, found, enable=not off, reason=reason)
    ends = "ends" if off else "begins"
    print(f"Maintenance of {found.id} ({found.address}) in {service} {ends}")
    return DONE


async def _find(registry: Registry, service: str, name: str) -> Instance:
    """Return the instance with this id, or else the only one at this address."""
    instances = (await registry.fetch(service)).instances
    found = [each for each in instances if each.id == name]
    found = found or [each for each in instances if each.address == name]
    if not found:
        raise TrimtabError(
            f"{registry.url} lists no instance {name!r} of {service!r}; `trimtab ls {service}` "
            "lists them"
        )
    if len(found) > 1:
        ids = ", ".join(each.id for each in found)
        raise TrimtabError(f"{name!r} is the address of {len(found)} instances; name one: {ids}")
    return found[0]


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Registry]:
    registry = connect(url)
    try:
        yield registry
    finally:
        await registry.aclose()
