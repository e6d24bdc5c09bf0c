"""ZooKeeper URLs: where the ensemble is, and how to speak to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from trimtab.errors import ConfigurationError
from trimtab.registries.endpoints import TLS_OPTIONS, credentials, hosts_of, tls_of
from trimtab.registries.options import duration_s, flag, read_options, shown, url_parts
from trimtab.registries.zookeeper.paths import is_permitted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["base_of", "ensemble_of", "read_url"]

_DEFAULT_PORT = 2181
_OPTIONS = ("acl", "dubbo", "poll", "recheck", "sasl", "session", "timeout", "tls", *TLS_OPTIONS)


def read_url(url: str) -> tuple[str, dict[str, Any], tuple[bool, bool], dict[str, list[str]]]:
    """Read a URL into its base, the settings of an adapter, its kind, and the options of TLS.

    The kind is whether it is polled, and whether the format is Dubbo's.

    Raises:
        ConfigurationError: an option is unknown or wrong.
    """
    base, _, query = url.partition("?")
    options = read_options(url, query, known=_OPTIONS)
    poll, dubbo = flag(url, options, "poll"), flag(url, options, "dubbo")
    settings: dict[str, Any] = {
        "session_s": duration_s(url, options, "session", 10.0),
        "timeout_s": duration_s(url, options, "timeout", 5.0),
        "sasl": flag(url, options, "sasl"),
        "tls": _tls(url, options),
    }
    if not poll:
        settings["recheck_s"] = duration_s(url, options, "recheck", 60.0)
    if not dubbo:
        settings["acl"] = options.get("acl", ["open"])[0]
    elif "acl" in options:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: acl= is for writing, and Dubbo's format is only read"
        )
    tls_options = {name: options[name] for name in TLS_OPTIONS if name in options}
    return base, settings, (poll, dubbo), tls_options


def ensemble_of(url: str) -> tuple[str, tuple[str, str] | None]:
    """Give the members as `h1:2181,h2:2181`, and the user with the password.

    Raises:
        ConfigurationError: it is no URL of an ensemble.
    """
    if not url.startswith("zk://") or "?" in url or "#" in url:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write zk://host1:2181,host2:2181/services"
        )
    try:
        hosts, user = hosts_of(url, default_port=_DEFAULT_PORT), credentials(url)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"registry URL {shown(url)!r}: {error}") from None
    members = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)
    return ",".join(members), user


def base_of(url: str, default: str) -> str:
    """Give the node above the services; `default` if the URL names none.

    Raises:
        ConfigurationError: no node can have that path.
    """
    path = unquote(url_parts(url).path).rstrip("/")
    if not path:
        return default
    if not all(is_permitted(name) for name in path[1:].split("/")):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {path!r} can be no path in ZooKeeper"
        )
    return path


def _tls(url: str, options: Mapping[str, list[str]]) -> ssl.SSLContext | None:
    """Make a TLS context where the URL asks for one: by `tls`, or by a certificate."""
    given = [name for name in TLS_OPTIONS if name in options]
    if "tls" in options and not flag(url, options, "tls"):
        if given:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: tls is off, and {given[0]}= is given"
            )
        return None
    return tls_of(url, options) if given or "tls" in options else None
