"""Eureka's registry: the settings, the reader of applications, and the writer of leases.

Tested against recorded answers, not a real server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from trimtab.errors import (
    ConfigurationError,
    NotRegisteredError,
    RegistryRequestError,
    RegistryUnavailableError,
)
from trimtab.hiding import shown
from trimtab.registries.asking import Answer, refusal
from trimtab.registries.entries import Complaints
from trimtab.registries.eureka.entries import (
    read_application,
    read_names,
    registration,
    status_word,
)
from trimtab.registries.members import Members, MemberSettings, read_members
from trimtab.registries.protocol import ComposedRegistry, Listing
from trimtab.registries.urls import TLS_OPTIONS, digest, duration_s, split_options

if TYPE_CHECKING:
    from random import Random

    from trimtab.instance import Instance

__all__ = ["EurekaReader", "EurekaSettings", "EurekaWriter", "make"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EurekaSettings(MemberSettings):
    """How Eureka is asked; see `MemberSettings`.

    Attributes:
        prefer_ip: call instances by `ipAddr` rather than by `hostName`.
    """

    prefer_ip: bool = False

    @classmethod
    def from_url(cls, url: str) -> EurekaSettings:
        """Read `eureka://[user:password@]host:port,host:port/path` or `eureka+https://`.

        Raises:
            ConfigurationError: the URL or one of its options is wrong.
        """
        base, options = split_options(url, known=("address", "timeout", *TLS_OPTIONS))
        address = options.get("address", ["name"])[0]
        if address not in {"ip", "name"}:
            raise ConfigurationError(
                f"registry URL {shown(url)!r}: address={address!r} must be ip or name"
            )
        return cls(
            **read_members(base, options, kind="eureka", port=8761, path="/eureka"),
            timeout_s=duration_s(url, options, "timeout", 10.0),
            prefer_ip=address == "ip",
        )


def make(settings: EurekaSettings, *, rng: Random | None = None) -> ComposedRegistry:
    """Make the registry; `rng` chooses the member to begin with."""
    members = Members(settings, rng=rng)
    return ComposedRegistry(
        settings, EurekaReader(settings, members), writer=EurekaWriter(settings, members)
    )


class EurekaReader:
    """Asks Eureka for the instances of applications.

    The name of a service is that of an application. Eureka knows these names in upper case only;
    they are given in lower case here.

    Args:
        settings: see `EurekaSettings`.
        members: the servers to ask.
    """

    def __init__(self, settings: EurekaSettings, members: Members) -> None:
        self.url, self._members = settings.url, members
        self._prefer_ip, self._login = settings.prefer_ip, _login(settings)
        self._has_answered = False
        self._complaints = Complaints()

    async def fetch(self, service: str) -> Listing:
        """Ask for the whole list; an unknown application is empty.

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

    async def aclose(self) -> None:
        """Close the connections."""
        await self._members.aclose()

    async def _ask(self, method: str, path: str, **options: object) -> Answer:
        return await self._members.ask(method, path, auth=self._login, **options)

    async def _check_path(self) -> None:
        """Tell an unknown application from a wrong path: Eureka answers 404 to both.

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


class EurekaWriter:
    """Registers instances with a lease. A lease that lapses is not critical but gone, later.

    Args:
        settings: see `EurekaSettings`.
        members: the servers to ask.
    """

    def __init__(self, settings: EurekaSettings, members: Members) -> None:
        self.url, self._members, self._login = settings.url, members, _login(settings)

    async def register(self, service: str, instance: Instance, *, ttl_s: float) -> None:
        """Register with a lease of `ttl_s`, rounded up to whole seconds."""
        body = registration(service, instance, ttl_s=ttl_s)
        answer = await self._ask("POST", _application(service), json=body)
        if not httpx.codes.is_success(answer.status):
            raise _refusal(f"{self.url}: register {service} {instance.id!r}", answer)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease.

        Raises:
            NotRegisteredError: there is no lease (any more).
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

    async def _ask(self, method: str, path: str, **options: object) -> Answer:
        return await self._members.ask(method, path, auth=self._login, **options)


def _login(settings: EurekaSettings) -> httpx.BasicAuth | None:
    return httpx.BasicAuth(*settings.login) if settings.login else None


def _application(service: str) -> str:
    return f"/apps/{quote(service.upper(), safe='')}"


def _registered(service: str, instance: Instance) -> str:
    return f"{_application(service)}/{quote(instance.id, safe='')}"


def _refusal(place: str, answer: Answer) -> Exception:
    if answer.status == httpx.codes.FORBIDDEN and not answer.body:
        # A member that has just started and does not know the others yet answers so.
        return RegistryUnavailableError(
            f"{place}: HTTP 403: the server has just started, or forbids the question"
        )
    return refusal(place, answer)
