"""From a URL to a registry, and back to a URL that people may see."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from trimtab.errors import ConfigurationError
from trimtab.hiding import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.registries.protocol import Registry

__all__ = ["check_registry", "connect", "shown_url"]

_BUILT_IN = {
    "static": "trimtab.registries.static",
    "file": "trimtab.registries.file",
    "http": "trimtab.registries.http",
    "https": "trimtab.registries.http",
    "consul": "trimtab.registries.consul",
    "consul+https": "trimtab.registries.consul",
    "etcd": "trimtab.registries.etcd",
    "etcd+https": "trimtab.registries.etcd",
    "zk": "trimtab.registries.zookeeper",
    "dns+srv": "trimtab.registries.dns",
    "dns+a": "trimtab.registries.dns",
    "eureka": "trimtab.registries.eureka",
    "eureka+https": "trimtab.registries.eureka",
    "nacos": "trimtab.registries.nacos",
    "nacos+https": "trimtab.registries.nacos",
    "kubernetes": "trimtab.registries.kubernetes",
}
_GROUP = "trimtab.registries"


def connect(url: str) -> Registry:
    """Make the registry that a URL names. Nothing is opened before the first question.

    Raises:
        ConfigurationError: the scheme is unknown, or the URL or one of its options is wrong.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigurationError(
            f"registry URL {shown(url)!r} has no scheme; write it like "
            f"{shown('consul://' + (url.lstrip('/') or '127.0.0.1:8500'))!r}, if it is a Consul or "
            "an embedded registry"
        )
    name = scheme.lower()  # as in any URL
    if name in _BUILT_IN:
        lowered = name + url[len(name) :]
        return cast("Registry", import_module(_BUILT_IN[name]).from_url(lowered))
    for entry in entry_points(group=_GROUP, name=scheme):
        factory = cast("Callable[[str], Registry]", entry.load())
        return factory(url)
    known = ", ".join(f"{name}://" for name in _BUILT_IN)
    raise ConfigurationError(
        f"registry URL {shown(url)!r}: no registry has the scheme {scheme!r}; known are {known} "
        f"and those of entry points in the group {_GROUP!r}"
    )


def check_registry(registry: str | Registry) -> None:
    """Check that an argument is the URL of a registry, or a registry object.

    Raises:
        ConfigurationError: it is neither; see also `connect`.
    """
    if isinstance(registry, str):
        connect(registry)
    elif isinstance(registry, type) or not hasattr(registry, "fetch"):
        raise ConfigurationError(
            f"registry is {registry!r}; it must be a URL such as consul://127.0.0.1:8500, or a "
            "registry object"
        )


def shown_url(registry: str | Registry) -> str:
    """Return a registry's URL for people, without secrets."""
    return connect(registry).url if isinstance(registry, str) else registry.url
