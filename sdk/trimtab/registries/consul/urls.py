"""Consul URLs: where the agents are, and how to ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from trimtab.errors import ConfigurationError
from trimtab.registries.endpoints import TLS_OPTIONS, hosts_of, tls_of
from trimtab.registries.options import digest, duration_s, flag, read_options, shown, url_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Mode", "agents_of", "read_url"]

Mode = Literal["watch", "poll", "prepared"]

_SCHEMES = {"consul": ("http", 8500), "consul+https": ("https", 8501)}
_ASKING = ("dc", "tag", "near", "filter", "token", "passing", "stale", "consistent")
_MODES = ("poll", "prepared", "scripts", "wait", "watches")
# What a prepared query settles by itself, and what is only for questions that Consul holds.
_NOT_PREPARED = ("tag", "filter", "passing", "poll", "scripts", "wait", "watches")
_NOT_POLLED = ("wait", "watches")


def read_url(url: str) -> tuple[Mode, str, dict[str, Any]]:
    """Read a URL into how to follow lists, its base, and the settings of the adapter.

    Raises:
        ConfigurationError: an option is unknown, wrong, or does not go with another.
    """
    base, _, query = url.partition("?")
    known = (*_ASKING, *_MODES, *TLS_OPTIONS)
    options = read_options(url, query, known=known, repeatable=("tag",))
    mode: Mode = "watch"
    if flag(url, options, "prepared"):
        mode = "prepared"
        _refuse(url, options, _NOT_PREPARED, "goes not with prepared: the query says what it lists")
    elif flag(url, options, "poll"):
        mode = "poll"
        _refuse(url, options, _NOT_POLLED, "goes not with poll: no question is held then")
    settings = _asking(url, options) | _tls(url, options)
    if mode != "prepared":
        settings |= {
            "tags": options.get("tag", ()),
            "only_passing": flag(url, options, "passing"),
            "filter_": options.get("filter", [None])[0],
            "scripts": flag(url, options, "scripts"),
        }
    if mode == "watch":
        settings["wait_s"] = duration_s(url, options, "wait", 30.0)
        if "watches" in options:
            settings["max_watches"] = _count(url, options["watches"][0])
    return mode, base, settings


def agents_of(url: str) -> tuple[list[tuple[str, str]], str]:
    """Give each agent's base of HTTP URLs with its name for people, and the registry's name.

    Raises:
        ConfigurationError: the URL has no host, or says more than where the agents are.
    """
    parts = url_parts(url)
    if parts.scheme not in _SCHEMES or parts.query:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write consul://host:port or consul+https://host:port"
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: Consul knows no user and password; use ?token="
        )
    scheme, default_port = _SCHEMES[parts.scheme]
    path = parts.path.rstrip("/")
    places = [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in hosts_of(url, default_port=default_port)
    ]
    agents = {f"{scheme}://{each}{path}": f"{parts.scheme}://{each}{path}" for each in places}
    return list(agents.items()), f"{parts.scheme}://{','.join(places)}{path}"


def _asking(url: str, options: Mapping[str, list[str]]) -> dict[str, Any]:
    stale, consistent = flag(url, options, "stale"), flag(url, options, "consistent")
    if stale and consistent:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: stale and consistent exclude each other"
        )
    first = {name: values[0] for name, values in options.items()}
    return {
        "token": first.get("token"),
        "datacenter": first.get("dc"),
        "near": first.get("near"),
        "consistency": "stale" if stale else "consistent" if consistent else "default",
    }


def _tls(url: str, options: Mapping[str, list[str]]) -> dict[str, Any]:
    given = {name: options[name] for name in TLS_OPTIONS if name in options}
    if not given:
        return {}
    if not url.startswith("consul+https:"):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {', '.join(given)} is for consul+https://"
        )
    # A context made of the same files is another object each time, yet the same registry.
    return {"verify": tls_of(url, options), "verify_name": digest(given)}


def _count(url: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigurationError(f"registry URL {shown(url)!r}: watches={text!r} is no number")
    return int(text)


def _refuse(url: str, options: Mapping[str, list[str]], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if name in options:
            raise ConfigurationError(f"registry URL {shown(url)!r}: {name} {why}")
