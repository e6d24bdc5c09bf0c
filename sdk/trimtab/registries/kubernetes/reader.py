"""Ask the Kubernetes API server for the slices of services, and follow them by watches.

Tested against recorded answers, not a real server.

Source: kubernetes.io/docs, "Kubernetes API Concepts" (watches, bookmarks, 410 Gone).
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.errors import (
    RegistryAnswerError,
    RegistryCursorLostError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.registries.asking import Answer, parse_json, refusal
from trimtab.registries.entries import Complaints
from trimtab.registries.kubernetes.slices import (
    Event,
    Objects,
    SliceList,
    Trouble,
    View,
    read_name,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import msgspec

    from trimtab.registries.asking import Asker
    from trimtab.registries.kubernetes.settings import KubernetesSettings
    from trimtab.registries.protocol import Listing

__all__ = ["KubernetesReader", "KubernetesWatch"]

_LABEL = "kubernetes.io/service-name"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_SPREAD_RATIO = 0.2
_GRACE_S = 10.0
_LEAST_WATCH_S = 1.0


class KubernetesReader:
    """Asks the API server for whole lists.

    Kubernetes has no weights. A pod that is not ready is critical, one that terminates drains.
    Nothing is registered here: that is done by Services and their selectors.

    Args:
        settings: see `KubernetesSettings`.
        asker: asks the API server.
    """

    def __init__(self, settings: KubernetesSettings, asker: Asker) -> None:
        self.url, self._settings, self._asker = settings.url, settings, asker
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; a service that does not exist is empty.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        view, _ = await self.listed(service)
        return self.listing(service, view)

    async def services(self) -> list[str]:
        """Name the services of the namespace that have slices."""
        url = self._slices_url(self._settings.namespace)
        headers = {**self._settings.headers(), "Accept": _METADATA_ALONE}
        answer = await self._asker.ask(
            "GET", url, timeout_s=self._settings.timeout_s, headers=headers
        )
        if answer.status != httpx.codes.OK:
            raise refusal(self.url, answer)
        found: Objects = parse_json(self.url, answer.body, Objects)
        labels = (each.metadata.labels or {} for each in found.items)
        return sorted({each[_LABEL] for each in labels if _LABEL in each})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asker.aclose()

    async def listed(self, service: str) -> tuple[View, str]:
        """Ask for all slices of a service; return them, and the version to watch from."""
        place = f"{self.url}: {service!r}"
        url, params = self.question(service)
        answer = await self._asker.ask(
            "GET",
            url,
            timeout_s=self._settings.timeout_s,
            params=params,
            headers=self._settings.headers(),
        )
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)
        found: SliceList = parse_json(place, answer.body, SliceList)
        view = View(place, self._settings.port)
        for number, raw in enumerate(found.items):
            view.put(raw, _name_or_number(raw, number))
        return view, found.metadata.resource_version

    def listing(self, service: str, view: View) -> Listing:
        """Return the list that a view holds, and log what was skipped."""
        listing = view.listing()
        self._complaints.about(service, listing.skipped)
        return listing

    def question(self, service: str) -> tuple[str, dict[str, str]]:
        """Return the URL and the parameters that ask for a service's slices.

        Raises:
            RegistryRequestError: no service can have the name; it would ask for something else.
        """
        name, _, rest = service.partition(".")
        namespace = rest.partition(".")[0] or self._settings.namespace
        if not (_NAME.fullmatch(name) and _NAME.fullmatch(namespace)):
            raise RegistryRequestError(
                f"{self.url}: {service!r} is no service's name: write letters, digits and '-', "
                "or name.namespace"
            )
        return self._slices_url(namespace), {"labelSelector": f"{_LABEL}={name}"}

    async def _ask(self, url: str, **options: Any) -> Answer:
        return await self._asker.ask("GET", url, timeout_s=self._settings.timeout_s, **options)

    def _slices_url(self, namespace: str) -> str:
        base = self._settings.bases[0]
        return f"{base}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


class KubernetesWatch:
    """Follows the slices of services.

    Each watch holds one connection to the API server. It lasts for `wait_s`, less up to a fifth
    (clients that start together must not ask together ever after); then the whole list is read
    again, as a safety net.

    Args:
        settings: see `KubernetesSettings`.
        asker: asks the API server.
        reader: asks for whole lists.
        rng: spreads the lengths of watches.
    """

    def __init__(
        self,
        settings: KubernetesSettings,
        asker: Asker,
        reader: KubernetesReader,
        *,
        rng: Random | None = None,
    ) -> None:
        self.url, self._settings, self._asker, self._reader = settings.url, settings, asker, reader
        self._rng = rng or Random()

    async def watch(self, service: str) -> AsyncIterator[Listing]:
        """Yield the list at once, after every change, and with every sign of life.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        loop = asyncio.get_running_loop()
        while True:
            view, version = await self._reader.listed(service)
            yield self._reader.listing(service, view)
            began_at = loop.time()
            async with aclosing(self._events(service, version)) as events:
                async for event in events:
                    self._apply(service, view, event)
                    yield self._reader.listing(service, view)
            # A proxy may end every watch at once; the next question must not follow in haste.
            await asyncio.sleep(max(0.0, began_at + _LEAST_WATCH_S - loop.time()))

    async def _events(self, service: str, version: str) -> AsyncGenerator[Event, None]:
        """Follow the changes after `version`, until the server ends the watch in good order."""
        url, params = self._reader.question(service)
        wait_s = max(1, round(self._settings.wait_s * (1 - _SPREAD_RATIO * self._rng.random())))
        params |= {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(wait_s),
        }
        lines = self._asker.stream_lines(
            "GET",
            url,
            timeout_s=self._settings.timeout_s,
            silence_s=wait_s + _GRACE_S,
            refused=lambda answer: self._refusal(service, answer),
            params=params,
            headers=self._settings.headers(),
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


def _name_or_number(raw: msgspec.Raw, number: int) -> str:
    """Name a slice of a list; one without a readable name is left out under its number."""
    try:
        return read_name(raw)
    except RegistryAnswerError:
        return f"#{number}"
