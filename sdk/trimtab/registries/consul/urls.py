"""Consul URLs: where the agent is, and how to ask it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from trimtab.errors import ConfigurationError
from trimtab.registries.options import duration_s, flag, read_options, shown

__all__ = ["base_urls", "read_url"]

_OPTIONS = (
    *("dc", "tag", "near", "filter", "token", "passing", "stale", "consistent"),
    *("wait", "poll"),
)


def read_url(url: str) -> tuple[str, dict[str, Any], bool]:
    """Read a URL into its base, the settings of an adapter, and whether to poll.

    Raises:
        ConfigurationError: an option is unknown or wrong.
    """
    base, _, query = url.partition("?")
    options = read_options(url, query, known=_OPTIONS, repeatable=("tag",))
    stale, consistent = flag(url, options, "stale"), flag(url, options, "consistent")
    if stale and consistent:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: stale and consistent exclude each other"
        )
    first = {name: values[0] for name, values in options.items()}
    settings: dict[str, Any] = {
        "token": first.get("token"),
        "datacenter": first.get("dc"),
        "tags": options.get("tag", ()),
        "near": first.get("near"),
        "only_passing": flag(url, options, "passing"),
        "filter_": first.get("filter"),
        "consistency": "stale" if stale else "consistent" if consistent else "default",
    }
    poll = flag(url, options, "poll")
    if not poll:
        settings["wait_s"] = duration_s(url, options, "wait", 30.0)
    return base, settings, poll


def base_urls(url: str) -> tuple[str, str]:
    """Give the base of the HTTP URLs, and how to show the registry."""
    try:
        parts = urlsplit(url)
        port = parts.port or (8501 if parts.scheme == "consul+https" else 8500)
    except ValueError as error:
        raise ConfigurationError(f"registry URL {shown(url)!r}: {error}") from None
    if parts.scheme not in {"consul", "consul+https"} or not parts.hostname or parts.query:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write consul://host:port or consul+https://host:port"
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: Consul knows no user and password; use ?token="
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    where = f"{host}:{port}{parts.path.rstrip('/')}"
    scheme = "https" if parts.scheme == "consul+https" else "http"
    return f"{scheme}://{where}", f"{parts.scheme}://{where}"
