"""Senders: a webhook, a service that apprise knows, or a callable of the user.

The URL of a sender is a secret (it holds passwords, tokens, paths that are tokens), so messages
show only its scheme.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from trimtab.alerts.digest import Alert
from trimtab.errors import ConfigurationError, TrimtabError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Sender", "SendingError", "name_of", "sender_of"]

Sender = Callable[[Alert], Awaitable[None] | None]
"""Sends a message. It may be a coroutine function; any other function runs on the loop and must not
block. If it raises, it is called again a little later, a few times, and then logged."""

_TIMEOUT = {"timeout": httpx.Timeout(10.0).as_dict()}
_TYPES = {"fault": "failure", "recovery": "success", "notice": "warning"}


class SendingError(TrimtabError):
    """A message could not be sent; the text holds no secret."""


def sender_of(url: str) -> Sender:
    """Return the sender that a URL names: one of apprise's, or a plain webhook.

    apprise (the extra `alerts`) knows `mailto://`, `slack://`, `tgram://` and a hundred others, and
    the `https://` addresses of chats' webhooks. Any other `http(s)://` URL gets the message as
    JSON: service, kind, title, lines, events.

    Raises:
        ConfigurationError: there is no such sender, or apprise is missing.
    """
    # A text that is not a URL may be a bare token.
    scheme = url.partition("://")[0].lower() if "://" in url else "..."
    is_web = scheme in {"http", "https"}
    apprise = _apprise()
    if apprise is not None and (known := _known_to(apprise, url)) is not None:
        return _ByApprise(scheme, apprise, known)
    if is_web and _is_url(url):
        return _ByWebhook(scheme, url)
    if apprise is None:
        raise ConfigurationError(
            f"alerts by {scheme}:// need apprise; install the extra: pip install 'trimtab[alerts]'"
        )
    raise ConfigurationError(
        f"alerts by {scheme}://...: apprise cannot read this URL; write it as "
        "https://github.com/caronc/apprise/wiki says, such as mailto://user:password@example.com"
    )


def name_of(sender: Sender) -> str:
    """Return the name of a sender for messages."""
    name = getattr(sender, "name", None) or getattr(sender, "__qualname__", None)
    return str(name or type(sender).__name__)


class _ByWebhook:
    def __init__(self, scheme: str, url: str) -> None:
        self.name = f"webhook {scheme}://..."
        self._url = url

    async def __call__(self, alert: Alert) -> None:
        message = {
            "service": alert.service,
            "kind": alert.kind,
            "title": alert.title,
            "lines": list(alert.lines),
            "events": alert.events,
        }
        # With a transport, because a client would write the URL into its log.
        request = httpx.Request("POST", self._url, json=message, extensions=_TIMEOUT)
        try:
            async with httpx.AsyncHTTPTransport() as transport:
                response = await transport.handle_async_request(request)
                await response.aclose()
        except httpx.HTTPError as error:
            raise SendingError(f"{type(error).__name__}: {error}") from None
        if not response.is_success:
            raise SendingError(f"it answered {response.status_code} {response.reason_phrase}")


class _ByApprise:
    def __init__(self, scheme: str, apprise: ModuleType, plugin: Any) -> None:
        self.name = f"{plugin.service_name} ({scheme}://...)"
        self._apprise = apprise.Apprise()
        self._apprise.add(plugin)

    async def __call__(self, alert: Alert) -> None:
        sent = await self._apprise.async_notify(
            title=alert.title, body=alert.body, notify_type=_TYPES[alert.kind], body_format="text"
        )
        if not sent:
            raise SendingError("apprise could not; see its log (logger 'apprise') for the reason")


def _apprise() -> ModuleType | None:
    """Import apprise only when a sender needs it, because that is slow."""
    try:
        return importlib.import_module("apprise")
    except ImportError:
        return None


def _known_to(apprise: ModuleType, url: str) -> Any:
    log = logging.getLogger("apprise")
    was_disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            # It loads its plugins now; one of them uses what Python 3.13 removed.
            warnings.simplefilter("ignore", DeprecationWarning)
            return apprise.Apprise.instantiate(url)
    finally:
        # It would log URLs that it cannot read, with their secrets.
        log.disabled = was_disabled


def _is_url(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname and httpx.URL(url).host)
    except (ValueError, httpx.InvalidURL):
        return False
