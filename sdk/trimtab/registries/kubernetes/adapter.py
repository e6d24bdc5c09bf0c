"""The Kubernetes adapter: EndpointSlices, listed and watched. Tested against recorded answers.

Source: kubernetes.io/docs, "Kubernetes API Concepts" (watches, bookmarks, 410 Gone).
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING

import httpx
import msgspec

from trimtab.errors import (
    ConfigurationError,
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.asking import Answer, Asker, parse_json, refusal
from trimtab.registries.entries import Complaints
from trimtab.registries.kubernetes.reading import Meta, View, read_name
from trimtab.registries.kubernetes.urls import place_of
from trimtab.registries.options import digest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from trimtab.registries.protocol import Listing

__all__ = ["KubernetesPolledRegistry", "KubernetesRegistry"]

_LABEL = "kubernetes.io/service-name"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_SPREAD_RATIO = 0.2
_GRACE_S = 10.0
_LEAST_WATCH_S = 1.0


class _List(msgspec.Struct):
    items: list[msgspec.Raw]
    metadata: Meta


class _Object(msgspec.Struct):
    metadata: Meta


class _Objects(msgspec.Struct):
    items: list[_Object]


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Trouble(msgspec.Struct):
    code: int = 0


class KubernetesPolledRegistry:
    """Ask the API server for lists without watching; see `KubernetesRegistry`.

    Kubernetes knows no weights. A pod that is not ready is critical, one that terminates drains.
    Nothing is registered here: that is the business of Services and their selectors.

    Args:
        url: `kubernetes://host:port/namespace`, with the options for rights and TLS.
        port: a port's name or number; may be left out where a service has but one.
        timeout_s: bound on a question that is no watch, above 0.
        max_bytes: the largest answer that is read, and the largest event of a watch.
        transport: used instead of the network, in tests and simulations.

    Raises:
        ConfigurationError: the URL or a setting is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        port: str | None = None,
        timeout_s: float = 10.0,
        max_bytes: int = 64 * 2**20,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._place = place_of(url)
        self.url = self._place.url + (f"?port={port}" if port else "")
        if not timeout_s > 0:
            raise ConfigurationError(f"{self.url}: timeout_s is {timeout_s!r}; it must be above 0")
        mark = digest(self._place.mark, self._place.base, timeout_s, transport)
        self.key = f"{type(self).__name__} {self.url} {mark}"
        self._port, self._timeout_s = port, timeout_s
        self._asker = Asker(
            self.url,
            headers={"Accept": "application/json"},
            verify=self._place.verify,
            max_bytes=max_bytes,
            transport=transport,
        )
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service that does not exist is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        view, _ = await self._listed(service)
        return self._listing(service, view)

    async def services(self) -> list[str]:
        """Name the services of the namespace that have slices."""
        url = self._slices_url(self._place.namespace)
        headers = {**self._place.headers(), "Accept": _METADATA_ALONE}
        answer = await self._asker.ask("GET", url, timeout_s=self._timeout_s, headers=headers)
        if answer.status != httpx.codes.OK:
            raise refusal(self.url, answer)
        found: _Objects = parse_json(self.url, answer.body, _Objects)
        labels = (each.metadata.labels or {} for each in found.items)
        return sorted({each[_LABEL] for each in labels if _LABEL in each})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()

    async def _listed(self, service: str) -> tuple[View, str]:
        """Ask for all slices of a service; give them, and from where on to watch."""
        place = f"{self.url}: {service!r}"
        url, params = self._question(service)
        answer = await self._asker.ask(
            "GET", url, timeout_s=self._timeout_s, params=params, headers=self._place.headers()
        )
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)
        found: _List = parse_json(place, answer.body, _List)
        view = View(place, self._port)
        for number, raw in enumerate(found.items):
            view.put(raw, _name_or_number(raw, number))
        return view, found.metadata.resource_version

    def _listing(self, service: str, view: View) -> Listing:
        listing = view.listing()
        self._complaints.about(service, listing.skipped)
        return listing

    def _question(self, service: str) -> tuple[str, dict[str, str]]:
        """Give the URL and the parameters that ask for a service's slices.

        Raises:
            RegistryRequestError: the name is no service's: it would ask for something else.
        """
        name, _, rest = service.partition(".")
        namespace = rest.partition(".")[0] or self._place.namespace
        if not (_NAME.fullmatch(name) and _NAME.fullmatch(namespace)):
            raise RegistryRequestError(
                f"{self.url}: {service!r} is no service's name: write letters, digits and '-', "
                "or name.namespace"
            )
        return self._slices_url(namespace), {"labelSelector": f"{_LABEL}={name}"}

    def _slices_url(self, namespace: str) -> str:
        base = self._place.base
        return f"{base}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


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

    async def _events(self, service: str, version: str) -> AsyncGenerator[_Event, None]:
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
                    yield parse_json(f"{self.url}: {service!r}", line, _Event)
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{self.url}: {service!r}: the watch has not ended after {wait_s + _GRACE_S:g} s, "
                "as was asked; the connection must be dead"
            ) from None

    def _apply(self, service: str, view: View, event: _Event) -> None:
        match event.type:
            case "ADDED" | "MODIFIED":
                view.put(event.object, read_name(event.object))
            case "DELETED":
                view.remove(read_name(event.object))
            case "ERROR":
                trouble: _Trouble = parse_json(self.url, bytes(event.object), _Trouble)
                body = bytes(event.object)
                raise self._refusal(service, Answer(trouble.code, httpx.Headers(), body))

    def _refusal(self, service: str, answer: Answer) -> Exception:
        place = f"{self.url}: {service!r}"
        if answer.status == httpx.codes.GONE:
            return RegistryCursorLostError(f"{place}: {answer.detail}")
        return refusal(place, answer)


def _name_or_number(raw: msgspec.Raw, number: int) -> str:
    """Name a slice of a list; one without a readable name will be left out under its number."""
    try:
        return read_name(raw)
    except RegistryAnswerError:
        return f"#{number}"
