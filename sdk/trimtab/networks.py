"""The network policy: which addresses may be called. No I/O.

The contents of a registry are untrusted. Anyone who can write to it, or change its answers on the
way, could direct a program's requests, with their tokens, to the metadata service of its cloud. So
some ranges are refused unless `allow` names them, and with `allow` all other networks are refused,
too.

An address is read as the operating system reads it: `2852039166`, `0xA9FEA9FE`, `169.254.43518`
and `::ffff:169.254.169.254` are all 169.254.169.254. A host name does not tell its address, so
check the address that it resolves to, at each connection.

Source: RFC 6890 (special ranges), RFC 6052 and RFC 3056 (IPv4 inside IPv6), inet_aton(3), and
the providers' documentation for the addresses of their metadata services.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NetworkPolicy"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED: tuple[tuple[_Network, str], ...] = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
        ("fe80::/10", "link-local"),
        ("fd00:ec2::/32", "a cloud's metadata service"),
        ("fd20:ce::254/128", "a cloud's metadata service"),
        ("100.100.100.200/32", "a cloud's metadata service"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("192.0.0.192/32", "a cloud's metadata service"),
        ("0.0.0.0/8", "unspecified"),
        ("::/128", "unspecified"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("255.255.255.255/32", "broadcast"),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_BITS, _LAST_32_BITS = 32, 2**32 - 1
_MOST_PARTS = 4


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Which addresses are permitted.

    Args:
        allow: networks such as "10.0.0.0/8"; all addresses outside them are refused. None allows
            all addresses except link-local, metadata services, multicast, broadcast and unspecified
            ones. Those are refused under any policy, unless `allow` names such a range, or a part
            of it: "169.254.0.0/16" does, "0.0.0.0/0" does not.

    Raises:
        ConfigurationError: an entry is not a network.
    """

    allow: Sequence[str] | None = None
    _networks: tuple[_Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.allow is not None:
            if not isinstance(self.allow, (list, tuple)):
                raise ConfigurationError(
                    f"allow_networks is {self.allow!r}; it must be a list, like ['10.0.0.0/8']"
                )
            object.__setattr__(self, "allow", tuple(self.allow))
        object.__setattr__(self, "_networks", tuple(map(_network, self.allow or ())))

    def refusal_of(self, host: str) -> str | None:
        """Return why a host may not be called; None if it may, or is a name.

        Takes a few microseconds for an address, and less for a name.
        """
        address = _address(host)
        if address is None:
            return None
        if reason := self._special(address) or self._special(_inside(address)):
            return reason
        if self.allow is None or any(address in network for network in self._networks):
            return None
        return f"{address} lies in none of allow_networks, {', '.join(self.allow)}"

    def _special(self, address: _Address | None) -> str | None:
        for range_, what in _REFUSED:
            if address is not None and address in range_ and not self._names(address, range_):
                return f"{address} is {what}; name {range_} in allow_networks to permit it"
        return None

    def _names(self, address: _Address, range_: _Network) -> bool:
        return any(
            address in network and network.subnet_of(range_)  # type: ignore[arg-type]
            for network in self._networks
        )


def _network(text: object) -> _Network:
    try:
        return ipaddress.ip_network(str(text))
    except ValueError as error:
        raise ConfigurationError(
            f"allow_networks has {text!r}, which is not a network: {error}; write it "
            "like 10.0.0.0/8"
        ) from None


def _address(host: str) -> _Address | None:
    """Return the address that the operating system reads in a host; None for a name."""
    try:
        # As sockets encode host names; this turns the digits of other scripts into ASCII.
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return None
    if ":" not in host:
        number = _inet_aton(host)
        return None if number is None else ipaddress.IPv4Address(number)
    try:
        # Without its scope: networks have none.
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address


def _inside(address: _Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 one reaches through a gateway, or None."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _LAST_32_BITS)
    return address.sixtofour


def _inet_aton(text: str) -> int | None:
    """Read one to four numbers in base 10, 8 or 16; the last fills the remaining bits."""
    parts = [_number(part) for part in text.split(".")]
    if len(parts) > _MOST_PARTS or None in parts:
        return None
    *first, last = [part for part in parts if part is not None]
    left = _BITS - 8 * len(first)
    if last >= 1 << left or any(part >= 1 << 8 for part in first):
        return None
    head = sum(part << (_BITS - 8 * (at + 1)) for at, part in enumerate(first))
    return head + last


def _number(text: str) -> int | None:
    if not text.isalnum():
        return None
    digits, base = text, 10
    if text[:2] in {"0x", "0X"}:
        digits, base = text[2:], 16
    elif text[0] == "0":
        base = 8
    try:
        return int(digits, base)
    except ValueError:
        return None
