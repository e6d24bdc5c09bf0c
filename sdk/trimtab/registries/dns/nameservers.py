"""One question to nameservers, by dnspython, with errors of our own."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING

from dns.asyncresolver import Resolver
from dns.exception import DNSException
from dns.name import Name, from_text, root
from dns.nameserver import Do53Nameserver
from dns.resolver import NXDOMAIN, Answer

from trimtab.errors import RegistryRequestError, RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from dns.rdata import Rdata
    from dns.rdatatype import RdataType
    from dns.rrset import RRset

__all__ = ["Asked", "Nameservers", "absolute"]

# Consul cuts UDP answers at the size that the client accepts: 3 of 60 instances at 512 bytes.
_EDNS_PAYLOAD = 4096
_ONE_TRY_S = 2.0
_DETAIL_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """The answer of the nameservers: the records, if any, and how long it holds.

    For a name or type that does not exist, `ttl_s` is that of the zone's SOA for such answers.
    """

    records: tuple[Rdata, ...]
    ttl_s: float
    additional: tuple[RRset, ...] = ()


class Nameservers:
    """Asks nameservers, one after the other until one answers, beginning with the last that did.

    Neither sockets nor answers are kept between two questions: TTLs are obeyed by asking again when
    they are over.

    Args:
        place: how messages name them.
        hosts: names or addresses, with ports; none means those of the system's resolv.conf,
            read again for each question.
        tcp: ask over TCP at once. Answers marked as cut are asked for over TCP anyway.
        timeout_s: how long a question may take with all its repetitions.
        rng: chooses where to begin: a fleet must not crowd on the first.
    """

    def __init__(
        self,
        place: str,
        hosts: Sequence[tuple[str, int]],
        *,
        tcp: bool,
        timeout_s: float,
        rng: Random | None = None,
    ) -> None:
        self._place = place
        start = (rng or Random()).randrange(len(hosts)) if hosts else 0
        self._hosts = [*hosts[start:], *hosts[:start]]
        self._tcp = tcp
        self._timeout_s = timeout_s

    async def ask(self, name: Name, kind: RdataType) -> Asked:
        """Ask for the records of a name, following aliases.

        Raises:
            RegistryUnavailableError: no nameserver answers, or only with SERVFAIL or REFUSED. A
                name that does not exist is no error.
        """
        resolver = await self._resolver()
        try:
            answer = await _not_losing_cancellations(
                resolver.resolve(name, kind, tcp=self._tcp, raise_on_no_answer=False, search=False)
            )
        except NXDOMAIN as error:
            response = error.response(name)  # type: ignore[no-untyped-call]
            return Asked((), response.resolve_chaining().minimum_ttl)
        except (DNSException, OSError) as error:
            what = f"{name.to_text()} {kind.name}"
            detail = f"{type(error).__name__}: {error}"[:_DETAIL_LENGTH]
            raise RegistryUnavailableError(f"{self._place}: {what}: {detail}") from error
        self._begin_with(answer)
        ttl_s = answer.chaining_result.minimum_ttl
        return Asked(tuple(answer), ttl_s, tuple(answer.response.additional))

    async def _resolver(self) -> Resolver:
        try:
            resolver = Resolver(configure=not self._hosts)
        except (DNSException, OSError) as error:
            raise RegistryUnavailableError(
                f"{self._place}: the system names no nameservers: {error}; "
                "name them in the URL: dns+srv://10.0.0.53/..."
            ) from error
        if self._hosts:
            resolver.nameservers = await self._found()
        resolver.lifetime = self._timeout_s
        resolver.timeout = min(_ONE_TRY_S, self._timeout_s / 2)
        resolver.use_edns(0, 0, _EDNS_PAYLOAD)
        return resolver

    async def _found(self) -> list[Do53Nameserver]:
        """Return the nameservers by address; names are looked up by the system."""
        found, missing = [], []
        for host, port in self._hosts:
            try:
                found.append(Do53Nameserver(await _address(host, port), port))
            except OSError as error:
                missing.append(f"{host}: {error}")
        if not found:
            raise RegistryUnavailableError(f"{self._place}: no nameserver: {'; '.join(missing)}")
        return found

    def _begin_with(self, answer: Answer) -> None:
        """Begin the next question with the nameserver of this answer: a dead one costs 2 s."""
        answered = (answer.nameserver, answer.port)
        self._hosts.sort(key=lambda host: host != answered)


async def _not_losing_cancellations(resolved: Awaitable[Answer]) -> Answer:
    """Return an answer, or be cancelled.

    dnspython waits by `asyncio.wait_for`. On Python 3.11 that returns the answer and drops the
    cancellation if both come in the same turn of the loop, so that a watch went on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        return await resolved
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


async def _address(host: str, port: int) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        loop = asyncio.get_running_loop()
        (*_, address), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        return str(address[0])


def absolute(place: str, text: str) -> Name:
    """Read a name as absolute, without search lists.

    Raises:
        RegistryRequestError: it makes no name: a label is empty or too long, for example.
    """
    try:
        return from_text(text, origin=root)
    except (DNSException, UnicodeError) as error:
        raise RegistryRequestError(
            f"{place}: {text!r} makes no DNS name: {type(error).__name__}: {error}"
        ) from None
