"""Registry URLs: their hosts, options, TLS files, and the settings that they are read into.

Each scheme reads its URL into one frozen `Settings` object. The parts of the scheme (reader,
watch, writer) take that object and nothing else, and its digest is the registry's `key`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from trimtab.durations import parse_duration_s
from trimtab.errors import ConfigurationError
from trimtab.hiding import shown
from trimtab.http import tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Mapping

__all__ = [
    "TLS_OPTIONS",
    "Settings",
    "Tls",
    "above_zero",
    "credentials",
    "digest",
    "duration_s",
    "flag",
    "hosts_of",
    "path_of",
    "places_of",
    "read_options",
    "split_options",
    "tls_of",
]

Options = dict[str, list[str]]
"""The options of a URL: the values per name."""

TLS_OPTIONS = ("ca", "cert", "key", "verify")
"""The options that `tls_of` reads."""
_YES, _NO = {"", "1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_MAX_PORT = 65535
_PLACE = re.compile(r"([^/?#]*)(.*)", re.DOTALL)


def digest(*values: object) -> str:
    """Return a short mark that differs when a value differs, and does not give the values away."""
    return hashlib.blake2b(repr(values).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one registry is asked with, read from its URL.

    Attributes:
        url: the registry's URL for people, without secrets.
    """

    url: str

    @property
    def key(self) -> str:
        """Tell registries apart: equal settings name the same registry with the same rights."""
        values = [getattr(self, field.name) for field in fields(self)]
        values = [float(value) if type(value) is int else value for value in values]  # 5 is 5.0
        return f"{self.url} {digest(type(self).__name__, *values)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files of a TLS connection.

    Attributes:
        ca: certificates of authorities; None means those of the system.
        cert, key: the client's certificate, and its key if this is in another file.
        verify: whether the server's certificate is checked.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify: bool = True

    def context(self, url: str) -> ssl.SSLContext:
        """Make the context; `url` names the registry in messages.

        Raises:
            ConfigurationError: a file cannot be read; the message names the option.
        """
        verify = self.verify and (self.ca or True)
        cert = (self.cert, self.key) if self.cert and self.key else self.cert
        try:
            return tls_context(verify, cert, trust_env=False, names=("ca", "cert"))
        except ConfigurationError as error:
            raise ConfigurationError(f"registry URL {shown(url)!r}: {error}") from None


def tls_of(url: str, options: Mapping[str, list[str]]) -> Tls:
    """Read the options `ca`, `cert`, `key` and `verify`.

    Raises:
        ConfigurationError: `key` is given without `cert`, or `verify` is neither yes nor no.
    """
    ca, cert, key = (options.get(name, [""])[0] or None for name in ("ca", "cert", "key"))
    if key and not cert:
        raise ConfigurationError(f"registry URL {shown(url)!r}: key= needs cert= beside it")
    verify = "verify" not in options or flag(url, options, "verify")
    return Tls(ca=ca, cert=cert, key=key, verify=verify)


def read_options(
    url: str, query: str, *, known: Collection[str], repeatable: Collection[str] = ()
) -> Options:
    """Read `a=1&b=2` into the values per option.

    Raises:
        ConfigurationError: an option is unknown, or given twice and not in `repeatable`.
    """
    options: Options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            # The URL is shown without its options: a misspelt `token` would show its value.
            raise ConfigurationError(
                f"registry URL {shown(url.partition('?')[0])!r}: unknown option {name!r}; "
                f"known are {', '.join(sorted(known))}"
            )
        if name in options and name not in repeatable:
            raise ConfigurationError(f"registry URL {shown(url)!r}: {name!r} is given twice")
        options.setdefault(name, []).append(value)
    return options


def split_options(
    url: str, *, known: Collection[str], repeatable: Collection[str] = ()
) -> tuple[str, Options]:
    """Split a URL into the part before `?`, and the options after it.

    Raises:
        ConfigurationError: an option is unknown, or given twice and not in `repeatable`.
    """
    base, _, query = url.partition("?")
    return base, read_options(url, query, known=known, repeatable=repeatable)


def flag(url: str, options: Mapping[str, list[str]], name: str) -> bool:
    """Tell whether an option is on: `?poll` and `?poll=true` are, `?poll=0` is not.

    Raises:
        ConfigurationError: the value is neither a yes nor a no.
    """
    value = options.get(name, ["no"])[0].lower()
    if value not in _YES | _NO:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {name}={value!r} must be true or false"
        )
    return value in _YES


def duration_s(url: str, options: Mapping[str, list[str]], name: str, default: float) -> float:
    """Read a duration in seconds: `30`, `30s`, `1m30s`, `500ms`.

    Raises:
        ConfigurationError: the value is no duration.
    """
    if name not in options:
        return default
    text = options[name][0]
    try:
        # A number without a unit counts seconds.
        return parse_duration_s(text if text[-1:].isalpha() else f"{text}s")
    except ValueError:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {name}={text!r} is no duration; "
            "write it like 30s or 500ms"
        ) from None


def above_zero(settings: Settings, *names: str) -> None:
    """Check that settings are finite and above 0.

    Raises:
        ConfigurationError: one of them is not; the message names it.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 < value < float("inf"):
            raise ConfigurationError(f"{settings.url}: {name} is {value!r}; it must be above 0")


def hosts_of(url: str, *, default_port: int) -> list[tuple[str, int]]:
    """Read `scheme://[user:password@]h1[:p1],h2[:p2]/...` into hosts and ports, in order.

    Raises:
        ConfigurationError: a host is missing, or a port is no number from 1 to 65535.
    """
    _, hosts_text, rest = _parts(url)
    if "@" in rest:
        # The beginning of the password was taken for the host, so it must not be shown.
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: write a '/', '?' or '#' in a user or password as %2F, "
            "%3F or %23"
        )
    hosts = []
    for text in hosts_text.split(","):
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, default_port if parts.port is None else parts.port
        except ValueError:
            host, port = None, 0
        if not (host and 0 < port <= _MAX_PORT):
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: {text!r} is no host:port; "
                f"write several as host1:{default_port},host2:{default_port}"
            )
        hosts.append((host, port))
    return hosts


def places_of(url: str, *, default_port: int) -> list[str]:
    """Read the hosts of a URL into `host:port` texts, IPv6 addresses in brackets.

    Raises:
        ConfigurationError: see `hosts_of`.
    """
    return [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in hosts_of(url, default_port=default_port)
    ]


def credentials(url: str) -> tuple[str, str] | None:
    """Return the user and the password of a URL, decoded; None if there is no user."""
    user, _, password = _parts(url)[0].partition(":")
    return (unquote(user), unquote(password)) if user else None


def path_of(url: str) -> str:
    """Return the path of a URL, as it is written there."""
    return _parts(url)[2].partition("#")[0]


def _parts(url: str) -> tuple[str, str, str]:
    """Split a URL into user, hosts and rest without options.

    urlsplit of newer Pythons refuses several hosts of which one is in brackets.
    """
    place, rest = _PLACE.fullmatch(url.partition("://")[2]).groups()  # type: ignore[union-attr] # it matches anything
    user, _, hosts = place.rpartition("@")
    return user, hosts, rest.partition("?")[0]
