"""Whether an empty answer is true, or the token may not see the instances.

Consul hides what a token may not read, and answers 200 with an empty list; only versions from
1.11 say so in a header. So before an empty list is believed, the agent is asked what the token may
read, by the question of Consul's own web page. Source: Consul 1.8.7, where
`/v1/internal/acl/authorize` answers for any token, and 401 where access control is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import msgspec

from trimtab.errors import RegistryDeniedError
from trimtab.registries.asking import parse_json, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.registries.asking import Answer
    from trimtab.registries.consul.agent import Agent

__all__ = ["check_catalog", "check_sight"]

# No node has this name: a token that may read it may read all nodes without a rule of their own.
_ANY_NODE = "trimtab-asks-about-any-node"
_CANNOT_TELL = (None, None)
_TROUBLE = (httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS)


class _Verdict(msgspec.Struct, rename="pascal"):
    allow: bool


async def check_sight(
    agent: Agent, service: str, params: Sequence[tuple[str, str]], *, timeout_s: float
) -> None:
    """Make sure that a list without instances is not one whose instances are hidden.

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
    """Make sure that a catalog without services is not one whose services are hidden.

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
    return _read(answer)


def _read(answer: Answer) -> tuple[bool | None, bool | None]:
    # 401 where access control is off; 404 or 405 of old versions and of what imitates Consul.
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
