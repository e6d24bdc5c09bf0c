"""Kubernetes asked for lists. Tested against recorded answers, not a real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

from trimtab.errors import ConfigurationError, RegistryAnswerError, RegistryRequestError
from trimtab.registries.asking import Asker, parse_json, refusal
from trimtab.registries.entries import Complaints
from trimtab.registries.kubernetes.reading import View
from trimtab.registries.kubernetes.urls import place_of
from trimtab.registries.kubernetes.wire import Objects, SliceList, read_name
from trimtab.registries.options import digest

if TYPE_CHECKING:
    import msgspec

    from trimtab.registries.protocol import Listing

__all__ = ["KubernetesPolledRegistry"]

_LABEL = "kubernetes.io/service-name"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_METADATA_ALONE = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


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
        found: Objects = parse_json(self.url, answer.body, Objects)
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
        found: SliceList = parse_json(place, answer.body, SliceList)
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


def _name_or_number(raw: msgspec.Raw, number: int) -> str:
    """Name a slice of a list; one without a readable name will be left out under its number."""
    try:
        return read_name(raw)
    except RegistryAnswerError:
        return f"#{number}"
