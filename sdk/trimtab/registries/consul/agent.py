"""One Consul agent, asked over HTTP: its headers (the index, for one), refusals, and rights.

Consul hides what a token may not read, and answers 200 with an empty list; only versions from
1.11 say so in a header. So before an empty list is believed, the agent is asked what the token may
read, by the question of Consul's own web page (`check_sight`). Source: Consul 1.8.7, where
`/v1/internal/acl/authorize` answers for any token, and 401 where access control is off.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import httpx
import msgspec

from trimtab.errors import RegistryDeniedError, RegistryRequestError, RegistryUnavailableError
from trimtab.registries.asking import Answer, parse_json, refusal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from trimtab.registries.asking import Asker
    from trimtab.registries.consul.settings import ConsulSettings

__all__ = [
    "Agent",
    "check_age",
    "check_catalog",
    "check_sight",
    "hidden_by_acl",
    "index_of",
    "is_mistaken",
    "is_unknown",
    "read_refusal",
    "write_refusal",
]

# A thousand services begin at once, and Consul permits 200 connections per client address.
_AT_A_TIME = 16
_CUT = (httpx.RemoteProtocolError, httpx.ReadError)

# Consul answers these mistakes of the question with 500, as if they were its own failures.
_MISTAKES = (
    "no path to datacenter",
    "boolean expression",
    "invalid filter",
    "prepared query template",
    "scripts are disabled",
)
_UNKNOWN = ("does not have associated ttl", "unknown check", "unknown service")
_SCRIPTS_OFF = "scripts are disabled"
_LONGEST_NUMBER = 20  # The digits of the largest index that 64 bits hold.
# No node has this name: a token that may read it may read all nodes without a rule of their own.
_ANY_NODE = "trimtab-asks-about-any-node"
_CANNOT_TELL = (None, None)
_TROUBLE = (httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS)


class Agent:
    """One agent or server of a Consul cluster.

    Args:
        settings: how it is asked.
        base: the beginning of its HTTP URLs.
        context: for TLS; False for plain HTTP.
    """

    def __init__(
        self,
        settings: ConsulSettings,
        base: str,
        context: ssl.SSLContext | bool,  # noqa: FBT001 - as httpx has it
    ) -> None:
        self.url, self._base = settings.name_of(base), base
        headers = {"X-Consul-Token": settings.token} if settings.token else {}
        # Two, since httpcore checks every connection of a pool at every question: where many
        # questions are held, those beyond the first few are held by the second.
        self._few, self._many = (settings.asker(self.url, context, headers) for _ in range(2))
        self._open = 0
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            WeakKeyDictionary()
        )

    async def read(
        self,
        path: str,
        params: Sequence[tuple[str, str]],
        *,
        timeout_s: float,
        is_stale: bool = False,
        is_held: bool = False,
    ) -> Answer:
        """Ask, and return an answer of 200 only: errors carry index 1, which means nothing.

        Args:
            path: of the URL, quoted.
            params: of the URL.
            timeout_s: the bound on each try.
            is_stale: ask a second time at once after a 500: the agent may still hold a connection
                to a dead server, and the next try takes another.
            is_held: Consul may hold the question; others take turns, a few at a time.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        asker = self._many if is_held and self._open >= _AT_A_TIME else self._few
        ask = partial(self._ask, asker, "GET", path, params=list(params), timeout_s=timeout_s)
        async with nullcontext() if is_held else self.turn():
            answer = await ask()
            if is_stale and _is_trouble(answer):
                answer = await ask()
        if answer.status == httpx.codes.OK:
            return answer
        raise read_refusal(self.url, answer)

    async def ask(self, method: str, path: str, *, timeout_s: float, **options: Any) -> Answer:
        """Ask once, and return the answer whatever its status.

        Raises:
            RegistryUnavailableError: no answer came; see `Asker.ask`, also for the rest.
        """
        return await self._ask(self._few, method, path, timeout_s=timeout_s, **options)

    async def _ask(self, asker: Asker, method: str, path: str, **options: Any) -> Answer:
        self._open += 1
        try:
            return await asker.ask(method, self._base + path, **options)
        except RegistryUnavailableError as error:
            if self._open > 1 and isinstance(error.__cause__, _CUT):
                raise RegistryUnavailableError(
                    f"{error} (if the agent runs: it cuts connections beyond "
                    "http_max_conns_per_client, 200 per address by default; this registry has "
                    f"{self._open} questions open; raise that limit, or lower watches=)"
                ) from error.__cause__
            raise
        finally:
            self._open -= 1

    async def aclose(self) -> None:
        """Close the connections."""
        await self._few.aclose()
        await self._many.aclose()

    def turn(self) -> asyncio.Semaphore:
        """Return the bound on questions that Consul answers at once: a few at a time."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_A_TIME))


def _is_trouble(answer: Answer) -> bool:
    return answer.status == httpx.codes.INTERNAL_SERVER_ERROR and not is_mistaken(answer)


def index_of(answer: Answer) -> int | None:
    """Return the index of an answer of 200; None if a proxy has dropped the header."""
    return _number(answer, "x-consul-index")


def check_age(place: str, answer: Answer, *, max_stale_s: float) -> None:
    """Refuse an answer of a server that has lost its leader for too long.

    Raises:
        RegistryUnavailableError: it has.
    """
    contact_ms = _number(answer, "x-consul-lastcontact")
    age_s = 0.0 if contact_ms is None else contact_ms / 1000
    if contact_ms is None and answer.headers.get("x-consul-knownleader") == "false":
        age_s = math.inf
    if age_s > max_stale_s:
        raise RegistryUnavailableError(
            f"{place}: the server has had no contact with a leader for {age_s:g} s "
            f"(max_stale_s is {max_stale_s:g})"
        )


def hidden_by_acl(place: str, answer: Answer, *, is_empty: bool) -> tuple[str, ...]:
    """Return a complaint if the token hides instances, which Consul 1.11 and later report.

    Raises:
        RegistryDeniedError: it hides all of them; the list is not known to be empty.
    """
    if answer.headers.get("x-consul-results-filtered-by-acls") != "true":
        return ()
    message = f"{place}: the token may not see all instances; give it service:read and node:read"
    if is_empty:
        raise RegistryDeniedError(message)
    return (message,)


def is_mistaken(answer: Answer) -> bool:
    """Tell whether a 500 is about the question: repeating it will not help."""
    detail = answer.detail.lower()
    return any(words in detail for words in _MISTAKES)


def is_unknown(answer: Answer) -> bool:
    """Tell whether the agent does not know the check or service: old versions answer 500."""
    if answer.status == httpx.codes.NOT_FOUND:
        return True
    detail = answer.detail.lower()
    return answer.status == httpx.codes.INTERNAL_SERVER_ERROR and any(
        words in detail for words in _UNKNOWN
    )


def read_refusal(place: str, answer: Answer) -> Exception:
    """Make the error for a refused reading."""
    if is_mistaken(answer):
        return RegistryRequestError(f"{place}: HTTP {answer.status}: {answer.detail}")
    return refusal(place, answer)


def write_refusal(place: str, service: str, answer: Answer) -> Exception:
    """Make the error for a refused registration, heartbeat or deregistration."""
    detail = answer.detail.lower()
    if _SCRIPTS_OFF in detail:
        return RegistryRequestError(
            f"{place}: HTTP {answer.status}: {answer.detail} "
            "(enable_local_script_checks does not do for checks that are registered over HTTP)"
        )
    if answer.status == httpx.codes.FORBIDDEN and "not found" not in detail:
        return RegistryDeniedError(
            f"{place}: HTTP 403: {answer.detail}; give the token service:write on {service!r}"
        )
    return read_refusal(place, answer)


def _number(answer: Answer, name: str) -> int | None:
    text = answer.headers.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else None


class _Verdict(msgspec.Struct, rename="pascal"):
    allow: bool


async def check_sight(
    agent: Agent, service: str, params: Sequence[tuple[str, str]], *, timeout_s: float
) -> None:
    """Check that an empty list does not hide instances.

    Costs one question where the token may read all nodes or access control is off, else three.

    Args:
        agent: the one that gave the empty list.
        service: the service of the list.
        params: datacenter and consistency; not what narrows the list.
        timeout_s: the bound on each question.

    Raises:
        RegistryDeniedError: they are hidden; it names the right that the token lacks.
        RegistryUnavailableError: the rights are not known now.
    """
    sees_service, sees_nodes = await _verdicts(agent, service, params, timeout_s)
    if sees_service is False:
        raise RegistryDeniedError(
            f"{agent.url}: {service!r}: the list is empty, and the token may not see this "
            f"service; give it service:read on {service!r}, and node:read"
        )
    if sees_nodes is False and await _is_hidden(agent, service, params, timeout_s):
        raise RegistryDeniedError(
            f"{agent.url}: {service!r}: the list is empty, yet the catalog names the service: "
            "the token may not see its nodes; give it node:read"
        )


async def check_catalog(
    agent: Agent, params: Sequence[tuple[str, str]], *, timeout_s: float
) -> None:
    """Check that an empty catalog does not hide services.

    Raises:
        RegistryDeniedError: the token may not see even the servers' own, which is always there.
        RegistryUnavailableError: the rights are not known now.
    """
    sees_consul, _ = await _verdicts(agent, "consul", params, timeout_s)
    if sees_consul is False:
        raise RegistryDeniedError(
            f"{agent.url}: no service is listed, and the token may not see even Consul's own; "
            "give it service:read"
        )


async def _verdicts(
    agent: Agent, service: str, params: Sequence[tuple[str, str]], timeout_s: float
) -> tuple[bool | None, bool | None]:
    """Ask whether the token may read the service, and any node; None means unknown."""
    wanted = [
        {"Resource": "service", "Access": "read", "Segment": service},
        {"Resource": "node", "Access": "read", "Segment": _ANY_NODE},
    ]
    only_dc = [(name, value) for name, value in params if name == "dc"]
    path = "/v1/internal/acl/authorize"
    async with agent.turn():
        answer = await agent.ask("POST", path, params=only_dc, json=wanted, timeout_s=timeout_s)
    if answer.status in _TROUBLE or answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise refusal(f"{agent.url}: {service!r}: the token's rights", answer)
    return _read_verdicts(answer)


def _read_verdicts(answer: Answer) -> tuple[bool | None, bool | None]:
    # 401 where access control is off; 404 or 405 from old versions, and from imitations of Consul.
    if answer.status != httpx.codes.OK:
        return _CANNOT_TELL
    try:
        first, second = msgspec.json.decode(answer.body, type=list[_Verdict])
    except (msgspec.DecodeError, ValueError):
        return _CANNOT_TELL
    return first.allow, second.allow


async def _is_hidden(
    agent: Agent, service: str, params: Sequence[tuple[str, str]], timeout_s: float
) -> bool:
    """Tell whether the catalog names a service of which not one instance can be seen.

    The catalog's names ask for service:read alone. The list was empty before, and is read again
    after it, not narrowed: so a service that comes or goes just now is not taken for a hidden one.
    """
    answer = await agent.read("/v1/catalog/services", params, timeout_s=timeout_s)
    names = parse_json(agent.url, answer.body, dict[str, msgspec.Raw])
    if service not in names:
        return False
    path = f"/v1/health/service/{quote(service, safe='')}"
    answer = await agent.read(path, params, timeout_s=timeout_s)
    return not parse_json(agent.url, answer.body, list[msgspec.Raw])
