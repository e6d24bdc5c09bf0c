"""Keep secrets out of messages and logs: the one pattern of names that stand for a secret.

`shown` is for URLs, `masked` for lines of text.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote

__all__ = ["SECRET", "masked", "shown"]

_WORDS = "token|secret|passw|pwd|auth|sig|credential"
SECRET = re.compile(f"{_WORDS}|key", re.IGNORECASE)
"""A name with one of these words in it belongs to a secret."""
# In running text a `key` alone is rarely a secret: "write KEY=VALUE".
_ASSIGNED = re.compile(rf"((?:\w*(?:{_WORDS})\w*|\w+key\w*)=)[^\s&'\",;)]+", re.IGNORECASE)
_REST = re.compile(r"([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)


def shown(url: str) -> str:
    """Return the URL without user and password, and with `...` for the values of secret options."""
    # Split by hand: urlsplit of newer Pythons refuses several hosts of which one is in brackets.
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    netloc, path, query, fragment = _REST.fullmatch(rest).groups(default="")  # type: ignore[union-attr] # it matches anything
    host = netloc.rpartition("@")[2]
    if host.count("[") != host.count("]"):
        return f"{scheme}{separator}..."
    if ":" in host and "@" in path:
        # A password with a slash in it: the parts that look like host and path are wrong.
        host, slash, path = path.rpartition("@")[2].partition("/")
        path = slash + path
    return f"{scheme}{separator}{host}{path}{_hidden(query)}{_hidden(fragment)}"


def masked(text: str) -> str:
    """Return the text with `...` for each value in `name=value` whose name stands for a secret."""
    return _ASSIGNED.sub(r"\1...", text)


def _hidden(options: str) -> str:
    """Hide the secret values in `?a=1&b=2`, or in the same after a `#`."""
    if not SECRET.search(options):
        return options
    return options[:1] + "&".join(
        f"{quote(name)}={'...' if SECRET.search(name) else quote(value)}"
        for name, value in parse_qsl(options[1:], keep_blank_values=True)
    )
