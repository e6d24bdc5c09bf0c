"""Consul without blocking queries: lists on demand, and the writing side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from trimtab.errors import ConfigurationError, NotRegisteredError
from trimtab.registries.consul.checks import reason_against
from trimtab.registries.consul.headers import is_unknown, write_refusal
from trimtab.registries.consul.reader import ConsulReader
from trimtab.registries.consul.writing import check_id, heartbeat_verb, registration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.registries.asking import Answer

__all__ = ["ConsulPolledRegistry"]

_LEAST_DEREGISTER_S = 60.0


class ConsulPolledRegistry(ConsulReader):
    """Ask Consul for lists without blocking, and register at its agent; see `ConsulRegistry`.

    Registering, heartbeats and deregistering go to the first agent that `url` names and to no
    other, also while it is away: a registration belongs to its agent, and at a second agent it
    would be listed twice. Name the agent on the instance's own machine first.

    Args:
        url: see `ConsulReader`, also for the settings not named here.
        deregister_after_s: Consul drops a registration that has been critical for so long; at
            least 60, and it looks every 30 s; None means never.
        scripts: whether the agent runs scripts (`enable_script_checks`); if not, an instance's
            script check is left to its own process.
        settings: those of `ConsulReader`.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        deregister_after_s: float | None = 600.0,
        scripts: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(url, **settings)
        if deregister_after_s is not None and not deregister_after_s >= _LEAST_DEREGISTER_S:
            raise ConfigurationError(
                f"{self.url}: deregister_after_s is {deregister_after_s!r}; Consul waits at least "
                "60; None means never"
            )
        self._deregister_after_s, self._scripts = deregister_after_s, scripts
        self._home = next(iter(self._agents.values()))
        self.key += f" {deregister_after_s} {scripts}"

    def can_check(self, check: Check) -> bool:
        """Say whether the agent carries out such a check."""
        return reason_against(check) is None and (self._scripts or check.kind != "script")

    async def register(
        self, service: str, instance: Instance, *, ttl_s: float, checks: Sequence[Check] = ()
    ) -> None:
        """Register at the agent, with a check that turns critical after `ttl_s`.

        `checks` are run by the agent besides; scripts need `enable_script_checks` there.

        Raises:
            ConfigurationError: Consul cannot run one of the checks.
            RegistryError: see `trimtab.registries.protocol`.
        """
        body = registration(
            service,
            instance,
            ttl_s=ttl_s,
            tags=self._question.tags,
            deregister_after_s=self._deregister_after_s,
            checks=checks,
        )
        answer = await self._put("/v1/agent/service/register", json=body)
        self._expect_ok(f"register {service} {instance.id!r}", service, answer)
        # A check that was there before keeps its state: one that had lapsed stays critical.
        await self.heartbeat(service, instance)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease, with the check's state following the instance's status.

        Raises:
            NotRegisteredError: the agent has no such check (any more).
            RegistryError: see `trimtab.registries.protocol`.
        """
        check = quote(check_id(instance), safe="")
        answer = await self._put(f"/v1/agent/check/{heartbeat_verb(instance)}/{check}")
        what = f"heartbeat of {service} {instance.id!r}"
        if is_unknown(answer):
            raise NotRegisteredError(f"{self._home.url}: {what}: {answer.detail}")
        self._expect_ok(what, service, answer)

    async def deregister(self, service: str, instance: Instance) -> None:
        """Remove the registration from the agent, if it is there.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        answer = await self._put(f"/v1/agent/service/deregister/{quote(instance.id, safe='')}")
        if not is_unknown(answer):
            self._expect_ok(f"deregister {service} {instance.id!r}", service, answer)

    async def _put(self, path: str, **options: Any) -> Answer:
        return await self._home.ask("PUT", path, timeout_s=self._timeout_s, **options)

    def _expect_ok(self, what: str, service: str, answer: Answer) -> None:
        if answer.status != httpx.codes.OK:
            raise write_refusal(f"{self._home.url}: {what}", service, answer)
