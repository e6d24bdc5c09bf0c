"""Keep what a question carries in confidence out of logs and messages.

httpx writes the URL of every request to its log, and servers like to repeat in an error page
what they were asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx

from trimtab.registries.options import SECRET, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["confided", "without"]

_SHORTEST = 4
"""Shorter ones would tear words apart, and are no secrets."""


def confided(url: httpx.URL) -> tuple[str, dict[str, Any]]:
    """Give the URL as it may be logged, and the options of httpx that send the real one."""
    if shown(str(url)) == str(url):
        return str(url), {}
    options: dict[str, Any] = {"extensions": {"target": url.raw_path}}
    if url.userinfo:
        options["auth"] = httpx.BasicAuth(url.username, url.password)
    return shown(str(url)), options


def without(text: str, request: httpx.Request) -> str:
    """Give the text without what the request carried in confidence."""
    for secret in sorted(_secrets(request), key=len, reverse=True):
        text = text.replace(secret, "...")
    return text


def _secrets(request: httpx.Request) -> Iterator[str]:
    target = request.extensions.get("target", request.url.raw_path).decode("ascii", "replace")
    sent = list(request.headers.multi_items())
    for pair in target.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        sent += [(name, value), (name, unquote(value))]
    for name, value in sent:
        if SECRET.search(name):
            # A scheme before it, `Bearer` say, is none.
            yield from (part for part in (value, *value.split()[1:]) if len(part) >= _SHORTEST)
