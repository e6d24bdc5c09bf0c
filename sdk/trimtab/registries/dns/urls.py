"""DNS URLs: whom to ask, for which names, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from dns.rdatatype import RdataType

from trimtab.errors import ConfigurationError
from trimtab.registries.dns.adapter import DnsPolledRegistry, DnsRegistry
from trimtab.registries.dns.records import AddressRecords, SrvRecords
from trimtab.registries.dns.resolving import Nameservers
from trimtab.registries.endpoints import credentials, hosts_of
from trimtab.registries.options import duration_s, flag, read_options, shown, url_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.registries.dns.records import Records

__all__ = ["read_url"]

_OPTIONS = ("name", "family", "tcp", "timeout", "poll", "min_interval", "max_interval")
_OWN_OPTION = {"dns+srv": "priority", "dns+a": "port"}
_NAMES = {"dns+srv": "_{service}._tcp.{domain}", "dns+a": "{service}.{domain}"}
_FAMILIES = {"4": [RdataType.A], "6": [RdataType.AAAA], "": [RdataType.A, RdataType.AAAA]}
_TIMEOUT_S = 3.0
_MAX_PORT = 65535


def read_url(url: str) -> DnsPolledRegistry:
    """Make the registry that the URL describes.

    Raises:
        ConfigurationError: the URL or one of its options is wrong.
    """
    parts = url_parts(url)
    options = read_options(url, parts.query, known=(*_OPTIONS, _OWN_OPTION[parts.scheme]))
    timeout_s = duration_s(url, options, "timeout", _TIMEOUT_S)
    settings: dict[str, Any] = {"name": _name(url, options), "timeout_s": timeout_s}
    hosts, tcp = _hosts(url), flag(url, options, "tcp")  # From here on there is no secret in it.
    nameservers = Nameservers(url, hosts, tcp=tcp, timeout_s=timeout_s)
    records = _records(url, options, nameservers)
    if flag(url, options, "poll"):
        return DnsPolledRegistry(url, records, **settings)
    settings["min_interval_s"] = duration_s(url, options, "min_interval", 1.0)
    settings["max_interval_s"] = duration_s(url, options, "max_interval", 300.0)
    return DnsRegistry(url, records, **settings)


def _hosts(url: str) -> list[tuple[str, int]]:
    if credentials(url):
        raise ConfigurationError(f"registry URL {shown(url)!r}: DNS knows no user and password")
    return hosts_of(url, default_port=53) if url_parts(url).netloc else []


def _name(url: str, options: Mapping[str, list[str]]) -> str:
    parts = url_parts(url)
    name = options.get("name", [_NAMES[parts.scheme]])[0]
    domain = unquote(parts.path).strip("/")
    if "{domain}" in name and not domain:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: no domain; write {parts.scheme}://nameserver/domain, "
            "or ?name= with a name of your own that holds {service}"
        )
    return name.replace("{domain}", domain)


def _records(url: str, options: Mapping[str, list[str]], nameservers: Nameservers) -> Records:
    family = options.get("family", [""])[0]
    if family not in _FAMILIES:
        raise ConfigurationError(f"registry URL {shown(url)!r}: family={family!r} must be 4 or 6")
    if url_parts(url).scheme == "dns+a":
        return AddressRecords(nameservers, _FAMILIES[family], port=_port(url, options))
    priority = options.get("priority", ["lowest"])[0]
    if priority not in {"lowest", "all"}:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: priority={priority!r} must be lowest or all"
        )
    return SrvRecords(nameservers, _FAMILIES[family], all_priorities=priority == "all")


def _port(url: str, options: Mapping[str, list[str]]) -> int:
    text = options.get("port", [""])[0]
    if not (text.isdecimal() and 0 < int(text) <= _MAX_PORT):
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: port={text!r}; addresses have no port of their own: "
            f"write ?port= with a number from 1 to {_MAX_PORT}"
        )
    return int(text)
