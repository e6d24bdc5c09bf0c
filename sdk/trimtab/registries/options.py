"""Options and secrets in registry URLs: read, checked, and hidden from people's eyes."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, quote, urlunsplit

from trimtab.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["SECRET", "digest", "duration_s", "flag", "read_options", "shown", "url_parts"]

SECRET = re.compile(r"token|secret|passw|pwd|key|auth|sig|credential", re.IGNORECASE)
"""What names of secret things have in them."""
_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
_YES, _NO = {"", "1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def url_parts(url: str) -> SplitResult:
    """Split a URL as RFC 3986 (appendix B) does; the part before the path may name several hosts.

    `urlsplit` of recent Pythons refuses `a,[::1]:80`. What a host is, `endpoints.hosts_of` checks.
    """
    scheme, *rest = _URL.fullmatch(url).groups("")  # type: ignore[union-attr] # it matches anything
    return SplitResult(scheme.lower(), *rest)


def read_options(
    url: str, query: str, *, known: Collection[str], repeatable: Collection[str] = ()
) -> dict[str, list[str]]:
    """Read `a=1&b=2` into the values per option.

    Raises:
        ConfigurationError: an option is unknown, or given twice and not in `repeatable`.
    """
    options: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            # Without its options: a misspelt `token` would show what it holds.
            raise ConfigurationError(
                f"registry URL {shown(url.partition('?')[0])!r}: unknown option {name!r}; "
                f"known are {', '.join(sorted(known))}"
            )
        if name in options and name not in repeatable:
            raise ConfigurationError(f"registry URL {shown(url)!r}: {name!r} is given twice")
        options.setdefault(name, []).append(value)
    return options


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
    """Read a duration in seconds: `30`, `30s`, `1.5m`, `500ms`.

    Raises:
        ConfigurationError: it is none.
    """
    if name not in options:
        return default
    match = _DURATION.fullmatch(options[name][0])
    if match is None:
        raise ConfigurationError(
            f"registry URL {shown(url)!r}: {name}={options[name][0]!r} is no duration; "
            "write it like 30s or 500ms"
        )
    return float(match[1]) * _UNIT_S[match[2]]


def shown(url: str) -> str:
    """Give the URL without user, password, and the values of options that sound secret."""
    parts = url_parts(url)
    host, path = parts.netloc.rpartition("@")[2], parts.path
    if host.count("[") != host.count("]"):
        return f"{parts.scheme}://..."
    if ":" in host and "@" in path:
        # A password with a slash in it: what looks like a host and a path is none.
        host, slash, path = path.rpartition("@")[2].partition("/")
        path = slash + path
    query, fragment = _hidden(parts.query), _hidden(parts.fragment)
    rest = urlunsplit(("", "", path, query, fragment))
    # Joined by hand: of a scheme that it does not know, urlunsplit drops the empty host's slashes.
    return f"{parts.scheme}://{host}{rest}" if "://" in url else rest


def digest(*secrets: object) -> str:
    """Give a short mark that differs when a secret differs, and does not give it away."""
    return hashlib.blake2b(repr(secrets).encode(), digest_size=8).hexdigest()


def _hidden(query: str) -> str:
    if not SECRET.search(query):
        return query
    return "&".join(
        f"{quote(name)}={'...' if SECRET.search(name) else quote(value)}"
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
