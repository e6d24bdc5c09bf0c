"""Keep secrets out of messages and logs: the one pattern of names that stand for a secret.

`shown` is for URLs, `masked` for lines of text.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

__all__ = ["SECRET", "masked", "shown"]

_WORDS = "token|secret|passw|pwd|auth|sig|credential"
SECRET = re.compile(f"{_WORDS}|key", re.IGNORECASE)
"""A name with one of these words in it belongs to a secret."""
# In running text a `key` alone is rarely a secret: "write KEY=VALUE".
_ASSIGNED = re.compile(rf"((?:\w*(?:{_WORDS})\w*|\w+key\w*)=)[^\s&'\",;)]+", re.IGNORECASE)


def shown(url: str) -> str:
    """Return the URL without user and password, and with `...` for the values of secret options."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://..."
    host, path = parts.netloc.rpartition("@")[2], parts.path
    if ":" in host and "@" in path:
        # A password with a slash in it: the parts that look like host and path are wrong.
        host, slash, path = path.rpartition("@")[2].partition("/")
        path = slash + path
    query, fragment = _hidden(parts.query), _hidden(parts.fragment)
    rest = urlunsplit(("", "", path, query, fragment))
    # Joined by hand: urlunsplit drops the slashes of an empty host if it does not know the scheme.
    return f"{parts.scheme}://{host}{rest}" if "://" in url else rest


def masked(text: str) -> str:
    """Return the text with `...` for each value in `name=value` whose name stands for a secret."""
    return _ASSIGNED.sub(r"\1...", text)


def _hidden(query: str) -> str:
    if not SECRET.search(query):
        return query
    return "&".join(
        f"{quote(name)}={'...' if SECRET.search(name) else quote(value)}"
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
