"""Kubernetes followed by watches. Tested against recorded answers, not a real server.

Source: kubernetes.io/docs, "Kubernetes API Concepts" (watches, bookmarks, 410 Gone).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING

import httpx

from trimtab.errors import (
    ConfigurationError,
    RegistryCursorLostError,
    RegistryUnavailableError,
)
from trimtab.registries.asking import Answer, parse_json, refusal
from trimtab.registries.kubernetes.polled import KubernetesPolledRegistry
from trimtab.registries.kubernetes.wire import Event, Trouble, read_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from trimtab.registries.kubernetes.reading import View
    from trimtab.registries.protocol import Listing

__all__ = ["KubernetesRegistry"]

_SPREAD_RATIO = 0.2
_GRACE_S = 10.0
_LEAST_WATCH_S = 1.0


class KubernetesRegistry(KubernetesPolledRegistry):
    """List a service's slices and follow their changes.

    Each watch holds one connection to the API server. It lasts for `wait_s`, less up to a fifth
    (clients that start together must not ask together ever after); then the whole list is read
    again, as a safety net.

    Args:
        url: see `KubernetesPolledRegistry`, also for the settings not named here.
        port: a port's name or number.
        wait_s: how long a watch lasts, 1 or more.
        timeout_s: bound on a question that is no watch.
        max_bytes: the largest answer that is read, and the largest event of a watch.
        transport: used instead of the network, in tests and simulations.
        rng: the source of chance for how long a watch lasts.
    """

    def __init__(
        self,
        url: str,
        *,
        port: str | None = None,
        wait_s: float = 300.0,
        timeout_s: float = 10.0,
        max_bytes: int = 64 * 2**20,
        transport: httpx.AsyncBaseTransport | None = None,
        rng: Random | None = None,
    ) -> None:
        super().__init__(
            url, port=port, timeout_s=timeout_s, max_bytes=max_bytes, transport=transport
        )
        if not wait_s >= 1:
            raise ConfigurationError(f"{self.url}: wait_s is {wait_s!r}; it must be 1 or more")
        self._wait_s, self._rng = wait_s, rng or Random()
        self.key += f" {wait_s:g}"

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, after every change, and with every sign of life.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        loop = asyncio.get_running_loop()
        while True:
            view, version = await self._listed(service)
            yield self._listing(service, view)
            began_at = loop.time()
            async with aclosing(self._events(service, version)) as events:
                async for event in events:
                    self._apply(service, view, event)
                    yield self._listing(service, view)
            # Something in between may end every watch at once; that must not be asked in haste.
            await asyncio.sleep(max(0.0, began_at + _LEAST_WATCH_S - loop.time()))

    async def _events(self, service: str, version: str) -> AsyncGenerator[Event, None]:
        """Follow what happens after `version`, until the server ends the watch in good order."""
        url, params = self._question(service)
        wait_s = max(1, round(self._wait_s * (1 - _SPREAD_RATIO * self._rng.random())))
        params |= {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(wait_s),
        }
        lines = self._asker.stream_lines(
            "GET",
            url,
            timeout_s=self._timeout_s,
            silence_s=wait_s + _GRACE_S,
            refused=lambda answer: self._refusal(service, answer),
            params=params,
            headers=self._place.headers(),
        )
        try:
            async with aclosing(lines):
                async for line in lines:
                    yield parse_json(f"{self.url}: {service!r}", line, Event)
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{self.url}: {service!r}: the watch has not ended after {wait_s + _GRACE_S:g} s, "
                "as was asked; the connection must be dead"
            ) from None

    def _apply(self, service: str, view: View, event: Event) -> None:
        match event.type:
            case "ADDED" | "MODIFIED":
                view.put(event.object, read_name(event.object))
            case "DELETED":
                view.remove(read_name(event.object))
            case "ERROR":
                trouble: Trouble = parse_json(self.url, bytes(event.object), Trouble)
                body = bytes(event.object)
                raise self._refusal(service, Answer(trouble.code, httpx.Headers(), body))

    def _refusal(self, service: str, answer: Answer) -> Exception:
        place = f"{self.url}: {service!r}"
        if answer.status == httpx.codes.GONE:
            return RegistryCursorLostError(f"{place}: {answer.detail}")
        return refusal(place, answer)
