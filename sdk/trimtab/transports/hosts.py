"""Which hosts are services, and how requests to all other hosts are sent.

A transport may be the only one of a client. It balances the hosts that are services. Requests to
other hosts go out as a client without it would send them: through the family's own public
transports, and through the proxies that the environment names.
"""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.request import getproxies

import httpx

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from trimtab.http import Family, Maker

__all__ = ["EnvironmentProxies", "OtherHosts", "ServiceHosts", "ServiceNames"]

ServiceHosts: TypeAlias = "Collection[str] | Callable[[str], bool]"
"""Which hosts are services: their names, or a function that says whether a host is one."""

_KEPT_HOSTS = 4096


class ServiceNames(dict[str, "str | None"]):
    """The service that each host of a URL names; None for hosts that are no services.

    A host that was seen before costs one look-up in a dict. The table holds 4,096 hosts.

    Args:
        services: names or a function. The function gets a host in lower case and without a
            trailing dot, and is asked once per host. None: hosts without a dot are services, if
            they are neither an address nor localhost.
        only: the one service that every host stands for.

    Raises:
        ConfigurationError: the two contradict each other, or a name cannot be the host of a URL.
    """

    def __init__(self, services: ServiceHosts | None = None, *, only: str | None = None) -> None:
        super().__init__()
        if services is not None and only is not None:
            raise ConfigurationError(
                f"service={only!r} sends every host to that service, so services= has no meaning; "
                "give one of them"
            )
        self._only = only
        self._is_service: Callable[[str], bool]
        if services is None:
            self._is_service = _is_plain_name
        elif callable(services):
            self._is_service = services
        elif isinstance(services, str):
            raise ConfigurationError(f"services is {services!r}; write services={{{services!r}}}")
        else:
            self._is_service = frozenset(_host_of(name) for name in services).__contains__

    def __missing__(self, host: str) -> str | None:
        if self._only is not None:
            name: str | None = self._only
        else:
            plain = host.lower().removesuffix(".")
            # A URL without a host is an error when it is sent.
            name = plain if not plain or self._is_service(plain) else None
        if len(self) >= _KEPT_HOSTS:
            self.clear()
        self[host] = name
        return name


def _is_plain_name(host: str) -> bool:
    return "." not in host and host != "localhost" and not _is_address(host)


def _is_address(host: str) -> bool:
    """Return whether a host is an address, in any form for resolvers, such as `0x7f000001`."""
    if ":" in host:
        return True
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return True


def _host_of(name: str) -> str:
    """Return a name as the host of a URL has it."""
    try:
        host = httpx.URL(scheme="http", host=name).host.lower().removesuffix(".")
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise ConfigurationError(f"services has {name!r}: {error}") from None
    if not host or any(sign in name for sign in "/@ "):
        raise ConfigurationError(f"services has {name!r}; give the host of a URL, such as 'orders'")
    return host


class EnvironmentProxies:
    """Which proxy a request goes through, as `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`... say.

    Source: httpx2's `get_environment_proxies`, which is private. httpx 0.28 has the same rule, with
    these exceptions: it knows no networks (`10.0.0.0/8`), no `*.example.com` and no `[::1]` in
    `NO_PROXY`.

    Args:
        named: what the environment names, by `http`, `https`, `all` and `no`; on macOS and
            Windows the system's settings too. By default the present one.
    """

    def __init__(self, named: Mapping[str, str] | None = None) -> None:
        named = getproxies() if named is None else named
        self._by_scheme: dict[str, str | None] = {
            scheme: url if "://" in url else f"http://{url}"
            for scheme in ("http", "https", "all")
            if (url := named.get(scheme))
        }
        self._without: list[_Pattern] = []
        entries = [entry.strip() for entry in named.get("no", "").split(",")]
        if "*" in entries:
            self._by_scheme.clear()
        elif self._by_scheme:
            self._exempt([entry for entry in entries if entry])

    def proxy_for(self, url: Any) -> str | None:
        """Return the URL of the proxy for a request, or None for none."""
        if not self._by_scheme or any(pattern.matches(url) for pattern in self._without):
            return None
        usual = self._by_scheme.get("all")
        return self._by_scheme.get(url.scheme, usual)

    def _exempt(self, entries: list[str]) -> None:
        for entry in entries:
            try:
                pattern = _Pattern(entry)
            except ValueError:
                continue  # As curl, Go and httpx2 do.
            if pattern.has_place:
                self._without.append(pattern)
            elif entry.endswith("*"):
                # The families sort `http://*` behind what `HTTP_PROXY` says.
                self._by_scheme.setdefault(pattern.scheme or "all", None)
            else:
                self._by_scheme[pattern.scheme or "all"] = None


class _Pattern:
    """One entry of `NO_PROXY`.

    Raises:
        ValueError: it cannot be read.
    """

    def __init__(self, entry: str) -> None:
        self._network = _network_of(entry)
        if self._network is not None:
            entry = "all://"
        elif "://" not in entry:
            entry = f"all://{_host_pattern(entry)}"
        scheme, _, place = entry.partition("://")
        # No host can be read with a star before it.
        host = place.removeprefix("*").removeprefix(".")
        self._star = place.removesuffix(host) if host else ""
        try:
            url = httpx.URL(f"{scheme}://{host}")
        except httpx.InvalidURL as error:
            raise ValueError(str(error)) from None
        self.scheme = "" if url.scheme == "all" else url.scheme
        # As it is sent: `xn--...`, whichever way it was written.
        self._host, self._port = url.raw_host.decode(), url.port

    @property
    def has_place(self) -> bool:
        """Whether it is about a host, a network or a port, and not a whole scheme."""
        return bool(self._network or self._host or self._port)

    def matches(self, url: Any) -> bool:
        """Return whether a URL is exempt from proxies by this entry."""
        if self.scheme and self.scheme != url.scheme:
            return False
        if self._port is not None and self._port != url.port:
            return False
        host = url.raw_host.decode()
        return (
            self._matches_host(host) if self._network is None else _is_within(host, self._network)
        )

    def _matches_host(self, host: str) -> bool:
        mine = self._host
        if not mine or (host == mine and self._star != "*."):
            return True
        return bool(self._star) and host.endswith(f".{mine}")


def _host_pattern(entry: str) -> str:
    """Return which hosts an entry without a scheme stands for: `example.com` its subdomains too."""
    if _as_address(entry) is not None:
        return f"[{entry}]" if ":" in entry else entry
    is_exact = entry.lower() == "localhost" or entry.startswith(("[", "*."))
    if "/" in entry:
        raise ValueError(entry)
    return entry if is_exact else f"*{entry}"


def _network_of(entry: str) -> IPv4Network | IPv6Network | None:
    address, slash, _ = entry.partition("/")
    if not slash or _as_address(address) is None:
        return None
    return ip_network(entry, strict=False)


def _is_within(host: str, network: IPv4Network | IPv6Network) -> bool:
    address = _as_address(host)
    return address is not None and address in network


def _as_address(text: str) -> Any:
    try:
        return ip_address(text)
    except ValueError:
        return None


class OtherHosts:
    """The transports for hosts that are not services: one for each proxy, and one for none.

    Thread-safe. They are made at their first use.

    Args:
        family: the clients' family.
        maker: makes them.
        proxies: says which proxy to use.
        is_async: of which kind the clients are.
    """

    def __init__(
        self, family: Family, maker: Maker, proxies: EnvironmentProxies, *, is_async: bool
    ) -> None:
        self._family = family
        self._maker = maker
        self._proxies = proxies
        self._is_async = is_async
        self._lock = threading.Lock()
        self._transports: dict[str | None, Any] = {}

    def transport_for(self, url: Any) -> Any:
        """Return the transport for a request's URL.

        Raises:
            ConfigurationError: the environment names a proxy that cannot be used.
        """
        proxy = self._proxies.proxy_for(url)
        with self._lock:
            transport = self._transports.get(proxy)
            if transport is None:
                transport = self._maker.make_usual(self._family, proxy, is_async=self._is_async)
                self._transports[proxy] = transport
        return transport

    def take(self) -> list[Any]:
        """Hand over all transports, for closing."""
        with self._lock:
            transports, self._transports = [*self._transports.values()], {}
        return transports
