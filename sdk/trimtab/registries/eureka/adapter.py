"""The Eureka adapter: an application's instances, and registration with a lease.

Tested against recorded answers, not a real server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from trimtab.errors import NotRegisteredError, RegistryRequestError, RegistryUnavailableError
from trimtab.registries.asking import Answer, refusal
from trimtab.registries.entries import Complaints
from trimtab.registries.eureka.entries import (
    read_application,
    read_names,
    registration,
    status_word,
)
from trimtab.registries.members import Members, place_of
from trimtab.registries.options import digest
from trimtab.registries.protocol import Listing

if TYPE_CHECKING:
    from random import Random

    from trimtab.instance import Instance

__all__ = ["EurekaRegistry"]

_PORT = 8761
_PATH = "/eureka"


class EurekaRegistry:
    """Ask Eureka for the instances of applications, and register there.

    Names of services are those of applications, which Eureka knows in upper case only; they are
    given in lower case here. A lease that lapses is not critical but gone, some time after.

    Args:
        url: `eureka://[user:password@]host:port,host:port/path` or `eureka+https://`, which takes
            the options `ca`, `cert`, `key` (files) and `verify`.
        prefer_ip: call instances by `ipAddr` rather than by `hostName`.
        timeout_s: bound on each question, above 0.
        max_bytes: the largest answer that is read.
        transport: used instead of the network, in tests and simulations.
        rng: the source of chance for the member to begin with.

    Raises:
        ConfigurationError: the URL or a setting is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        prefer_ip: bool = False,
        timeout_s: float = 10.0,
        max_bytes: int = 64 * 2**20,
        transport: httpx.AsyncBaseTransport | None = None,
        rng: Random | None = None,
    ) -> None:
        place = place_of(url, kind="eureka", port=_PORT, path=_PATH)
        self.url = place.url
        self.key = f"eureka {place.url} {digest(place.mark, prefer_ip, timeout_s, transport)}"
        self._prefer_ip = prefer_ip
        self._login = httpx.BasicAuth(*place.login) if place.login else None
        self._members = Members(
            place,
            headers={},
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            transport=transport,
            rng=rng,
        )
        self._has_answered = False
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; an application that is not there is empty.

        Eureka forgets an application with its last instance.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        place = f"{self.url}: {service!r}"
        answer = await self._ask("GET", _application(service))
        if answer.status == httpx.codes.NOT_FOUND:
            await self._check_path()
            return Listing(instances=(), version=digest(()))
        if answer.status != httpx.codes.OK:
            raise _refusal(place, answer)
        self._has_answered = True
        instances, skipped = read_application(place, answer.body, prefer_ip=self._prefer_ip)
        self._complaints.about(service, skipped)
        return Listing(instances=instances, version=digest(instances), skipped=skipped)

    async def services(self) -> list[str]:
        """Name the applications, in lower case. Eureka sends its whole contents for that."""
        answer = await self._ask("GET", "/apps")
        if answer.status != httpx.codes.OK:
            raise _refusal(self.url, answer)
        return read_names(self.url, answer.body)

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Register with a lease of `ttl_s`, rounded up to whole seconds."""
        body = registration(service, instance, ttl_s=ttl_s)
        answer = await self._ask("POST", _application(service), json=body)
        if not httpx.codes.is_success(answer.status):
            raise _refusal(f"{self.url}: register {service} {instance.id!r}", answer)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease.

        Raises:
            NotRegisteredError: there is none (any more).
        """
        params = {"status": status_word(instance)}
        answer = await self._ask("PUT", _registered(service, instance), params=params)
        place = f"{self.url}: heartbeat of {service} {instance.id!r}"
        if answer.status == httpx.codes.NOT_FOUND:
            raise NotRegisteredError(f"{place}: no such registration")
        if answer.status != httpx.codes.OK:
            raise _refusal(place, answer)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Cancel the registration, if it is there."""
        answer = await self._ask("DELETE", _registered(service, instance))
        if answer.status not in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            raise _refusal(f"{self.url}: deregister {service} {instance.id!r}", answer)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._members.aclose()

    async def _ask(self, method: str, path: str, **options: object) -> Answer:
        return await self._members.ask(method, path, auth=self._login, **options)

    async def _check_path(self) -> None:
        """Tell an application that is not there from a path that is wrong: both are 404.

        Raises:
            RegistryRequestError: the path is wrong.
        """
        if self._has_answered:
            return
        answer = await self._ask("HEAD", "/apps")
        if answer.status == httpx.codes.NOT_FOUND:
            raise RegistryRequestError(
                f"{self.url}: no Eureka at this path; Spring Cloud's is /eureka, Netflix's own "
                "/eureka/v2"
            )
        self._has_answered = True


def _application(service: str) -> str:
    return f"/apps/{quote(service.upper(), safe='')}"


def _registered(service: str, instance: Instance) -> str:
    return f"{_application(service)}/{quote(instance.id, safe='')}"


def _refusal(place: str, answer: Answer) -> Exception:
    if answer.status == httpx.codes.FORBIDDEN and not answer.body:
        # A member that has just started, and has not heard the others, says this.
        return RegistryUnavailableError(f"{place}: HTTP 403: it knows nothing yet, or forbids it")
    return refusal(place, answer)
