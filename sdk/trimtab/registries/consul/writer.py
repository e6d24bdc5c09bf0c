"""Register instances at a Consul agent, with a TTL check and with checks that the agent runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from trimtab.check import SUCCESS
from trimtab.errors import ConfigurationError, NotRegisteredError
from trimtab.instance import Status
from trimtab.registries.consul.agent import is_unknown, write_refusal
from trimtab.registries.consul.entries import DRAINING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.check import Check
    from trimtab.instance import Instance
    from trimtab.registries.asking import Answer
    from trimtab.registries.consul.agent import Agent
    from trimtab.registries.consul.settings import ConsulSettings

__all__ = ["ConsulWriter", "check_definition", "registration"]

_MAX_WEIGHT = 65535
_VERBS = {Status.PASSING: "pass", Status.WARNING: "warn"}
_CHECK_STATUSES = {"pass": "passing", "warn": "warning", "fail": "critical"}
_LEAST_INTERVAL_S = 1.0


class ConsulWriter:
    """Registers at the first agent of the URL.

    Registering, heartbeats and deregistering go to that agent only, also while it is away: a
    registration belongs to its agent, and at a second agent it would be listed twice. Name the
    agent on the instance's own machine first.

    Args:
        settings: see `ConsulSettings`.
        home: the agent to write to.
    """

    def __init__(self, settings: ConsulSettings, home: Agent) -> None:
        self._settings, self._home = settings, home

    def can_check(self, check: Check) -> bool:
        """Tell whether the agent can run such a check."""
        return reason_against(check) is None and (self._settings.scripts or check.kind != "script")

    async def register(
        self, service: str, instance: Instance, *, ttl_s: float, checks: Sequence[Check] = ()
    ) -> None:
        """Register at the agent, with a check that turns critical after `ttl_s`.

        The agent also runs `checks`; scripts need `enable_script_checks` there.

        Raises:
            ConfigurationError: Consul cannot run one of the checks.
            RegistryError: see `trimtab.registries.protocol`.
        """
        body = registration(
            service,
            instance,
            ttl_s=ttl_s,
            tags=self._settings.tags,
            deregister_after_s=self._settings.deregister_after_s,
            checks=checks,
        )
        answer = await self._put("/v1/agent/service/register", json=body)
        self._expect_ok(f"register {service} {instance.id!r}", service, answer)
        # A check that was there before keeps its state: one that had lapsed stays critical.
        await self.heartbeat(service, instance)

    async def heartbeat(self, service: str, instance: Instance) -> None:
        """Renew the lease, with the check's state following the instance's status.

        Raises:
            NotRegisteredError: the agent does not know the check (any more).
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

    async def maintain(
        self, service: str, instance: Instance, *, enable: bool, reason: str = ""
    ) -> None:
        """Give the instance a critical check with the reason, or remove that check.

        Raises:
            NotRegisteredError: the agent does not know the instance.
            RegistryError: see `trimtab.registries.protocol`.
        """
        answer = await self._put(
            f"/v1/agent/service/maintenance/{quote(instance.id, safe='')}",
            params={"enable": "true" if enable else "false", "reason": reason},
        )
        what = f"maintenance of {service} {instance.id!r}"
        if answer.status == httpx.codes.NOT_FOUND or is_unknown(answer):
            raise NotRegisteredError(f"{self._home.url}: {what}: {answer.detail}")
        self._expect_ok(what, service, answer)

    async def _put(self, path: str, **options: Any) -> Answer:
        return await self._home.ask("PUT", path, timeout_s=self._settings.timeout_s, **options)

    def _expect_ok(self, what: str, service: str, answer: Answer) -> None:
        if answer.status != httpx.codes.OK:
            raise write_refusal(f"{self._home.url}: {what}", service, answer)


def registration(
    service: str,
    instance: Instance,
    *,
    ttl_s: float,
    tags: Sequence[str],
    deregister_after_s: float | None,
    checks: Sequence[Check] = (),
) -> dict[str, Any]:
    """Write the body of `/v1/agent/service/register`.

    Consul's agent runs `checks` beside the heartbeat; each starts in the instance's own status.

    Raises:
        ConfigurationError: Consul cannot run one of the checks.
    """
    weight = min(max(round(instance.weight), 1), _MAX_WEIGHT)
    # Without a status every check would start critical.
    status = {"Status": _CHECK_STATUSES[heartbeat_verb(instance)]}
    heartbeat = {
        "CheckID": check_id(instance),
        "Name": "heartbeat",
        "TTL": duration(ttl_s),
    }
    if deregister_after_s is not None:
        heartbeat["DeregisterCriticalServiceAfter"] = duration(deregister_after_s)
    run_by_consul = [
        check_definition(instance, check, check_id=f"{check_id(instance)}:{number}")
        for number, check in enumerate(checks, start=1)
    ]
    return {
        "ID": instance.id,
        "Name": service,
        "Address": instance.host,
        "Port": instance.port,
        "Tags": list(tags),
        "Meta": _meta(instance, weight),
        "Weights": {"Passing": weight, "Warning": weight},
        "Check": heartbeat | status,
        "Checks": [each | status for each in run_by_consul],
    }


def check_id(instance: Instance) -> str:
    """Name the check ourselves: the default name changes with the number of checks."""
    return f"service:{instance.id}"


def heartbeat_verb(instance: Instance) -> str:
    """Choose pass, warn or fail by the instance's status; each of them renews the lease."""
    return _VERBS.get(instance.status, "fail")


def _meta(instance: Instance, weight: int) -> dict[str, str]:
    meta = dict(instance.metadata)
    if instance.zone:
        meta["zone"] = instance.zone
    if instance.priority:
        meta["priority"] = str(instance.priority)
    if instance.scheme:
        meta["scheme"] = instance.scheme
    if instance.weight != weight:  # 0, a fraction, or beyond Consul's largest
        meta["weight"] = repr(instance.weight)
    if instance.status is Status.DRAINING:
        meta["status"] = DRAINING
    return meta


def check_definition(instance: Instance, check: Check, *, check_id: str) -> dict[str, Any]:
    """Write an entry of `Checks` in a registration.

    The agent, not this process, asks the instance; so `127.0.0.1` is the agent's own machine,
    and a script lies there. Consul follows redirects, and takes 429 for a warning.

    Raises:
        ConfigurationError: Consul cannot run such a check; the message says why.
    """
    if reason := reason_against(check):
        raise ConfigurationError(f"check {str(check)!r} cannot be run by Consul: {reason}")
    return {
        "CheckID": check_id,
        "Name": f"{check.kind} check",
        "Notes": str(check),
        "Interval": duration(check.interval_s),
        "Timeout": duration(check.timeout_s),
        "SuccessBeforePassing": check.rise,
        "FailuresBeforeCritical": check.fall,
        **_what(instance, check),
    }


def reason_against(check: Check) -> str | None:
    """Return why Consul cannot run a check; None if it can."""
    if check.interval_s < _LEAST_INTERVAL_S:
        return f"interval_s is {check.interval_s:g}, and Consul asks once a second"
    if check.statuses != SUCCESS:
        return f"statuses is {check.statuses!r}, and Consul knows {SUCCESS} alone"
    return None


def duration(seconds: float) -> str:
    """Write seconds as Go reads them."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _what(instance: Instance, check: Check) -> dict[str, Any]:
    host, port = check.address(instance)
    if check.kind == "tcp":
        return {"TCP": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}
    if check.kind == "script":
        about = {"INSTANCE_ID": instance.id, "HOST": instance.host, "PORT": instance.port}
        variables = [f"TRIMTAB_{name}={value}" for name, value in about.items()]
        # Consul has no setting for the environment of a script.
        return {"Args": ["env", *variables, *check.command]}
    return {"HTTP": check.url(instance), "Method": "GET", "TLSSkipVerify": not check.verify}
